//! `orlop image commit`.

use orlop_images::bundle::MOUNT_POINTS;
use orlop_images::snapshot::Snapshots;
use orlop_images::{Reference, transfer};

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "commit: NAME REFERENCE
make an image of a container: its image with one more layer

-m, --message TEXT | what the history of the image says of it
--json | print the image as JSON

Stop or pause the container before: what changes meanwhile is an error, or half in the layer.

$ orlop image commit web1 registry.lan/web:patched
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let message = args.text("message")?.unwrap_or_default().to_owned();
    let as_json = args.switch("json");
    let words = args.words_as_text()?;
    let [name, reference] = words[..] else { return Err(Failure::usage("a container and a reference are wanted")) };
    let reference: Reference = reference.parse()?;
    session.cancellable()?;
    let store = session.store()?;
    let snapshot = Snapshots::open(store.state())?.get(name)?;
    let image = transfer::commit(&store, &snapshot, &MOUNT_POINTS, &reference, &message, &session.cancel)?;
    super::show(&image, as_json)?;
    Ok(0)
}
