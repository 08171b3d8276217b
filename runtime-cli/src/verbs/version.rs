//! `orlop version`, which engines call as `orlop --version`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "version:
show the version of orlop and of the specification
",
    "
$ orlop version
$ orlop --version
"
}

pub(crate) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    args.operands()?;
    super::print(&text())
}

/// Lines of the form that runc prints: engines take the version from the first and the specification's from `spec:`.
pub(crate) fn text() -> String {
    let commit = option_env!("ORLOP_COMMIT").map(|commit| format!("commit: {commit}\n")).unwrap_or_default();
    format!("orlop version {}\n{commit}spec: {}\n", env!("CARGO_PKG_VERSION"), "1.3.0")
}
