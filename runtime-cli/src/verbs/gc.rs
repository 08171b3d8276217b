//! `orlop gc`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "gc:
clear up after containers whose creation was cut short

-n, --dry-run | only say what would be deleted

A container is never touched while the command that makes it is still at work.

$ orlop gc
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
