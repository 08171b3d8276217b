//! `orlop image ps`.

use orlop_images::supervise::{Containers, Seen, State};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::supervisor;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "ps:
list containers

-a, --all | list those too that have ended
-q, --quiet | print the names only
--json | print JSON

\"unsupervised\" says that the process beside a container was killed. ps and logs start another, which goes on
with the log; what was written meanwhile has waited. The exit status will not be known.

$ orlop image ps -a
$ orlop image ps --json
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (all, quiet, as_json) = (args.switch("all"), args.switch("quiet"), args.switch("json"));
    args.operands()?;
    let all_of = session.containers(&session.store()?)?;
    let mut containers = all_of.all()?;
    containers.iter().for_each(|seen| renew(&all_of, seen, "ps"));
    containers.retain(|seen| all || !seen.record.state.is_over());
    if as_json {
        output::json(&Value::Array(containers.iter().map(value).collect()))?;
    } else if quiet {
        output::print(&containers.iter().map(|seen| format!("{}\n", seen.record.name)).collect::<String>())?;
    } else {
        let rows: Vec<Vec<String>> = containers.iter().map(row).collect();
        output::print(&output::table(&["NAME", "IMAGE", "STATUS", "CREATED", "PORTS", "COMMAND"], &rows))?;
    }
    Ok(0)
}

/// Has an unsupervised container supervised again, and tells so.
pub(super) fn renew(containers: &Containers, seen: &Seen, command: &str) {
    if !seen.is_unsupervised() {
        return;
    }
    let name = &seen.record.name;
    let said = match supervisor::renew(containers, seen) {
        Ok(false) => return,
        Ok(true) => "another has taken its place".to_owned(),
        Err(failure) => format!("no other can take its place: {failure}"),
    };
    output::complain(&format!("orlop image {command}: {name}: the process beside it was killed; {said}"));
}

fn status(seen: &Seen) -> String {
    match (&seen.record.state, seen.status) {
        (State::Exited { code: Some(code), .. }, _) => format!("exited ({code})"),
        (State::Exited { code: None, .. }, _) => "exited (unknown)".to_owned(),
        (_, Some(status)) if !seen.watched => format!("{status}, unsupervised"),
        (_, Some(status)) => status.to_string(),
        (_, None) => "creating".to_owned(),
    }
}

fn row(seen: &Seen) -> Vec<String> {
    let record = &seen.record;
    let created = record.created.get(..19).unwrap_or(&record.created).replace('T', " ");
    let command: String = record.command.join(" ").chars().take(40).collect();
    vec![record.name.clone(), record.image.clone(), status(seen), created, record.ports.join(", "), command]
}

fn value(seen: &Seen) -> Value {
    let record = &seen.record;
    let (code, finished) = match &record.state {
        State::Exited { code, finished } => (code.as_ref(), Some(finished)),
        _ => (None, None),
    };
    json!({
        "name": record.name, "image": record.image, "manifest": record.manifest, "command": record.command,
        "created": record.created, "status": status(seen).split([' ', ',']).next(), "pid": seen.pid,
        "supervised": seen.watched, "ports": record.ports, "exit_code": code, "finished": finished,
    })
}
