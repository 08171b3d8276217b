//! What an init says is not believed, and not waited for without end.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;

#[allow(clippy::zombie_processes, reason = "each test ends and reaps it, or what is tested does")]
fn sleeper() -> (Child, HostPid) {
    let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let pid = HostPid::new(i32::try_from(child.id()).unwrap()).unwrap();
    (child, pid)
}

/// An init that is `pid`, with the other end of its socket.
fn init(pid: HostPid) -> (Init, OwnedFd) {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let connection = block::Connection { sync: theirs.as_raw_fd(), tasks: 0, die_with_parent: false };
    let (block, _file) = InitBlock::write(&Plan::default(), &connection, None).unwrap();
    let pidfd = sys::pidfd::open(pid).unwrap();
    let host = Host::default();
    let block = Arc::new(block);
    let init = Init {
        pid,
        pidfd,
        sync: ours,
        cancel: None,
        block,
        host,
        filter_kills_exec: false,
        server: None,
        refused: false,
        ready: false,
    };
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
    assert!(!first.wait().unwrap().success(), "the first one is killed");
    init.kill();
    second.wait().unwrap_err();
}

#[test]
fn a_fork_that_is_the_init_itself_or_no_child_of_ours_is_refused() {
    let (mut child, pid) = sleeper();
    let (mut init, _theirs) = init(pid);
    for wrong in [pid, HostPid::new(1).unwrap()] {
        forked(&init, wrong);
        let error = init.follow_fork(Instant::now() + Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ECHILD), "{error}");
        assert_eq!(init.pid(), pid);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
