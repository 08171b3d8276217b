//! A command that is disturbed at each of its system calls, one call per run: killed, its child or its container killed, or the call
//! made to fail. Whatever it does then, it must neither hang nor leave anything that one `delete --force` does not take away.
//!
//! `ORLOP_CRASH_POINTS` sets the number of points of each command (default 12, with one errno at each; `all` for every system call
//! with every errno).

use std::path::PathBuf;

use crate::tracer::{Act, Point, Trace, Whose, can_inject};
use crate::{Cmd, Container, Output, Sandbox, leak};

/// What a system call is made to fail with.
pub const ERRNOS: [i32; 7] =
    [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EINTR, libc::ENOSPC, libc::EMFILE, libc::EIO];

/// System calls of a program's own start and of its allocator: what cannot report an error may die of it.
const START_UP: &[u64] = &[9, 10, 11, 12, 25, 158, 218, 273, 334];

/// What is done to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// SIGKILL to the command.
    Kill,
    /// SIGKILL to a child of the command, as it makes a call of its own.
    KillChild,
    /// SIGKILL to the container's first process, which is there already.
    KillInit,
    /// Calls of the command and its children fail.
    Fail,
}

/// A command with its surroundings: how a container is brought where the command applies to it, and the command.
#[derive(Clone, Copy)]
pub struct Disturbed<'f> {
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
            name.starts_with("command-") || name.starts_with("bundle-") || name == "state" || name == "double"
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
    let out = c.delete_force();
    assert_eq!(out.code, 0, "delete --force after {what}: {}", out.stderr);
    nothing_left(c.sandbox, what);
    std::fs::remove_dir_all(&c.bundle).expect("the bundle goes");
}

/// Whether a command ended as it may when one of its calls failed: by an exit code, or, in its start-up code alone, by a signal.
fn ended_well(out: &Output, trace: &Trace) -> bool {
    out.code < 1000 || trace.number.is_some_and(|number| START_UP.contains(&number))
}

/// A container per point, since a killed create may have left one under the name.
fn fresh<'a>(t: &'a Sandbox, n: usize) -> Container<'a> {
    let c = t.container(&format!("c{n}"));
    c.args(&["/probe", "pause"]);
    c
}

impl Disturbed<'_> {
    /// Does `disturbance` at points spread over the command's calls, on a new container each time.
    ///
    /// # Panics
    /// When the command hangs, dies of it, fails without a word, or leaves what `delete --force` does not take away.
    pub fn everywhere(&self, t: &Sandbox, disturbance: Disturbance) {
        if disturbance == Disturbance::Fail {
            t.need(can_inject(), "calls can be made to fail on x86-64 only");
        }
        let whose = match disturbance {
            Disturbance::Kill | Disturbance::KillInit => Whose::Own,
            Disturbance::KillChild => Whose::Children,
            Disturbance::Fail => Whose::All,
        };
        let c = fresh(t, 0);
        (self.prepare)(&c);
        let (_, trace) = (self.command)(&c).trace(Point::watch(whose));
        deleted(&c, "an undisturbed run");
        let host = Host::now(t);
        let mut count = 0;
        for (n, at) in points(trace.calls).into_iter().enumerate() {
            let sampled = [ERRNOS[n % ERRNOS.len()]];
            let errnos: &[i32] = match disturbance {
                Disturbance::Fail if all() => &ERRNOS,
                Disturbance::Fail => &sampled,
                _ => &[0],
            };
            for errno in errnos {
                count += 1;
                self.once(t, disturbance, Point { at, act: Act::Fail(*errno), whose }, count);
            }
        }
        assert_eq!(Host::now(t), host, "the host has changed");
        println!("{disturbance:?}: {} calls, {count} points", trace.calls);
    }

    fn once(&self, t: &Sandbox, disturbance: Disturbance, point: Point, count: usize) {
        let c = fresh(t, count);
        (self.prepare)(&c);
        let act = match disturbance {
            Disturbance::Kill => Act::Kill,
            Disturbance::KillChild => Act::KillCaller,
            Disturbance::KillInit => Act::KillOther(c.pid()),
            Disturbance::Fail => point.act,
        };
        let (out, trace) = (self.command)(&c).trace(Point { act, ..point });
        let what =
            format!("{act:?} at call {} (number {:?}), exit {}: {}", point.at, trace.number, out.code, out.stderr);
        if disturbance != Disturbance::Kill {
            assert!(ended_well(&out, &trace), "{what}");
            assert!(out.code == 0 || !out.stderr.is_empty() || out.code >= 128, "fails without a word: {what}");
        }
        deleted(&c, &what);
    }
}
