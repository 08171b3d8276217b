//! A command that is disturbed at each of its system calls, one call per run: killed, its child or its container killed, or the call
//! made to fail. Whatever it does then, it must neither hang nor leave anything that one `delete --force` does not take away.
//!
//! `ORLOP_CRASH_POINTS` sets the number of points of each command (default 12, with one errno at each; `all` for every system call
//! with every errno). The points are shared out among `ORLOP_TEST_WORKERS` processes, by default two for each processor, since most of
//! the time of a point is spent in waiting for the kernel. Each row of points becomes a row of a table at the end of the run.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Instant;

use crate::figures::Row;
use crate::tracer::{Act, Point, Trace, Whose, can_inject};
use crate::{Cmd, Container, Output, Sandbox, double, leak};

/// What a system call is made to fail with.
pub const ERRNOS: [i32; 7] =
    [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EINTR, libc::ENOSPC, libc::EMFILE, libc::EIO];

/// System calls of a program's own start and of its allocator: what cannot report an error may die of it.
const START_UP: &[u64] = &[9, 10, 11, 12, 25, 158, 218, 273, 334];

/// What is done to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// SIGKILL to the command, at one of its own calls.
    Kill,
    /// SIGKILL to a child of the command, as it makes a call of its own.
    KillChild,
    /// SIGKILL to the container's first process, which is there already.
    KillInit,
    /// SIGKILL to the process that the double has restored, once there is one.
    KillRestored,
    /// `kill KILL` is run to its end while the command is held at one of its own calls.
    KillVerb,
    /// Calls of the command and its children fail.
    Fail,
}

/// A command with its surroundings: how a container is brought where the command applies to it, and the command.
#[derive(Clone, Copy)]
pub struct Disturbed<'f> {
    /// What it is called in the table.
    pub name: &'static str,
    /// Brings a new container to where the command applies.
    pub prepare: &'f dyn Fn(&Container<'_>),
    /// The command.
    pub command: &'f dyn Fn(&Container<'_>) -> Cmd,
}

impl std::fmt::Debug for Disturbed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disturbed").finish_non_exhaustive()
    }
}

/// Whether every point is asked for.
fn all() -> bool {
    std::env::var("ORLOP_CRASH_POINTS").is_ok_and(|wish| wish == "all")
}

/// Points spread evenly over `calls` system calls.
fn points(calls: u64) -> Vec<u64> {
    let wish = std::env::var("ORLOP_CRASH_POINTS").unwrap_or_default();
    let count = if all() { calls } else { wish.parse().unwrap_or(12) };
    let count = count.clamp(1, calls.max(1));
    (0..count).map(|n| n * calls / count).collect()
}

/// How many processes share the points of a row.
#[must_use]
pub fn workers() -> usize {
    let wish = std::env::var("ORLOP_TEST_WORKERS").ok().and_then(|text| text.parse().ok());
    wish.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from) * 2).max(1)
}

/// What the host has in the case's own mount namespace, besides what the leak check looks at.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    mounts: String,
    descriptors: usize,
    case: Vec<PathBuf>,
}

impl Host {
    /// The mount table, this process's descriptors, and what lies beside the bundles, except for the files of commands.
    fn now(t: &Sandbox) -> Self {
        let read = |path: &str| std::fs::read_dir(path).expect(path).flatten();
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy();
            ["command-", "bundle-", "worker-"].iter().any(|start| name.starts_with(start))
                || ["state", "double", "images"].contains(&name.as_ref())
        };
        let mut case: Vec<PathBuf> = read(&t.dir.display().to_string()).map(|entry| entry.path()).collect();
        case.retain(|path| !is_ours(path));
        case.sort();
        Self {
            mounts: std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"),
            descriptors: read("/proc/self/fd").count(),
            case,
        }
    }
}

/// Insists that nothing of the case is left: no process, cgroup, state.
///
/// # Panics
/// When something is.
#[track_caller]
pub fn nothing_left(t: &Sandbox, what: &str) {
    let left = leak::find(&t.tag, std::slice::from_ref(&t.root));
    assert!(left.is_empty(), "{what} left {left:#?}");
}

/// Deletes the container by force, and insists that it works at once and leaves nothing.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn deleted(c: &Container<'_>, what: &str) {
    gone(c, what);
    std::fs::remove_dir_all(&c.bundle).expect("the bundle goes");
}

/// The same, with the bundle kept for the next container.
#[track_caller]
fn gone(c: &Container<'_>, what: &str) {
    let out = c.delete_force();
    assert_eq!(out.code, 0, "delete --force after {what}: {}", out.stderr);
    nothing_left(c.sandbox, what);
}

/// Whether a command ended as it may when one of its calls failed: by an exit code, or, in its start-up code alone, by a signal.
fn ended_well(out: &Output, trace: &Trace) -> bool {
    out.code < 1000 || trace.number.is_some_and(|number| START_UP.contains(&number))
}

/// What a worker found.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Tally {
    /// Points that the command had, in this run of it.
    reached: u64,
    /// Points after its end: it makes fewer calls at one time than at another.
    missed: u64,
    failures: Vec<String>,
}

impl Disturbed<'_> {
    /// Does `disturbance` at points spread over the command's calls.
    ///
    /// # Panics
    /// At the end, when the command hung at a point, died of it, failed without a word, or left what `delete --force` does not take
    /// away.
    pub fn everywhere(&self, t: &Sandbox, disturbance: Disturbance) {
        if disturbance == Disturbance::Fail {
            t.need(can_inject(), "calls can be made to fail on x86-64 only");
        }
        let begun = Instant::now();
        let (calls, points) = self.plan(t, disturbance);
        let host = Host::now(t);
        let workers = workers().min(points.len());
        let tallies = t.in_parallel(workers, |own, n| {
            self.share(own, disturbance, &mut points.iter().skip(n).step_by(workers).copied())
        });
        assert_eq!(Host::now(t), host, "the host has changed");
        let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
        let failures: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failures).collect();
        let numbers = [
            ("calls", calls),
            ("points", points.len() as u64),
            ("reached", sum(|tally| tally.reached)),
            ("after its end", sum(|tally| tally.missed)),
            ("failures", failures.len() as u64),
            ("seconds", begun.elapsed().as_secs()),
        ];
        t.figures(&Row::new("disturbed", &format!("{}: {}", self.name, disturbance.words()), &numbers));
        assert_eq!(sum(|tally| tally.reached + tally.missed), points.len() as u64, "points were left out");
        for failure in failures.iter().take(20) {
            eprintln!("{failure}");
        }
        assert!(failures.is_empty(), "{} failures in {} points", failures.len(), points.len());
    }

    /// How many calls the command makes, undisturbed, and the points to try.
    fn plan(&self, t: &Sandbox, disturbance: Disturbance) -> (u64, Vec<Point>) {
        let whose = match disturbance {
            Disturbance::Kill | Disturbance::KillInit | Disturbance::KillRestored | Disturbance::KillVerb => Whose::Own,
            Disturbance::KillChild => Whose::Children,
            Disturbance::Fail => Whose::All,
        };
        let calls = self.watch(t, whose);
        assert!(calls > 0, "no call of {whose:?} was seen");
        let mut all_points = Vec::new();
        for (n, at) in points(calls).into_iter().enumerate() {
            let sampled = [ERRNOS[n % ERRNOS.len()]];
            let errnos: &[i32] = match disturbance {
                Disturbance::Fail if all() => &ERRNOS,
                Disturbance::Fail => &sampled,
                _ => &[0],
            };
            all_points.extend(errnos.iter().map(|errno| Point { at, act: Act::Fail(*errno), whose }));
        }
        (calls, all_points)
    }

    /// How many calls the command makes: the fewest of three counts, since one that waits for the kernel looks again and again.
    fn watch(&self, t: &Sandbox, whose: Whose) -> u64 {
        let c = t.container("watched");
        let counts = [0; 3].map(|_: u64| {
            c.args(&["/probe", "pause"]);
            (self.prepare)(&c);
            let (_, trace) = (self.command)(&c).trace(Point::watch(whose));
            gone(&c, "an undisturbed run");
            trace.calls
        });
        counts.into_iter().min().unwrap_or(0)
    }

    /// One worker's share of the points, one after the other with the same bundle, and a new one after a failure.
    fn share(&self, t: &Sandbox, disturbance: Disturbance, points: &mut dyn Iterator<Item = Point>) -> Tally {
        let mut tally = Tally::default();
        let mut count = 0;
        loop {
            let c = t.container(&format!("c{count}"));
            count += 1;
            let host = Host::now(t);
            loop {
                let Some(point) = points.next() else { return tally };
                let once = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    let reached = self.once(&c, disturbance, point);
                    assert_eq!(Host::now(t), host, "the host has changed at {point:?}");
                    reached
                }));
                t.forget_commands();
                match once {
                    Ok(true) => tally.reached += 1,
                    Ok(false) => tally.missed += 1,
                    Err(panic) => {
                        tally.reached += 1;
                        tally.failures.push(message(panic.as_ref()));
                        leak::clean(&t.tag);
                        let _gone_or_not = std::fs::remove_dir_all(t.root.join(&c.id));
                        break;
                    }
                }
            }
        }
    }

    /// Whether the command came to that point.
    fn once(&self, c: &Container<'_>, disturbance: Disturbance, point: Point) -> bool {
        c.args(&["/probe", "pause"]);
        (self.prepare)(c);
        let act = match disturbance {
            Disturbance::Kill => Act::Kill,
            Disturbance::KillChild => Act::KillCaller,
            Disturbance::KillInit => Act::KillOther(c.pid()),
            Disturbance::KillRestored | Disturbance::KillVerb => Act::Beside,
            Disturbance::Fail => point.act,
        };
        let beside = match disturbance {
            Disturbance::KillVerb => Some(c.simple_cmd("kill", &[], &["KILL"])),
            Disturbance::KillRestored => Some(double::kill_restored(c.sandbox)),
            _ => None,
        };
        let begun = Instant::now();
        let (out, trace) = (self.command)(c).trace_beside(Point { act, ..point }, beside);
        let what = format!(
            "{}: {act:?} at call {} (number {:?}), exit {}: {}",
            self.name, point.at, trace.number, out.code, out.stderr
        );
        if disturbance != Disturbance::Kill {
            assert!(ended_well(&out, &trace), "{what}");
            assert!(out.code == 0 || !out.stderr.is_empty() || out.code >= 128, "fails without a word: {what}");
        }
        // No wait of the runtime's own ran into its deadline, which is 10 s.
        assert!(
            disturbance != Disturbance::KillVerb || begun.elapsed().as_secs() < 8,
            "took {:?}: {what}",
            begun.elapsed()
        );
        gone(c, &what);
        trace.number.is_some()
    }
}

impl Disturbance {
    const fn words(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::KillChild => "SIGKILL to its child",
            Self::KillInit => "SIGKILL to the init",
            Self::KillRestored => "SIGKILL to the restored",
            Self::KillVerb => "beside kill",
            Self::Fail => "failing calls",
        }
    }
}

/// What a panic says.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
