//! A hostile neighbour: it looks at every process that appears in its pid namespace, by every way that the kernel offers, until a file
//! `/stop` appears, and then writes what it got to `/report`.
//!
//! What enters a container is the runtime's before its `execve` and the container's command afterwards, and only the first may not be
//! open. The commands that are attacked are this same program, so that it can tell: what it reads through a handle is either its own
//! mark, at the same address, or belonged to the runtime. Single-file, static, std only; built by `build.rs`.
#![allow(unsafe_code, clippy::print_stderr, reason = "a test program that talks to the kernel")]
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "kernel words are passed through unchanged"
)]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test program fails by panicking")]
#![allow(clippy::let_underscore_must_use, reason = "an attack that fails is tried again")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

/// System call numbers; the names are the kernel's.
mod nr {
    #[cfg(target_arch = "x86_64")]
    mod arch {
        pub(crate) const OPENAT: i64 = 257;
        pub(crate) const CLOSE: i64 = 3;
        pub(crate) const PREAD64: i64 = 17;
        pub(crate) const FSTATFS: i64 = 138;
        pub(crate) const PTRACE: i64 = 101;
        pub(crate) const WAIT4: i64 = 61;
        pub(crate) const KCMP: i64 = 312;
        pub(crate) const PROCESS_VM_READV: i64 = 310;
        pub(crate) const UNSHARE: i64 = 272;
    }
    #[cfg(not(target_arch = "x86_64"))]
    mod arch {
        pub(crate) const OPENAT: i64 = 56;
        pub(crate) const CLOSE: i64 = 57;
        pub(crate) const PREAD64: i64 = 67;
        pub(crate) const FSTATFS: i64 = 44;
        pub(crate) const PTRACE: i64 = 117;
        pub(crate) const WAIT4: i64 = 260;
        pub(crate) const KCMP: i64 = 272;
        pub(crate) const PROCESS_VM_READV: i64 = 270;
        pub(crate) const UNSHARE: i64 = 97;
    }
    pub(crate) use arch::*;
    pub(crate) const PIDFD_OPEN: i64 = 434;
    pub(crate) const PIDFD_GETFD: i64 = 438;
}

const AT_FDCWD: i64 = -100;
const O_PATH: i64 = 0o10_000_000;
const O_RDWR: i64 = 2;
const CLONE_NEWUSER: i64 = 0x1000_0000;

/// How long a process may take to map the command that it executes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Descriptors are tried up to here; the container's command has 0 to 2 alone.
const DESCRIPTORS: std::ops::Range<i64> = 3..24;

/// At the same address in every process of this program, and nowhere else.
#[used]
static MARK: [u8; 32] = *b"this is the container's command.";

fn call(number: i64, args: [i64; 6]) -> Result<i64, i32> {
    // SAFETY: `syscall` takes any number and words; pointers among `args` come from the callers below, which keep the buffers
    // they point to alive and give their true sizes.
    let result = unsafe { syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(result)
}

fn address<T: ?Sized>(value: &mut T) -> i64 {
    std::ptr::from_mut(value).cast::<u8>() as i64
}

/// An open descriptor, closed with the value.
struct Handle(i64);

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = call(nr::CLOSE, [self.0, 0, 0, 0, 0, 0]);
    }
}

impl Handle {
    fn open(at: i64, path: &str, flags: i64) -> Option<Self> {
        let path = CString::new(path).expect("no NUL");
        call(nr::OPENAT, [at, path.as_ptr() as i64, flags, 0, 0, 0]).ok().map(Self)
    }

    fn file_system(&self) -> i64 {
        let mut buffer = [0_i64; 32];
        call(nr::FSTATFS, [self.0, address(&mut buffer), 0, 0, 0, 0]).map_or(0, |_| buffer[0])
    }

    /// Device and inode, by the kernel's own link to it.
    fn identity(&self) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(format!("/proc/self/fd/{}", self.0)).map_or((0, 0), |data| (data.dev(), data.ino()))
    }

    fn link(&self) -> String {
        fs::read_link(format!("/proc/self/fd/{}", self.0))
            .map_or_else(|_| "?".into(), |path| path.display().to_string())
    }

    fn has_below(&self, path: &str) -> bool {
        Self::open(self.0, path, O_PATH).is_some()
    }

    fn read_at<const N: usize>(&self, offset: i64) -> Option<([u8; N], usize)> {
        let mut buffer = [0; N];
        let length = call(nr::PREAD64, [self.0, address(&mut buffer), N as i64, offset, 0, 0]).ok()?;
        Some((buffer, length as usize))
    }
}

struct Neighbour {
    own: i64,
    own_proc: (u64, u64),
    /// A file of the host, below its root, that no container has.
    canary: String,
    /// The host's mount namespace, as a link tells it.
    host_mounts: String,
    counts: BTreeMap<&'static str, u64>,
    samples: BTreeSet<String>,
    /// Capabilities of processes without a filter that could be attached to, which this one has not.
    gained: u64,
    capabilities: u64,
}

impl Neighbour {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn hit(&mut self, what: &'static str, pid: i64, of: &str) {
        self.count(what);
        if self.samples.len() < 24 {
            let of: String = of.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            let _ = pid;
            self.samples.insert(format!("{what}: {of}"));
        }
    }

    /// What was reached through a descriptor that only the runtime can have had.
    fn judge(&mut self, handle: &Handle, how: &'static str, pid: i64, number: i64) {
        const PROC: i64 = 0x9fa0;
        const CGROUP: i64 = 0x27_e0eb;
        const CGROUP2: i64 = 0x6367_7270;
        const NSFS: i64 = 0x6e73_6673;
        let (link, identity) = (handle.link(), handle.identity());
        self.count(how);
        let what = match handle.file_system() {
            PROC if identity.0 != self.own_proc.0 => {
                if Handle::open(handle.0, "sys/kernel/core_pattern", O_RDWR).is_some() {
                    self.count("core_pattern opened for writing");
                }
                "host procfs"
            }
            CGROUP | CGROUP2 => "control group",
            NSFS => "namespace",
            _ if handle.has_below(&self.canary) => "host root",
            _ if link.starts_with("socket:") => "socket",
            // `start` removes it while the init still has it.
            _ if link.trim_end_matches(" (deleted)").ends_with("/exec.fifo") => "start FIFO",
            _ => "other descriptor",
        };
        self.hit(what, pid, &format!("{number} -> {link}"));
    }

    fn descriptors(&mut self, pid: i64) {
        for number in DESCRIPTORS {
            if let Some(handle) = Handle::open(AT_FDCWD, &format!("/proc/{pid}/fd/{number}"), O_PATH) {
                self.judge(&handle, "fd opened", pid, number);
            }
        }
    }

    fn stolen(&mut self, pid: i64) {
        let Some(pidfd) = call(nr::PIDFD_OPEN, [pid, 0, 0, 0, 0, 0]).ok().map(Handle) else { return };
        for number in DESCRIPTORS {
            if let Some(handle) = call(nr::PIDFD_GETFD, [pidfd.0, number, 0, 0, 0, 0]).ok().map(Handle) {
                self.judge(&handle, "pidfd_getfd", pid, number);
            }
        }
    }

    /// Whether the process has not executed the command yet, as far as its executable tells: only then is a handle to it a find.
    fn is_runtime(pid: i64) -> bool {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| !path.ends_with("neighbour"))
    }

    fn links(&mut self, pid: i64) {
        for (name, what) in [("root", "root opened"), ("cwd", "cwd opened")] {
            if let Some(handle) = Handle::open(AT_FDCWD, &format!("/proc/{pid}/{name}"), O_PATH) {
                if handle.has_below(&self.canary) {
                    self.hit("host root", pid, name);
                } else if Self::is_runtime(pid) {
                    self.hit(what, pid, name);
                }
            }
        }
        for name in ["mnt", "net", "pid", "user"] {
            if let Some(handle) = Handle::open(AT_FDCWD, &format!("/proc/{pid}/ns/{name}"), O_PATH) {
                if handle.link() == self.host_mounts {
                    self.hit("host mount namespace", pid, name);
                } else if Self::is_runtime(pid) {
                    self.hit("namespace opened", pid, name);
                }
            }
        }
    }

    /// Whether the memory that this handle holds is not the command's. While a process executes the command, the new memory is there
    /// a moment before anything is mapped in it: hence the patience, which must last until a busy machine lets that process go on.
    fn is_runtimes(pid: i64, memory: &Handle) -> bool {
        // One that still runs the runtime's program cannot have had other memory before.
        if Self::is_runtime(pid) {
            return true;
        }
        let begun = Instant::now();
        for round in 0_u64.. {
            if begun.elapsed() > PATIENCE {
                break;
            }
            match memory.read_at::<32>(MARK.as_ptr() as i64) {
                Some((bytes, 32)) if bytes == MARK => return false,
                // Nobody's memory any more: let go by an end, or by executing the command.
                Some((_, 0)) => return round > 0 && !is_ending(pid),
                _ => std::thread::yield_now(),
            }
        }
        true
    }

    fn open_memory(pid: i64) -> Option<Handle> {
        Handle::open(AT_FDCWD, &format!("/proc/{pid}/mem"), 0)
    }

    fn memory(&mut self, pid: i64) {
        // What is permitted before the memory is opened was permitted for that memory's owner.
        let mut bytes = [0_u8; 32];
        let mut local = [address(&mut bytes), 32];
        let mut remote = [MARK.as_ptr() as i64, 32];
        let args = [pid, address(&mut local), 1, address(&mut remote), 1, 0];
        // EPERM: not permitted; ESRCH: gone.
        let read = !matches!(call(nr::PROCESS_VM_READV, args), Err(1 | 3));
        const KCMP_FILES: i64 = 2;
        let compared = call(nr::KCMP, [self.own, pid, KCMP_FILES, 0, 0, 0]).is_ok();
        let environment = Handle::open(AT_FDCWD, &format!("/proc/{pid}/environ"), 0);
        let Some(memory) = Self::open_memory(pid) else { return };
        if !Self::is_runtimes(pid, &memory) {
            return;
        }
        self.hit("mem opened", pid, "mem");
        for (what, done) in [("process_vm_readv", read), ("kcmp", compared), ("environ opened", environment.is_some())]
        {
            if done {
                self.hit(what, pid, what);
            }
        }
    }

    /// Attaches, and looks whose memory it is that it has stopped.
    fn attach(&mut self, pid: i64) {
        const SEIZE: i64 = 0x4206;
        const INTERRUPT: i64 = 0x4207;
        const DETACH: i64 = 17;
        const WALL: i64 = 0x4000_0000;
        if call(nr::PTRACE, [SEIZE, pid, 0, 0, 0, 0]).is_err() {
            return;
        }
        let _ = call(nr::PTRACE, [INTERRUPT, pid, 0, 0, 0, 0]);
        let mut status = 0_i32;
        if call(nr::WAIT4, [pid, address(&mut status), WALL, 0, 0, 0]).is_err() || status & 0xff != 0x7f {
            return;
        }
        // A stop comes at the way out of the kernel only: what is mapped then stays.
        let read = Self::open_memory(pid).and_then(|memory| memory.read_at::<32>(MARK.as_ptr() as i64));
        if !matches!(read, Some((bytes, 32)) if bytes == MARK) {
            // A filter holds for what a tracer makes its process call, too.
            if !is_filtered(pid) {
                self.gained |= capabilities(&pid.to_string()) & !self.capabilities;
            }
            self.hit("ptrace attach", pid, "process");
        }
        let _ = call(nr::PTRACE, [DETACH, pid, 0, 0, 0, 0]);
    }

    fn attack(&mut self, pid: i64) {
        self.count("looks");
        self.descriptors(pid);
        self.stolen(pid);
        self.links(pid);
        self.memory(pid);
        self.attach(pid);
    }

    fn report(&self) -> String {
        let mut text = format!("{{\"gained\": \"{:x}\", \"counts\": {{", self.gained);
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("\"{what}\": {count}")).collect();
        let _ = write!(text, "{}}}, \"samples\": [", counts.join(", "));
        let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "/").replace('"', "'"));
        let samples: Vec<String> = self.samples.iter().map(quoted).collect();
        let _ = write!(text, "{}]}}", samples.join(", "));
        text
    }
}

/// What /proc/PID/stat tells after the name: state, parent and so on.
fn stat(pid: i64) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// Whether the process has no memory any more, which opens what is left of it to its equals.
fn is_ending(pid: i64) -> bool {
    stat(pid).is_none_or(|words| words[0] == "Z" || words[0] == "X" || words[20] == "0")
}

/// Whether `pid` descends from `ancestor` within a few generations; everything does from 0.
fn descends(pid: i64, ancestor: i64) -> bool {
    let mut pid = pid;
    for _ in 0..5 {
        if ancestor == 0 {
            return true;
        }
        let Some(parent) = stat(pid).and_then(|words| words[1].parse().ok()) else { return false };
        if parent == ancestor {
            return true;
        }
        pid = parent;
    }
    false
}

fn capabilities(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|word| u64::from_str_radix(word.trim(), 16).ok()).unwrap_or(0)
}

fn is_filtered(pid: i64) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines().any(|line| line == "Seccomp:\t2")
}

fn is_command(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "neighbour")
}

/// The number given last in this pid namespace.
fn last_pid() -> i64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().last().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn watch(neighbour: &mut Neighbour, ancestor: i64) {
    let mut last = last_pid();
    // The processes looked at, and whether each was seen before its command.
    let mut watched: Vec<(i64, bool)> = Vec::new();
    let mut rounds = 0_u32;
    while fs::symlink_metadata("/stop").is_err() {
        let newest = last_pid();
        if newest < last {
            last = newest;
        }
        for pid in last + 1..=newest {
            if pid != neighbour.own && descends(pid, ancestor) {
                neighbour.count("processes");
                watched.push((pid, false));
            }
        }
        last = newest;
        rounds += 1;
        watched.retain_mut(|(pid, met)| {
            if is_command(*pid) {
                // One more look, since it may have become the command only now.
                neighbour.attack(*pid);
                return false;
            }
            if !*met {
                *met = true;
                neighbour.count("met before their command");
            }
            neighbour.attack(*pid);
            !is_ending(*pid)
        });
        if watched.is_empty() && rounds.is_multiple_of(64) {
            std::thread::yield_now();
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        [] | ["exit"] => {}
        ["watch", canary, host_mounts, ancestor, rest @ ..] => {
            use std::os::unix::fs::MetadataExt;
            if rest.contains(&"nested") {
                call(nr::UNSHARE, [CLONE_NEWUSER, 0, 0, 0, 0, 0]).expect("a user namespace");
            }
            let proc = fs::metadata("/proc").expect("/proc");
            let mut neighbour = Neighbour {
                own: i64::from(std::process::id()),
                own_proc: (proc.dev(), proc.ino()),
                canary: (*canary).to_owned(),
                host_mounts: (*host_mounts).to_owned(),
                counts: BTreeMap::new(),
                samples: BTreeSet::new(),
                gained: 0,
                capabilities: capabilities("self"),
            };
            fs::write("/ready", "").expect("/ready");
            watch(&mut neighbour, ancestor.parse().expect("a pid"));
            fs::write("/report.new", neighbour.report()).expect("/report");
            fs::rename("/report.new", "/report").expect("/report");
        }
        other => {
            eprintln!("neighbour: unknown request {other:?}");
            std::process::abort();
        }
    }
}
