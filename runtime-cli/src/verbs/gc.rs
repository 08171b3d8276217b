//! `orlop gc`.

use orlop::GcOptions;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "gc:
clear up after containers whose creation was cut short
",
    [
        DRY_RUN = "-n, --dry-run | only say what would be deleted",
    ],
    "
A container is never touched while the command that makes it is still at work.

$ orlop gc
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = GcOptions::default().dry_run(args.switch(DRY_RUN));
    args.operands()?;
    let collected = orlop::gc(&session.runtime, &options)?;
    let text: String = collected.removed.iter().map(|id| format!("{id}\n")).collect();
    super::print(&text)?;
    let failures: Vec<String> = collected.report.warnings().iter().map(ToString::to_string).collect();
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("; then "))) }
}
