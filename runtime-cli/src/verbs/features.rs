//! `orlop features`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "features:
print what this runtime supports as JSON
",
    "
The format is features.md of the OCI runtime specification.

$ orlop features
"
}

pub(crate) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    args.operands()?;
    super::print(&(orlop::features().to_json() + "\n"))
}
