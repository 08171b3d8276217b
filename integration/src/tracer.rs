//! Stepping through a command's system calls, to kill it at one of them or to have one fail.
//!
//! The tracer is a process of its own between the case and the command: when it ends, the kernel lets go of whatever it still traced
//! (a container's first process, for example), which then runs on undisturbed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::Tracee;
use crate::{process, sys};

/// What to do at the chosen system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing: count only.
    Watch,
    /// SIGKILL to the command, before the call is made.
    Kill,
    /// SIGKILL to the process that makes the call.
    KillCaller,
    /// SIGKILL to a process that is neither the command nor a child of it.
    KillOther(i32),
    /// The call is not made and returns this errno; close alone is made, as the kernel does it.
    Fail(i32),
    /// Another command is run to its end while the caller is held, before the call is made.
    Beside,
    /// Every such call (its number, and its first argument where one is given) is not made, and succeeds.
    Pretend(u64, Option<u64>),
    /// Counts the instructions of the command's own process in user space, one by one.
    Count,
}

/// Whose system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The command's own process's.
    Own,
    /// Its and its children's.
    All,
    /// Those of its children alone.
    Children,
}

/// A point in the command's life, and what happens there.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The number of the system call, from 0.
    pub at: u64,
    /// What happens there.
    pub act: Act,
    /// Which calls count.
    pub whose: Whose,
}

impl Point {
    /// Counts the calls and does nothing.
    #[must_use]
    pub const fn watch(whose: Whose) -> Self {
        Self { at: u64::MAX, act: Act::Watch, whose }
    }
}

/// What the tracer saw.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Trace {
    /// The command's exit code; 1000 + N when signal N ended it.
    pub code: i32,
    /// How many system calls were entered: all of them, or those up to the one at which something was done.
    pub calls: u64,
    /// The number of the system call at which something was done.
    pub number: Option<u64>,
    /// The numbers of all calls, for [`Act::Watch`].
    pub numbers: Vec<u64>,
    /// How many instructions were executed, for [`Act::Count`].
    pub instructions: u64,
}

/// Whether calls can be made to fail on this machine's architecture.
#[must_use]
pub const fn can_inject() -> bool {
    cfg!(target_arch = "x86_64")
}

/// Runs `command` as a child under trace, in a process that ends afterwards; writes what was seen to `result`.
pub(crate) fn run(mut command: Command, point: Point, beside: Option<Command>, result: &Path) -> Pid {
    let Some(tracer) = sys::fork() else {
        sys::trace_from_start(&mut command);
        #[allow(clippy::zombie_processes, reason = "the tracer waits for it as a tracee, by its number")]
        let child = command.spawn().expect("the traced command");
        let main = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let trace = Tracer {
            main,
            point,
            beside,
            calls: 0,
            number: None,
            numbers: Vec::new(),
            known: BTreeSet::from([main]),
            failing: None,
        }
        .follow();
        std::fs::write(result, serde_json::to_vec(&trace).expect("JSON")).expect("result of the trace");
        sys::exit_now(0);
    };
    tracer
}

struct Tracer {
    main: Pid,
    point: Point,
    beside: Option<Command>,
    calls: u64,
    number: Option<u64>,
    numbers: Vec<u64>,
    known: BTreeSet<Pid>,
    /// Tasks inside a call, as the kernel reports entry and exit alike; the one whose call is to fail.
    failing: Option<Pid>,
}

impl Tracer {
    /// Steps through the command, instruction by instruction; exact, and a few microseconds for each.
    fn count(&self) -> Trace {
        let mut instructions = 0;
        let mut signal = None;
        loop {
            match ptrace::step(self.main, signal.take()) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(errno) => panic!("ptrace step: {errno}"),
            }
            match waitpid(self.main, Some(WaitPidFlag::__WALL)).expect("wait for the command") {
                WaitStatus::Exited(_, code) => return Trace { instructions, ..self.trace(code) },
                WaitStatus::Signaled(_, signal, _) => {
                    return Trace { instructions, ..self.trace(1000 + signal as i32) };
                }
                WaitStatus::Stopped(_, Signal::SIGTRAP) => instructions += 1,
                WaitStatus::Stopped(_, other) => signal = Some(other),
                _ => {}
            }
        }
    }

    fn follow(mut self) -> Trace {
        let first = waitpid(self.main, Some(WaitPidFlag::__WALL)).expect("the stop after execve");
        assert!(matches!(first, WaitStatus::Stopped(_, Signal::SIGTRAP)), "{first:?}");
        if self.point.act == Act::Count {
            return self.count();
        }
        let mut options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC;
        if self.point.whose != Whose::Own {
            options |= ptrace::Options::PTRACE_O_TRACEFORK
                | ptrace::Options::PTRACE_O_TRACEVFORK
                | ptrace::Options::PTRACE_O_TRACECLONE;
        }
        ptrace::setoptions(self.main, options).expect("ptrace options");
        let mut inside = BTreeSet::new();
        self.go_on(self.main, None);
        loop {
            let status = match sys::wait_for_tracee() {
                Ok(Tracee::Known(status)) => status,
                Ok(Tracee::RealTime(pid, signal)) => {
                    sys::pass_on(pid, signal);
                    continue;
                }
                Err(nix::errno::Errno::ECHILD) => return self.trace(-1),
                Err(errno) => panic!("wait for tracees: {errno}"),
            };
            match status {
                WaitStatus::Exited(pid, code) if pid == self.main => return self.trace(code),
                WaitStatus::Signaled(pid, signal, _) if pid == self.main => return self.trace(1000 + signal as i32),
                WaitStatus::PtraceSyscall(pid) if matches!(self.point.act, Act::Pretend(..)) => {
                    self.pretend(pid);
                    self.go_on(pid, None);
                }
                WaitStatus::PtraceSyscall(pid) => {
                    if inside.remove(&pid) {
                        self.leave(pid);
                    } else {
                        inside.insert(pid);
                        self.enter(pid);
                    }
                    self.go_on(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) if pid != self.main && is_command(pid) => {
                    // Another program is not what is tested, and as the first process of a pid namespace it would survive its own fatal
                    // signals under trace.
                    inside.remove(&pid);
                    let _gone_already = ptrace::detach(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, _) => self.go_on(pid, None),
                WaitStatus::Stopped(pid, signal) => {
                    // The first stop of a new tracee is the tracer's doing, not the program's.
                    let new = self.known.insert(pid);
                    let own = new && signal == Signal::SIGSTOP || signal == Signal::SIGTRAP;
                    self.go_on(pid, (!own).then_some(signal));
                }
                _ => {}
            }
        }
    }

    fn trace(&self, code: i32) -> Trace {
        Trace { code, calls: self.calls, number: self.number, numbers: self.numbers.clone(), instructions: 0 }
    }

    fn enter(&mut self, pid: Pid) {
        if self.point.whose == Whose::Children && pid == self.main {
            return;
        }
        let here = self.calls == self.point.at && self.number.is_none();
        self.calls += 1;
        if self.point.act == Act::Watch {
            self.numbers.push(call_number(pid));
        }
        if !here || matches!(self.point.act, Act::Watch | Act::Count) {
            return;
        }
        self.number = Some(call_number(pid));
        match self.point.act {
            Act::Watch | Act::Count | Act::Pretend(..) => {}
            Act::Kill => process::kill_hard(self.main.as_raw()),
            Act::KillCaller => process::kill_hard(pid.as_raw()),
            Act::KillOther(other) => process::kill_hard(other),
            Act::Beside => {
                let command = self.beside.as_mut().expect("the other command");
                let _how_it_ended = command.status().expect("the other command");
            }
            Act::Fail(_) => {
                // close(2) gives the descriptor back whatever it returns.
                if self.number != Some(CLOSE) {
                    skip_call(pid);
                }
                self.failing = Some(pid);
            }
        }
    }

    /// At the entry or the exit of a call: in its place a call is made that changes nothing and does not fail.
    fn pretend(&mut self, pid: Pid) {
        let Act::Pretend(number, first) = self.point.act else { return };
        let is_ours = self.point.whose != Whose::Children || pid != self.main;
        let is_it = || call_number(pid) == number && first.is_none_or(|first| first_argument(pid) == first);
        if is_ours && is_entry(pid) && is_it() {
            self.calls += 1;
            self.number = Some(number);
            set_call(pid, libc::SYS_getppid.cast_unsigned());
        }
    }

    fn leave(&mut self, pid: Pid) {
        if self.failing == Some(pid)
            && let Act::Fail(errno) = self.point.act
        {
            self.failing = None;
            set_result(pid, -i64::from(errno));
        }
    }

    /// Lets a tracee run to its next call, or without further stops when the point is past. It may have been killed meanwhile.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        let is_past = self.number.is_some() && self.failing.is_none();
        match if is_past { ptrace::cont(pid, signal) } else { ptrace::syscall(pid, signal) } {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => panic!("ptrace {pid}: {errno}"),
        }
    }
}

/// The number of close(2) on x86-64, the only architecture where calls are made to fail.
const CLOSE: u64 = 3;

/// Whether a process that has just executed something is none of the runtime's: a container's command (the probe), or CRIU.
fn is_command(pid: Pid) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    ["probe", "criu"].contains(&name.trim())
}

#[cfg(target_arch = "x86_64")]
fn call_number(pid: Pid) -> u64 {
    ptrace::getregs(pid).map_or(u64::MAX, |registers| registers.orig_rax)
}

/// Where a call begins, the kernel has put this there as its result.
#[cfg(target_arch = "x86_64")]
fn is_entry(pid: Pid) -> bool {
    ptrace::getregs(pid).is_ok_and(|registers| registers.rax == (-i64::from(libc::ENOSYS)).cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
fn first_argument(pid: Pid) -> u64 {
    ptrace::getregs(pid).map_or(u64::MAX, |registers| registers.rdi)
}

#[cfg(target_arch = "x86_64")]
fn skip_call(pid: Pid) {
    set_call(pid, u64::MAX);
}

#[cfg(target_arch = "x86_64")]
fn set_call(pid: Pid, number: u64) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.orig_rax = number;
        ptrace::setregs(pid, registers).expect("registers");
    }
}

#[cfg(target_arch = "x86_64")]
fn set_result(pid: Pid, value: i64) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = u64::from_ne_bytes(value.to_ne_bytes());
        ptrace::setregs(pid, registers).expect("registers");
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn call_number(_: Pid) -> u64 {
    u64::MAX
}

#[cfg(not(target_arch = "x86_64"))]
fn is_entry(_: Pid) -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn first_argument(_: Pid) -> u64 {
    u64::MAX
}

#[cfg(not(target_arch = "x86_64"))]
fn skip_call(_: Pid) {}

#[cfg(not(target_arch = "x86_64"))]
fn set_call(_: Pid, _: u64) {}

#[cfg(not(target_arch = "x86_64"))]
fn set_result(_: Pid, _: i64) {}
