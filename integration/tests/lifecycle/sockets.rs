//! Terminals, console sockets, and descriptors and sockets that are passed in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use orlop_integration::console::{Receiver, Terminal};
use orlop_integration::{Flavor, Sandbox, case, process};
use serde_json::json;

/// The host's /dev/null would be a file of a mount that the container cannot see.
#[case(not_crun("leaves the host's"))]
fn null_streams_are_the_containers_own(t: &Sandbox) {
    let c = t.container("a");
    let script = "id=$(sed -n 's/^mnt_id:[^0-9]*//p' /proc/self/fdinfo/0); \
                  echo $(readlink /proc/self/fd/0) $(grep -c \"^$id \" /proc/self/mountinfo) > /tmp/all; mv /tmp/all /tmp/said";
    c.set("/root/readonly", json!(false)).sh(script);
    c.run_detached().ok();
    let said = c.rootfs().join("tmp/said");
    t.wait_until("a word", || said.is_file());
    assert_eq!(fs::read_to_string(said).unwrap(), "/dev/null 1\n");
    c.delete_force().ok();
}

#[case]
fn create_sends_the_terminal(t: &Sandbox) {
    let c = t.container("a");
    let socket = Receiver::new(&t.dir.join("console"));
    c.set("/process/terminal", json!(true)).sh("tty; read x; echo got $x; read y");
    let path = socket.path.display().to_string();
    let create = c.create_cmd(&["--console-socket", &path]).spawn();
    let mut terminal = socket.terminal();
    let _ = create.wait().ok();
    c.start().ok();
    terminal.expect("/dev/pts/0");
    terminal.type_in("hello\n");
    terminal.expect("got hello");
    c.delete_force().ok();
}

#[case]
fn exec_sends_the_terminal(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let socket = Receiver::new(&t.dir.join("console"));
    let path = socket.path.display().to_string();
    let exec = c
        .simple_cmd(
            "exec",
            &["--tty", "--detach", "--console-socket", &path],
            &["sh", "-c", "tty; read x; echo got $x"],
        )
        .spawn();
    let mut terminal = socket.terminal();
    let _ = exec.wait().ok();
    terminal.expect("/dev/pts/0");
    terminal.type_in("hello\n");
    terminal.expect("got hello");
    c.end();
}

#[case]
fn console_size_is_set(t: &Sandbox) {
    let c = t.container("a");
    let socket = Receiver::new(&t.dir.join("console"));
    c.set("/process/terminal", json!(true)).set("/process/consoleSize", json!({"height": 31, "width": 97}));
    c.sh("stty size; read x");
    let create = c.create_cmd(&["--console-socket", &socket.path.display().to_string()]).spawn();
    let mut terminal = socket.terminal();
    let _ = create.wait().ok();
    c.start().ok();
    terminal.expect("31 97");
    c.delete_force().ok();
}

#[case(not_crun("ignores it"))]
fn console_socket_without_terminal_is_refused(t: &Sandbox) {
    let c = t.container("a");
    let socket = Receiver::new(&t.dir.join("console"));
    c.create_cmd(&["--console-socket", &socket.path.display().to_string()]).run().code(1);
}

#[case(not_crun("lets it be"))]
fn terminal_without_console_socket_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true)).create().code(1);
    c.run_detached().code(1);
}

#[case]
fn detached_exec_with_terminal_needs_a_console_socket(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    c.exec(&["--tty", "--detach"], &["true"]).fails();
    c.end();
}

#[case]
fn a_console_socket_that_is_not_there_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true));
    c.create_cmd(&["--console-socket", "/no/such/socket"]).run().code(1);
}

/// What a script does before it looks at the size of its terminal: runc sets that only when the command runs already. Without one, busybox's
/// stty prints nothing and succeeds.
fn until_sized(t: &Sandbox) -> &'static str {
    if t.is(Flavor::Runc) { "until [ -n \"$(stty size 2>/dev/null)\" ]; do sleep 0.01; done;" } else { "" }
}

#[case(not_crun("sets no size in run"))]
fn run_works_on_the_callers_terminal(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true))
        .sh(&format!("{} tty; stty size; read x; echo got $x; exit 12", until_sized(t)));
    let (mut master, other) = Terminal::open(40, 100);
    let run = c.run_cmd(&[]).terminal(&other).spawn();
    drop(other);
    let shown = master.expect("40 100");
    assert!(shown.contains("/dev/pts/0"), "{shown:?}");
    master.type_in("typed\n");
    let shown = master.expect("got typed");
    assert_eq!(shown.matches("typed").count(), 2, "echoed once by the inner terminal only: {shown:?}");
    let _ = run.wait().code(12);
}

#[case(not_crun("sets no size in run"))]
fn run_follows_the_callers_size(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true));
    c.sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done");
    let (mut master, other) = Terminal::open(24, 80);
    let run = c.run_cmd(&[]).terminal(&other).spawn();
    master.expect("ready");
    master.resize(50, 132);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.pid()), nix::sys::signal::Signal::SIGWINCH).unwrap();
    master.expect("50 132");
    c.kill("KILL").ok();
    drop(other);
    let _ = run.wait().code(137);
}

#[case]
fn exec_works_on_the_callers_terminal(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let (mut master, other) = Terminal::open(33, 44);
    let script = format!("{} stty size; read x; exit 13", until_sized(t));
    let run = c.simple_cmd("exec", &["-t"], &["sh", "-c", &script]).terminal(&other).spawn();
    drop(other);
    master.expect("33 44");
    master.type_in("\n");
    let _ = run.wait().code(13);
    c.end();
}

#[case]
fn console_device_is_the_terminal(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true)).sh("echo through the console > /dev/console; ls -l /dev/console; exit 0");
    let (mut master, other) = Terminal::open(24, 80);
    let run = c.run_cmd(&[]).terminal(&other).spawn();
    drop(other);
    let shown = master.rest();
    assert!(shown.contains("through the console") && shown.contains("136,"), "{shown:?}");
    let _ = run.wait().ok();
}

#[case(needs(Ids))]
fn terminal_belongs_to_the_user(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/terminal", json!(true)).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    c.sh("stat -c 'owner %u' $(tty); echo x > $(tty) && echo writable");
    let (mut master, other) = Terminal::open(24, 80);
    let run = c.run_cmd(&[]).terminal(&other).spawn();
    drop(other);
    let shown = master.rest();
    assert!(shown.contains("owner 1000") && shown.contains("writable"), "{shown:?}");
    let _ = run.wait().ok();
}

#[case]
fn preserve_fds_passes_them(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo three >&3; echo four >&4; ls /proc/self/fd | wc -l");
    let mut command = c.run_cmd(&["--preserve-fds", "2"]);
    for fd in [3, 4] {
        command = command.fd(fs::File::create(t.dir.join(format!("fd{fd}"))).unwrap().into(), fd);
    }
    // Five, and the one by which ls reads the directory.
    assert_eq!(command.run().ok().stdout.trim(), "6");
    assert_eq!(fs::read_to_string(t.dir.join("fd3")).unwrap(), "three\n");
    assert_eq!(fs::read_to_string(t.dir.join("fd4")).unwrap(), "four\n");
}

#[case(not_runc("passes its own in their place"), not_crun("passes its own in their place"))]
fn preserve_fds_of_a_closed_descriptor(t: &Sandbox) {
    let c = t.container("a");
    // Refused, or passed as far as open: but never something of the runtime's own in its place.
    c.args(&["/probe", "facts"]);
    let out = c.run_cmd(&["--preserve-fds", "5"]).run();
    if out.code == 0 {
        let facts = out.json();
        let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"]);
    }
}

#[case]
fn unnamed_descriptors_are_not_passed(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "facts"]);
    let mut command = c.run_cmd(&[]);
    for fd in 3..30 {
        command = command.fd(fs::File::open("/").unwrap().into(), fd);
    }
    let facts = command.run().ok().json();
    let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
    assert_eq!(fds, ["0", "1", "2"]);
}

#[case(needs(Containers), not_crun("passes no LISTEN_FDS variable here"))]
fn listen_fds_are_passed(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo $LISTEN_FDS pid $LISTEN_PID; echo through >&3");
    // LISTEN_PID has to be the runtime's own pid, which only a shell that becomes the runtime can know.
    c.write();
    let file = t.dir.join("listened");
    let command = format!(
        "export LISTEN_PID=$$ LISTEN_FDS=1; exec {} --root {} run --bundle {} {} 3>{}",
        t.subject.path.display(),
        t.root.display(),
        c.bundle.display(),
        c.id,
        file.display()
    );
    let out = t.program("/bin/sh", &["-c", &command]).run().ok();
    assert_eq!(out.stdout, "1 pid 1\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "through\n");
}

#[case(not_crun("not checked"))]
fn notify_socket_is_relayed_in_foreground(t: &Sandbox) {
    let c = t.container("a");
    let path = t.dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    // The probe cannot know the path in the container: it takes NOTIFY_SOCKET like any service.
    c.args(&["/probe", "notify", "READY=1"]).edit(|spec| {
        spec["mounts"].as_array_mut().unwrap().push(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}));
    });
    let run = c.run_cmd(&["--detach"]).env("NOTIFY_SOCKET", &path).spawn();
    let mut seen = String::new();
    while !seen.contains("READY=1") || !seen.contains("MAINPID=") {
        let mut buffer = [0_u8; 512];
        let length = socket.recv(&mut buffer).expect("READY=1 and MAINPID= come");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        seen.push('\n');
    }
    let _ = run.wait().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    c.delete().ok();
}

#[case(not_runc("since runc 1.3"), not_crun("no such flag"))]
fn pidfd_socket_of_create(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]);
    let socket = Receiver::new(&t.dir.join("pidfd"));
    let create = c.create_cmd(&["--pidfd-socket", &socket.path.display().to_string()]).spawn();
    let (pidfd, _) = socket.receive();
    let _ = create.wait().ok();
    assert_eq!(pid_of(&pidfd), c.pid());
    c.start().ok();
    c.end();
}

#[case(not_runc("since runc 1.3"), not_crun("no such flag"))]
fn pidfd_socket_of_exec(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let socket = Receiver::new(&t.dir.join("pidfd"));
    let file = t.dir.join("pid");
    let flags =
        ["--detach", "--pid-file", &file.display().to_string(), "--pidfd-socket", &socket.path.display().to_string()];
    let exec = c.simple_cmd("exec", &flags, &["/probe", "pause"]).spawn();
    let (pidfd, _) = socket.receive();
    let _ = exec.wait().ok();
    let pid: i32 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_eq!(pid_of(&pidfd), pid);
    assert!(process::is_alive(pid));
    c.end();
}

fn pid_of(pidfd: &std::os::fd::OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
    line.trim().parse().unwrap()
}
