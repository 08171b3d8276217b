//! `orlop image diff`.

use orlop_images::bundle::MOUNT_POINTS;
use orlop_images::snapshot::Snapshots;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "diff: NAME
show what a container has changed in its root file system

--json | print JSON

A line for each name that is new (A), changed (C) or gone (D). The empty places that every container has
something mounted on, such as /proc and /etc/hosts, are left out.

$ orlop image diff web1
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let as_json = args.switch("json");
    let words = args.words_as_text()?;
    session.cancellable()?;
    let snapshots = Snapshots::open(session.store()?.state())?;
    let snapshot = snapshots.get(words.first().copied().unwrap_or_default())?;
    let changes = snapshot.changes(&MOUNT_POINTS, &session.cancel)?;
    if as_json {
        let list: Vec<_> = changes
            .iter()
            .map(|change| json!({ "kind": change.happened.letter().to_string(), "path": format!("/{}", change.name) }))
            .collect();
        output::json(&json!(list))?;
    } else {
        let lines = changes.iter().map(|change| format!("{} /{}\n", change.happened.letter(), change.name));
        output::print(&lines.collect::<String>())?;
    }
    Ok(0)
}
