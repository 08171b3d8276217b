//! `orlop image version`.

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "version:
show the version

$ orlop image version
",
);

pub(super) fn run(_: &Session, args: &Args) -> Result<u8, Failure> {
    args.operands()?;
    output::print(&text()).map(|()| 0)
}

/// The version as text.
pub(crate) fn text() -> String {
    format!("orlop-image version {}\n", env!("CARGO_PKG_VERSION"))
}
