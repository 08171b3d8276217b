//! `orlop create`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;
use crate::verbs::launch::{self, launch_flags};

command! {
    "create: ID
create a container, ready to be started
",
    ..launch_flags,
    [],
    "
The container has all its namespaces, mounts and limits when this returns; its command waits for \"orlop
start\". A config with a terminal needs --console-socket.

$ orlop create -b /srv/web --pid-file /run/web1.pid web1
$ orlop start web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = launch::options(args)?;
    let id = container_id(args.operand()?)?;
    let process = orlop::create(&session.runtime, &id, options)?;
    session.tell(&process);
    Ok(0)
}
