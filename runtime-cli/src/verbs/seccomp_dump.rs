//! `orlop seccomp dump`.

use orlop::seccomp::Options;
use orlop::seccomp::report::{self, Format};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;
use crate::verbs::seccomp_profile::{text, wrong};

command! {
    "seccomp dump: PROFILE
show the filter that a seccomp profile is compiled to
",
    [
        FORMAT = "--format text|json | the program in words, or its figures as JSON (default: text)",
    ],
    "
PROFILE is a file with the linux.seccomp object of the OCI configuration, or a whole config.json; - is
standard input.

$ orlop seccomp dump profile.json
$ orlop seccomp dump --format json profile.json
"
}

pub(crate) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let (format, end) = match args.choice(FORMAT)? {
        Some("json") => (Format::Json, "\n"),
        _ => (Format::Text, ""),
    };
    let document = text(args.operand()?)?;
    let profile = report::read(&document).map_err(|error| wrong(&error))?;
    let dump = report::dump(&profile, &Options::default(), format).map_err(|error| wrong(&error))?;
    super::print(&(dump + end))
}
