//! `orlop ps`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "ps: ID [PS-OPTION...]
list the processes of a container

-f, --format table|json | a table made by ps(1), or the pids as JSON (default: table)

What follows ID is passed to ps(1); without it, -ef. The pids are those of the host. JSON needs no ps(1).

$ orlop ps web1
$ orlop ps web1 -o pid,rss,args
$ orlop ps --format json web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
