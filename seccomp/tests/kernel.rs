//! Filters loaded into real processes, and an agent answering them.
//!
//! A runner of its own, with one thread: children are forked, and do nothing but system calls.
#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]
#![allow(unsafe_code, reason = "fork and raw system calls are what is tested")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a test"
)]
use orlop_seccomp::notify::{self, AddFd, ContainerProcessState, Event, Listener, Response};
use orlop_seccomp::{Action, Arch, Call, Filter, Flags, Options, Profile, compile, load};
use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use support::{Random, Shape, arguments, profile};

mod support {
    #[path = "../support/random.rs"]
    mod random;
    pub(crate) use random::{Random, Shape, arguments, profile};
}

/// A word that a child tells its result in: under some filters it can do nothing else.
#[derive(Clone, Copy)]
struct Word(&'static AtomicI64);

const NOTHING: i64 = i64::MIN;
const LOADED: i64 = i64::MIN + 1;

impl Word {
    fn new() -> Self {
        // SAFETY: a new anonymous mapping; never unmapped, and zeroes are a valid AtomicI64.
        let word = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            &*memory.cast::<AtomicI64>()
        };
        word.store(NOTHING, Ordering::SeqCst);
        Self(word)
    }

    fn set(self, value: i64) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn get(self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn wait(self, until: impl Fn(i64) -> bool) -> i64 {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let value = self.get();
            if until(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "a child says nothing");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A forked child; killed and reaped when dropped.
struct Child(libc::pid_t);

impl Child {
    /// `body` must make no call but those it wants: it may be under a filter. It spins when done.
    fn fork(body: impl FnOnce()) -> Self {
        // SAFETY: this program has one thread, so the child may go on as any program.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            body();
            loop {
                std::hint::spin_loop();
            }
        }
        Self(pid)
    }

    /// The signal that ended it, if it has ended by one.
    fn signal(&self) -> Option<i32> {
        // SAFETY: zeroes are a valid siginfo_t, which the kernel fills.
        let info = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            let id = u32::try_from(self.0).unwrap();
            assert_eq!(libc::waitid(libc::P_PID, id, &raw mut info, options), 0);
            info
        };
        // SAFETY: filled by waitid: zero, or those of a child that has ended.
        unsafe { (info.si_pid() == self.0 && info.si_code != libc::CLD_EXITED).then(|| info.si_status()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet reaped.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Makes a call and returns what the kernel does: a result, or a negative errno.
fn call(number: u32, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments.map(u64::cast_signed);
    // SAFETY: callers pass calls that write no memory, or memory they own.
    let result: c_long = unsafe { libc::syscall(number.into(), a, b, c, d, e, f) };
    // SAFETY: errno of this thread.
    if result == -1 { -i64::from(unsafe { *libc::__errno_location() }) } else { result }
}

fn filter(json: &str) -> Filter {
    let profile: Profile<'_> = serde_json::from_str(json).unwrap();
    compile(&profile, &Options::default()).unwrap()
}

/// Calls that harm nobody, whatever their arguments.
const HARMLESS: [&str; 20] = [
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "gettid",
    "getpgid",
    "getsid",
    "sched_yield",
    "personality",
    "umask",
    "dup",
    "close",
    "lseek",
    "fsync",
    "socket",
    "getpriority",
    "inotify_rm_watch",
    "fdatasync",
    "sync_file_range",
];

/// What a child under `filter` comes to when it makes one call.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Killed(i32),
    Returned(i64),
}

fn fate(filter: &Filter, made: &Call) -> Fate {
    let word = Word::new();
    let program = filter.instructions.as_slice();
    let flags = filter.flags.without(Flags::NEW_LISTENER).without(Flags::WAIT_KILLABLE_RECV);
    let child = Child::fork(|| {
        let loaded = load::install(program, flags).is_ok();
        let number = made.number;
        let arguments = made.arguments;
        if loaded {
            word.set(LOADED);
            word.set(call(number, arguments));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let value = word.get();
        if value != NOTHING && value != LOADED {
            return Fate::Returned(value);
        }
        if let Some(signal) = child.signal() {
            // Read again: it may have loaded its filter since it was looked at, and died by it.
            assert_eq!(word.get(), LOADED, "the child died before its filter was loaded");
            return Fate::Killed(signal);
        }
        assert!(Instant::now() < deadline, "a child hangs in {made:?}");
        std::thread::yield_now();
    }
}

fn check_fate(filter: &Filter, made: &Call) {
    let fate = fate(filter, made);
    match filter.verdict(made) {
        Action::KillProcess | Action::KillThread | Action::Trap => {
            assert_eq!(fate, Fate::Killed(libc::SIGSYS), "{made:x?}")
        }
        Action::Errno(errno) => assert_eq!(fate, Fate::Returned(-i64::from(errno)), "{made:x?}"),
        // Without a tracer or a listener both fail so.
        Action::Trace(_) | Action::Notify => {
            assert_eq!(fate, Fate::Returned(-i64::from(libc::ENOSYS)), "{made:x?}");
        }
        _ => match fate {
            // No harmless call fails with one of the errnos the profiles use.
            Fate::Returned(result) => assert!(!(-4095..=-2000).contains(&result), "{made:x?}: {result}"),
            Fate::Killed(signal) => panic!("{made:x?} is allowed, but the child died by signal {signal}"),
        },
    }
}

fn verdicts_hold_in_real_processes() -> Result<(), String> {
    let mut random = Random::new(31);
    let shape = Shape { rules: 12, names: 8, conflicts: true, per_call: 3, repeats: true, wide: true };
    for index in 0_u16..150 {
        let mut profile = profile(&mut random, &HARMLESS, shape);
        // Errnos that tell the filter's answer from the kernel's.
        for (rule, errno) in profile.syscalls.iter_mut().zip(2000 + index..) {
            rule.errno_ret = (rule.action == "SCMP_ACT_ERRNO").then_some(errno.into());
        }
        profile.architectures = vec!["SCMP_ARCH_X86".into(), "SCMP_ARCH_X32".into()];
        let filter = compile(&profile, &Options::default()).map_err(|error| error.to_string())?;
        for _ in 0..3 {
            let arguments = arguments(&mut random, &profile, false);
            check_fate(&filter, &Call::named(Arch::X86_64, random.pick::<&str>(&HARMLESS), &arguments).unwrap());
        }
        let number = *random.pick(&[600, 1000, 2000, 0x4000_0027]);
        check_fate(&filter, &Call::numbered(Arch::X86_64, number, &[1, 2, 3]));
    }
    Ok(())
}

fn docker_profile_in_a_real_process() -> Result<(), String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docker-29.json"));
    let filter = filter(&text.map_err(|error| error.to_string())?);
    for (name, arguments, expected) in [
        ("socket", [40_u64, 1, 0], Fate::Returned(-1)),
        ("socket", [38, 5, 0], Fate::Returned(-1)),
        ("personality", [9, 0, 0], Fate::Returned(-1)),
        ("keyctl", [0, 0, 0], Fate::Returned(-1)),
        ("clone3", [0, 0, 0], Fate::Returned(-38)),
        ("close", [99_999, 0, 0], Fate::Returned(-9)),
    ] {
        let made = Call::named(Arch::X86_64, name, &arguments).unwrap();
        assert_eq!(fate(&filter, &made), expected, "{name} {arguments:?}");
    }
    // Newer than anything the profile knows.
    assert_eq!(fate(&filter, &Call::numbered(Arch::X86_64, 2000, &[])), Fate::Returned(-38));
    Ok(())
}

fn loading_forces_nothing() -> Result<(), String> {
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}"#,
    );
    let word = Word::new();
    let _child = Child::fork(|| {
        let ok = load::load(&filter).is_ok();
        // SAFETY: takes numbers only.
        let privileges = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
        word.set(if ok { privileges.into() } else { -1 });
    });
    assert_eq!(word.wait(|value| value != NOTHING), 0, "no_new_privs was set, or loading failed");
    let flags = load::supported_flags();
    assert!(flags.contains(Flags::LOG | Flags::SPEC_ALLOW | Flags::NEW_LISTENER), "{flags}");
    assert!(load::is_supported(Action::Notify) && load::is_supported(Action::Errno(5)));
    Ok(())
}

const MKDIR: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/unused",
    "syscalls": [{"names": ["mkdir", "write", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}]}"#;

/// A child that loads `filter` and then makes each of `calls`, telling the results; and its listener.
///
/// The listener is fetched as the runtime does it: by the number the child leaves in a shared word.
fn notifying_child(filter: &Filter, word: Word, calls: &[(u32, [u64; 6])]) -> (Child, Listener) {
    let number = Word::new();
    let child = Child::fork(|| {
        let Ok(Some(listener)) = load::load(filter) else { return number.set(-1) };
        number.set(listener.as_raw_fd().into());
        // Nothing is closed here, since even that may be forbidden.
        std::mem::forget(listener);
        for (number, arguments) in calls {
            word.set(call(*number, *arguments));
        }
    });
    let fd = number.wait(|value| value != NOTHING);
    assert!(fd >= 0, "loading failed in the child");
    // SAFETY: numbers in, and descriptors out that nothing else owns.
    let listener = unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, child.0, 0);
        assert!(pidfd >= 0, "pidfd_open");
        let pidfd = OwnedFd::from_raw_fd(i32::try_from(pidfd).unwrap());
        let listener = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0);
        assert!(listener >= 0, "pidfd_getfd");
        OwnedFd::from_raw_fd(i32::try_from(listener).unwrap())
    };
    (child, Listener::from(listener))
}

fn next(listener: &Listener) -> notify::Notification {
    match listener.next(Some(Duration::from_secs(10))).unwrap() {
        Event::Call(call) => call,
        other => panic!("{other:?} instead of a call"),
    }
}

fn agent_emulates_mkdir_with_its_own_descriptor() -> Result<(), String> {
    let filter = filter(MKDIR);
    let word = Word::new();
    let mkdir = Call::named(Arch::X86_64, "mkdir", &[]).unwrap().number;
    let path = c"/no/such/place";
    let address = path.as_ptr() as u64;
    let (child, listener) =
        notifying_child(&filter, word, &[(mkdir, [address, 0o755, 0, 0, 0, 0]), (mkdir, [address, 0o700, 0, 0, 0, 0])]);
    let directory = std::fs::File::open(std::env::temp_dir()).unwrap();

    let call = next(&listener);
    assert_eq!((call.call.arch, call.call.number), (Arch::X86_64, mkdir));
    assert_eq!(call.call.arguments[..2], [address, 0o755]);
    assert_eq!(call.pid, u32::try_from(child.0).unwrap());
    assert!(listener.is_valid(call.id));
    let number = listener.add_fd(call.id, directory.as_fd(), AddFd { answer: true, ..AddFd::default() }).unwrap();
    assert_eq!(word.wait(|value| value != NOTHING), i64::from(number), "the call returns the descriptor's number");
    let there = std::fs::read_link(format!("/proc/{}/fd/{number}", child.0)).unwrap();
    assert_eq!(there, std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).unwrap());

    let call = next(&listener);
    let number = listener.add_fd(call.id, directory.as_fd(), AddFd { at: Some(77), ..AddFd::default() }).unwrap();
    assert_eq!(number, 77);
    listener.respond(call.id, Response::Errno(2001)).unwrap();
    assert_eq!(word.wait(|value| value < 0 && value != NOTHING), -2001);
    assert!(!listener.is_valid(call.id));
    assert_eq!(listener.respond(call.id, Response::Return(0)).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    drop(child);
    assert_eq!(listener.next(Some(Duration::from_secs(10))).unwrap(), Event::Ended);
    Ok(())
}

fn agent_decides_on_write_itself() -> Result<(), String> {
    let filter = filter(MKDIR);
    let word = Word::new();
    let write = Call::named(Arch::X86_64, "write", &[]).unwrap().number;
    let (_child, listener) =
        notifying_child(&filter, word, &[(write, [99_999, 0, 0, 0, 0, 0]), (write, [99_999, 0, 7, 0, 0, 0])]);
    listener.respond(next(&listener).id, Response::Continue).unwrap();
    let call = next(&listener);
    assert_eq!(word.wait(|value| value != NOTHING), -i64::from(libc::EBADF), "the kernel made the call");
    assert_eq!(call.call.arguments[2], 7);
    listener.respond(call.id, Response::Return(7)).unwrap();
    assert_eq!(word.wait(|value| value != -i64::from(libc::EBADF)), 7);
    assert_eq!(listener.next(Some(Duration::from_millis(20))).unwrap(), Event::TimedOut);
    Ok(())
}

fn calls_fail_when_the_agent_is_killed() -> Result<(), String> {
    let filter = filter(MKDIR);
    let word = Word::new();
    let mkdir = Call::named(Arch::X86_64, "mkdir", &[]).unwrap().number;
    let (_child, listener) = notifying_child(&filter, word, &[(mkdir, [0; 6]), (mkdir, [1; 6])]);
    // The child holds a copy too (nothing may be closed there), so the agent's is not the last: that of a container's
    // init is closed at execve. Here it is moved out of the way by putting another file in its place.
    let null = std::fs::File::open("/dev/null").unwrap();
    let call = next(&listener);
    for number in 0..64 {
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", call.pid));
        if link.is_ok_and(|link| link.to_string_lossy().contains("seccomp")) {
            listener.add_fd(call.id, null.as_fd(), AddFd { at: Some(number), ..AddFd::default() }).unwrap();
        }
    }
    let received = Word::new();
    let agent = Child::fork(|| {
        // Has taken the call, and dies before it answers.
        received.set(listener.as_fd().as_raw_fd().into());
    });
    received.wait(|value| value != NOTHING);
    drop(listener);
    assert_eq!(word.get(), NOTHING, "the agent still holds the listener");
    drop(agent);
    assert_eq!(word.wait(|value| value != NOTHING), -i64::from(libc::ENOSYS));
    Ok(())
}

fn listener_and_state_reach_the_agent() -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("orlop-seccomp-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("agent.sock");
    let result = std::panic::catch_unwind(|| {
        let agent = UnixListener::bind(&path).unwrap();
        let word = Word::new();
        let mkdir = Call::named(Arch::X86_64, "mkdir", &[]).unwrap().number;
        let (child, listener) = notifying_child(&filter(MKDIR), word, &[(mkdir, [0; 6])]);
        let state = ContainerProcessState::new(
            "1.2.0",
            child.0,
            Some("opaque".to_owned()),
            // Larger than one message takes.
            serde_json::json!({"id": "web1", "annotations": {"long": "x".repeat(20_000)}}),
        );
        let json = serde_json::to_vec(&state).unwrap();
        notify::send(path.to_str().unwrap(), &json, listener.as_fd(), Duration::from_secs(5)).unwrap();
        drop(listener);

        let (stream, _) = agent.accept().unwrap();
        let (received, fds) = notify::receive(&stream).unwrap();
        let received: ContainerProcessState<serde_json::Value> = serde_json::from_slice(&received).unwrap();
        assert_eq!(received, state);
        assert_eq!(received.fds, ["seccompFd"]);
        let [fd] = <[OwnedFd; 1]>::try_from(fds).unwrap();
        let listener = Listener::from(fd);
        listener.respond(next(&listener).id, Response::Return(5)).unwrap();
        assert_eq!(word.wait(|value| value != NOTHING), 5);
    });
    std::fs::remove_dir_all(&directory).unwrap();
    result.map_err(|_| "see above".to_owned())
}

fn an_agent_that_does_not_accept_costs_a_limited_time() -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("orlop-seccomp-deaf-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("agent.sock");
    let agent = UnixListener::bind(&path).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let text = path.to_str().unwrap();
    let started = Instant::now();
    // One message fits into the socket's buffer even when nobody reads; this does not.
    let state = vec![b' '; 8 << 20];
    let error = notify::send(text, &state, null.as_fd(), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(agent);
    let error = notify::send(text, b"{}", null.as_fd(), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    std::fs::remove_dir_all(&directory).unwrap();
    let error = notify::send(&"x".repeat(108), b"{}", null.as_fd(), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    Ok(())
}

type Test = (&'static str, fn() -> Result<(), String>);

const TESTS: [Test; 8] = [
    ("verdicts_hold_in_real_processes", verdicts_hold_in_real_processes),
    ("docker_profile_in_a_real_process", docker_profile_in_a_real_process),
    ("loading_forces_nothing", loading_forces_nothing),
    ("agent_emulates_mkdir_with_its_own_descriptor", agent_emulates_mkdir_with_its_own_descriptor),
    ("agent_decides_on_write_itself", agent_decides_on_write_itself),
    ("calls_fail_when_the_agent_is_killed", calls_fail_when_the_agent_is_killed),
    ("listener_and_state_reach_the_agent", listener_and_state_reach_the_agent),
    ("an_agent_that_does_not_accept_costs_a_limited_time", an_agent_that_does_not_accept_costs_a_limited_time),
];

/// Why nothing can be tested here.
fn hindrance() -> Option<&'static str> {
    // SAFETY: takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    if Arch::native() != Some(Arch::X86_64) {
        Some("the calls made are those of x86-64")
    } else if !root {
        Some("loading a filter without no_new_privs needs root")
    } else if !load::supported_flags().contains(Flags::NEW_LISTENER) {
        Some("this kernel has no seccomp listeners")
    } else {
        None
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let tests = TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|text| name.contains(&**text)));
    if std::env::args().any(|argument| argument == "--list") {
        tests.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = hindrance() {
        println!("skipped ({}): {reason}", tests.count());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in tests {
        match std::panic::catch_unwind(test) {
            Ok(Ok(())) => println!("test {name} ... ok"),
            Ok(Err(message)) => {
                failed += 1;
                println!("test {name} ... FAILED: {message}");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
