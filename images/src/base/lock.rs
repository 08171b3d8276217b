//! Locks between processes, which the kernel gives back when their holder dies.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::base::{Cancel, Error, Kind, Result, Step};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// Takes the lock of `file`, which `what` names in messages: alone, or with others that take it shared. Waits for
    /// `patience` at most.
    pub fn take(file: File, exclusive: bool, what: &str, patience: Duration, cancel: &Cancel) -> Result<Self> {
        let argument = if exclusive { FlockArg::LockExclusiveNonblock } else { FlockArg::LockSharedNonblock };
        let end = Instant::now() + patience;
        let mut file = file;
        let mut pause = Duration::from_micros(200);
        loop {
            match Flock::lock(file, argument) {
                Ok(lock) => return Ok(Self(lock)),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(Error::os(Step::LockStore, errno as i32).object_is(what)),
            }
            cancel.check(Step::LockStore)?;
            if Instant::now() >= end {
                return Err(Error::new(Kind::Busy, Step::LockStore)
                    .object_is(what)
                    .reason_is(format!("another process has held it for {} s", patience.as_secs()))
                    .hint_is("lslocks names the process"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The file that is locked.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The file that is locked, to write to it.
    pub fn file_mut(&mut self) -> &mut File {
        &mut self.0
    }
}
