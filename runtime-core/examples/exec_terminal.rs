//! Executes a command with a terminal in a running container, and shows what it prints:
//! `cargo run -p orlop --example exec_terminal -- ID COMMAND [ARGUMENT...]`.
//!
//! The terminal's master comes over a connected socket, so that the runtime itself needs no place in the file system for it.
#![allow(clippy::disallowed_methods, reason = "the arguments of an example come by the standard library's entry")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]
#![allow(unsafe_code, reason = "a received descriptor is a bare number")]

use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use orlop::{Container, ContainerId, ExecOptions, ExecProcess, Runtime, Terminal};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (id, command) = (arguments.next(), arguments.collect::<Vec<_>>());
    let (Some(id), false) = (id, command.is_empty()) else {
        eprintln!("usage: exec_terminal ID COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    match exec(&id, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("exec_terminal: {error}");
            ExitCode::FAILURE
        }
    }
}

fn exec(id: &str, command: Vec<String>) -> Result<u8, Failure> {
    let container = Container::new(Runtime::from_environment(), ContainerId::new(id)?);
    let (ours, theirs) = UnixStream::pair()?;
    // The bytes are shown as they come, so line breaks need their carriage return.
    let terminal = Terminal::Connected { socket: theirs.into(), onlcr: true };
    let options = ExecOptions::new(ExecProcess::Args(command)).tty(true).terminal(terminal);
    let process = container.exec(options)?;
    let mut master = std::fs::File::from(received(&ours)?);
    let mut bytes = [0; 4096];
    // EIO: the last one who had the terminal open is gone.
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        std::io::stdout().write_all(bytes.get(..count).unwrap_or_default())?;
    }
    std::io::stdout().flush()?;
    Ok(process.wait()?.shell_code())
}

/// The descriptor that comes over the socket.
fn received(socket: &UnixStream) -> Result<OwnedFd, Failure> {
    let mut byte = [0; 64];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut content = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut content, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control
            && let Some(number) = numbers.first()
        {
            // SAFETY: the kernel has just made this descriptor for the message, and nobody else knows it.
            return Ok(unsafe { OwnedFd::from_raw_fd(*number) });
        }
    }
    Err("no terminal was sent".into())
}
