//! `orlop kill`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "kill: ID [SIGNAL]
send a signal to a container's init

-a, --all | send it to all processes of the container
-r, --regex | ID is a regular expression: send it to every container whose id it matches

SIGNAL is a number or a name, with or without SIG; without one it is SIGTERM.

$ orlop kill web1
$ orlop kill web1 HUP
$ orlop kill --all web1 9
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
