//! `orlop image prune`.

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "prune:
remove layers that neither an image nor a container has

--unfinished | remove downloads too that were broken off, unless somebody is at them
--json | print what was removed as JSON

$ orlop image prune
$ orlop image prune --unfinished
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (unfinished, as_json) = (args.switch("unfinished"), args.switch("json"));
    args.operands()?;
    session.cancellable()?;
    let store = session.store()?;
    let containers = session.containers(&store)?;
    let pruned = store.prune(&containers.images()?, unfinished)?;
    let snapshots = containers.snapshots();
    let mut stacks = Vec::new();
    for entry in store.entries()? {
        // One that cannot be read has no use for its layers.
        if let Ok(image) = store.image(&entry) {
            stacks.extend(snapshots.layers().find(&image)?);
        }
    }
    let unpacked = snapshots.prune(&stacks, &session.cancel)?;
    if as_json {
        let value = json!({ "blobs": pruned.blobs, "unfinished": pruned.unfinished, "bytes": pruned.bytes, "unpacked": unpacked.layers });
        output::json(&value)?;
    } else {
        let (blobs, unfinished, size) =
            (pruned.blobs.len(), pruned.unfinished, output::size(pruned.bytes + unpacked.bytes));
        let unpacked = unpacked.layers;
        output::print(&format!(
            "{blobs} blobs, {unpacked} unpacked layers and {unfinished} unfinished downloads removed, {size} freed\n"
        ))?;
    }
    Ok(0)
}
