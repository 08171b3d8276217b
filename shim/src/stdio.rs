//! The standard streams of a process: what the process gets, and what stays here to be copied.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair};
use nix::unistd::{Gid, Uid, fchown, pipe2};

use crate::copy::{By, Copy};
use crate::driver::Driver;
use crate::runtime::Streams;
use crate::sys::{self, OpenFiles};
use crate::ttrpc::{Code, Failure};

/// One of the three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Input,
    Output,
    Errors,
}

impl Channel {
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Errors];

    fn index(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Output => 1,
            Self::Errors => 2,
        }
    }
}

/// An end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Sink,
}

/// What the client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Whose streams they are.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) id: String,
    pub(crate) namespace: String,
    /// Who owns the pipes; 0 leaves that to the runtime, which gives them to the process's user.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The limit of open files that a program gets which takes the output.
    pub(crate) open_files: OpenFiles,
}

/// A place for output: a path alone is a FIFO or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) scheme: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
}

impl Uri {
    fn parse(text: &str) -> Self {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self { scheme: "fifo".to_owned(), path: text.to_owned(), query: Vec::new() };
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(&key.replace('+', " ")), unescape(&value.replace('+', " ")))
        };
        Self {
            scheme: scheme.to_owned(),
            path: unescape(path),
            query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect(),
        }
    }

    fn is_program(&self) -> bool {
        matches!(self.scheme.as_str(), "binary" | "binary-v2")
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What stays here of a process's streams.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    copies: [Option<Copy>; 3],
    /// The writing end of the FIFO for input: without it, a client that detaches would end the input.
    input_kept: Option<OwnedFd>,
    /// The reading ends of FIFOs for output: so they can be written to without a reader, and what a reader has not come for yet is
    /// not lost with the process.
    output_kept: Vec<OwnedFd>,
    terminal: Option<Terminal>,
    driver: Option<Driver>,
}

#[derive(Debug)]
enum Terminal {
    /// The runtime will send the master here; then the copies can begin.
    Awaited { socket: OwnedFd, source: Option<OwnedFd>, sink: Option<(OwnedFd, By)> },
    /// `peer` is the other end, kept open until the process has ended, so that a program which closes and reopens it stays connected.
    Here { master: OwnedFd, peer: Option<OwnedFd> },
}

/// Whether opening these streams starts a program that may take its time.
pub(crate) fn starts_a_program(asked: &Asked) -> bool {
    Uri::parse(&asked.stdout).is_program()
}

impl Stdio {
    /// Opens all that was asked for. The first part is for the process.
    ///
    /// # Errors
    /// When something cannot be opened, or is of a kind that is not known.
    pub(crate) fn open(asked: &Asked, owner: &Owner) -> Result<(Streams, Self), Failure> {
        let mut stdio = Self::default();
        let streams = if asked.terminal { stdio.open_terminal(asked, owner) } else { stdio.open_three(asked, owner) };
        Ok((streams?, stdio))
    }

    fn open_three(&mut self, asked: &Asked, owner: &Owner) -> Result<Streams, Failure> {
        let uri = Uri::parse(&asked.stdout);
        if uri.is_program() {
            let (output, theirs_out) = pipe(owner)?;
            let (errors, theirs_err) = pipe(owner)?;
            self.driver = Some(Driver::start(&uri, owner, output.as_fd(), errors.as_fd())?);
            return Ok(Streams::Three([null()?, theirs_out, theirs_err]));
        }
        let input = self.open_input(&asked.stdin, owner)?;
        let output = self.open_output(Channel::Output, &uri, owner)?;
        let errors = match uri.scheme.as_str() {
            // One file for both.
            "file" => self.open_output(Channel::Errors, &uri, owner)?,
            _ => self.open_output(Channel::Errors, &Uri::parse(&asked.stderr), owner)?,
        };
        Ok(Streams::Three([input, output, errors]))
    }

    fn open_input(&mut self, path: &str, owner: &Owner) -> Result<OwnedFd, Failure> {
        if path.is_empty() {
            return null();
        }
        let (theirs, ours) = pipe(owner)?;
        let source = self.open_input_fifo(path)?;
        non_blocking(&ours)?;
        self.put(Channel::Input, Copy::new(source, ours, By::Splice));
        Ok(theirs)
    }

    fn open_input_fifo(&mut self, path: &str) -> Result<OwnedFd, Failure> {
        let source = open(path, File::options().read(true))?;
        if !source.metadata().is_ok_and(|facts| facts.file_type().is_fifo()) {
            return Err(Failure::new(Code::InvalidArgument, format!("stdin {path} is not a FIFO")));
        }
        self.input_kept = Some(open(path, File::options().write(true))?.into());
        Ok(source.into())
    }

    fn open_output(&mut self, channel: Channel, uri: &Uri, owner: &Owner) -> Result<OwnedFd, Failure> {
        if uri.path.is_empty() {
            return null();
        }
        let (ours, theirs) = pipe(owner)?;
        non_blocking(&ours)?;
        let (sink, by) = self.open_sink(uri)?;
        self.put(channel, Copy::new(ours, sink, by));
        Ok(theirs)
    }

    /// Where output goes: a FIFO that somebody reads, or a file that grows.
    fn open_sink(&mut self, uri: &Uri) -> Result<(OwnedFd, By), Failure> {
        let path = uri.path.as_str();
        match uri.scheme.as_str() {
            "fifo" => {}
            "file" => {
                if let Some(parent) = Path::new(path).parent() {
                    let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
                    made.map_err(|error| unopened(path, &error))?;
                }
                let file = open(path, File::options().append(true).create(true).mode(0o644))?;
                return Ok((file.into(), By::Bytes));
            }
            other => return Err(Failure::new(Code::InvalidArgument, format!("unknown STDIO scheme {other}"))),
        }
        let kept = open(path, File::options().read(true))?;
        if kept.metadata().is_ok_and(|facts| facts.file_type().is_fifo()) {
            let sink = open(path, File::options().write(true))?;
            self.output_kept.push(kept.into());
            return Ok((sink.into(), By::Splice));
        }
        Ok((open(path, File::options().append(true))?.into(), By::Bytes))
    }

    fn open_terminal(&mut self, asked: &Asked, owner: &Owner) -> Result<Streams, Failure> {
        let source = match asked.stdin.as_str() {
            "" => None,
            path => Some(self.open_input_fifo(path)?),
        };
        let uri = Uri::parse(&asked.stdout);
        let sink = if uri.is_program() {
            let (output, ours) = pipe(owner)?;
            let (errors, _) = pipe(owner)?;
            self.driver = Some(Driver::start(&uri, owner, output.as_fd(), errors.as_fd())?);
            non_blocking(&ours)?;
            Some((ours, By::Bytes))
        } else if uri.path.is_empty() {
            None
        } else {
            Some((self.open_sink(&uri)?.0, By::Bytes))
        };
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(no_pipe)?;
        self.terminal = Some(Terminal::Awaited { socket, source, sink });
        Ok(Streams::Terminal(theirs))
    }

    /// Takes the terminal that the runtime has sent, once the process is made.
    ///
    /// # Errors
    /// When none was sent.
    pub(crate) fn receive_terminal(&mut self) -> Result<(), Failure> {
        let (socket, source, sink) = match self.terminal.take() {
            Some(Terminal::Awaited { socket, source, sink }) => (socket, source, sink),
            other => {
                self.terminal = other;
                return Ok(());
            }
        };
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Code::Unknown, format!("receive the terminal: {error}"));
        let master = receive_fd(socket.as_fd())
            .map_err(|errno| failed(&errno))?
            .ok_or_else(|| failed(&"none was sent; process.terminal of the config must be set as well"))?;
        non_blocking(&master)?;
        let again = || master.try_clone().map_err(|error| failed(&error));
        if let Some(source) = source {
            self.put(Channel::Input, Copy::new(source, again()?, By::Bytes));
        }
        if let Some((sink, by)) = sink {
            self.put(Channel::Output, Copy::new(again()?, sink, by));
        }
        let peer = Some(sys::open_peer(master.as_fd()).map_err(|errno| failed(&errno))?);
        self.terminal = Some(Terminal::Here { master, peer });
        Ok(())
    }

    fn put(&mut self, channel: Channel, copy: Copy) {
        if let Some(place) = self.copies.get_mut(channel.index()) {
            *place = Some(copy);
        }
    }

    pub(crate) fn copy(&mut self, channel: Channel) -> Option<&mut Copy> {
        self.copies.get_mut(channel.index())?.as_mut()
    }

    /// Ends a copy: its descriptors are closed.
    pub(crate) fn finish(&mut self, channel: Channel) -> Option<Copy> {
        self.copies.get_mut(channel.index())?.take()
    }

    /// Whether all output has been handed on.
    pub(crate) fn is_drained(&self) -> bool {
        let [_, output, errors] = &self.copies;
        output.is_none() && errors.is_none()
    }

    /// The process is deleted: output that nobody has come for is not kept any longer, and its copies end.
    pub(crate) fn stop_keeping_output(&mut self) {
        self.output_kept = Vec::new();
    }

    /// The input is at its end when the client has closed it as well.
    pub(crate) fn close_input(&mut self) {
        self.input_kept = None;
    }

    /// The process has ended: the terminal is read until it is empty.
    pub(crate) fn process_ended(&mut self) {
        if let Some(Terminal::Here { peer, .. }) = &mut self.terminal {
            *peer = None;
        }
        self.input_kept = None;
    }

    /// Sets the size of the terminal, if there is one.
    ///
    /// # Errors
    /// The errno of ioctl(2).
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> nix::Result<()> {
        match &self.terminal {
            Some(Terminal::Here { master, .. }) => sys::set_terminal_size(master.as_fd(), rows, columns),
            _ => Ok(()),
        }
    }

    /// The process was not made: a program that was to take its output has nothing to do.
    pub(crate) fn abandon(&mut self) {
        if let Some(mut driver) = self.driver.take() {
            driver.stop();
        }
    }

    pub(crate) fn take_driver(&mut self) -> Option<Driver> {
        self.driver.take()
    }
}

fn null() -> Result<OwnedFd, Failure> {
    let file = File::options().read(true).write(true).open("/dev/null");
    file.map(OwnedFd::from).map_err(|error| unopened("/dev/null", &error))
}

/// Opens without waiting for a peer, and not through a link, which somebody may have put in the FIFO's place.
fn open(path: &str, how: &mut std::fs::OpenOptions) -> Result<File, Failure> {
    how.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| unopened(path, &error))
}

fn unopened(path: &str, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Unknown };
    Failure::new(code, format!("open the stream {path}: {error}"))
}

fn no_pipe(errno: nix::errno::Errno) -> Failure {
    Failure::new(Code::Unknown, format!("make a pipe for a standard stream: {errno}"))
}

/// A pipe: reading end, writing end.
fn pipe(owner: &Owner) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reading, writing) = pipe2(OFlag::O_CLOEXEC).map_err(no_pipe)?;
    if owner.uid != 0 || owner.gid != 0 {
        for end in [&reading, &writing] {
            fchown(end, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))).map_err(no_pipe)?;
        }
    }
    Ok((reading, writing))
}

fn non_blocking(fd: &OwnedFd) -> Result<(), Failure> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(no_pipe)?;
    fcntl(fd, FcntlArg::F_SETFL(OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK)).map(drop).map_err(no_pipe)
}

/// The descriptor that was sent, without waiting for one.
fn receive_fd(socket: BorrowedFd<'_>) -> nix::Result<Option<OwnedFd>> {
    let mut name = [0; 256];
    let mut parts = [io::IoSliceMut::new(&mut name)];
    let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut received = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            received = numbers.into_iter().filter_map(sys::inherited).next_back().or(received);
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_for_output_are_read_as_containerd_writes_them() {
        let of = |text: &str| {
            let uri = Uri::parse(text);
            (uri.scheme, uri.path, uri.query)
        };
        assert_eq!(of("/run/fifo/a%20b"), ("fifo".to_owned(), "/run/fifo/a%20b".to_owned(), vec![]));
        assert_eq!(of("file:///var/log/a%20b.log"), ("file".to_owned(), "/var/log/a b.log".to_owned(), vec![]));
        let pairs = vec![("id".to_owned(), "a b".to_owned()), ("x".to_owned(), String::new())];
        assert_eq!(of("binary:///usr/bin/log?id=a+b&x"), ("binary".to_owned(), "/usr/bin/log".to_owned(), pairs));
        assert_eq!(unescape("%zz%2"), "%zz%2");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let open_files = OpenFiles { soft: 1024, hard: 1024 };
        let owner = Owner { id: "a".to_owned(), namespace: "n".to_owned(), uid: 0, gid: 0, open_files };
        let asked = |stdin: &str, stdout: &str| Asked {
            stdin: stdin.to_owned(),
            stdout: stdout.to_owned(),
            ..Asked::default()
        };
        for (asked, message) in [
            (asked("", "npipe:///x"), "npipe"),
            (asked("/dev/null", ""), "is not a FIFO"),
            (asked("", "/no/such/fifo"), "/no/such/fifo"),
        ] {
            let failure = Stdio::open(&asked, &owner).err().unwrap();
            assert!(failure.message.contains(message), "{}", failure.message);
        }
    }
}
