//! `orlop events`.

use std::time::Duration;

use orlop::{Event, EventsOptions};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;
use crate::units;

command! {
    "events: ID
print statistics and out-of-memory events of a container as lines of JSON
",
    [
        INTERVAL = "--interval DURATION | how often statistics are printed, like 500ms or 1m30s (default: 5s)",
        STATS = "--stats | print the statistics once and end",
    ],
    "
$ orlop events --stats web1
$ orlop events --interval 1s web1
"
}

/// As runc has it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let read = |text| {
        units::duration(text).ok_or_else(|| Failure::usage(format!("--interval {text:?}: not a duration like 5s")))
    };
    let interval = args.text(INTERVAL)?.map_or(Ok(DEFAULT_INTERVAL), read)?;
    let once = args.switch(STATS);
    let id = container_id(args.operand()?)?;
    if interval.is_zero() {
        return Err(Failure::usage("--interval must be greater than 0"));
    }
    if once {
        return print(&orlop::stats(&session.runtime, &id)?);
    }
    for event in orlop::events(&session.runtime, &id, &EventsOptions::default().interval(interval))? {
        print(&event?)?;
    }
    Ok(0)
}

fn print(event: &Event) -> Result<u8, Failure> {
    let text = serde_json::to_string(event).map_err(|error| Failure::new(error.to_string()))?;
    super::print(&(text + "\n"))
}
