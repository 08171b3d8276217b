//! What happens to a container's resources, as it happens: one pollable descriptor and no threads.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::dir::{Dir, keyed};
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Errno, OFlags, Wait};

/// Something that happened. Counts are how often since the last such event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An allocation failed for want of memory; a process may be killed for it.
    Oom(u64),
    /// The kernel killed a process for want of memory.
    OomKill(u64),
    /// The kernel killed all processes together (`memory.oom.group`).
    OomGroupKill(u64),
    /// Usage went over `memory.high`, and processes were slowed down.
    High(u64),
    /// Usage was about to go over the memory limit, and memory was reclaimed.
    Max(u64),
    /// A fork was refused because of the limit of processes.
    PidsMax(u64),
    /// A pressure trigger fired; its place in the list given to [`Cgroup::events`].
    Pressure(usize),
    /// No process is left (told on v2 and hybrid hosts).
    Empty,
    /// The cgroup is gone; nothing follows.
    Gone,
}

/// What a pressure trigger watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureKind {
    /// Waiting for a CPU.
    Cpu,
    /// Waiting for memory.
    Memory,
    /// Waiting for I/O.
    Io,
}

impl PressureKind {
    fn file(self) -> &'static str {
        match self {
            Self::Cpu => "cpu.pressure",
            Self::Memory => "memory.pressure",
            Self::Io => "io.pressure",
        }
    }
}

/// Asks for an event when processes lose more than `stall` of any `window` waiting.
///
/// The kernel takes windows from 0.5 to 10 seconds; without CAP_SYS_RESOURCE only multiples of 2 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PressureTrigger {
    /// What is waited for.
    pub kind: PressureKind,
    /// Time in which all processes wait counts, instead of time in which any one does.
    pub full: bool,
    /// The time lost that counts.
    pub stall: Duration,
    /// The span in which it is lost.
    pub window: Duration,
}

#[derive(Debug)]
enum Source {
    /// A file of counters, and the counters as last read.
    Counters { file: OwnedFd, seen: Vec<(Counter, u64)> },
    /// The v1 notification of want of memory, and the file that counts kills.
    V1Oom { eventfd: OwnedFd, control: OwnedFd, kills: u64 },
    /// `cgroup.events`.
    Population { file: OwnedFd },
    /// A pressure file with a trigger written to it.
    Pressure { file: OwnedFd, index: usize },
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    key: &'static str,
    event: fn(u64) -> Event,
}

const MEMORY_COUNTERS: [Counter; 5] = [
    Counter { key: "high", event: Event::High },
    Counter { key: "max", event: Event::Max },
    Counter { key: "oom", event: Event::Oom },
    Counter { key: "oom_kill", event: Event::OomKill },
    Counter { key: "oom_group_kill", event: Event::OomGroupKill },
];

const PIDS_COUNTERS: [Counter; 1] = [Counter { key: "max", event: Event::PidsMax }];

/// How often the counters are read that the kernel announces no changes of.
const SILENT_MS: i32 = 1000;

/// The events of one cgroup, from [`Cgroup::events`]. Its descriptor becomes readable when [`next`](Self::next) has something.
///
/// One exception: the v1 kernel announces no refused fork, so [`Event::PidsMax`] comes up to a second late on v1 and hybrid hosts,
/// and the descriptor does not tell of it.
#[derive(Debug)]
pub struct Events {
    epoll: OwnedFd,
    sources: Vec<Source>,
    ready: VecDeque<Event>,
    /// The sources that the kernel announces no changes of.
    silent: Vec<u64>,
    empty: bool,
    gone: bool,
}

impl Cgroup {
    /// Watches the cgroup. Only what happens from now on is told; [`oom_kills`](Self::oom_kills) says what happened before.
    ///
    /// Memory and process events need their controllers; without them only the rest is told.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when the cgroup is gone, [`Kind::Unsupported`] for a pressure trigger without a v2 tree or with a span the
    /// kernel refuses.
    pub fn events(&self, triggers: &[PressureTrigger]) -> Result<Events> {
        let epoll = sys::epoll().map_err(|errno| Error::os("watch the cgroup", errno).with_object(self.main_path()))?;
        let mut events = Events {
            epoll,
            sources: Vec::new(),
            ready: VecDeque::new(),
            silent: Vec::new(),
            empty: false,
            gone: false,
        };
        match (self.v1("memory"), self.unified()) {
            (Some(part), _) => events.add_v1_oom(part.dir()?)?,
            (None, Some(part)) => {
                events.add_counters(part.dir()?, "memory.events", &MEMORY_COUNTERS)?;
            }
            (None, None) => {}
        }
        if let Some(part) = self.v1("pids").or_else(|| self.unified()) {
            let added = events.add_counters(part.dir()?, "pids.events", &PIDS_COUNTERS)?;
            // The kernel counts on v1, and wakes nobody (seen on 6.18).
            events.silent.extend(added.filter(|_| !part.is_unified()));
        }
        match self.unified() {
            Some(part) => {
                let dir = part.dir()?;
                let file = dir
                    .open_file("cgroup.events", OFlags::RDONLY)
                    .map_err(|errno| dir.error("open", "cgroup.events", errno))?;
                events.add(Source::Population { file }, dir)?;
                for (index, trigger) in triggers.iter().enumerate() {
                    events.add_trigger(dir, index, trigger)?;
                }
            }
            None if triggers.is_empty() => {}
            None => {
                return Err(Error::new(Kind::Unsupported, "watch the pressure of")
                    .with_object(self.main_path())
                    .with_reason("pressure is told in the cgroup v2 tree only, and there is none"));
            }
        }
        Ok(events)
    }
}

impl Events {
    fn add(&mut self, source: Source, dir: &Dir) -> Result<u64> {
        let (fd, wait) = match &source {
            Source::Counters { file, .. } | Source::Population { file } | Source::Pressure { file, .. } => {
                (file, Wait::Changed)
            }
            Source::V1Oom { eventfd, .. } => (eventfd, Wait::Readable),
        };
        let key = u64::try_from(self.sources.len()).unwrap_or(u64::MAX);
        sys::epoll_add(self.epoll.as_fd(), fd.as_fd(), wait, key)
            .map_err(|errno| Error::os("watch the cgroup", errno).with_object(dir.path()))?;
        self.sources.push(source);
        Ok(key)
    }

    fn add_counters(&mut self, dir: &Dir, name: &'static str, counters: &[Counter]) -> Result<Option<u64>> {
        let file = match dir.open_file(name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(dir.error("open", name, errno)),
        };
        let text = read_again(&file).map_err(|errno| dir.error("read", name, errno))?;
        let seen = counters.iter().map(|counter| (*counter, keyed(&text, counter.key).unwrap_or(0))).collect();
        self.add(Source::Counters { file, seen }, dir).map(Some)
    }

    fn add_v1_oom(&mut self, dir: &Dir) -> Result<()> {
        const FILE: &str = "memory.oom_control";
        let control = match dir.open_file(FILE, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(dir.error("open", FILE, errno)),
        };
        let eventfd = sys::eventfd().map_err(|errno| Error::os("watch the cgroup", errno).with_object(dir.path()))?;
        dir.write("cgroup.event_control", &format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd()))?;
        let text = read_again(&control).map_err(|errno| dir.error("read", FILE, errno))?;
        let kills = keyed(&text, "oom_kill").unwrap_or(0);
        self.add(Source::V1Oom { eventfd, control, kills }, dir).map(drop)
    }

    fn add_trigger(&mut self, dir: &Dir, index: usize, trigger: &PressureTrigger) -> Result<()> {
        let name = trigger.kind.file();
        let line = format!(
            "{} {} {}",
            if trigger.full { "full" } else { "some" },
            trigger.stall.as_micros(),
            trigger.window.as_micros()
        );
        let fail = |errno: Errno| {
            let error = dir.error("write", name, errno).with_value(&line);
            match errno {
                Errno::NOENT | Errno::OPNOTSUPP => error.with_kind(Kind::Unsupported).with_hint("boot with psi=1"),
                Errno::INVAL | Errno::PERM => error
                    .with_kind(Kind::Unsupported)
                    .with_hint("a window has 0.5 to 10 s, and without CAP_SYS_RESOURCE a multiple of 2 s; a stall is shorter than it"),
                _ => error,
            }
        };
        let file = dir.open_file(name, OFlags::RDWR).map_err(fail)?;
        sys::write(file.as_fd(), line.as_bytes()).map_err(fail)?;
        self.add(Source::Pressure { file, index }, dir).map(drop)
    }

    /// The next event; waits for one at most `timeout`, or as long as it takes with none. `None` means that the time is over.
    ///
    /// After [`Event::Gone`] it is `None` at once.
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel's files cannot be read.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.gone {
                return Ok(None);
            }
            let wait = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => -1,
                Some(left) => i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
            };
            let capped = if self.silent.is_empty() || (0..=SILENT_MS).contains(&wait) { wait } else { SILENT_MS };
            let mut keys =
                sys::epoll_wait(self.epoll.as_fd(), capped).map_err(|errno| Error::os("wait for events", errno))?;
            let none = keys.is_empty();
            keys.extend(&self.silent);
            for key in keys {
                if !self.gone {
                    self.look(key)?;
                }
            }
            if none && wait == 0 && self.ready.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads the source that has changed. A file whose cgroup is gone says ENODEV.
    fn look(&mut self, key: u64) -> Result<()> {
        let Some(source) = usize::try_from(key).ok().and_then(|index| self.sources.get_mut(index)) else {
            return Ok(());
        };
        let before = self.ready.len();
        let outcome = match source {
            Source::Counters { file, seen } => read_again(file).map(|text| {
                for (counter, old) in seen {
                    let now = keyed(&text, counter.key).unwrap_or(*old);
                    if now > *old {
                        self.ready.push_back((counter.event)(now - *old));
                    }
                    *old = now;
                }
            }),
            Source::V1Oom { eventfd, control, kills } => v1_oom(eventfd, control, kills, &mut self.ready),
            Source::Population { file } => read_again(file).map(|text| {
                let empty = keyed(&text, "populated") == Some(0);
                if empty && !self.empty {
                    self.ready.push_back(Event::Empty);
                }
                self.empty = empty;
            }),
            Source::Pressure { file, index } => {
                let event = Event::Pressure(*index);
                read_again(file).map(|_| self.ready.push_back(event))
            }
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Errno::NODEV | Errno::NOENT) => {
                self.ready.truncate(before);
                self.ready.push_back(Event::Gone);
                self.gone = true;
                Ok(())
            }
            Err(errno) => Err(Error::os("read the cgroup's events", errno)),
        }
    }
}

/// The v1 kernel signals want of memory, and signals the removal of the cgroup in the same way.
fn v1_oom(
    eventfd: &OwnedFd,
    control: &OwnedFd,
    kills: &mut u64,
    ready: &mut VecDeque<Event>,
) -> std::result::Result<(), Errno> {
    let mut count = [0_u8; 8];
    match sys::read(eventfd.as_fd(), &mut count) {
        Ok(_) | Err(Errno::AGAIN) => {}
        Err(errno) => return Err(errno),
    }
    let text = read_again(control)?;
    ready.push_back(Event::Oom(u64::from_ne_bytes(count).max(1)));
    // The kill follows the signal, so it may be counted with the next one only.
    let now = keyed(&text, "oom_kill").unwrap_or(*kills);
    if now > *kills {
        ready.push_back(Event::OomKill(now - *kills));
    }
    *kills = now;
    Ok(())
}

fn read_again(file: &OwnedFd) -> std::result::Result<String, Errno> {
    let mut buffer = [0_u8; 1024];
    let count = sys::pread(file.as_fd(), &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned())
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
