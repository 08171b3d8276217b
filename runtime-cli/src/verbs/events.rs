//! `orlop events`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "events: ID
print statistics and out-of-memory events of a container as lines of JSON

--interval DURATION | how often statistics are printed, like 500ms or 1m30s (default: 5s)
--stats | print the statistics once and end

$ orlop events --stats web1
$ orlop events --interval 1s web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
