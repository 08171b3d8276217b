//! `orlop image prune`.

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "prune:
remove layers that no image has

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
    let pruned = session.store()?.prune(&[], unfinished)?;
    if as_json {
        let value = json!({ "blobs": pruned.blobs, "unfinished": pruned.unfinished, "bytes": pruned.bytes });
        output::json(&value)?;
    } else {
        let (blobs, unfinished, size) = (pruned.blobs.len(), pruned.unfinished, output::size(pruned.bytes));
        output::print(&format!("{blobs} blobs and {unfinished} unfinished downloads removed, {size} freed\n"))?;
    }
    Ok(0)
}
