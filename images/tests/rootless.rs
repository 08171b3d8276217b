//! Containers of an ordinary user, with a range of ids and pasta: in namespaces of the test's own, with an /etc/passwd and an
//! /etc/subuid that know the user.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::BufRead;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::layout::Layout;
use support::world::{World, answers, get, http, in_namespaces, kill, own, supervisor, until};
use support::{Archive, MTIME};

/// A user with a range of ids, and one without.
const USER: u32 = 61_790;
const POOR: u32 = 61_791;
/// What pasta needs.
const TUN: &str = "/dev/net/tun";

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// A network that leads nowhere, with a default route, as pasta wants one; and users whom the host knows.
fn host(world: &World) {
    ip("link add up0 type veth peer name up1");
    ip("link set up1 up");
    ip("addr add 192.0.2.2/24 dev up0");
    ip("link set up0 up");
    ip("route add default via 192.0.2.1");
    ip("addr add 2001:db8::2/64 dev up0 nodad");
    ip("-6 route add default via 2001:db8::1");
    // For everybody, as on every host with udev.
    let tun = world.path().join("tun");
    let made = Command::new("mknod").args(["-m", "666"]).arg(&tun).args(["c", "10", "200"]).status().unwrap();
    assert!(made.success() && Command::new("mount").arg("--bind").arg(&tun).arg(TUN).status().unwrap().success());
    let add = |name: &str, line: String| {
        let text = std::fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
        let path = world.path().join(name);
        std::fs::write(&path, text + &line).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let bound = Command::new("mount").arg("--bind").arg(&path).arg(format!("/etc/{name}")).status().unwrap();
        assert!(bound.success(), "/etc/{name}");
    };
    add("passwd", format!("orlop-test:x:{USER}:{USER}::/:/bin/sh\norlop-poor:x:{POOR}:{POOR}::/:/bin/sh\n"));
    for name in ["subuid", "subgid"] {
        add(name, format!("orlop-test:300000:65536\n{USER}:400000:1000\n"));
    }
}

fn unbind() {
    for path in ["/etc/passwd", "/etc/subuid", "/etc/subgid", TUN] {
        assert!(Command::new("umount").arg(path).status().unwrap().success(), "{path}");
    }
}

/// Gives a tree to a user.
fn give(path: &Path, user: u32) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path(), user);
        } else {
            chown(entry.path(), Some(user), Some(user)).unwrap();
        }
    }
    chown(path, Some(user), Some(user)).unwrap();
}

/// An image with files of several owners.
fn image(world: &World, name: &str, owner: u32) {
    let mut layer = Archive::new();
    layer.directory("srv").with(|entry| (entry.uid, entry.gid, entry.mode) = (owner, owner, 0o700));
    layer.file("srv/own", b"own").with(|entry| (entry.uid, entry.gid, entry.mode) = (owner, owner, 0o600));
    layer.file("bin/web", b"").with(|entry| entry.mtime.seconds = MTIME);
    layer.file("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n");
    let config = json!({
        "Cmd": ["/bin/httpd", "-f", "-p", "[::]:80", "-h", "/www"], "StopSignal": "SIGKILL", "Env": ["PATH=/bin"],
    });
    Layout::add(&world.path().join("state/images"), name, &[world.base.clone(), layer.bytes()], &config);
}

/// Whether the test can be, and a world for the user.
fn prepared(test: &str, user: u32, world: &mut World) -> bool {
    for program in ["pasta", "newuidmap", "setpriv"] {
        if !Path::new("/usr/bin").join(program).is_file() {
            eprintln!("SKIP {test}: {program} is not installed");
            return false;
        }
    }
    host(world);
    image(world, "owners", 33);
    image(world, "far", 70_000);
    world.become_user(user);
    give(&world.path().join("state"), user);
    true
}

/// The supervisors and helpers of a state directory.
fn processes(world: &World) -> Vec<String> {
    let place = world.path().to_str().unwrap();
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("cmdline")).ok();
    names.filter_map(line).filter(|line| line.contains(place)).collect()
}

/// Those of the network's helper.
fn helpers() -> usize {
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("cmdline")).ok();
    names.filter_map(line).filter(|line| line.contains("pasta") && line.contains(&own("web@"))).count()
}

#[test]
fn a_web_server_of_an_ordinary_user() {
    in_namespaces("a_web_server_of_an_ordinary_user", |world| {
        if !prepared("a_web_server_of_an_ordinary_user", USER, world) {
            return;
        }
        let run = ["run", "-q", "-d", "--name", "web@", "-p", "8080:80", "-v", "kept:/data", "-u", "web", "owners"];
        assert_eq!(world.ok(&run), own("web@\n"));
        answers("127.0.0.1:8080");
        answers("[::1]:8080");
        answers("192.0.2.2:8080");
        answers("[2001:db8::2]:8080");
        let seen = world.ps("web@");
        assert_eq!((&seen["status"], &seen["supervised"]), (&json!("running"), &json!(true)));
        assert_eq!(seen["ports"], json!(["8080->80/tcp"]));
        // Another has its network, and finds it by its name.
        let words =
            ["run", "-q", "--rm", "--network", "container:web@", "latest", "busybox", "wget", "-qO-", "http://web@"];
        assert_eq!(world.ok(&words), "hello from orlop\n");
        // Its user is one of the range, and its root one without rights on the host.
        let status = std::fs::read_to_string(format!("/proc/{}/status", seen["pid"])).unwrap();
        assert!(status.contains("Uid:\t300032\t300032\t300032\t300032"), "{status}");
        let (code, error) = world.fails(&["run", "-q", "-d", "-p", "8080:80", "latest"]);
        assert!(code == 125 && error.contains("a program of this host has it"), "{error}");
        assert_eq!(helpers(), 1);
        assert_eq!(world.ok(&["stop", "web@"]), own("web@\n"));
        assert_eq!(world.ps("web@")["exit_code"], 137);
        assert!(http("127.0.0.1:8080").is_none());
        assert_eq!(helpers(), 0);
        world.ok(&["rm", "web@"]);
        // What was written stays in the volume, with its owner.
        let sh = |words: &[&str], script: &str| {
            let line = [&["run", "-q", "--rm"], words, &["owners", "sh", "-c", script]].concat();
            world.ok(&line)
        };
        sh(&["-v", "kept:/data"], "echo kept > /data/file; busybox chown 33:33 /data/file");
        assert_eq!(
            sh(&["-v", "kept:/data", "--network", "none"], "cat /data/file; busybox stat -c %u /data/file"),
            "kept\n33\n"
        );
        let volume = world.path().join("state/volumes/kept/file");
        assert_eq!(volume.metadata().unwrap().uid(), 300_032);
        assert_eq!(sh(&["--network", "none"], "busybox stat -c '%u %a' /srv/own; cat /srv/own"), "33 600\nown");
        assert_eq!(sh(&["--network", "none"], "busybox ls /sys/class/net"), "lo\n");
        assert!(sh(&["--network", "host"], "busybox ip -o link").contains("up0"));
        unbind();
        assert_eq!(processes(world), Vec::<String>::new());
    });
}

#[test]
fn a_web_application_and_its_database_of_an_ordinary_user() {
    in_namespaces("a_web_application_and_its_database_of_an_ordinary_user", |world| {
        const TEST: &str = "a_web_application_and_its_database_of_an_ordinary_user";
        if !world.application() {
            eprintln!("SKIP {TEST}: redis-tools is not installed");
            return;
        }
        if !prepared(TEST, USER, world) {
            return;
        }
        let database = ["run", "-q", "-d", "--name", "db@", "-p", "8080:80", "-v", "visits:/data", "database"];
        world.ok(&database);
        let mut followed = world.command(&["logs", "-f", "db@"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(followed.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("Ready to accept connections")));
        // The web server has the database's network: its name, and its published port.
        let variable = own("DATABASE=db@");
        let network = own("container:db@");
        let web = ["run", "-q", "-d", "--name", "web@", "--network", &network, "-e", &variable, "application"];
        world.ok(&web);
        let visit = |number: u32| {
            answers("127.0.0.1:8080");
            let text = get("127.0.0.1:8080", "/cgi-bin/visit").unwrap_or_default();
            assert!(text.ends_with(&format!("\r\n\r\n:{number}\r\n+OK\r\n")), "{text:?}");
        };
        visit(1);
        visit(2);
        let seen = world.ok(&["run", "-q", "--rm", "--network", &network, "latest", "busybox", "hostname"]);
        assert_eq!(seen, own("db@\n"));
        world.ok(&["rm", "-f", "web@"]);
        assert_eq!(world.ok(&["stop", "db@"]), own("db@\n"));
        assert!(lines.any(|line| line.contains("ready to exit, bye bye")));
        assert!(followed.wait().unwrap().success());
        world.ok(&["rm", "db@"]);
        // The volume has stayed.
        world.ok(&database);
        world.ok(&web);
        visit(3);
        world.ok(&["rm", "-f", "web@", "db@"]);
        unbind();
        assert_eq!(processes(world), Vec::<String>::new());
    });
}

#[test]
fn what_an_ordinary_users_containers_leave_is_taken_away() {
    in_namespaces("what_an_ordinary_users_containers_leave_is_taken_away", |world| {
        if !prepared("what_an_ordinary_users_containers_leave_is_taken_away", USER, world) {
            return;
        }
        // Without IPv6, pasta serves no `::1`, so the supervisor does.
        ip("-6 route del default via 2001:db8::1");
        let script = "echo new > /srv/new; busybox chown 33:33 /srv/new; exec httpd -f -p [::]:80 -h /www";
        world.ok(&["run", "-q", "-d", "--name", "web@", "-p", "8080:80", "owners", "sh", "-c", script]);
        answers("127.0.0.1:8080");
        answers("[::1]:8080");
        let changes: Value = serde_json::from_str(&world.ok(&["diff", "--json", "web@"])).unwrap();
        assert!(changes.to_string().contains("srv/new"), "{changes}");
        world.ok(&["commit", "web@", "changed"]);
        let script = "cat /srv/new; busybox stat -c %u /srv/new";
        assert_eq!(world.ok(&["run", "-q", "--rm", "--network", "none", "changed", "sh", "-c", script]), "new\n33\n");
        // Both its watcher and it are killed: the next command takes its helper and its addresses away.
        let pid = world.ps("web@")["pid"].as_i64().unwrap();
        kill(supervisor(world, "web@"));
        until("its lock is free", || world.ps("web@")["supervised"] == json!(false));
        answers("127.0.0.1:8080");
        kill(pid);
        until("it has ended", || world.ps("web@")["status"] == "exited");
        assert_eq!(helpers(), 0);
        world.ok(&["rm", "web@"]);
        // Layers that no image needs are removed, whoever their files belong to.
        for name in ["changed", "owners", "far", "latest"] {
            world.ok(&["remove", name]);
        }
        world.ok(&["prune"]);
        let left = std::fs::read_dir(world.path().join("state/layers/sha256")).unwrap().count();
        assert_eq!(left, 0);
        unbind();
        assert_eq!(processes(world), Vec::<String>::new());
    });
}

#[test]
fn what_an_ordinary_user_lacks_is_named_with_the_remedy() {
    in_namespaces("what_an_ordinary_user_lacks_is_named_with_the_remedy", |world| {
        if !prepared("what_an_ordinary_user_lacks_is_named_with_the_remedy", USER, world) {
            return;
        }
        let wants = |world: &World, words: &[&str], texts: &[&str]| {
            let (code, error) = world.fails(words);
            assert_eq!(code, 125, "{words:?}: {error}");
            assert!(texts.iter().all(|text| error.contains(text)), "{words:?}: {error}");
        };
        wants(
            world,
            &["run", "-q", "--network", "bridge", "latest"],
            &["--network bridge needs root", "container:NAME, which is another's network with its names"],
        );
        wants(world, &["run", "-q", "--network", "container:x", "latest"], &["there is no container of that name"]);
        wants(world, &["run", "-q", "-p", "80:80/sctp", "latest"], &["pasta carries no SCTP"]);
        wants(world, &["run", "-q", "-m", "16m", "--network", "none", "latest"], &["cgroup"]);
        wants(world, &["run", "-q", "--network", "none", "far"], &["70000", "/etc/subuid"]);
        // Without the helper, and without the programs that map ids.
        let bin = world.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        world.search(&bin);
        wants(world, &["run", "-q", "owners"], &["newuidmap", "apt-get install uidmap"]);
        for name in ["newuidmap", "newgidmap"] {
            std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), bin.join(name)).unwrap();
        }
        wants(world, &["run", "-q", "owners"], &["pasta", "apt-get install passt", "--network none or host"]);
        world.ok(&["run", "-q", "--rm", "--network", "none", "owners", "true"]);
        // A user to whom the host has given no range has one id.
        std::fs::remove_dir_all(world.path().join("state/layers")).unwrap();
        world.become_user(POOR);
        give(&world.path().join("state"), POOR);
        give(&world.path().join("run"), POOR);
        wants(world, &["run", "-q", "--network", "none", "owners"], &["uid 33", "srv", "/etc/subuid"]);
        unbind();
    });
}
