//! Processes: who descends from whom, and how to end them by number.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// One process as /proc/PID/stat tells it.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: char,
    /// Its command name, and its arguments where [`descendants`] found it.
    pub command: String,
}

/// Reads /proc/PID/stat, with the command's name alone; `None` when there is no such process.
#[must_use]
pub fn read(pid: i32) -> Option<Process> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (left, right) = text.rsplit_once(") ")?;
    let name = left.split_once('(')?.1;
    let mut words = right.split(' ');
    let state = words.next()?.chars().next()?;
    let parent = words.next()?.parse().ok()?;
    Some(Process { pid, parent, state, command: name.to_owned() })
}

impl Process {
    fn with_arguments(self) -> Self {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        Self { command: format!("{} [{}]", self.command, arguments.trim_end()), ..self }
    }
}

/// Whether `pid` is there and not a zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    read(pid).is_some_and(|process| !matches!(process.state, 'Z' | 'X'))
}

/// All processes that descend from `ancestor`, itself not included.
#[must_use]
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(read) {
            all.insert(process.pid, process);
        }
    }
    let is_below = |process: &Process| {
        let mut parent = process.parent;
        while parent > 1 && parent != ancestor {
            parent = all.get(&parent).map_or(0, |process| process.parent);
        }
        parent == ancestor
    };
    all.values().filter(|process| is_below(process)).cloned().map(Process::with_arguments).collect()
}

/// Whether this process has no child. As a subreaper it then has no descendant either.
fn has_no_child() -> bool {
    waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) == Err(Errno::ECHILD)
}

/// The descendants of this process, which is a subreaper, that are not zombies.
#[must_use]
pub fn living_descendants() -> Vec<Process> {
    if has_no_child() {
        return Vec::new();
    }
    let own = i32::try_from(std::process::id()).expect("a pid");
    descendants(own).into_iter().filter(|p| !matches!(p.state, 'Z' | 'X')).collect()
}

/// Sends SIGKILL to `pid`; that it is gone already is fine.
pub fn kill_hard(pid: i32) {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("kill {pid}: {errno}"),
    }
}

/// Forks a child that does `work` and ends; returns its id. The calling process has one thread.
pub fn fork_to(work: impl FnOnce()) -> i32 {
    let Some(child) = crate::sys::fork() else {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        crate::sys::exit_now(if done.is_ok() { 0 } else { 101 });
    };
    child.as_raw()
}

/// Makes orphaned descendants children of this process instead of pid 1's.
pub fn become_subreaper() {
    crate::sys::become_subreaper();
}

/// Collects every child that has ended; returns how many.
pub fn reap() -> usize {
    let mut count = 0;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return count,
            Ok(_) => count += 1,
        }
    }
}

/// Collects those ended children that no [`crate::command::Running`] waits for: processes that were given to this one.
///
/// A pid namespace's first process does not end before every other process of it was collected by its parent.
pub fn reap_orphans() {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if matches!(waitid(Id::All, flags), Ok(WaitStatus::StillAlive) | Err(_)) {
        return;
    }
    let own = i32::try_from(std::process::id()).expect("a pid");
    let expected = crate::command::expected_children();
    for process in descendants(own) {
        if process.parent == own && process.state == 'Z' && !expected.contains(&process.pid) {
            // Gone already when another call was faster; there is nothing to do then.
            let _status = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}
