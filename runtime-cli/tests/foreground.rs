//! Containers in the foreground: exit status, standard streams, signals, the terminal, and the service manager.
//!
//! They are made by `orlop try`, or from a bundle whose root file system is this machine's own, read-only; that takes root (or
//! user namespaces). Where not even `orlop try true` works, the tests say so and stop.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, and tells why it is skipped"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, with a state root; containers left in it and the directory itself go when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("orlop-fg-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn orlop(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
        command.arg("--root").arg(self.0.join("state"));
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").stdin(Stdio::null());
        command
    }

    fn containers(&self) -> String {
        if !self.0.join("state").is_dir() {
            return String::new();
        }
        String::from_utf8(self.orlop().args(["list", "--quiet"]).output().unwrap().stdout).unwrap()
    }

    /// A bundle that runs `script` on this machine's root file system, read-only.
    fn bundle(&self, script: &str, terminal: bool) -> PathBuf {
        let bundle = self.0.join("bundle");
        fs::create_dir_all(&bundle).unwrap();
        fs::remove_file(bundle.join("config.json")).ok();
        let rootless: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--rootless"] };
        assert!(self.orlop().arg("spec").args(rootless).arg("-b").arg(&bundle).status().unwrap().success());
        let text = fs::read_to_string(bundle.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["root"]["path"] = "/".into();
        config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        config["process"]["terminal"] = terminal.into();
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for id in self.containers().lines() {
            self.orlop().args(["delete", "--force", id]).status().ok();
        }
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Whether containers can be made here at all.
fn able() -> bool {
    let scratch = Scratch::new("able");
    let output = scratch.orlop().args(["try", "true"]).output().unwrap();
    if !output.status.success() {
        println!("SKIP: orlop try true: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

/// A program on a terminal of its own.
struct OnTerminal {
    child: Child,
    master: fs::File,
    slave: OwnedFd,
    seen: Vec<u8>,
}

impl OnTerminal {
    fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).process_group(0).spawn().unwrap();
        Self { child, master: pty.master.into(), slave: pty.slave, seen: Vec::new() }
    }

    /// Reads until `text` has come since the last call.
    fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < end, "no {text:?} but {:?}", String::from_utf8_lossy(&self.seen));
            self.read_some();
        }
    }

    fn read_some(&mut self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(50_u16)).unwrap() > 0 {
            let mut bytes = [0; 65536];
            let count = self.master.read(&mut bytes).unwrap();
            self.seen.extend_from_slice(&bytes[..count]);
        }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// The exit status, once all output has been read.
    fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.read_some();
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut before = usize::MAX;
                while before != self.seen.len() {
                    before = self.seen.len();
                    self.read_some();
                }
                return status.code();
            }
        }
        self.child.kill().unwrap();
        None
    }
}

fn attempt(scratch: &Scratch, script: &str) -> Command {
    let mut command = scratch.orlop();
    command.args(["try", "sh", "-c", script]);
    command
}

#[test]
fn the_command_has_the_streams_and_gives_its_status() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("streams");
    let mut command = attempt(&scratch, "cat; echo out; echo err >&2; exit 3");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"in\nout\n"[..], &b"err\n"[..]));
    let missing = scratch.orlop().args(["try", "/nonexistent"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let error = String::from_utf8(missing.stderr).unwrap();
    assert!(error.contains("no such file or directory") && error.lines().count() == 1, "{error}");
    assert_eq!(scratch.containers(), "");
}

#[test]
fn signals_are_passed_on() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("signals");
    let script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done";
    let mut session = OnTerminal::start(attempt(&scratch, script), 24, 80);
    session.expect("up");
    session.signal(Signal::SIGUSR1);
    session.expect("usr1");
    session.signal(Signal::SIGTERM);
    assert_eq!(session.end(), Some(9));
    assert_eq!(scratch.containers(), "");
}

#[test]
fn the_terminal_has_the_users_size_and_keys_and_is_restored() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("terminal");
    let script = "trap 'echo interrupted' INT; stty size; read line; echo got:$line; until [ \"$(stty size)\" = '40 120' ]; do sleep 0.05; done; stty size; exit 7";
    let mut session = OnTerminal::start(attempt(&scratch, script), 33, 101);
    let before = tcgetattr(&session.slave).unwrap();
    session.expect("33 101");
    session.type_in("hello\r");
    session.expect("got:hello");
    assert_ne!(tcgetattr(&session.slave).unwrap().local_flags, before.local_flags, "not in raw mode");
    session.type_in("\x03");
    session.expect("interrupted");
    // The size is set on the user's terminal, whose driver tells its foreground process group; this test tells orlop.
    Command::new("stty")
        .args(["rows", "40", "cols", "120"])
        .stdin(session.slave.try_clone().unwrap())
        .status()
        .unwrap();
    session.signal(Signal::SIGWINCH);
    session.expect("40 120");
    assert_eq!(session.end(), Some(7));
    let after = tcgetattr(&session.slave).unwrap();
    assert_eq!((after.local_flags, after.input_flags), (before.local_flags, before.input_flags));
    assert_eq!((after.output_flags, after.control_flags), (before.output_flags, before.control_flags));
}

#[test]
fn no_byte_of_the_output_is_lost() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("tail");
    let mut session = OnTerminal::start(attempt(&scratch, "seq 1 50000; exit 4"), 24, 80);
    assert_eq!(session.end(), Some(4));
    let expected: String = (1..=50_000).map(|number| format!("{number}\r\n")).collect();
    let text = String::from_utf8(session.seen).unwrap();
    assert!(
        text == expected,
        "{} bytes, not {}; the end is {:?}",
        text.len(),
        expected.len(),
        text.get(text.len() - 20..)
    );
}

#[test]
fn the_end_of_input_reaches_a_terminal_and_a_closed_output_does_not_block_it() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("eof");
    let run = |script: &str, input: &str| {
        let bundle = scratch.bundle(script, true);
        let mut child = scratch
            .orlop()
            .args(["run", "eof", "-b"])
            .arg(bundle)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child
    };
    // With and without a line break at the end.
    for input in ["one\n", "one"] {
        let output = run("cat >/dev/null; echo end", input).wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stdout.ends_with(b"end\n"),
            "{:?}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let mut child = run("sleep 0.3; seq 1 100000; exit 5", "");
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(scratch.containers(), "");
}

#[test]
fn keep_keeps_the_ended_container() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("keep");
    let bundle = scratch.bundle("exit 6", false);
    let status = scratch.orlop().args(["run", "--keep", "kept", "-b"]).arg(&bundle).status().unwrap();
    assert_eq!(status.code(), Some(6));
    assert_eq!(scratch.containers(), "kept\n");
    let state = scratch.orlop().args(["state", "kept"]).output().unwrap();
    assert!(String::from_utf8(state.stdout).unwrap().contains("\"status\": \"stopped\""));
    assert!(scratch.orlop().args(["delete", "kept"]).status().unwrap().success());
}

/// Not a test: what runs inside the container of the next one.
#[test]
#[ignore = "a helper that the test below runs in a container"]
fn inside_notify() {
    if let Ok(path) = std::env::var("NOTIFY_SOCKET") {
        let socket = UnixDatagram::unbound().unwrap();
        for message in ["STATUS=coming up\nMAINPID=7\n", "READY=1\n"] {
            socket.send_to(message.as_bytes(), &path).unwrap();
        }
    }
}

#[test]
fn readiness_reaches_the_service_manager() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("notify");
    let host = scratch.0.join("manager");
    let manager = UnixDatagram::bind(&host).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let received = || {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let helper = std::env::current_exe().unwrap();
    let script = format!("{} --quiet --exact inside_notify --ignored >/dev/null; sleep 0.2", helper.display());
    let bundle = scratch.bundle(&script, false);
    let orlop = || {
        let mut command = scratch.orlop();
        command.env("NOTIFY_SOCKET", &host);
        command
    };
    // In the foreground orlop stays, so it is the main process; detached, the container's init is.
    let mut child = orlop().args(["run", "fg", "-b"]).arg(&bundle).spawn().unwrap();
    assert_eq!(received(), "STATUS=coming up\n");
    assert_eq!(received(), format!("READY=1\nMAINPID={}\n", child.id()));
    assert!(child.wait().unwrap().success());

    assert!(orlop().args(["create", "bg", "-b"]).arg(&bundle).stdout(Stdio::null()).status().unwrap().success());
    let state = orlop().args(["state", "bg"]).output().unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state.stdout).unwrap();
    let mut start = orlop().args(["start", "bg"]).spawn().unwrap();
    assert_eq!(received(), "STATUS=coming up\n");
    assert_eq!(received(), format!("READY=1\nMAINPID={}\n", state["pid"]));
    assert_eq!(received(), "BARRIER=1");
    // Received without room for its descriptor, which the kernel has therefore closed: that is the answer.
    assert!(start.wait().unwrap().success());
}

#[test]
fn sockets_of_the_service_manager_are_handed_on() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("listen");
    let file = scratch.0.join("file");
    fs::write(&file, "handed on\n").unwrap();
    let root = scratch.0.join("state");
    let line = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {} --root {} try sh -c 'cat <&3; echo $LISTEN_FDS $LISTEN_PID' 3<{}",
        env!("CARGO_BIN_EXE_orlop"),
        root.display(),
        file.display()
    );
    let output = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "handed on\n1 1\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn try_leaves_the_machine_s_files_alone() {
    if !able() {
        return;
    }
    let scratch = Scratch::new("try");
    let marker = format!("/etc/orlop-test-{}", std::process::id());
    let script = if nix::unistd::geteuid().is_root() {
        format!(
            "echo x >{marker} && cat {marker} && test -e /usr/bin && ! mount -t tmpfs x /mnt 2>/dev/null && echo done"
        )
    } else {
        "echo x >/usr/x && cat /usr/x && test -e /usr/bin && ! mount -t tmpfs x /mnt 2>/dev/null && echo done"
            .to_owned()
    };
    let output = attempt(&scratch, &script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x\ndone\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::symlink_metadata(&marker).is_err() && fs::symlink_metadata("/usr/x").is_err());
    assert_eq!(scratch.containers(), "");
}
