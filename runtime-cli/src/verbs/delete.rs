//! `orlop delete`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "delete: ID
delete a container that has ended, with all it holds

-f, --force | kill it first if it is running; an unknown id is no error
-r, --regex | ID is a regular expression: delete every container whose id it matches

Takes away its cgroup, its state and what else was made for it. Running it again is harmless. A container
that was created and never started is killed and deleted without --force.

$ orlop delete web1
$ orlop delete --force web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}

pub(super) fn one(_: &Session<'_>, _: &orlop::ContainerId, _: bool) -> Result<(), Failure> {
    Err(Failure::new("pending"))
}
