//! From a bundle to a process.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use orlop::config::ConsoleSize;
use orlop::{CreateOptions, Process, StartOptions, Terminal};

use crate::base::{Dir, Error, Kind, Result, Step};
use crate::network::{Connection, pasta};
use crate::supervise::{Claim, Containers, NETNS, NetworkMode, PASTA, State, of_runtime};

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
    /// process, it returns what the user should know. `connection` is its network on the bridge, where that is under way already.
    pub fn launch(
        &self,
        claim: &Claim,
        streams: Streams,
        connection: Option<Connection>,
    ) -> std::result::Result<(Process, Vec<String>), (Error, u8)> {
        let failed = |(error, status): (Error, u8)| match self.discard(claim) {
            Ok(()) => (error, status),
            Err(also) => (Error::new(error.kind(), Step::Run).reason_is(format!("{error}; and then: {also}")), status),
        };
        self.start(claim, streams, connection).map_err(failed)
    }

    fn start(
        &self,
        claim: &Claim,
        streams: Streams,
        connection: Option<Connection>,
    ) -> std::result::Result<(Process, Vec<String>), (Error, u8)> {
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
        let connection = match (&record.network, connection) {
            (NetworkMode::Bridge, None) => Some(self.connect(claim).map_err(of_engine)?),
            (_, connection) => connection,
        };
        let wired = connection.map(|connection| Wired::new(claim, connection)).transpose().map_err(of_engine)?;
        let process = container.create(options).map_err(|error| (of_runtime(&error), exit_status(&error)))?;
        let mut notes: Vec<String> = process.report().warnings().iter().map(ToString::to_string).collect();
        if let Some(wired) = wired {
            notes.extend(wired.settle(process.id().get()).map_err(of_engine)?);
            self.networks().and_then(|networks| networks.announce()).map_err(of_engine)?;
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

impl Containers {
    fn connect(&self, claim: &Claim) -> Result<Connection> {
        let mut connection = Connection::begin()?;
        connection.connect(self.networks()?, claim.name());
        Ok(connection)
    }
}

/// The network namespace of a container to be, and the link to it in the bundle.
struct Wired {
    connection: Connection,
    // Open as long as the link leads to it.
    _netns: Arc<OwnedFd>,
    bundle: Dir,
}

impl Wired {
    /// Has the link lead to the namespace.
    fn new(claim: &Claim, mut connection: Connection) -> Result<Self> {
        let netns = connection.namespace()?;
        let bundle = Dir::open(Step::Run, &claim.dir().path().join("bundle"))?;
        link(&bundle, &format!("/proc/self/fd/{}", netns.as_raw_fd()))?;
        Ok(Self { connection, _netns: netns, bundle })
    }

    /// Waits until it is connected, and leaves it to the container's process `pid`, for whoever follows the link from now on.
    fn settle(self, pid: i32) -> Result<Vec<String>> {
        let notes = self.connection.finish()?;
        self.bundle.remove(Step::Run, NETNS)?;
        link(&self.bundle, &format!("/proc/{pid}/ns/net"))?;
        Ok(notes)
    }
}

fn link(bundle: &Dir, to: &str) -> Result<()> {
    nix::unistd::symlinkat(to, bundle, NETNS).map_err(|errno| bundle.error(Step::Run, NETNS, errno))
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
