//! `orlop start`.

use std::os::fd::AsFd;

use orlop::StartOptions;

use crate::failure::Failure;
use crate::notify::Proxy;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::sys;
use crate::table::command;
use crate::verbs::launch;

command! {
    "start: ID
let a created container execute its command
",
    "
Returns once the command has taken over, or says why it could not. With NOTIFY_SOCKET in the environment,
waits until the container says that it is ready, and tells the service manager (sd_notify(3)).

$ orlop create -b /srv/web web1
$ orlop start web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let id = container_id(args.operand()?)?;
    let proxy = launch::notify_socket().map(|host| Proxy::bind(&session.runtime, &id, &host)).transpose()?;
    orlop::start(&session.runtime, &id, &StartOptions::default())?;
    if let Some(proxy) = proxy {
        let pid = super::state::pid(session, &id)?;
        let process =
            sys::open_pidfd(pid).map_err(|errno| Failure::os(format_args!("open a pidfd of {pid}"), errno))?;
        proxy.until_ready(session, process.as_fd(), pid)?;
    }
    Ok(0)
}
