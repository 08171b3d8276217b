//! `orlop list`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "list:
list the containers of the root directory

-f, --format table|json | how (default: table)
-q, --quiet | print the ids only

$ orlop list
$ orlop --root /run/my-engine list --format json
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
