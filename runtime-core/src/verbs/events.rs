//! `events`: statistics and incidents of a container, as they come.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop_cgroups::{Cgroup, Event as Incident};
use serde::Serialize;

use crate::base::sys::pidfd;
use crate::base::{ContainerId, Error, Kind, Result, Runtime, Status, Step, options};
use crate::parent::resctrl::{self, IntelRdtStats};
use crate::parent::{cgroup, liveness};
use crate::state::{Record, Store};

options! {
    /// What `events` is told.
    #[derive(Debug, Clone)]
    pub struct EventsOptions {
        /// The time between two statistics; `None` for incidents only.
        pub interval: Option<Duration>,
    }
}

impl Default for EventsOptions {
    fn default() -> Self {
        Self { interval: Some(Duration::from_secs(5)) }
    }
}

/// Something to tell of a container. Serialized, it is runc's JSON: `{"type":…,"id":…,"data":…}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// What has happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The container's id.
    pub id: ContainerId,
    /// What belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<EventData>,
}

/// What an event tells. `stats` and `oom` are runc's; all but these and `exit` have a count in their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// Statistics, as often as was asked for.
    Stats,
    /// Want of memory: on v1 the limit was met, on v2 a process was killed.
    Oom,
    /// A process was killed for want of memory (v1).
    OomKill,
    /// The memory limit was met and nothing could be reclaimed (v2).
    OomLimit,
    /// All processes were killed for want of memory (`memory.oom.group`).
    OomGroupKill,
    /// Memory use was throttled at `memory.high`.
    MemoryHigh,
    /// Memory use was about to exceed `memory.max`.
    MemoryMax,
    /// A process could not be forked because of the limit on pids.
    PidsMax,
    /// The container's first process has ended; the last event.
    Exit,
}

/// What belongs to an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum EventData {
    /// The statistics of a `stats` event.
    Stats(Box<Stats>),
    /// How often it has happened since the event of the same kind before.
    Count {
        /// The number.
        count: u64,
    },
}

/// What a container uses, in the shape of runc.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// From its control groups.
    #[serde(flatten)]
    pub cgroup: orlop_cgroups::Stats,
    /// From resctrl.
    pub intel_rdt: IntelRdtStats,
    /// Always null, as from runc's own containers: network interfaces are no business of a runtime.
    pub network_interfaces: Option<()>,
}

/// The statistics of the container `id`, once.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] when it is stopped; [`Kind::System`] when a file of
/// its control groups cannot be read.
pub fn stats(runtime: &Runtime, id: &ContainerId) -> Result<Event> {
    let entry = Store::find(runtime, id)?;
    alive(&entry)?;
    read_stats(&entry.record, cgroup::here(&entry.record)?.as_ref())
}

/// Starts to watch the container `id`. The result yields events until the container has stopped.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] when it is stopped; [`Kind::InvalidArgument`] for an
/// interval of zero; [`Kind::Unsupported`] when it has no control groups.
pub fn events(runtime: &Runtime, id: &ContainerId, options: &EventsOptions) -> Result<Events> {
    if options.interval.is_some_and(|interval| interval.is_zero()) {
        return Err(Error::new(Kind::InvalidArgument, Step::CheckArguments)
            .with_reason("duration interval must be greater than 0"));
    }
    let entry = Store::find(runtime, id)?;
    let init = alive(&entry)?;
    let cgroup = cgroup::require_here(&entry.record)?;
    let incidents = cgroup.events(&[]).map_err(|error| Error::cgroup(&error))?;
    let timer = options.interval.map(|interval| (interval, Instant::now() + interval));
    Ok(Events { record: entry.record, init, cgroup, incidents, timer, end: End::NotYet })
}

/// The first process of a container that is not stopped.
fn alive(entry: &crate::state::Entry) -> Result<OwnedFd> {
    match liveness::facts(entry)? {
        liveness::Facts { init: Some(init), status } if status != Status::Stopped => Ok(init),
        _ => Err(Error::new(Kind::WrongStatus, Step::ReadEvents)
            .with_reason(format!("container with id {} is not running", entry.id()))),
    }
}

fn read_stats(record: &Record, cgroup: Option<&Cgroup>) -> Result<Event> {
    let cgroup = match cgroup {
        Some(cgroup) => cgroup.stats().map_err(|error| Error::cgroup(&error))?,
        None => orlop_cgroups::Stats::default(),
    };
    let intel_rdt = record.intel_rdt.as_ref().map(resctrl::stats).unwrap_or_default();
    let stats = Stats { cgroup, intel_rdt, network_interfaces: None };
    Ok(Event { kind: EventKind::Stats, id: record.id.clone(), data: Some(EventData::Stats(Box::new(stats))) })
}

/// The events of a container, one after the other; ends after `exit`. [`Iterator::next`] waits for one.
#[derive(Debug)]
pub struct Events {
    record: Record,
    init: OwnedFd,
    cgroup: Cgroup,
    incidents: orlop_cgroups::Events,
    /// The interval of statistics, and when the next are due.
    timer: Option<(Duration, Instant)>,
    end: End,
}

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    /// The first process has ended; what it died of may still have to be told.
    Dying,
    Told,
}

impl AsFd for Events {
    /// Polls readable when there is an incident to tell; statistics and the end of the container are not announced.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.incidents.as_fd()
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end == End::Told {
            return None;
        }
        let event = self.wait();
        if event.is_err() {
            // A source that fails once would fail for ever.
            self.end = End::Told;
        }
        Some(event)
    }
}

impl Events {
    /// The next event if there is one by now. For a loop of one's own, which waits until the descriptor is readable; that the
    /// first process has ended is seen by the next call after it, so such a loop watches the process as well.
    ///
    /// # Errors
    /// As from [`Iterator::next`].
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        if self.end == End::Told {
            return Ok(None);
        }
        if pidfd::has_ended(self.init.as_fd()).unwrap_or(true) {
            self.end = End::Dying;
        }
        let event = self.ready();
        if event.is_err() {
            self.end = End::Told;
        }
        event
    }

    fn wait(&mut self) -> Result<Event> {
        loop {
            match self.ready()? {
                Some(event) => return Ok(event),
                None => self.poll()?,
            }
        }
    }

    /// What can be told without waiting.
    fn ready(&mut self) -> Result<Option<Event>> {
        loop {
            // The kernel tells of an OOM kill before the process is gone.
            match self.incidents.next(Some(Duration::ZERO)).map_err(|error| Error::cgroup(&error))? {
                Some(Incident::Gone) => self.end = End::Dying,
                Some(incident) => match self.describe(incident) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                },
                None => {}
            }
            if self.end == End::Dying {
                self.end = End::Told;
                return Ok(Some(self.event(EventKind::Exit, None)));
            }
            if let Some((interval, due)) = &mut self.timer
                && Instant::now() >= *due
            {
                *due = Instant::now() + *interval;
                match read_stats(&self.record, Some(&self.cgroup)) {
                    // The cgroup goes while it is read, with the container.
                    Err(error) if pidfd::has_ended(self.init.as_fd()).unwrap_or(true) => drop(error),
                    stats => return stats.map(Some),
                }
            }
            return Ok(None);
        }
    }

    /// Waits until there is something to do.
    fn poll(&mut self) -> Result<()> {
        let timeout = self.timer.map_or(PollTimeout::NONE, |(_, due)| pidfd::timeout_until(due));
        let mut fds =
            [PollFd::new(self.init.as_fd(), PollFlags::POLLIN), PollFd::new(self.incidents.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os(Step::ReadEvents, errno as i32).with_object(self.record.id.as_str())),
        }
        if fds.first().and_then(PollFd::any) == Some(true) {
            self.end = End::Dying;
        }
        Ok(())
    }

    /// The event of an incident; `None` for what is not told.
    fn describe(&self, incident: Incident) -> Option<Event> {
        let is_v2 = self.cgroup.record().is_v2();
        let (kind, count) = match incident {
            // runc's, without data: on v1 it tells of the limit that was met, on v2 of the process that was killed.
            Incident::Oom(_) if !is_v2 => return Some(self.event(EventKind::Oom, None)),
            Incident::OomKill(_) if is_v2 => return Some(self.event(EventKind::Oom, None)),
            Incident::Oom(count) => (EventKind::OomLimit, count),
            Incident::OomKill(count) => (EventKind::OomKill, count),
            Incident::OomGroupKill(count) => (EventKind::OomGroupKill, count),
            Incident::High(count) => (EventKind::MemoryHigh, count),
            Incident::Max(count) => (EventKind::MemoryMax, count),
            Incident::PidsMax(count) => (EventKind::PidsMax, count),
            _ => return None,
        };
        Some(self.event(kind, Some(EventData::Count { count })))
    }

    fn event(&self, kind: EventKind, data: Option<EventData>) -> Event {
        Event { kind, id: self.record.id.clone(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_runcs_words() {
        let id = ContainerId::new("web").unwrap();
        let event = |kind, data| serde_json::to_string(&Event { kind, id: id.clone(), data }).unwrap();
        assert_eq!(event(EventKind::Oom, None), r#"{"type":"oom","id":"web"}"#);
        let count = Some(EventData::Count { count: 3 });
        assert_eq!(event(EventKind::OomGroupKill, count), r#"{"type":"oom-group-kill","id":"web","data":{"count":3}}"#);
        let kinds = [EventKind::Stats, EventKind::OomKill, EventKind::OomLimit, EventKind::MemoryHigh];
        let rest = [EventKind::MemoryMax, EventKind::PidsMax, EventKind::Exit];
        let words = serde_json::to_string(&[&kinds[..], &rest[..]].concat()).unwrap();
        assert_eq!(words, r#"["stats","oom-kill","oom-limit","memory-high","memory-max","pids-max","exit"]"#);
    }
}
