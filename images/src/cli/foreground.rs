//! A container in the foreground: signals, and the terminal.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use orlop::Process;
use orlop::config::ConsoleSize;
use orlop_images::Cancel;
use orlop_images::bundle::ContainerOptions;
use orlop_images::network::Connection;
use orlop_images::supervise::{Claim, Containers, Streams};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::cli::commands::own_streams;
use crate::cli::failure::Failure;
use crate::cli::output;

/// The signals that are passed on.
const PASSED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Where signals go: before the container runs, those that ask for an end cancel what is under way, and the second one ends
/// the program; then all are the container's.
pub(crate) struct Signals {
    to: Arc<Mutex<To>>,
}

enum To {
    /// What is under way; with the signal that has asked for its end.
    Start(Option<Signal>),
    Container(Target),
}

struct Target {
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Signals {
    /// Takes the signals of this process, before any other thread is made.
    pub(crate) fn take(cancel: &Cancel) -> Result<Self, Failure> {
        let signals: SigSet = PASSED.into_iter().collect();
        signals.thread_block().map_err(|error| Failure::new(format!("wait for signals: {error}")))?;
        let to = Arc::new(Mutex::new(To::Start(None)));
        let (mine, cancelled) = (Arc::clone(&to), cancel.clone());
        let wait = move || {
            while let Ok(signal) = signals.wait() {
                deliver(signal, &mine, &cancelled);
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
        thread.map_err(|error| Failure::new(format!("wait for signals: {error}")))?;
        Ok(Self { to })
    }

    /// From now on they are this process's.
    fn hand_over(&self, process: &Process, terminal: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|error| Failure::new(format!("duplicate a descriptor: {error}")))
        };
        let target = Target { pidfd: copy(process.pidfd())?, terminal: terminal.map(copy).transpose()? };
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // One that came too late to cancel anything is the container's.
        if let To::Start(Some(late)) = *to {
            target.send(late);
        }
        *to = To::Container(target);
        Ok(())
    }
}

impl Target {
    fn send(&self, signal: Signal) {
        if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
            // That it has just ended is no failure.
            rustix::process::pidfd_send_signal(&self.pidfd, signal).ok();
        }
    }
}

/// Ends the program at once: its threads may be waiting for what does not come, and hold nothing that has to be given back.
#[allow(clippy::disallowed_methods, reason = "that nothing more is run is what the second Ctrl-C asks for")]
fn end() -> ! {
    std::process::exit(130)
}

fn deliver(signal: Signal, to: &Mutex<To>, cancel: &Cancel) {
    match &mut *to.lock().unwrap_or_else(PoisonError::into_inner) {
        To::Container(Target { terminal: Some(terminal), .. }) if signal == Signal::SIGWINCH => {
            copy_size(terminal.as_fd());
        }
        To::Container(target) => target.send(signal),
        To::Start(came) if matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM) => {
            if cancel.is_cancelled() {
                end();
            }
            *came = Some(signal);
            cancel.cancel();
        }
        To::Start(_) => {}
    }
}

/// Whether the terminal that is asked for can be given.
pub(crate) fn check_terminal(options: &ContainerOptions, interactive: bool, detach: bool) -> Result<(), Failure> {
    if options.terminal && interactive && !detach && !std::io::stdin().is_terminal() {
        return Err(Failure::new("-i and -t: standard input is no terminal (leave out -t)"));
    }
    Ok(())
}

/// Starts a container and stays until it has ended. The number is its exit status.
pub(crate) fn run(
    containers: &Containers,
    claim: &Claim,
    connection: Option<Connection>,
    options: &ContainerOptions,
    interactive: bool,
    signals: &Signals,
) -> Result<u8, Failure> {
    let failed = |errno: Errno| Failure::new(format!("make a socket: {}", errno.desc()));
    let (streams, socket) = match options.terminal {
        false => (own_streams(interactive)?, None),
        true => {
            let (here, there) = socket_pair().map_err(failed)?;
            (Streams::Terminal { socket: there, onlcr: true, size: own_size() }, Some(here))
        }
    };
    let launched = containers.launch(claim, streams, connection);
    let (process, notes) = launched.map_err(|(error, status)| Failure::from(error).with_status(status))?;
    notes.iter().for_each(|note| output::complain(&format!("orlop image run: {note}")));
    match containers.forwarder(claim.name()) {
        Ok(None) => {}
        // The thread ends with this program, whose end is that of the container.
        Ok(Some(forwarder)) => drop(std::thread::Builder::new().name("forward".to_owned()).spawn(|| forwarder.run())),
        Err(error) => output::complain(&format!("orlop image run: {error}")),
    }
    let terminal = socket.as_ref().and_then(receive_terminal);
    signals.hand_over(&process, terminal.as_ref().map(OwnedFd::as_fd))?;
    if let Some(master) = &terminal {
        // It may have changed since the container's was made.
        copy_size(master.as_fd());
        let _raw = Raw::enter(interactive);
        carry(&process, master, interactive)
            .map_err(|errno| Failure::new(format!("carry the terminal: {}", errno.desc())))?;
    }
    let exit = process.wait().map_err(|error| Failure::new(error.to_string()))?;
    containers.finish(claim, Some(exit.shell_code()))?;
    Ok(exit.shell_code())
}

/// A pair of sockets, of which one goes to the runtime.
pub(crate) fn socket_pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
}

/// The terminal that the runtime has sent, if it has.
pub(crate) fn receive_terminal(socket: &OwnedFd) -> Option<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut name)], &mut control, flags).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

/// The user's terminal in raw mode, until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter(interactive: bool) -> Self {
        let before = tcgetattr(std::io::stdin()).ok().filter(|_| interactive);
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok();
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // What the container wrote is shown under the settings it was written for.
            tcsetattr(std::io::stdin(), OptionalActions::Drain, before).ok();
        }
    }
}

/// Gives the container's terminal the size of the user's.
fn copy_size(to: BorrowedFd<'_>) {
    if let Some(ConsoleSize { height, width }) = own_size() {
        tcsetwinsize(to, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).ok();
    }
}

/// The size of the user's terminal.
fn own_size() -> Option<ConsoleSize> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let size = [stdin.as_fd(), stdout.as_fd()].into_iter().find_map(|stream| tcgetwinsize(stream).ok());
    size.filter(|size| size.ws_row > 0).map(|size| ConsoleSize { height: size.ws_row, width: size.ws_col })
}

/// Carries keys to the container's terminal and text from it, until the process has ended and the last byte is shown.
fn carry(process: &Process, master: &OwnedFd, interactive: bool) -> nix::Result<()> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
    // While it is open, the master reports no hang-up of a process that closes its terminal for a moment.
    let _peer = ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    rustix::io::ioctl_fionbio(master, true).map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    let mut typing = Typing { keys: Vec::new(), open: interactive };
    let (stdin, mut ended) = (std::io::stdin(), false);
    while !ended {
        let out = if typing.keys.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
        let mut fds = vec![PollFd::new(process.pidfd(), PollFlags::POLLIN), PollFd::new(master.as_fd(), out)];
        if typing.open && typing.keys.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
        let (over, typed) = (ready(0), ready(2));
        ended = over;
        if typed {
            typing.read();
        }
        typing.write(master);
        show(master)?;
    }
    Ok(())
}

/// What was typed and is not yet taken.
struct Typing {
    keys: Vec<u8>,
    open: bool,
}

impl Typing {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match nix::unistd::read(std::io::stdin(), &mut buffer) {
            Ok(0) | Err(Errno::EIO) => self.open = false,
            Ok(count) => self.keys.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(_) => {}
        }
    }

    fn write(&mut self, master: &OwnedFd) {
        if let Ok(count) = nix::unistd::write(master, &self.keys) {
            self.keys.drain(..count);
        }
    }
}

/// Shows all that is there.
fn show(master: &OwnedFd) -> nix::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match nix::unistd::read(master, &mut buffer) {
            Ok(0) | Err(Errno::EAGAIN | Errno::EIO) => return Ok(()),
            Ok(count) => {
                let mut text = buffer.get(..count).unwrap_or_default();
                while !text.is_empty() {
                    match nix::unistd::write(std::io::stdout(), text) {
                        Ok(count) => text = text.get(count..).unwrap_or_default(),
                        Err(Errno::EINTR) => {}
                        // Nobody looks any more; the container goes on.
                        Err(_) => break,
                    }
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
