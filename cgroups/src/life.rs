//! Freezing, thawing, killing, removing.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::cgroup::{Cgroup, Part, collect};
use crate::dir::{Dir, keyed};
use crate::error::{Error, Kind, Result};
use crate::sys::{self, At, Errno, Wait};

/// How long a freeze may take before it is given up and undone.
pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long removal waits for dying processes to be gone.
pub const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Cgroup {
    /// The v1 freezer if the container has one, else the v2 tree.
    fn freezer(&self) -> Result<&Part> {
        self.v1("freezer").or_else(|| self.unified()).ok_or_else(|| {
            Error::new(Kind::Unsupported, "find the freezer").detail("the container has no cgroup with one")
        })
    }

    /// Stops all processes in the cgroup and below it, and waits until they have stopped.
    ///
    /// # Errors
    /// [`Kind::Timeout`] when they did not within [`FREEZE_TIMEOUT`]; everything runs again then.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(FREEZE_TIMEOUT)
    }

    /// Like [`freeze`](Self::freeze), with another bound.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze).
    pub fn freeze_within(&self, timeout: Duration) -> Result<()> {
        let part = self.freezer()?;
        let dir = part.dir()?;
        let outcome = if part.is_unified() { freeze_v2(dir, timeout) } else { freeze_v1(dir, timeout) };
        outcome.inspect_err(|_| {
            // Half frozen is worse than running; the first failure is what counts.
            drop(write_state(dir, part, false));
        })
    }

    /// Lets the processes run again, and waits until they do.
    ///
    /// # Errors
    /// [`Kind::Frozen`] when a cgroup above is frozen too, so that nothing runs; [`Kind::System`] when the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let part = self.freezer()?;
        let dir = part.dir()?;
        write_state(dir, part, false)?;
        if part.is_unified() {
            return wait_events(dir, "frozen", 0, FREEZE_TIMEOUT, "thaw");
        }
        match dir.read("freezer.state")?.trim() {
            "THAWED" => Ok(()),
            _ => Err(still_frozen(dir)),
        }
    }

    /// Whether the processes of this cgroup are stopped, by itself or by a cgroup above it.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        let Some(part) = self.v1("freezer").or_else(|| self.unified()) else {
            return Ok(false);
        };
        let Some(dir) = part.dir_if_there()? else { return Ok(false) };
        if part.is_unified() {
            let events = dir.read_if_there("cgroup.events")?;
            return Ok(events.is_some_and(|text| keyed(&text, "frozen") == Some(1)));
        }
        // FREEZING counts: it is on its way, and a process put in now would not run either.
        Ok(dir.read_if_there("freezer.state")?.is_some_and(|state| state.trim() != "THAWED"))
    }

    /// Sends `signal` to every process in the cgroup and below it. SIGKILL goes by [`kill_all`](Self::kill_all); for another one
    /// the cgroup is stopped meanwhile, so that no process forks away from it.
    ///
    /// # Errors
    /// [`Kind::System`] when a process cannot be signalled; [`Kind::Timeout`] when it cannot be stopped.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL {
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
                Ok(()) | Err(Errno(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => {}
                Err(errno) => return Err(dir.error("write", "cgroup.kill", errno).of_value("1")),
            }
        }
        self.kill_each()
    }

    fn kill_each(&self) -> Result<()> {
        const ROUNDS: u32 = 100;
        const ROUNDS_RUNNING: u32 = 10;
        let mut killed: Vec<i32> = Vec::new();
        for round in 0..ROUNDS {
            let now = self.processes()?;
            if now.iter().all(|pid| killed.binary_search(pid).is_ok()) {
                // Whatever is left is dying, once it is let run: a process that the v1 freezer holds does not see the signal.
                return if now.is_empty() { Ok(()) } else { self.thaw_for_kill() };
            }
            let frozen = round >= ROUNDS_RUNNING && self.freeze_within(Duration::from_millis(200)).is_ok();
            let outcome = self.signal_each(libc::SIGKILL);
            if frozen {
                self.thaw_for_kill()?;
            }
            outcome?;
            killed = now;
        }
        Err(Error::new(Kind::Busy, "kill the processes of")
            .on(self.main_path())
            .detail(format!("new ones are still being made after {ROUNDS} rounds")))
    }

    /// Thaws without minding a frozen parent: the signals are sent, and act once that one is thawed.
    fn thaw_for_kill(&self) -> Result<()> {
        let Some(part) = self.v1("freezer").or_else(|| self.unified()) else { return Ok(()) };
        match part.dir_if_there()? {
            Some(dir) => write_state(dir, part, false)
                .or_else(|error| if error.kind() == Kind::NotFound { Ok(()) } else { Err(error) }),
            None => Ok(()),
        }
    }

    fn signal_each(&self, signal: i32) -> Result<()> {
        for pid in self.processes()? {
            // 0 stands for a process in another pid namespace, which cannot be named from here; and kill(0) is for ourselves.
            if pid <= 0 {
                continue;
            }
            match sys::kill(pid, signal) {
                Ok(()) | Err(Errno(libc::ESRCH)) => {}
                Err(errno) => {
                    return Err(
                        Error::os("send a signal to process", errno).on(format!("{pid} in {}", self.main_path()))
                    );
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
            return match wait_events(dir, "populated", 0, timeout, "wait for the end of") {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == Kind::Timeout => Ok(false),
                Err(error) => Err(error),
            };
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

fn write_state(dir: &Dir, part: &Part, frozen: bool) -> Result<()> {
    match (part.is_unified(), frozen) {
        (true, true) => dir.write("cgroup.freeze", "1"),
        (true, false) => dir.write("cgroup.freeze", "0"),
        (false, true) => dir.write("freezer.state", "FROZEN"),
        (false, false) => dir.write("freezer.state", "THAWED"),
    }
}

fn still_frozen(dir: &Dir) -> Error {
    Error::new(Kind::Frozen, "thaw").on(dir.path()).detail("a cgroup above it is frozen").hint("thaw that one too")
}

fn timed_out(dir: &Dir, action: &'static str, timeout: Duration) -> Error {
    Error::new(Kind::Timeout, action)
        .on(dir.path())
        .detail(format!("it took longer than {} s", timeout.as_secs()))
        .hint("a process may hang in the kernel (state D)")
}

fn freeze_v2(dir: &Dir, timeout: Duration) -> Result<()> {
    dir.write("cgroup.freeze", "1")?;
    wait_events(dir, "frozen", 1, timeout, "freeze")
}

/// Waits until `key` in `cgroup.events` has `value`. The kernel wakes pollers of that file, so there is no polling by time.
fn wait_events(dir: &Dir, key: &str, value: u64, timeout: Duration, action: &'static str) -> Result<()> {
    const FILE: &str = "cgroup.events";
    let gone = |errno: Errno| matches!(errno, Errno(libc::ENOENT | libc::ENODEV)) && value == 0;
    let file = match dir.open_file(FILE, libc::O_RDONLY) {
        Ok(file) => file,
        Err(errno) if gone(errno) => return Ok(()),
        Err(errno) => return Err(dir.error("read", FILE, errno)),
    };
    let end = Instant::now() + timeout;
    let mut buffer = [0_u8; 256];
    loop {
        let count = match sys::pread(file.as_fd(), &mut buffer, 0) {
            Ok(count) => count,
            Err(errno) if gone(errno) => return Ok(()),
            Err(errno) => return Err(dir.error("read", FILE, errno)),
        };
        let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
        match keyed(&text, key) {
            Some(now) if now == value => return Ok(()),
            None => return Err(dir.malformed(FILE, &text)),
            Some(_) => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let parent_frozen =
                action == "thaw" && dir.read_if_there("cgroup.freeze")?.is_some_and(|text| text.trim() == "0");
            return Err(if parent_frozen { still_frozen(dir) } else { timed_out(dir, action, timeout) });
        }
        // A thaw is immediate unless a parent is frozen, which no event announces: look again soon.
        let longest = if action == "thaw" { 20 } else { 1000 };
        let wait = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).clamp(1, longest);
        sys::poll(file.as_fd(), Wait::Changed, wait).map_err(|errno| dir.error("wait for", FILE, errno))?;
        if action == "thaw" && Instant::now() + timeout > end + Duration::from_millis(500) {
            return Err(still_frozen(dir));
        }
    }
}

/// The v1 freezer cannot freeze reliably while processes fork: it stays in FREEZING until asked again. The pattern of retries and
/// short thaws follows runc's, found by experiment there.
fn freeze_v1(dir: &Dir, timeout: Duration) -> Result<()> {
    let end = Instant::now() + timeout;
    let mut round = 0_u32;
    loop {
        dir.write("freezer.state", "FROZEN")?;
        match dir.read("freezer.state")?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => return Err(dir.malformed("freezer.state", other)),
        }
        if Instant::now() >= end {
            return Err(timed_out(dir, "freeze", timeout));
        }
        round += 1;
        if round % 50 == 49 {
            dir.write("freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        } else if round % 25 == 24 {
            std::thread::sleep(Duration::from_micros(10));
        }
    }
}

/// Removes a cgroup and everything below it, waiting until `end` for processes that are dying.
fn remove_tree(path: &str, end: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(100);
    loop {
        match sys::rmdir(At::Absolute, path) {
            Ok(()) | Err(Errno(libc::ENOENT)) => return Ok(()),
            Err(Errno(libc::EBUSY | libc::ENOTEMPTY)) => {}
            Err(errno) => {
                // A read-only mount says EROFS for a cgroup that is not there as well.
                return match Dir::open(path) {
                    Err(error) if error.kind() == Kind::NotFound => Ok(()),
                    _ => Err(Error::os("remove the cgroup", errno).on(path)),
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
    let mut left = Vec::new();
    let error = Error::os("remove the cgroup", Errno(libc::EBUSY)).on(dir.path());
    match collect(dir, &mut left) {
        Ok(()) if !left.is_empty() => {
            let names: Vec<String> = left.iter().take(10).map(ToString::to_string).collect();
            let more = if left.len() > 10 { " and more" } else { "" };
            error.detail(format!("{} processes are in it ({}{more})", left.len(), names.join(", ")))
        }
        _ => error,
    }
}
