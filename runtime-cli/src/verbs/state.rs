//! `orlop state`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "state: ID
print the state of a container as JSON

The fields are those of the OCI runtime specification, and as in runc: rootfs, created, owner.

$ orlop state web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}

pub(super) fn pid(_: &Session<'_>, _: &orlop::ContainerId) -> Result<i32, Failure> {
    Err(Failure::new("pending"))
}
