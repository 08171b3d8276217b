//! Killing, waiting for the end, removing.

use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::freeze::EventsFile;
use crate::members::{Members, Pid};
use crate::part::{Part, collect};
use crate::signal::Signal;
use crate::sys::{self, At, Errno};

/// How long removal waits for dying processes to be gone.
pub const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Sends `signal` to every process in the cgroup and below it. SIGKILL goes by [`kill_all`](Self::kill_all); for another one
    /// the cgroup is stopped meanwhile, so that no process forks away from it.
    ///
    /// # Errors
    /// [`Kind::System`] when a process cannot be signalled; [`Kind::Timeout`] when it cannot be stopped.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        if signal == Signal::KILL {
            return self.kill_all();
        }
        let was_frozen = self.is_frozen()?;
        let frozen = was_frozen || self.freeze().is_ok();
        let outcome = self.signal_each(signal);
        if frozen && !was_frozen {
            self.thaw()?;
        }
        outcome
    }

    /// Kills every process in the cgroup and below it. The processes may take a moment to be gone; [`is_empty`](Self::is_empty)
    /// and [`remove`](Self::remove) tell.
    ///
    /// `cgroup.kill` (kernel 5.14) does it at once, frozen or not. Otherwise each process is signalled until no new one shows up,
    /// which is soon, since a process with a signal pending cannot fork; if it is not, the cgroup is frozen meanwhile.
    ///
    /// # Errors
    /// [`Kind::Busy`] when processes are still being made after many rounds, [`Kind::System`] when one cannot be signalled. A
    /// cgroup that is gone has nothing to kill.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(dir) = self.unified().map(Part::dir_if_there).transpose()?.flatten() {
            match dir.try_write("cgroup.kill", "1") {
                Ok(()) if self.record.is_v2() => return Ok(()),
                Ok(()) | Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(dir.error("write", "cgroup.kill", errno).with_value("1")),
            }
        }
        self.kill_each()
    }

    fn kill_each(&self) -> Result<()> {
        const ROUNDS: u32 = 100;
        const ROUNDS_RUNNING: u32 = 10;
        let mut killed = Members::default();
        for round in 0..ROUNDS {
            let now = self.processes()?;
            if now.pids.iter().all(|pid| killed.contains(*pid)) {
                // Whatever is left is dying, once it is let run: a process that the v1 freezer holds does not see the signal.
                return if now.is_empty() { Ok(()) } else { self.release_killed() };
            }
            let frozen = round >= ROUNDS_RUNNING && self.freeze_within(Duration::from_millis(200)).is_ok();
            let outcome = self.signal_each(Signal::KILL);
            if frozen {
                self.release_killed()?;
            }
            outcome?;
            killed = now;
        }
        Err(Error::new(Kind::Busy, "kill the processes of")
            .with_object(self.main_path())
            .with_reason(format!("new ones are still being made after {ROUNDS} rounds")))
    }

    fn signal_each(&self, signal: Signal) -> Result<()> {
        // Those that are hidden have no name here.
        for pid in self.processes()?.pids {
            match sys::kill(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => {
                    return Err(Error::os("send a signal to process", errno)
                        .with_object(format!("{pid} in {}", self.main_path())));
                }
            }
        }
        Ok(())
    }

    /// Waits until no process is left in the cgroup and below it, at most `timeout`. True when it is empty.
    ///
    /// # Errors
    /// [`Kind::System`] when that cannot be told.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        if self.record.is_v2() {
            let Some(dir) = self.unified().map(Part::dir_if_there).transpose()?.flatten() else {
                return Ok(true);
            };
            return wait_unpopulated(dir, Instant::now() + timeout);
        }
        let end = Instant::now() + timeout;
        let mut pause = Duration::from_micros(200);
        loop {
            if self.processes()?.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes the cgroup with everything below it, and the ancestors made for it that nobody else uses. No process is ever moved
    /// or killed by this: while some are left (dying ones get [`REMOVE_TIMEOUT`]) it fails, and the cgroup stays.
    ///
    /// A cgroup that is gone already is no error. Under systemd the unit is stopped first.
    ///
    /// # Errors
    /// [`Kind::Busy`] with the processes that are left; otherwise the first failure, after everything has been tried.
    pub fn remove(&self) -> Result<()> {
        self.remove_within(REMOVE_TIMEOUT)
    }

    /// Like [`remove`](Self::remove), with another bound.
    ///
    /// # Errors
    /// As for [`remove`](Self::remove).
    pub fn remove_within(&self, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout;
        let stopped = crate::systemd::stop(self, timeout);
        let mut outcome = Ok(());
        for part in self.parts.iter().rev() {
            outcome = outcome.and(remove_tree(&part.path, end));
        }
        // A manager that does not answer is no obstacle once the directories are gone: it forgets an empty scope by itself.
        if outcome.is_err() || stopped.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
            outcome = stopped.and(outcome);
        }
        if outcome.is_ok() {
            let own = |path: &String| self.parts.iter().any(|part| part.path == *path);
            for ancestor in self.record.made.iter().rev().filter(|path| !own(path)) {
                // Shared with other containers by now, or gone with them: either way it is not ours to insist on.
                sys::rmdir(At::Absolute, ancestor).ok();
            }
        }
        outcome
    }
}

/// Waits until no process is left in a cgroup of v2 and below it. True when that came to be before `end`.
fn wait_unpopulated(dir: &Dir, end: Instant) -> Result<bool> {
    let Some(file) = EventsFile::open(dir)? else { return Ok(true) };
    loop {
        match file.read()? {
            Some(now) if now.populated => {}
            _ => return Ok(true),
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        file.wait(None, end)?;
    }
}

/// Removes a cgroup and everything below it, waiting until `end` for processes that are dying.
fn remove_tree(path: &str, end: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(100);
    loop {
        match sys::rmdir(At::Absolute, path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(errno) => {
                // A read-only mount says EROFS for a cgroup that is not there as well.
                return match Dir::open(path) {
                    Err(error) if error.kind() == Kind::NotFound => Ok(()),
                    _ => Err(Error::os("remove the cgroup", errno).with_object(path)),
                };
            }
        }
        match Dir::open(path) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(dir) => {
                for name in dir.children()? {
                    remove_tree(&format!("{path}/{name}"), end)?;
                }
                if Instant::now() >= end {
                    return Err(busy(&dir));
                }
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn busy(dir: &Dir) -> Error {
    let mut left = Members::default();
    let error = Error::os("remove the cgroup", Errno::BUSY).with_object(dir.path());
    match collect(dir, &mut left) {
        Ok(()) if !left.is_empty() => {
            let mut names: Vec<String> = left.pids.iter().take(10).map(Pid::to_string).collect();
            names.extend((left.pids.len() > 10).then(|| "more".to_owned()));
            names.extend((left.hidden > 0).then(|| format!("{} that cannot be seen from here", left.hidden)));
            error.with_reason(format!("{} processes are in it ({})", left.len(), names.join(", ")))
        }
        _ => error,
    }
}
