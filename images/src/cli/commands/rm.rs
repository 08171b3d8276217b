//! `orlop image rm`.

use std::time::Duration;

use crate::cli::commands::stop;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "rm: NAME...
remove containers that have ended, with their logs and what they have written

-f, --force | kill those that run
--json | print a line of JSON for each

Volumes with a name stay. Images are removed by remove.

$ orlop image rm web
$ orlop image rm -f web db
",
);

/// How long whoever watches a container may take to be through with it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (force, as_json) = (args.switch("force"), args.switch("json"));
    let words = args.words_as_text()?;
    let containers = session.containers(&session.store()?)?;
    for name in words {
        let seen = containers.get(name)?;
        if !seen.record.state.is_over() {
            if !force {
                return Err(Failure::new(format!("{name} runs (orlop image stop {name}, or --force)")));
            }
            stop::stop(&containers, name, Some(libc::SIGKILL), Duration::ZERO)?;
        }
        if let Some(claim) = containers.take_over(name, PATIENCE)? {
            containers.remove(&claim)?;
        }
        output::name(name, as_json)?;
    }
    Ok(0)
}
