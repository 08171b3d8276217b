//! `orlop image remove`.

use orlop_images::store::Entry;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "remove: IMAGE...
remove images, and the layers that no other image has

--keep-layers | remove the names only; prune removes the layers later
--json | print the names as JSON

By name, only that name goes, and with its last name the image. By ID, all of its names go.

$ orlop image remove nginx:1.27
$ orlop image remove 4f53cda18c2b
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (keep, as_json) = (args.switch("keep-layers"), args.switch("json"));
    let words = args.words_as_text()?;
    let store = session.store()?;
    let mut removed = Vec::new();
    for word in words {
        let entry = store.lookup(word)?;
        let by_name = word.parse().ok().is_some_and(|name| entry.reference.as_ref() == Some(&name));
        removed.extend(store.change(|entries| {
            let gone =
                |other: &Entry| other.descriptor.digest == entry.descriptor.digest && (!by_name || *other == entry);
            let names: Vec<_> = entries.iter().filter(|other| gone(other)).cloned().collect();
            entries.retain(|other| !gone(other));
            Ok(names)
        })?);
    }
    if as_json {
        super::load::show(&removed, true)?;
    }
    for entry in removed.iter().filter(|_| !as_json) {
        let name = entry.reference.as_ref().map_or_else(|| entry.descriptor.digest.to_string(), ToString::to_string);
        output::print(&format!("{name}\n"))?;
    }
    if !keep {
        session.cancellable()?;
        store.prune(&session.containers(&store)?.images()?, false)?;
    }
    Ok(0)
}
