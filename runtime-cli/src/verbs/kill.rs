//! `orlop kill`.

use orlop::{ContainerId, KillOptions, Signal};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;
use crate::verbs::matching::{self, Wanted};

command! {
    "kill: ID [SIGNAL]
send a signal to a container's init
",
    [
        ALL = "-a, --all | send it to all processes of the container",
        REGEX = "-r, --regex | ID is a regular expression: send it to every container whose id it matches",
    ],
    "
SIGNAL is a number or a name, with or without SIG; without one it is SIGTERM.

$ orlop kill web1
$ orlop kill web1 HUP
$ orlop kill --all web1 9
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let (all, regex) = (args.switch(ALL), args.switch(REGEX));
    let [name, rest @ ..] = args.operands()? else { return Err(Failure::usage("which container?")) };
    let signal = match rest.first() {
        None => Signal::TERM,
        Some(word) if word.is_empty() => Signal::TERM,
        Some(word) => word.to_string_lossy().parse()?,
    };
    let options = KillOptions::default().signal(signal).all(all);
    let kill = |id: &ContainerId| Ok(orlop::kill(&session.runtime, id, &options)?);
    if regex {
        return matching::each(session, name, Wanted::Alive, kill);
    }
    kill(&container_id(name)?)?;
    Ok(0)
}
