//! `orlop try`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "try: [COMMAND...]
run a command in a container on a copy-on-write view of this machine's files

The container sees this machine's root file system; what it writes is kept in memory and gone when it ends. It
has its own namespaces, no network, few capabilities and a system call filter. Works for root and for others.
Without a command, a shell is run.

$ orlop try
$ orlop try sh -c 'rm -rf /usr; ls /'
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
