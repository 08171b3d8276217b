//! From a bundle to a process.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use orlop::config::ConsoleSize;
use orlop::{CreateOptions, Process, StartOptions, Terminal};

use crate::base::{Error, Kind, Result, Step};
use crate::network::pasta;
use crate::supervise::{Claim, Containers, NetworkMode, PASTA, State, of_runtime};

/// Where a container's streams go.
#[derive(Debug)]
pub enum Streams {
    /// To these descriptors.
    Plain([OwnedFd; 3]),
    /// To a terminal, whose master is sent to this socket.
    Terminal {
        /// The socket.
        socket: OwnedFd,
        /// Whether line breaks get a carriage return.
        onlcr: bool,
        /// Its first size, where there is one to be had.
        size: Option<ConsoleSize>,
    },
}

impl Containers {
    /// Starts a container whose bundle is made. After a failure nothing of it is left but what it was made of. Beside the
    /// process, it returns what the user should know.
    pub fn launch(&self, claim: &Claim, streams: Streams) -> std::result::Result<(Process, Vec<String>), (Error, u8)> {
        let failed = |(error, status): (Error, u8)| match self.discard(claim) {
            Ok(()) => (error, status),
            Err(also) => (Error::new(error.kind(), Step::Run).reason_is(format!("{error}; and then: {also}")), status),
        };
        self.start(claim, streams).map_err(failed)
    }

    fn start(&self, claim: &Claim, streams: Streams) -> std::result::Result<(Process, Vec<String>), (Error, u8)> {
        let container = self.container(claim.name()).map_err(|error| (error, 125))?;
        let of_engine = |error: Error| (error, 125);
        let options = CreateOptions::new(claim.dir().path().join("bundle"));
        let options = match streams {
            Streams::Plain(stdio) => options.stdio(stdio),
            Streams::Terminal { socket, onlcr, size } => {
                let mut options = options.terminal(Terminal::Connected { socket, onlcr });
                options.terminal_size = size;
                options
            }
        };
        let mut record = self.record(claim.name()).map_err(of_engine)?;
        let networks =
            (record.network == NetworkMode::Bridge).then(|| self.networks()).transpose().map_err(of_engine)?;
        // What the host needs for it takes as long as the container itself, and neither waits for the other.
        let (created, prepared) = std::thread::scope(|scope| {
            let prepared = networks.as_ref().map(|networks| scope.spawn(|| networks.prepare(claim.name())));
            (container.create(options), prepared.map_or(Ok(Vec::new()), joined))
        });
        let process = created.map_err(|error| (of_runtime(&error), exit_status(&error)))?;
        let mut notes: Vec<String> = process.report().warnings().iter().map(ToString::to_string).collect();
        notes.extend(prepared.map_err(of_engine)?);
        if let Some(networks) = &networks {
            // It waits for its start, so this is its process and no other of that number.
            let path = format!("/proc/{}/ns/net", process.id());
            let netns = File::open(&path).map_err(|error| (Error::io(Step::Network, &error).object_is(path), 125))?;
            networks.attach(claim.name(), netns.as_fd()).map_err(of_engine)?;
        }
        if record.network == NetworkMode::Pasta {
            let file = claim.dir().path().join(PASTA);
            pasta::start(process.id().get(), &record.led, &file).map_err(of_engine)?;
        }
        record.state = State::Running;
        self.update(claim, &record).map_err(of_engine)?;
        container.start(&StartOptions::default()).map_err(|error| (of_runtime(&error), exit_status(&error)))?;
        Ok((process, notes))
    }
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<Vec<String>>>) -> Result<Vec<String>> {
    let broken = || Error::new(Kind::System, Step::Network).reason_is("the thread that prepares it panicked");
    thread.join().unwrap_or_else(|_| Err(broken()))
}

/// The status of `run` when the container did not start, as Docker's: 127 for a command that is not there, 126 for one that
/// cannot be executed, 125 for all else.
#[must_use]
pub fn exit_status(error: &orlop::Error) -> u8 {
    match (error.step(), error.errno()) {
        (orlop::Step::Execute, Some(libc::ENOENT)) => 127,
        (orlop::Step::Execute, _) => 126,
        _ => 125,
    }
}

impl Streams {
    /// Nothing to read, and nowhere to write to.
    pub fn null() -> Result<OwnedFd> {
        let open = File::options().read(true).write(true).open("/dev/null");
        open.map(OwnedFd::from)
            .map_err(|error| Error::io(Step::Run, &error).object_is("/dev/null").kind_is(Kind::System))
    }
}
