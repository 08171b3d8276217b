//! `orlop doctor`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "doctor:
show what this host and this caller can and cannot do
",
    [
        JSON = "--json | as JSON",
    ],
    "
Each finding has a name and a level: ok, note, limit (some configs ask for what does not work) or broken (a
container of \"orlop spec\", with --rootless for who is not root of the host, cannot be run); then what does
not work because of it, and the remedy. Nothing is changed. Exit status 1 if anything is broken.

$ orlop doctor
$ orlop doctor --json
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let json = args.switch(JSON);
    args.operands()?;
    let examined = orlop::doctor(&session.runtime);
    let text = if json {
        serde_json::to_string_pretty(&examined).map_err(|error| Failure::new(error.to_string()))? + "\n"
    } else {
        examined.to_string()
    };
    super::print(&text)?;
    Ok(u8::from(examined.is_broken()))
}
