//! `orlop delete`.

use orlop::{ContainerId, DeleteOptions};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;
use crate::verbs::matching::{self, Wanted};

command! {
    "delete: ID
delete a container that has ended, with all it holds
",
    [
        FORCE = "-f, --force | kill it first if it is running; an unknown id is no error",
        REGEX = "-r, --regex | ID is a regular expression: delete every container whose id it matches",
    ],
    "
Takes away its cgroup, its state and what else was made for it. Running it again is harmless. A container
that was created and never started is killed and deleted without --force.

$ orlop delete web1
$ orlop delete --force web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let (force, regex) = (args.switch(FORCE), args.switch(REGEX));
    let name = args.operand()?;
    if regex {
        return matching::each(session, name, Wanted::Any, |id| one(session, id, force));
    }
    one(session, &container_id(name)?, force)?;
    Ok(0)
}

/// Deletes one container.
pub(super) fn one(session: &Session<'_>, id: &ContainerId, force: bool) -> Result<(), Failure> {
    let report = orlop::delete(&session.runtime, id, &DeleteOptions::default().force(force))?;
    for failure in report.warnings() {
        session.warn(&format!("delete {id}: {failure}"));
    }
    Ok(())
}
