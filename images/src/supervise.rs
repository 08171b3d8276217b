//! Containers of images: what is known of each, how it is started, who watches it, how it ends.
//!
//! ```text
//! STATE/containers/
//!   .lock               held while a container is claimed, or looked at by whoever takes abandoned ones away
//!   NAME/lock           held by the process that watches the container: `run` itself, or its supervisor
//!   NAME/container.json what is known of it
//!   NAME/bundle/        its bundle
//!   NAME/log, log.1     its output, if it runs in the background
//! ```
//! A container whose lock nobody holds is finished by whoever looks at it next, if it has ended, and stays as it is while it
//! runs: `orlop` itself needs no watcher.

mod launch;
mod log;
mod record;
mod renew;
mod watch;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use orlop::{Container, ContainerId, DeleteOptions, Runtime, Status};
use rustix::fs::Mode;

use crate::base::{Cancel, Digest, Dir, Error, Kind, Lock, Result, Step};
use crate::layer::remove_directory;
use crate::network::{Forwarder, Lease, Networks, pasta};
use crate::snapshot::Snapshots;

pub use launch::{Streams, exit_status};
pub use log::{Line, LogReader, Stream};
pub use record::{Mode as NetworkMode, Progress as State, Record};
pub use renew::output_of;
pub use watch::{Console, keep_standard_streams_only, process, watch};

/// The file with the record.
const RECORD: &str = "container.json";
/// How long it may be.
const LONGEST: u64 = 4 << 20;

/// The containers of one state directory.
#[derive(Debug)]
pub struct Containers {
    dir: Dir,
    snapshots: Snapshots,
    runtime: Runtime,
    remover: Option<Remover>,
}

/// Removes the files of the container of that name below a state directory, where this process may not: an ordinary user's
/// containers have files of ids that are the user's in a user namespace only.
pub type Remover = fn(&Path, &str) -> Result<()>;

/// The link in a bundle that leads to the container's network namespace, where that is made before the container.
pub const NETNS: &str = "netns";

/// The file with the number of the container's pasta.
const PASTA: &str = "pasta.pid";

/// A container that this process is responsible for.
#[derive(Debug)]
pub struct Claim {
    name: String,
    dir: Dir,
    lock: Option<Lock>,
}

/// A container as others see it.
#[derive(Debug)]
pub struct Seen {
    /// What is known of it.
    pub record: Record,
    /// What the runtime says of it; none when it has ended.
    pub status: Option<Status>,
    /// Its first process; 0 when it has ended.
    pub pid: i32,
    /// Whether somebody watches it.
    pub watched: bool,
}

impl Claim {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Takes over a container whose lock this process has inherited as an open file.
    pub fn inherited(containers: &Containers, name: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), dir: containers.open_dir(name)?, lock: None })
    }

    /// The lock, for another process that takes the container over.
    pub fn hand_over(mut self) -> Result<File> {
        let Some(lock) = self.lock.take() else { return Err(Error::os(Step::Supervise, libc::EBADF)) };
        let file = lock.file().try_clone().map_err(|error| Error::io(Step::Supervise, &error))?;
        // Dropped, it would unlock the file for the other process too; left open, it would hold the lock for that one.
        let number = lock.file().as_raw_fd();
        std::mem::forget(lock);
        nix::unistd::close(number).map_err(|errno| Error::os(Step::Supervise, errno as i32))?;
        Ok(file)
    }
}

impl Containers {
    /// Opens those below the state directory `state`, which run under `runtime`.
    pub fn open(state: &Dir, runtime: Runtime) -> Result<Self> {
        let dir = state.sub(Step::Supervise, "containers")?;
        Ok(Self { dir, snapshots: Snapshots::open(state)?, runtime, remover: None })
    }

    /// The same, with their files removed by `remover`.
    #[must_use]
    pub fn with_remover(self, remover: Remover) -> Self {
        Self { remover: Some(remover), ..self }
    }

    /// Their root file systems.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Their network. What is of this boot only lies beside what the runtime knows of them.
    pub fn networks(&self) -> Result<Networks> {
        let mut name = self.runtime.root.file_name().unwrap_or_default().to_owned();
        name.push("-network");
        Networks::open(&self.runtime.root.with_file_name(name))
    }

    /// The container `name`, as the runtime knows it.
    pub fn container(&self, name: &str) -> Result<Container> {
        Ok(Container::new(self.runtime.clone(), ContainerId::new(name).map_err(|error| of_runtime(&error))?))
    }

    /// What the runtime says of the container `name`, if it is one of these: others may have one of that name.
    fn state_of(&self, name: &str) -> Result<Option<orlop::ContainerState>> {
        let Ok(state) = self.container(name)?.state() else { return Ok(None) };
        let bundle = self.dir.path().join(name).join("bundle");
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|status| (status.dev(), status.ino()));
        let same = |there: &Path| there == bundle || identity(there).is_some_and(|it| Some(it) == identity(&bundle));
        Ok(Some(state).filter(|state| same(&state.bundle)))
    }

    /// The path of the control group of `name`: its name with what tells this state directory from every other, so that
    /// containers of one name have nothing in common.
    pub fn control_group(&self, name: &str) -> Result<String> {
        let failed = |errno: rustix::io::Errno| Error::os(Step::Supervise, errno.raw_os_error());
        let status = rustix::fs::fstat(&self.dir).map_err(failed)?;
        let place = Digest::of(format!("{} {}", status.st_dev, status.st_ino).as_bytes()).hex();
        Ok(format!("orlop-{}-{name}", place.get(..12).unwrap_or(&place)))
    }

    /// What carries published ports of a running container on `::1` to it, where there are any.
    pub fn forwarder(&self, name: &str) -> Result<Option<Forwarder>> {
        match self.lease(name)? {
            None => Ok(None),
            Some(lease) => match Forwarder::bind(&lease) {
                // pasta serves it by itself where the host has a route of IPv6.
                Err(error) if lease.ipv4.is_loopback() && error.errno() == Some(libc::EADDRINUSE) => Ok(None),
                bound => bound,
            },
        }
    }

    /// The same with sockets that this process has inherited.
    pub fn inherited_forwarder(&self, name: &str, sockets: &[i32]) -> Result<Option<Forwarder>> {
        self.lease(name)?.map_or(Ok(None), |lease| Forwarder::inherited(&lease, sockets))
    }

    fn lease(&self, name: &str) -> Result<Option<Lease>> {
        let record = self.record(name)?;
        match record.network {
            NetworkMode::Bridge => self.networks()?.lease(name),
            NetworkMode::Pasta => Ok(Some(Lease::on_loopback(name, &record.led))),
            _ => Ok(None),
        }
    }

    /// Takes a name, and makes this process responsible for its container.
    pub fn claim(&self, record: &Record) -> Result<Claim> {
        let name = record.name.as_str();
        if self.container(name)?.state().is_ok() && self.state_of(name)?.is_none() {
            let error = Error::new(Kind::AlreadyExists, Step::Run).object_is(name);
            let reason = "orlop runs a container of that name that is not of this state directory";
            return Err(error.reason_is(reason).hint_is("choose another --name, or another --runtime-root"));
        }
        let _lock = self.lock()?;
        match rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let error = Error::new(Kind::AlreadyExists, Step::Run).object_is(name);
                let hint = format!("orlop image rm {name}, or choose another --name");
                return Err(error.reason_is("there is a container of that name").hint_is(hint));
            }
            Err(errno) => return Err(Error::os(Step::Run, errno.raw_os_error()).object_is(name)),
        }
        let dir = self.open_dir(name)?;
        let lock = take(&dir)?;
        dir.replace_for_now(Step::Run, RECORD, &written(record)?)?;
        Ok(Claim { name: name.to_owned(), dir, lock: Some(lock) })
    }

    /// What is known of `name`.
    pub fn record(&self, name: &str) -> Result<Record> {
        read(&self.open_dir(name)?, name)
    }

    /// Writes what is known of a container.
    pub fn update(&self, claim: &Claim, record: &Record) -> Result<()> {
        let text = written(record)?;
        if !record.state.is_over() {
            // After a crash of the machine it runs no more, whatever stands there.
            return claim.dir.replace_for_now(Step::Supervise, RECORD, &text);
        }
        claim.dir.replace(Step::Supervise, RECORD, &text)?;
        self.dir.sync(Step::Supervise)
    }

    /// All containers. Those that have ended unwatched are finished first.
    pub fn all(&self) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        for name in self.dir.names(Step::Supervise)?.iter().filter(|name| !name.starts_with('.')) {
            // One that goes away meanwhile is not there.
            all.extend(self.find(name)?);
        }
        Ok(all)
    }

    /// The container `name`; an error if there is none.
    pub fn get(&self, name: &str) -> Result<Seen> {
        let missing = || {
            let error = Error::new(Kind::NotFound, Step::Supervise).object_is(name);
            error.reason_is("there is no container of that name").hint_is("orlop image ps -a shows all")
        };
        if name.starts_with('.') || name.contains('/') || name.is_empty() {
            return Err(missing());
        }
        self.find(name)?.ok_or_else(missing)
    }

    /// The manifests of the images that containers are made of.
    pub fn images(&self) -> Result<Vec<Digest>> {
        Ok(self.all()?.into_iter().map(|seen| seen.record.manifest).collect())
    }

    fn find(&self, name: &str) -> Result<Option<Seen>> {
        let abandoned = {
            let _lock = self.lock()?;
            match Dir::open(Step::Supervise, &self.dir.path().join(name)) {
                Ok(dir) => take(&dir).ok().map(|lock| Claim { name: name.to_owned(), dir, lock: Some(lock) }),
                Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let watched = abandoned.is_none();
        let state = self.state_of(name)?;
        let alive = state.as_ref().filter(|state| state.status != Status::Stopped);
        if let Some(claim) = &abandoned {
            match self.record(name) {
                // It died before the container was there, or was being removed.
                Err(_) => return self.remove(claim).map(|()| None),
                Ok(record) if record.state.is_over() => {}
                Ok(record) if alive.is_none() || matches!(record.state, State::Creating) => {
                    self.finish(claim, None)?;
                    if record.remove {
                        return Ok(None);
                    }
                }
                Ok(_) => {}
            }
        }
        let record = match self.record(name) {
            Err(error) if error.errno() == Some(libc::ENOENT) || error.kind() == Kind::NotFound => return Ok(None),
            record => record?,
        };
        let alive = alive.filter(|_| !record.state.is_over());
        Ok(Some(Seen {
            status: alive.map(|state| state.status),
            pid: alive.and_then(|state| state.pid).map_or(0, orlop::HostPid::get),
            watched,
            record,
        }))
    }

    /// Takes away what exists of a container that has ended, or must, and writes down how. With `--rm`, all of it goes.
    pub fn finish(&self, claim: &Claim, code: Option<u8>) -> Result<()> {
        let container = self.container(&claim.name)?;
        let force = DeleteOptions::default().force(true);
        // One that died half-made has no state to tell whose it is; the claim on its name was ours.
        let foreign = container.state().is_ok() && self.state_of(&claim.name)?.is_none();
        match if foreign { Ok(()) } else { container.delete(&force).map(drop) } {
            Ok(()) => {}
            Err(error) if error.kind() == orlop::Kind::NotFound => {}
            Err(error) => return Err(of_runtime(&error)),
        }
        let mut record = read(&claim.dir, &claim.name)?;
        if record.network == NetworkMode::Pasta {
            pasta::stop(&claim.dir.path().join(PASTA))?;
        }
        if record.network == NetworkMode::Bridge {
            let networks = self.networks()?;
            // Another state directory may have a container of that name on the same network.
            if networks.lease(&claim.name)?.is_some_and(|lease| lease.hosts_file.starts_with(claim.dir.path())) {
                networks.release(&claim.name)?;
            }
        }
        // One that a crash of the machine has left without what it is made of never came to be.
        let is_lost = |error: &Error| matches!(error.kind(), Kind::Damaged | Kind::NotFound);
        let kept = || self.snapshots.get(&claim.name).and_then(|snapshot| snapshot.keep());
        if record.remove || kept().is_err_and(|error| is_lost(&error)) {
            return self.remove(claim);
        }
        record.state = State::Exited { code, finished: orlop::rfc3339(SystemTime::now()) };
        self.update(claim, &record)
    }

    /// Removes a container that has ended.
    pub fn remove(&self, claim: &Claim) -> Result<()> {
        match (self.remover, self.dir.path().parent()) {
            (Some(remover), Some(state)) => remover(state, &claim.name),
            _ => self.remove_files(&claim.name),
        }
    }

    /// Removes the files of a container that whoever calls this is responsible for.
    pub fn remove_files(&self, name: &str) -> Result<()> {
        self.snapshots.remove(name)?;
        match remove_directory(self.dir.as_fd(), name.as_bytes()) {
            Err(error) if error.errno() != Some(libc::ENOENT) => Err(error.object_is(name)),
            _ => Ok(()),
        }
    }

    /// Takes away a container that never came to be, with all that was made for it.
    pub fn discard(&self, claim: &Claim) -> Result<()> {
        let mut record = read(&claim.dir, &claim.name)?;
        record.remove = true;
        self.update(claim, &record)?;
        self.finish(claim, None)
    }

    /// Makes this process responsible for a container that nobody watches; waits for whoever is just ending.
    pub fn take_over(&self, name: &str, patience: Duration) -> Result<Option<Claim>> {
        let dir = match Dir::open(Step::Supervise, &self.dir.path().join(name)) {
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
            dir => dir?,
        };
        let lock = lock_file(&dir, patience)?;
        // It may have been removed while the lock was waited for.
        if dir.stat(Step::Supervise, RECORD)?.is_none() {
            return Ok(None);
        }
        Ok(Some(Claim { name: name.to_owned(), dir, lock: Some(lock) }))
    }

    /// Where the log of `name` is.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of the runtime's state, for whoever names it to another process.
    #[must_use]
    pub fn runtime_root(&self) -> &Path {
        &self.runtime.root
    }

    fn open_dir(&self, name: &str) -> Result<Dir> {
        Dir::open(Step::Supervise, &self.dir.path().join(name))
    }

    fn lock(&self) -> Result<Lock> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = self.dir.file(Step::Supervise, ".lock", flags)?;
        let file = file.ok_or_else(|| self.dir.error(Step::Supervise, ".lock", nix::errno::Errno::ENOENT))?;
        Lock::take(file, true, "containers", Duration::from_secs(60), &Cancel::new())
    }
}

fn take(dir: &Dir) -> Result<Lock> {
    lock_file(dir, Duration::ZERO)
}

fn lock_file(dir: &Dir, patience: Duration) -> Result<Lock> {
    let file = dir.file(Step::Supervise, "lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
    let file = file.ok_or_else(|| dir.error(Step::Supervise, "lock", nix::errno::Errno::ENOENT))?;
    Lock::take(file, true, &dir.path().display().to_string(), patience, &Cancel::new())
}

/// A record that can be read again: its command is the image's.
fn written(record: &Record) -> Result<Vec<u8>> {
    let text = record.to_json()?;
    if text.len() as u64 <= LONGEST {
        return Ok(text);
    }
    let error = Error::new(Kind::Limit, Step::Run).object_is(&record.name);
    Err(error.reason_is(format!("its command makes a record of {} bytes; {LONGEST} are allowed", text.len())))
}

fn read(dir: &Dir, name: &str) -> Result<Record> {
    let text = dir.read(Step::Supervise, RECORD, LONGEST)?;
    let text =
        text.ok_or_else(|| Error::new(Kind::NotFound, Step::Supervise).object_is(name).reason_is("it is gone"))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(Kind::Damaged, Step::Supervise)
            .object_is(dir.path().join(RECORD).display().to_string())
            .reason_is(error.to_string())
    })
}

/// An error of the runtime, which says all that is to be said in one line.
pub(crate) fn of_runtime(error: &orlop::Error) -> Error {
    Error::new(Kind::Command, Step::Run).reason_is(error.to_string())
}
