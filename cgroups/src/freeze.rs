//! Freezing and thawing: all processes of a cgroup stop, and go on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::dir::{Dir, keyed};
use crate::error::{Error, Kind, Result};
use crate::part::Part;
use crate::sys::{self, Errno, OFlags, Wait};

/// How long a freeze may take before it is given up and undone.
pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a thaw may take. It is immediate unless a cgroup above is frozen, which the kernel announces by no event.
const THAW_TIMEOUT: Duration = Duration::from_millis(500);

/// How often to look where no event tells of a change.
const LOOK: Duration = Duration::from_millis(20);

impl Cgroup {
    /// The v1 freezer if the container has one, else the v2 tree.
    fn freezer(&self) -> Option<&Part> {
        self.v1("freezer").or_else(|| self.unified())
    }

    fn require_freezer(&self) -> Result<&Part> {
        self.freezer().ok_or_else(|| {
            Error::new(Kind::Unsupported, "find the freezer").with_reason("the container has no cgroup with one")
        })
    }

    /// Stops all processes in the cgroup and below it, and waits until they have stopped.
    ///
    /// # Errors
    /// [`Kind::Timeout`] when they did not within [`FREEZE_TIMEOUT`], and [`Kind::NotFrozen`] when another caller thaws the cgroup
    /// meanwhile or no process is left; everything runs again then.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(FREEZE_TIMEOUT)
    }

    /// Like [`freeze`](Self::freeze), with another bound.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze).
    pub fn freeze_within(&self, timeout: Duration) -> Result<()> {
        self.freeze_or_undo(None, timeout)
    }

    /// Like [`freeze`](Self::freeze); it is given up as soon as `process`, a pidfd of the container's first process, says that this
    /// has ended.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze).
    pub fn freeze_watching(&self, process: BorrowedFd<'_>) -> Result<()> {
        self.freeze_or_undo(Some(process), FREEZE_TIMEOUT)
    }

    fn freeze_or_undo(&self, process: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<()> {
        let part = self.require_freezer()?;
        let dir = part.dir()?;
        let end = Instant::now() + timeout;
        let outcome = if part.is_unified() { freeze_v2(dir, process, end) } else { freeze_v1(dir, process, end) };
        outcome.map_err(|error| {
            // Half frozen is worse than running; the first failure is what counts.
            drop(write_state(dir, part, false));
            if error.kind() == Kind::Timeout {
                error.with_reason(format!("it took longer than {} s", timeout.as_secs()))
            } else {
                error
            }
        })
    }

    /// Lets the processes run again, and waits until they do.
    ///
    /// # Errors
    /// [`Kind::Frozen`] when a cgroup above is frozen too, or another caller freezes this one meanwhile, so that nothing runs;
    /// [`Kind::System`] when the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let part = self.require_freezer()?;
        let dir = part.dir()?;
        write_state(dir, part, false)?;
        if part.is_unified() {
            return wait_thawed(dir, Instant::now() + THAW_TIMEOUT);
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
        let Some(part) = self.freezer() else { return Ok(false) };
        let Some(dir) = part.dir_if_there()? else { return Ok(false) };
        if part.is_unified() {
            let events = dir.read_if_there("cgroup.events")?;
            return Ok(events.is_some_and(|text| keyed(&text, "frozen") == Some(1)));
        }
        // FREEZING counts: it is on its way, and a process put in now would not run either.
        Ok(dir.read_if_there("freezer.state")?.is_some_and(|state| state.trim() != "THAWED"))
    }

    /// Lets processes that have been killed run, so that they can end: those that the v1 freezer holds do not see the signal. A
    /// freeze that is still on its way is called off, and a frozen cgroup above is no error: the signals act once that is thawed.
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel refuses. A cgroup that is gone, or has no freezer, holds nobody.
    pub fn release_killed(&self) -> Result<()> {
        let Some(part) = self.freezer() else { return Ok(()) };
        let Some(dir) = part.dir_if_there()? else { return Ok(()) };
        match write_state(dir, part, false) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            outcome => outcome,
        }
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
    Error::new(Kind::Frozen, "thaw")
        .with_object(dir.path())
        .with_reason("a cgroup above it is frozen")
        .with_hint("thaw that one too")
}

fn timed_out(dir: &Dir) -> Error {
    Error::new(Kind::Timeout, "freeze").with_object(dir.path()).with_hint("a process may hang in the kernel (state D)")
}

/// The freeze has come to nothing, and waiting for it would wait for ever.
fn not_frozen(dir: &Dir, detail: &str) -> Error {
    Error::new(Kind::NotFrozen, "freeze").with_object(dir.path()).with_reason(detail)
}

const THAWED_MEANWHILE: &str = "it was thawed meanwhile, as a kill does";
const NONE_LEFT: &str = "no process is left in it";
const ENDED: &str = "the container's first process has ended";

fn freeze_v2(dir: &Dir, process: Option<BorrowedFd<'_>>, end: Instant) -> Result<()> {
    dir.write("cgroup.freeze", "1")?;
    let gone = || not_frozen(dir, "the cgroup is gone");
    let file = EventsFile::open(dir)?.ok_or_else(gone)?;
    loop {
        let now = file.read()?.ok_or_else(gone)?;
        if now.frozen {
            return Ok(());
        }
        if dir.read("cgroup.freeze")?.trim() != "1" {
            return Err(not_frozen(dir, THAWED_MEANWHILE));
        }
        // An empty cgroup is frozen at once, so this one has become empty just now.
        if !now.populated {
            return Err(not_frozen(dir, NONE_LEFT));
        }
        if Instant::now() >= end {
            return Err(timed_out(dir));
        }
        // No event tells that another caller has thawed it before it was frozen.
        if file.wait(process, end.min(Instant::now() + LOOK))? == Woken::ByProcess {
            return Err(not_frozen(dir, ENDED));
        }
    }
}

/// The v1 freezer cannot freeze reliably while processes fork: it stays in FREEZING until asked again. The pattern of retries and
/// short thaws follows runc's, found by experiment there.
fn freeze_v1(dir: &Dir, process: Option<BorrowedFd<'_>>, end: Instant) -> Result<()> {
    const PATIENCE: u32 = 200;
    let mut round = 0_u32;
    dir.write("freezer.state", "FROZEN")?;
    loop {
        match dir.read("freezer.state")?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            // Asked again now, it would hold those for good whom a kill has just let go.
            "THAWED" => return Err(not_frozen(dir, THAWED_MEANWHILE)),
            other => return Err(dir.malformed("freezer.state", other)),
        }
        if Instant::now() >= end {
            return Err(timed_out(dir));
        }
        if let Some(process) = process
            && sys::poll(process, Wait::Readable, 0).map_err(|errno| Error::os("watch the process", errno))?
        {
            return Err(not_frozen(dir, ENDED));
        }
        round += 1;
        if round % 50 == 49 {
            dir.write("freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        } else if round > PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        } else if round % 25 == 24 {
            std::thread::sleep(Duration::from_micros(10));
        }
        dir.write("freezer.state", "FROZEN")?;
    }
}

/// Waits until a cgroup of v2 that has been thawed runs.
fn wait_thawed(dir: &Dir, end: Instant) -> Result<()> {
    let Some(file) = EventsFile::open(dir)? else { return Ok(()) };
    loop {
        match file.read()? {
            Some(now) if now.frozen && now.populated => {}
            // It runs, or there is nothing that could.
            _ => return Ok(()),
        }
        if dir.read_if_there("cgroup.freeze")?.is_some_and(|text| text.trim() == "1") {
            return Err(Error::new(Kind::Frozen, "thaw")
                .with_object(dir.path())
                .with_reason("it was frozen again meanwhile"));
        }
        if Instant::now() >= end {
            return Err(still_frozen(dir));
        }
        file.wait(None, end.min(Instant::now() + LOOK))?;
    }
}

/// `cgroup.events` of a cgroup of v2. The kernel wakes pollers of that file, so nobody has to look by the clock.
pub(crate) struct EventsFile<'d> {
    dir: &'d Dir,
    file: OwnedFd,
}

/// What `cgroup.events` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventsNow {
    pub(crate) populated: bool,
    pub(crate) frozen: bool,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The file has changed, or time is up.
    ByFile,
    /// The process that was watched has ended.
    ByProcess,
}

impl<'d> EventsFile<'d> {
    const NAME: &'static str = "cgroup.events";

    /// None when the cgroup is gone.
    pub(crate) fn open(dir: &'d Dir) -> Result<Option<Self>> {
        match dir.open_file(Self::NAME, OFlags::RDONLY) {
            Ok(file) => Ok(Some(Self { dir, file })),
            Err(errno) if is_gone(errno) => Ok(None),
            Err(errno) => Err(dir.error("read", Self::NAME, errno)),
        }
    }

    /// None when the cgroup is gone.
    pub(crate) fn read(&self) -> Result<Option<EventsNow>> {
        let mut buffer = [0_u8; 256];
        let count = match sys::pread(self.file.as_fd(), &mut buffer, 0) {
            Ok(count) => count,
            Err(errno) if is_gone(errno) => return Ok(None),
            Err(errno) => return Err(self.dir.error("read", Self::NAME, errno)),
        };
        let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
        let value = |key| keyed(&text, key).map(|value| value == 1);
        match value("populated") {
            // Kernels before 5.2 cannot freeze, and say nothing of it.
            Some(populated) => Ok(Some(EventsNow { populated, frozen: value("frozen").unwrap_or(false) })),
            None => Err(self.dir.malformed(Self::NAME, &text)),
        }
    }

    /// Waits for a change of the file, or the end of `process`, until `end`.
    pub(crate) fn wait(&self, process: Option<BorrowedFd<'_>>, end: Instant) -> Result<Woken> {
        // Rather one look too many in a second than to rely on an event alone.
        const LONGEST: Duration = Duration::from_secs(1);
        let left = end.saturating_duration_since(Instant::now()).min(LONGEST);
        let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        sys::poll_both((self.file.as_fd(), Wait::Changed), process.map(|fd| (fd, Wait::Readable)), timeout)
            .map(|(_, ended)| if ended { Woken::ByProcess } else { Woken::ByFile })
            .map_err(|errno| self.dir.error("wait for", Self::NAME, errno))
    }
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files that stay as they are: a freeze that never comes to an end by itself.
    fn stuck(test: &str, populated: u8) -> (std::path::PathBuf, Dir) {
        let path = std::env::temp_dir().join(format!("orlop-freeze-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("cgroup.events"), format!("populated {populated}\nfrozen 0\n")).unwrap();
        std::fs::write(path.join("cgroup.freeze"), "0\n").unwrap();
        let dir = Dir::open(path.to_str().unwrap()).unwrap();
        (path, dir)
    }

    fn outcome(dir: &Dir, process: Option<BorrowedFd<'_>>, millis: u64) -> (Kind, Option<String>) {
        let error = freeze_v2(dir, process, Instant::now() + Duration::from_millis(millis)).unwrap_err();
        (error.kind(), error.reason().map(str::to_owned))
    }

    #[test]
    fn a_freeze_that_cannot_end_is_given_up_for_the_right_reason() {
        let (path, dir) = stuck("reasons", 1);
        assert_eq!(outcome(&dir, None, 20).0, Kind::Timeout);
        // The write end of a pipe is closed: for poll(2) the read end is as a pidfd of a process that has ended.
        let (ended, writer) = std::io::pipe().unwrap();
        drop(writer);
        assert_eq!(outcome(&dir, Some(ended.as_fd()), 60_000), (Kind::NotFrozen, Some(ENDED.to_owned())));
        let (lives, _writer) = std::io::pipe().unwrap();
        assert_eq!(outcome(&dir, Some(lives.as_fd()), 20).0, Kind::Timeout);
        let thawing = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(50));
                std::fs::write(path.join("cgroup.freeze"), "0\n").unwrap();
            }
        });
        let started = Instant::now();
        assert_eq!(outcome(&dir, None, 60_000), (Kind::NotFrozen, Some(THAWED_MEANWHILE.to_owned())));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        thawing.join().unwrap();
        std::fs::remove_dir_all(&path).unwrap();

        let (path, dir) = stuck("empty", 0);
        assert_eq!(outcome(&dir, None, 60_000), (Kind::NotFrozen, Some(NONE_LEFT.to_owned())));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_thaw_that_cannot_end_is_given_up() {
        let (path, dir) = stuck("thaw", 1);
        wait_thawed(&dir, Instant::now()).unwrap();
        std::fs::write(path.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let thawed =
            |millis| wait_thawed(&dir, Instant::now() + Duration::from_millis(millis)).unwrap_err().to_string();
        assert!(thawed(30).contains("a cgroup above it is frozen"), "{}", thawed(30));
        std::fs::write(path.join("cgroup.freeze"), "1\n").unwrap();
        assert!(thawed(60_000).contains("frozen again meanwhile"), "{}", thawed(60_000));
        // Nothing is left that could run.
        std::fs::write(path.join("cgroup.events"), "populated 0\nfrozen 1\n").unwrap();
        wait_thawed(&dir, Instant::now() + Duration::from_secs(60)).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
