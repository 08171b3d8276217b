//! `orlop list`.

use std::borrow::Cow;

use orlop::{ContainerState, HostPid};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;
use crate::tabular::table;

command! {
    "list:
list the containers of the root directory
",
    [
        FORMAT = "-f, --format table|json | how (default: table)",
        QUIET = "-q, --quiet | print the ids only",
    ],
    "
$ orlop list
$ orlop --root /run/my-engine list --format json
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let (format, quiet) = (args.choice(FORMAT)?.unwrap_or("table"), args.switch(QUIET));
    args.operands()?;
    if session.root_given {
        // As runc has it. Without --root, a directory that is missing only says that there has been no container yet.
        let root = &session.runtime.root;
        std::fs::metadata(root).map_err(|error| Failure::io(format_args!("open {}", root.display()), &error))?;
    }
    let listing = orlop::list(&session.runtime)?;
    session.warn_all(&listing.report);
    let containers = &listing.containers;
    super::print(&if quiet {
        containers.iter().map(|each| format!("{}\n", each.id)).collect()
    } else if format == "json" {
        json(containers)?
    } else {
        tabulated(containers)
    })
}

/// One line of JSON; of no containers, `null`, as Go writes an empty list.
fn json(containers: &[ContainerState]) -> Result<String, Failure> {
    let list = (!containers.is_empty()).then_some(containers);
    let text = serde_json::to_string(&list).map_err(|error| Failure::new(error.to_string()))?;
    Ok(text + "\n")
}

fn tabulated(containers: &[ContainerState]) -> String {
    let mut rows = Vec::with_capacity(containers.len() + 1);
    rows.push(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(Cow::Borrowed));
    rows.extend(containers.iter().map(|each| {
        let pid = each.pid.map_or(0, HostPid::get);
        [
            each.id.as_str().into(),
            pid.to_string().into(),
            each.status.as_str().into(),
            each.bundle.to_string_lossy(),
            each.created.as_str().into(),
            each.owner.as_str().into(),
        ]
    }));
    table(&rows)
}
