//! `orlop image list`.

use orlop_images::store::{Entry, Store};
use orlop_images::{Image, Reference};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "list: [NAME]
list the images of the store

-q, --quiet | print the names only
--json | print JSON

NAME is a repository, with or without a tag; only its images are listed. ID is the beginning of the
digest of the image's config, as Docker shows it.

$ orlop image list
$ orlop image list nginx --json
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (quiet, as_json) = (args.switch("quiet"), args.switch("json"));
    let words = args.words_as_text()?;
    let wanted: Option<(Reference, bool)> = match words.first() {
        // A tag is written after the last slash.
        Some(text) => Some((text.parse()?, text.rsplit('/').next().is_some_and(|name| name.contains([':', '@'])))),
        None => None,
    };
    let store = session.store()?;
    let mut entries = store.entries()?;
    if let Some((wanted, exact)) = &wanted {
        entries.retain(|entry| {
            let named = entry.reference.as_ref();
            named.is_some_and(|mine| mine.name() == wanted.name() && (!exact || mine == wanted))
        });
    }
    if quiet && !as_json {
        return output::print(&entries.iter().map(|entry| name(entry) + "\n").collect::<String>()).map(|()| 0);
    }
    let images: Vec<(Entry, Option<Image>)> =
        entries.into_iter().map(|entry| (entry.clone(), read(&store, &entry))).collect();
    if as_json {
        let values: Vec<Value> = images.iter().map(value).collect();
        output::json(&Value::Array(values))?;
    } else {
        let rows: Vec<Vec<String>> = images.iter().map(row).collect();
        output::print(&output::table(&["REFERENCE", "ID", "PLATFORM", "CREATED", "SIZE"], &rows))?;
    }
    Ok(0)
}

/// An image that cannot be read is listed all the same, with the reason beside.
fn read(store: &Store, entry: &Entry) -> Option<Image> {
    store.image(entry).map_err(|error| output::complain(&format!("orlop image list: {error}"))).ok()
}

fn name(entry: &Entry) -> String {
    entry.reference.as_ref().map_or_else(|| entry.descriptor.digest.to_string(), Reference::familiar)
}

fn value((entry, image): &(Entry, Option<Image>)) -> Value {
    image.as_ref().map_or_else(
        || json!({ "reference": entry.reference.as_ref().map(ToString::to_string), "digest": entry.descriptor.digest, "damaged": true }),
        super::described,
    )
}

fn row((entry, image): &(Entry, Option<Image>)) -> Vec<String> {
    let shown = match image {
        Some(image) => {
            let created = image.config.created.as_deref().and_then(|text| text.get(..10)).unwrap_or("-");
            let (id, size) = (image.config_blob.digest.short(), output::size(image.stored_size()));
            [id, image.platform.to_string(), created.to_owned(), size]
        }
        None => ["-".to_owned(), "damaged".to_owned(), "-".to_owned(), "-".to_owned()],
    };
    std::iter::once(name(entry)).chain(shown).collect()
}
