//! What an init says is not believed, and not waited for without end.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use orlop_init::wire::{Op, Slot, Str};

use super::*;
use crate::base::Kind;

#[allow(clippy::zombie_processes, reason = "each test ends and reaps it, or what is tested does")]
fn sleeper() -> (Child, HostPid) {
    let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let pid = HostPid::new(i32::try_from(child.id()).unwrap()).unwrap();
    (child, pid)
}

/// An init that is `pid`, with the other end of its socket.
fn init(pid: HostPid) -> (Init, OwnedFd) {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let connection = block::Connection { sync: theirs.as_raw_fd(), tasks: 0, die_with_parent: false, vforks: false };
    let (block, _file) = InitBlock::write(&Plan::default(), &connection, None).unwrap();
    let pidfd = sys::pidfd::open(pid).unwrap();
    let plan = Plan::default();
    let launch = Launch::entering(&plan, Host::default(), None);
    let init = Init { forks: 1, ready: false, ..launch.init(pid, pidfd, ours, block) };
    (init, theirs)
}

fn forked(init: &Init, pid: HostPid) {
    init.block.header().forked.store(pid.get(), Ordering::Release);
}

#[test]
fn an_init_that_forks_and_does_not_end_is_not_waited_for() {
    let (mut first, pid) = sleeper();
    let (mut second, next) = sleeper();
    let (mut init, _theirs) = init(pid);
    forked(&init, next);
    let begun = Instant::now();
    let error = init.follow_fork(begun + Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(init.pid(), next, "what is killed now is the process that goes on");
    first.wait().expect_err("the first one is killed and reaped");
    init.kill();
    second.wait().unwrap_err();
}

#[test]
fn a_fork_that_is_the_init_itself_or_no_child_of_ours_is_refused() {
    let (mut child, pid) = sleeper();
    let (mut init, _theirs) = init(pid);
    for wrong in [pid, HostPid::new(1).unwrap()] {
        init.forks = 1;
        forked(&init, wrong);
        let error = init.follow_fork(Instant::now() + Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ECHILD), "{error}");
        assert_eq!(init.pid(), pid);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What is killed while it goes on by a fork that nobody has followed yet is both processes.
#[test]
fn an_init_that_has_just_forked_is_killed_with_its_fork() {
    let (mut first, pid) = sleeper();
    let (mut second, next) = sleeper();
    let (mut init, _theirs) = init(pid);
    forked(&init, next);
    init.kill();
    first.wait().expect_err("the first one is killed and reaped");
    second.wait().expect_err("and the one that it has made");
}

#[test]
fn a_fork_that_is_not_in_the_pid_namespace_that_is_entered_is_refused() {
    let (mut child, pid) = sleeper();
    let (mut innocent, other) = sleeper();
    let (mut traced, _theirs) = init(pid);
    traced.enters = Some((0, 0));
    forked(&traced, other);
    let error = traced.follow_fork(Instant::now() + Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ECHILD), "{error}");
    assert_eq!(traced.pid(), pid);
    // Nor is any other named by one that has gone on as often as it should.
    forked(&traced, other);
    assert!(!traced.follow_fork(Instant::now() + Duration::from_secs(5)).unwrap());
    traced.kill();
    child.wait().expect_err("the init is killed and reaped");
    assert_eq!(innocent.try_wait().unwrap(), None, "what it named is left alone");

    let (mut first, pid) = sleeper();
    let (mut good, _theirs) = init(pid);
    let own = std::fs::metadata("/proc/self/ns/pid").unwrap();
    good.enters = Some((std::os::unix::fs::MetadataExt::dev(&own), std::os::unix::fs::MetadataExt::ino(&own)));
    forked(&good, other);
    first.kill().unwrap();
    assert!(good.follow_fork(Instant::now() + Duration::from_secs(5)).unwrap());
    assert_eq!(good.pid(), other);
    good.kill();
    innocent.wait().expect_err("this one was its own");
}

#[test]
fn a_first_process_that_is_held_is_not_waited_for_once_the_caller_wants_no_more() {
    let (mut first, pid) = sleeper();
    let (mut second, next) = sleeper();
    let (mut init, _theirs) = init(pid);
    let (gone, sender) = std::io::pipe().unwrap();
    drop(sender);
    init.cancel = Some(gone.into());
    forked(&init, next);
    let begun = Instant::now();
    let error = init.follow_fork(begun + Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled, "{error}");
    init.kill();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    first.wait().expect_err("the first one is killed and reaped");
    second.wait().expect_err("so is the other");
}

/// A profile on the way to whose loading the init stands still.
#[test]
fn a_filter_that_is_not_loaded_is_not_waited_for_once_the_caller_wants_no_more() {
    let (mut child, pid) = sleeper();
    let (mut init, _theirs) = init(pid);
    let (gone, sender) = std::io::pipe().unwrap();
    init.cancel = Some(gone.into());
    let begun = Instant::now();
    let taking = std::thread::spawn(move || {
        let error = init.take_listener().unwrap_err();
        init.kill();
        error
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!taking.is_finished(), "it waits while nobody has cancelled it");
    drop(sender);
    let error = taking.join().unwrap();
    assert_eq!((error.kind(), error.reason()), (Kind::Cancelled, Some("cancelled by the caller")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    child.wait().expect_err("the init is killed and reaped");
}

#[test]
fn a_number_that_may_be_anothers_is_not_used() {
    let (mut child, pid) = sleeper();
    let (init, _theirs) = init(pid);
    assert_eq!(init.by_number(Ok).unwrap(), pid);
    child.kill().unwrap();
    assert!(sys::pidfd::wait_until(init.pidfd(), Instant::now() + Duration::from_secs(10)).unwrap());
    assert_eq!(init.by_number(Ok).unwrap(), pid, "until it is reaped, it is its own");
    let procfs = crate::base::procfs::Procfs::open().unwrap();
    procfs.of_process(pid, init.pidfd()).unwrap();
    // Reaped while it is acted on.
    let error = init.by_number(|_| child.wait().map_err(|_| Error::os(Step::Wait, libc::ECHILD))).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ESRCH), "{error}");
    let error = init.by_number(|pid| -> Result<()> { panic!("{pid} may be anybody's") }).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ESRCH), "{error}");
    assert!(procfs.of_process(pid, init.pidfd()).is_err());
}

/// A server's block says of its commands what nobody else can write.
#[test]
fn the_fork_of_what_a_server_has_made_is_told_of_in_the_servers_block_alone() {
    let (mut child, pid) = sleeper();
    let (mut innocent, other) = sleeper();
    let mut plan = Plan::default();
    plan.program.push(Str::NONE, Op::Serve { init: Slot(0), parent: 1, enters: 0 });
    let connection = block::Connection { sync: -1, tasks: 0, die_with_parent: false, vforks: false };
    let (server, _file) = InitBlock::write(&plan, &connection, None).unwrap();
    let places = Places::of(Arc::new(server));
    let place = places.take().unwrap();
    let server = Arc::clone(&places.server);
    server.made(place.number()).unwrap().process.store(pid.get(), Ordering::Release);
    let (mut command, _theirs) = init(HostPid::new(std::process::id().cast_signed()).unwrap());
    command.place = Some(place);
    assert!(command.follow_server().unwrap());
    assert_eq!(command.pid(), pid);
    forked(&command, other);
    assert!(!command.follow_fork(Instant::now()).unwrap(), "a word in its own block is nobody's");
    assert_eq!(command.pid(), pid);
    command.kill();
    child.wait().expect_err("it is killed and reaped");
    assert_eq!(innocent.try_wait().unwrap(), None, "what it named is left alone");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    // Nor is anything left in the place for its next user.
    let number = command.told_in.as_ref().unwrap().number();
    server.made(number).unwrap().forked.store(other.get(), Ordering::Release);
    drop(command);
    let again = places.take().unwrap();
    assert_eq!((again.number(), again.made(), again.forked()), (number, None, None));
}

/// Each of its processes faults in what it touches of each segment, and none of them may be written and executed.
#[test]
fn the_init_is_one_segment_that_cannot_be_written() {
    const LOAD: u32 = 1;
    const READ_EXECUTE: u32 = 5;
    let half = |at: usize| u16::from_le_bytes(INIT[at..at + 2].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(INIT[at..at + 4].try_into().unwrap());
    // elf(5): Elf64_Ehdr and Elf64_Phdr.
    let table = usize::try_from(u64::from_le_bytes(INIT[32..40].try_into().unwrap())).unwrap();
    let (size, count) = (usize::from(half(54)), usize::from(half(56)));
    let headers = (0..count).map(|index| table + index * size).map(|at| (word(at), word(at + 4)));
    let loaded: Vec<_> = headers.filter(|(kind, _)| *kind == LOAD).collect();
    assert_eq!(loaded, [(LOAD, READ_EXECUTE)]);
}
