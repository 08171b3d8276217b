//! `orlop seccomp dump`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "seccomp dump: PROFILE
show the filter that a seccomp profile is compiled to

--format text|json | the program in words, or its figures as JSON (default: text)

PROFILE is a file with the linux.seccomp object of the OCI configuration, or a whole config.json; - is
standard input.

$ orlop seccomp dump profile.json
$ orlop seccomp dump --format json profile.json
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
