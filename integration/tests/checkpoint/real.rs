//! CRIU itself, where there is one that works on this kernel.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use orlop_integration::console::Receiver;
use orlop_integration::{Cmd, Container, Output, Sandbox, case};
use serde_json::json;

/// Skips unless CRIU says that it works on this kernel: an old one may know nothing of what the kernel maps into each process.
fn need_criu(t: &Sandbox) {
    let there = std::env::var("PATH").unwrap_or_default().split(':').any(|dir| Path::new(dir).join("criu").exists());
    t.need_promised("criu", there, "criu is not installed");
    let version = t.program("criu", &["--version"]).run().stdout.lines().next().unwrap_or_default().to_owned();
    let check = t.program("criu", &["check"]).deadline(60).run();
    let errors = check.stderr.trim().replace('\n', "; ");
    t.need_promised("criu", check.code == 0, &format!("criu ({version}) does not work on this kernel: {errors}"));
}

/// A container whose command counts, ten times a second, in what the link /tmp/count says and on its standard output. A file that it had
/// open while it is saved would have to be there for a copy beside it.
fn counter<'t>(t: &'t Sandbox, name: &str) -> Container<'t> {
    let c = t.container(name);
    c.set("/root/readonly", json!(false));
    c.sh("i=0; while :; do i=$((i+1)); echo $i; ln -sfn $i /tmp/next; mv /tmp/next /tmp/count; usleep 100000; done");
    c
}

fn count(c: &Container<'_>) -> u32 {
    fs::read_link(c.rootfs().join("tmp/count")).ok().and_then(|link| link.to_str()?.parse().ok()).unwrap_or(0)
}

/// Standard output and error as pipes: CRIU cannot save a file that is outside.
fn piped(cmd: Cmd) -> (Cmd, OwnedFd) {
    let (read, write) = nix::unistd::pipe().unwrap();
    (cmd.fd(write.try_clone().unwrap(), 1).fd(write, 2).deadline(120), read)
}

#[track_caller]
fn start(c: &Container<'_>) -> OwnedFd {
    let (cmd, read) = piped(c.run_cmd(&["--detach"]));
    cmd.run().ok();
    read
}

fn save(c: &Container<'_>, images: &str, flags: &[&str]) -> Output {
    let dir = c.sandbox.dir.join(images).display().to_string();
    let all: Vec<&str> = ["--image-path", &dir].iter().chain(flags).copied().collect();
    c.simple_cmd("checkpoint", &all, &[]).deadline(120).run()
}

fn restore_cmd(c: &Container<'_>, images: &str, flags: &[&str]) -> Cmd {
    c.write();
    let (bundle, dir) = (c.bundle.display().to_string(), c.sandbox.dir.join(images).display().to_string());
    let all: Vec<&str> = ["--image-path", &dir, "--bundle", &bundle].iter().chain(flags).copied().collect();
    c.simple_cmd("restore", &all, &[])
}

#[track_caller]
fn restore(c: &Container<'_>, images: &str, flags: &[&str]) -> OwnedFd {
    let (cmd, read) = piped(restore_cmd(c, images, &[&["--detach"], flags].concat()));
    let output = cmd.run();
    assert_eq!(output.code, 0, "{:?}\n{}", output.log, restore_log(c, images));
    read
}

fn restore_log(c: &Container<'_>, images: &str) -> String {
    fs::read_to_string(c.sandbox.dir.join(images).join("restore.log")).unwrap_or_default()
}

#[track_caller]
fn wait_for_more(c: &Container<'_>, than: u32) {
    c.sandbox.wait_until(&format!("a count above {than}, which is {}", count(c)), || count(c) > than);
}

#[case(seconds(240))]
fn a_counter_goes_on_where_it_was(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let _output = start(&c);
    wait_for_more(&c, 5);
    let pid = c.pid();
    save(&c, "images", &[]).ok();
    t.wait_gone(pid);
    c.simple("state", &[], &[]).fails();
    let saved = count(&c);
    assert!(saved > 5);
    fs::remove_file(c.rootfs().join("tmp/count")).unwrap();
    let file = t.dir.join("pid");
    let _further = restore(&c, "images", &["--pid-file", &file.display().to_string()]);
    wait_for_more(&c, saved);
    assert!(count(&c) < saved + 200, "it went on from {saved}");
    assert_eq!((c.status().as_str(), c.pid().to_string()), ("running", fs::read_to_string(file).unwrap()));
    // What was restored can be saved again.
    save(&c, "again", &[]).ok();
    let saved = count(&c);
    let _again = restore(&c, "again", &[]);
    wait_for_more(&c, saved);
    c.end();
}

#[case(not_runc("--manage-cgroups-mode ignore since 1.2"), seconds(240))]
fn one_that_is_left_running_can_be_restored_beside_itself(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let _output = start(&c);
    wait_for_more(&c, 3);
    save(&c, "images", &["--leave-running", "--manage-cgroups-mode", "ignore"]).ok();
    let then = count(&c);
    wait_for_more(&c, then);
    let other = counter(t, "other");
    let _further = restore(&other, "images", &["--manage-cgroups-mode", "ignore"]);
    wait_for_more(&other, 3);
    assert_ne!(c.pid(), other.pid());
    c.end();
    other.end();
}

#[case(seconds(240))]
fn a_second_dump_rests_on_the_first(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let _output = start(&c);
    wait_for_more(&c, 3);
    let pre = save(&c, "pre", &["--pre-dump"]);
    let lacking = ["cannot tell which memory has changed", "CRIU is missing features"];
    if lacking.iter().any(|words| pre.stderr.contains(words)) {
        t.skip("this kernel cannot tell which memory has changed");
    }
    pre.ok();
    assert_eq!(c.status(), "running");
    let then = count(&c);
    wait_for_more(&c, then);
    save(&c, "images", &["--parent-path", "../pre"]).ok();
    assert_eq!(fs::read_link(t.dir.join("images/parent")).unwrap(), Path::new("../pre"));
    let saved = count(&c);
    let _further = restore(&c, "images", &[]);
    wait_for_more(&c, saved);
    c.end();
}

#[case(extension, seconds(240))]
fn a_tcp_connection_goes_on(t: &Sandbox) {
    need_criu(t);
    let c = t.container("a");
    c.set("/root/readonly", json!(false)).args(&["/probe", "converse", "/tmp/got"]);
    let got = c.rootfs().join("tmp/got");
    let lines = || fs::read_to_string(&got).unwrap_or_default().lines().count();
    let _output = start(&c);
    t.wait_until("a connection", || lines() > 3);
    save(&c, "images", &[]).fails().says("onnected TCP socket").says("use --tcp-established");
    assert_eq!(c.status(), "running");
    let then = lines();
    t.wait_until("more over the connection", || lines() > then + 3);
    let lock: &[&str] = if works(t, "nft") { &["--network-lock", "nftables"] } else { &["--network-lock", "skip"] };
    save(&c, "images", &[&["--tcp-established"], lock].concat()).ok();
    let then = lines();
    let _further = restore(&c, "images", &[&["--tcp-established"], lock].concat());
    t.wait_until("more over the connection", || lines() > then + 3);
    let text = fs::read_to_string(&got).unwrap();
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, (number + 1).to_string(), "nothing was lost");
    }
    c.end();
}

/// Whether tables can be made in this kernel.
fn works(t: &Sandbox, tool: &str) -> bool {
    let there = std::env::var("PATH").unwrap_or_default().split(':').any(|dir| Path::new(dir).join(tool).exists());
    there && t.program(tool, &["list", "tables"]).run().code == 0
}

#[case(seconds(240))]
fn mounts_from_outside_are_there_again(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let (data, file) = (t.dir.join("data"), t.dir.join("file"));
    fs::create_dir(&data).unwrap();
    fs::write(&file, "from outside").unwrap();
    c.mount("bind", &data.display().to_string(), "/data", &["rbind", "rprivate"]);
    c.mount("bind", &file.display().to_string(), "/data/file", &["bind", "ro", "rprivate"]);
    c.mount("tmpfs", "tmpfs", "/scratch", &["nosuid", "size=1m"]);
    c.mount("bind", &file.display().to_string(), "/scratch/file", &["bind", "rprivate"]);
    let _output = start(&c);
    wait_for_more(&c, 3);
    c.exec(&[], &["sh", "-c", "echo kept > /scratch/own; echo shared > /data/own"]).ok();
    save(&c, "images", &[]).ok();
    // A fresh root has not what the mounts go on.
    fs::remove_dir(c.rootfs().join("data")).unwrap();
    let saved = count(&c);
    let _further = restore(&c, "images", &[]);
    wait_for_more(&c, saved);
    let shown = c.exec(&[], &["sh", "-c", "cat /data/file /scratch/file /scratch/own /data/own; echo x > /data/file"]);
    assert_eq!(shown.stdout, "from outsidefrom outsidekept\nshared\n");
    assert!(shown.stderr.contains("Read-only"), "{}", shown.stderr);
    c.end();
}

/// As on hosts whose init makes all mounts shared: the container's root is a slave of the host's mount, and so it has to be again.
#[case(seconds(240))]
fn a_root_on_a_shared_mount_is_there_again(t: &Sandbox) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    need_criu(t);
    let c = counter(t, "a");
    let none = None::<&str>;
    mount(Some(&c.bundle), &c.bundle, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &c.bundle, none, MsFlags::MS_SHARED, none).unwrap();
    let data = c.bundle.join("data");
    fs::create_dir(&data).unwrap();
    c.mount("bind", &data.display().to_string(), "/mnt", &["rbind"]);
    let _output = start(&c);
    wait_for_more(&c, 3);
    save(&c, "images", &[]).ok();
    let saved = count(&c);
    let _further = restore(&c, "images", &[]);
    wait_for_more(&c, saved);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.contains(" master:"), "{root}");
    c.end();
    umount2(&c.bundle, MntFlags::MNT_DETACH).unwrap();
}

#[case(seconds(240))]
fn a_joined_network_namespace_is_joined_again(t: &Sandbox) {
    need_criu(t);
    let first = t.container("first");
    let pid = first.run_paused();
    let path = format!("/proc/{pid}/ns/net");
    let c = counter(t, "a");
    c.join("network", &path);
    let _output = start(&c);
    wait_for_more(&c, 3);
    save(&c, "images", &[]).ok();
    let saved = count(&c);
    let _further = restore(&c, "images", &[]);
    wait_for_more(&c, saved);
    assert_eq!(fs::read_link(format!("/proc/{}/ns/net", c.pid())).unwrap(), fs::read_link(&path).unwrap());
    c.end();
    first.end();
}

#[case(seconds(240))]
fn a_terminal_goes_on(t: &Sandbox) {
    need_criu(t);
    let c = t.container("a");
    c.set("/process/terminal", json!(true)).sh("while read x; do echo got $x; done");
    let socket = Receiver::new(&t.dir.join("console"));
    let path = socket.path.display().to_string();
    let run = c.run_cmd(&["--detach", "--console-socket", &path]).spawn();
    let mut terminal = socket.terminal();
    let _ = run.wait().ok();
    terminal.type_in("one\n");
    terminal.expect("got one");
    save(&c, "images", &[]).ok();
    drop(terminal);
    let socket = Receiver::new(&t.dir.join("console-again"));
    let path = socket.path.display().to_string();
    let restore = restore_cmd(&c, "images", &["--detach", "--console-socket", &path]).deadline(120).spawn();
    let mut terminal = socket.terminal();
    let _ = restore.wait().ok();
    terminal.type_in("two\n");
    terminal.expect("got two");
    c.end();
}

#[case(seconds(240))]
fn pipes_lead_to_the_new_caller(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let output = start(&c);
    wait_for_more(&c, 3);
    save(&c, "images", &[]).ok();
    let mut before = String::new();
    fs::File::from(output).read_to_string(&mut before).unwrap();
    let last: u32 = before.lines().last().unwrap().parse().unwrap();
    let output = restore(&c, "images", &[]);
    wait_for_more(&c, last + 3);
    c.end();
    let mut after = String::new();
    fs::File::from(output).read_to_string(&mut after).unwrap();
    let numbers: Vec<u32> = after.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers[0], last + 1, "not a line is lost: {numbers:?}");
    assert!(numbers.len() >= 3);
}

#[case(seconds(240))]
fn in_the_foreground_it_ends_as_its_process_does(t: &Sandbox) {
    need_criu(t);
    let c = t.container("a");
    c.set("/root/readonly", json!(false)).sh("while ! test -e /tmp/end; do usleep 100000; done; exit 7");
    let _output = start(&c);
    save(&c, "images", &[]).ok();
    let (cmd, _read) = piped(restore_cmd(&c, "images", &[]));
    let running = cmd.spawn();
    t.wait_until("a running container", || c.simple("state", &[], &[]).stdout.contains("running"));
    fs::write(c.rootfs().join("tmp/end"), "").unwrap();
    let _ = running.wait().code(7);
    c.simple("state", &[], &[]).fails();
}

#[case(not_runc("its exec stays out of the time namespace"), seconds(240))]
fn exec_and_limits_are_as_before(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    c.set("/hostname", json!("saved"));
    t.need(t.controller("pids", "").is_some(), "no pids controller");
    c.set("/linux/resources/pids", json!({ "limit": 23 }));
    let _output = start(&c);
    wait_for_more(&c, 2);
    let before = c.exec(&[], &["sh", "-c", "hostname; cat /proc/self/cgroup; ls /proc/self/ns"]).ok();
    save(&c, "images", &[]).ok();
    let _further = restore(&c, "images", &[]);
    let after = c.exec(&[], &["sh", "-c", "hostname; cat /proc/self/cgroup; ls /proc/self/ns"]).ok();
    assert_eq!(after.stdout, before.stdout);
    let limit = t.controller("pids", &c.id).unwrap().join("pids.max");
    assert_eq!(fs::read_to_string(limit).unwrap().trim(), "23");
    let (own, its) = ("time:[", c.exec(&[], &["readlink", "/proc/self/ns/time"]).ok().stdout);
    let init = c.exec(&[], &["readlink", "/proc/1/ns/time"]).ok().stdout;
    assert!(its.starts_with(own) && its == init, "exec is in the time namespace of the restored: {its} {init}");
    c.end();
}

#[case(extension, seconds(240))]
fn a_root_that_is_not_the_old_one_is_an_error(t: &Sandbox) {
    need_criu(t);
    let c = counter(t, "a");
    let _output = start(&c);
    wait_for_more(&c, 2);
    save(&c, "images", &[]).ok();
    fs::remove_file(c.rootfs().join("bin/busybox")).unwrap();
    let failed = restore_cmd(&c, "images", &["--detach"]).deadline(120).run();
    let failed = failed.code(1).says("restore failed").says("busybox").says("restore.log");
    assert!(failed.logged_error().unwrap().contains("busybox"));
}

#[case(extension, seconds(240))]
fn systemd_makes_the_scope_again(t: &Sandbox) {
    need_criu(t);
    t.need_promised("systemd", Path::new("/run/systemd/system").is_dir(), "systemd is not the init");
    let c = counter(t, "a");
    c.set("/linux/cgroupsPath", json!(format!("system.slice:orlop:{}", c.id))).write();
    let (bundle, images) = (c.bundle.display().to_string(), t.dir.join("images").display().to_string());
    let (run, _output) = piped(t.cmd(&["--systemd-cgroup", "run", "--detach", "--bundle", &bundle, &c.id]));
    run.run().ok();
    wait_for_more(&c, 3);
    let scope = || fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let before = scope();
    assert!(before.contains(".scope"), "{before}");
    save(&c, "images", &[]).ok();
    let saved = count(&c);
    let words = ["--systemd-cgroup", "restore", "--detach", "--image-path", &images, "--bundle", &bundle, &c.id];
    let (restore, _further) = piped(t.cmd(&words));
    restore.run().ok();
    wait_for_more(&c, saved);
    assert_eq!(scope(), before);
    c.end();
}

#[case(extension, seconds(240))]
fn a_user_namespace_is_made_again(t: &Sandbox) {
    need_criu(t);
    t.need(t.has_user_namespaces(), "no user namespaces");
    let c = counter(t, "a");
    c.map_users(100_000, 65536);
    let _output = start(&c);
    wait_for_more(&c, 3);
    save(&c, "images", &[]).ok();
    let saved = count(&c);
    let _further = restore(&c, "images", &[]);
    wait_for_more(&c, saved);
    let map = fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let images = fs::metadata(t.dir.join("images")).unwrap();
    assert_eq!((images.permissions().mode() & 0o777, images.gid()), (0o700, 0), "nobody else may look into the images");
    c.end();
}
