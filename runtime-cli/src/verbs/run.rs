//! `orlop run`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use orlop::{ContainerId, CreateOptions, Process, StartOptions, Terminal};

use crate::failure::Failure;
use crate::foreground;
use crate::notify::Proxy;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::signals::Signals;
use crate::table::command;
use crate::terminal;
use crate::verbs::launch::{self, launch_flags};

command! {
    "run: ID
create and start a container, and stay with it until it ends
",
    ..launch_flags,
    [
        DETACH = "-d, --detach | return as soon as the command has been executed",
        KEEP = "--keep | do not delete the container when it has ended",
        NO_SUBREAPER = "--no-subreaper | do not adopt the container's orphaned processes",
    ],
    "
In the foreground, signals are passed on to the container's init, its terminal (process.terminal in the
config) is connected to this one, and the exit status is the command's own: 128+N when signal N ended it.

$ orlop run -b /srv/web web1
$ orlop run --detach --pid-file /run/web1.pid -b /srv/web web1 </dev/null >web1.log 2>&1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = launch::options(args)?;
    let (detach, keep, no_subreaper) = (args.switch(DETACH), args.switch(KEEP), args.switch(NO_SUBREAPER));
    let id = container_id(args.operand()?)?;
    if detach {
        let (process, notify) = launched(session, &id, options)?;
        if let Some(notify) = notify {
            notify.until_ready(session, process.as_fd(), process.id().get())?;
        }
        return Ok(0);
    }
    if !matches!(options.terminal, Terminal::None) {
        return Err(Failure::usage("--console-socket is for --detach: in the foreground the terminal is this one"));
    }
    if !no_subreaper {
        become_subreaper()?;
    }
    attended(session, &id, options, keep)
}

pub(super) fn become_subreaper() -> Result<(), Failure> {
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| Failure::os("become a child subreaper", errno))
}

/// Runs the container in the foreground.
pub(super) fn attended(
    session: &Session<'_>,
    id: &ContainerId,
    options: CreateOptions,
    keep: bool,
) -> Result<u8, Failure> {
    let (signals, cancel) = Signals::take()?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| Failure::io("make a socket pair", &error))?;
    let options = options.terminal(Terminal::connected(theirs)).terminal_size(terminal::console_size()).cancel(cancel);
    let (process, notify) = launched(session, id, options)?;
    stay(session, &signals, (id, &process), &ours, notify, keep)
}

/// Stays with the container until it ends, and deletes it then, unless it is to be kept.
pub(super) fn stay(
    session: &Session<'_>,
    signals: &Signals,
    (id, process): (&ContainerId, &Process),
    console: &UnixStream,
    notify: Option<Proxy>,
    keep: bool,
) -> Result<u8, Failure> {
    let ended = foreground::attend(session, signals, process, console, notify);
    if ended.is_err() {
        // Nobody is left to watch over it: it must not go on unseen.
        crate::sys::send_signal(process.as_fd(), libc::SIGKILL).ok();
    }
    let deleted = if keep && ended.is_ok() { Ok(()) } else { delete(session, id) };
    let exit = ended?;
    if let Err(failure) = deleted {
        session.warn(&format!("delete {id}: {failure}"));
    }
    Ok(exit.shell_code())
}

fn delete(session: &Session<'_>, id: &ContainerId) -> Result<(), Failure> {
    super::delete::one(session, id, true)
}

/// Creates and starts the container; with a service manager, its socket is there before the command is executed.
fn launched(
    session: &Session<'_>,
    id: &ContainerId,
    create: CreateOptions,
) -> Result<(Process, Option<Proxy>), Failure> {
    let Some(host) = launch::notify_socket() else {
        let process = orlop::run(&session.runtime, id, create)?;
        session.tell(&process);
        return Ok((process, None));
    };
    let process = orlop::create(&session.runtime, id, create)?;
    session.tell(&process);
    let started = Proxy::bind(&session.runtime, id, &host).and_then(|proxy| {
        orlop::start(&session.runtime, id, &StartOptions::default())?;
        Ok(proxy)
    });
    match started {
        Ok(proxy) => Ok((process, Some(proxy))),
        Err(failure) => match delete(session, id) {
            Ok(()) => Err(failure),
            Err(further) => Err(Failure::new(format!("{failure}; then delete: {further}"))),
        },
    }
}
