//! Containers of an image from the first command to the last trace: in a network and mount namespace of the test's own, which
//! its child enters before anything else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::world::{World, answers, control_groups, get, http, in_namespaces, kill, own, supervisor, until};

#[test]
fn a_web_server_in_the_background_from_run_to_rm() {
    in_namespaces("a_web_server_in_the_background_from_run_to_rm", |world| {
        assert_eq!(
            world.ok(&["run", "-q", "-d", "--name", "web@", "-p", "8080:80", "-v", "kept:/data", "latest"]),
            own("web@\n")
        );
        answers("127.0.0.1:8080");
        answers("[::1]:8080");
        assert!(!control_groups().is_empty());
        let address = format!("{}:80", address_of(world, "web@", ".ipv4"));
        answers(&address);
        answers(&format!("[{}]:80", address_of(world, "web@", ".ipv6")));
        answers(&format!("[{}]:8080", bridge_address("inet6")));
        let seen = world.ps("web@");
        assert_eq!((&seen["status"], &seen["supervised"]), (&json!("running"), &json!(true)));
        assert_eq!(seen["ports"], json!(["8080->80/tcp"]));
        // Another finds it by its name, and by the published port.
        let request = |network: &str, host: &str, port: &str| {
            let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 60 {host} {port}");
            let text = world.ok(&["run", "-q", "--rm", "--network", network, "latest", "sh", "-c", &script]);
            assert!(text.ends_with("\r\n\r\nhello from orlop\n"), "{network} {host} {port}: {text}");
        };
        request("bridge", "web@", "80");
        request("bridge", &bridge_address("inet"), "8080");
        request("bridge", &bridge_address("inet6"), "8080");
        request("container:web@", "127.0.0.1", "80");
        request("host", "127.0.0.1", "8080");
        request("host", "::1", "8080");
        // The port and the name are taken.
        let (status, error) = world.fails(&["run", "-q", "-d", "-p", "8080:80", "latest"]);
        assert!(status == 125 && error.contains(&own("the container web@ has it")), "{error}");
        let (status, error) = world.fails(&["run", "-q", "-d", "--name", "web@", "latest"]);
        assert!(status == 125 && error.contains("there is a container of that name"), "{error}");
        world.exec("web@", &["/bin/sh", "-c", "echo kept > /data/file"]);
        let (status, error) = world.fails(&["rm", "web@"]);
        assert!(status == 1 && error.contains(&own("web@ runs")), "{error}");
        assert_eq!(world.ok(&["stop", "web@"]), own("web@\n"));
        assert_eq!(world.ps("web@")["exit_code"], 137);
        assert!(http("127.0.0.1:8080").is_none());
        assert_eq!(world.ok(&["rm", "web@"]), own("web@\n"));
        assert_eq!(world.ok(&["run", "-q", "--rm", "-v", "kept:/data", "latest", "cat", "/data/file"]), "kept\n");
    });
}

/// An address of a lease.
fn address_of(world: &World, name: &str, field: &str) -> String {
    let text = std::fs::read(world.place.path().join("run-network/network.json")).unwrap();
    let state: Value = serde_json::from_slice(&text).unwrap();
    let lease = state["leases"].as_array().unwrap().iter().find(|lease| lease["name"] == own(name)).unwrap();
    lease[&field[1..]].as_str().unwrap().to_owned()
}

fn bridge_address(family: &str) -> String {
    let output = Command::new("ip").args(["-o", "addr", "show", "dev", "orlop0", "scope", "global"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&format!(" {family} "))).unwrap();
    let address = line.split_whitespace().skip_while(|word| *word != family).nth(1).unwrap();
    address.split('/').next().unwrap().to_owned()
}

#[test]
fn the_log_is_followed_to_the_end() {
    in_namespaces("the_log_is_followed_to_the_end", |world| {
        let script = "echo one; echo two >&2; sleep 1; echo three; exit 3";
        world.ok(&["run", "-q", "-d", "--name", "talk@", "--network", "none", "latest", "sh", "-c", script]);
        let followed = world.output(&["logs", "-f", "talk@"]);
        assert_eq!(String::from_utf8(followed.stdout).unwrap(), "one\nthree\n");
        assert_eq!(String::from_utf8(followed.stderr).unwrap(), "two\n");
        assert_eq!(world.ps("talk@")["exit_code"], 3);
        assert_eq!(world.ok(&["logs", "--tail", "1", "talk@"]), "three\n");
        assert_eq!(world.ok(&["logs", "--since", "2099-01-01T00:00:00Z", "talk@"]), "");
        assert_eq!(world.ok(&["logs", "--since", "10m", "talk@"]), "one\nthree\n");
        world.ok(&["rm", "talk@"]);
        // With --rm it goes by itself.
        world.ok(&["run", "-q", "-d", "--rm", "--name", "short@", "latest", "true"]);
        until("short is gone", || world.ps("short@") == Value::Null);
    });
}

#[test]
fn what_is_printed_is_printed_as_json_too() {
    in_namespaces("what_is_printed_is_printed_as_json_too", |world| {
        let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let name = json!({ "name": own("talk@") });
        let script = "echo one; echo two >&2; exec sleep 600";
        let words = ["run", "-q", "-d", "--json", "--name", "talk@", "--network", "none", "latest", "sh", "-c", script];
        assert_eq!(parsed(world.ok(&words)), name);
        until("it has written", || world.ok(&["logs", "--json", "talk@"]).lines().count() == 2);
        let log = world.ok(&["logs", "--json", "talk@"]);
        let lines: Vec<Value> = log.lines().map(|line| parsed(line.to_owned())).collect();
        for (text, stream) in [("one\n", "stdout"), ("two\n", "stderr")] {
            let line = lines.iter().find(|line| line["log"] == text).unwrap();
            assert!(line["stream"] == stream && line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        }
        assert_eq!(parsed(world.ok(&["stop", "--json", "talk@"])), name);
        let image = parsed(world.ok(&["commit", "--json", "talk@", "other:1"]));
        let reference = "docker.io/library/other:1";
        assert_eq!((&image["reference"], &image["layers"]), (&json!(reference), &json!(2)));
        assert_eq!(parsed(world.ok(&["rm", "--json", "talk@"])), name);
        let path = world.path().join("bundle").to_str().unwrap().to_owned();
        assert_eq!(parsed(world.ok(&["bundle", "-q", "--json", "latest", &path])), json!({ "bundle": path }));
        let removed = parsed(world.ok(&["remove", "--json", "other:1"]));
        assert_eq!(removed, json!([{ "reference": reference, "digest": image["digest"] }]));
        let (status, error) = world.fails(&["run", "--json", "--network", "none", "latest", "true"]);
        assert!(status == 125 && error.contains("--json has no effect without --detach"), "{error}");
    });
}

#[test]
fn in_the_foreground_the_status_is_that_of_the_command() {
    in_namespaces("in_the_foreground_the_status_is_that_of_the_command", |world| {
        let run = |words: &[&str]| {
            let line = [&["run", "-q", "--rm", "--name", "front@", "--network", "none", "latest"], words].concat();
            world.fails(&line)
        };
        assert_eq!(run(&["sh", "-c", "exit 7"]).0, 7);
        assert_eq!(run(&["/no/such/command"]).0, 127);
        assert_eq!(run(&["/etc/passwd"]).0, 126);
        for (words, text) in [
            (&["run", "--gpus", "all", "latest"][..], "unknown flag --gpus"),
            (&["run", "--network", "other", "latest"], "known are bridge, pasta, host, none and container:NAME"),
            (
                &["run", "--network", "none", "-p", "80:80", "latest"],
                "--publish has no effect without --network bridge",
            ),
            (&["run", "-it", "latest"], "standard input is no terminal"),
            (&["run", "--pull", "never", "absent"], "absent"),
        ] {
            let (status, error) = world.fails(words);
            assert!(status == 125 && error.contains(text), "{words:?}: {status} {error}");
        }
        // A terminal: as wide as was asked for, and what is typed arrives.
        let script = format!(
            "stty rows 33 cols 77; {} --rm --network none -it latest sh -c 'busybox stty size; exit 5'",
            world.line()
        );
        let output =
            Command::new("script").args(["-qec", &script, "/dev/null"]).stdin(std::process::Stdio::null()).output();
        match output {
            Ok(output) => {
                let text = String::from_utf8(output.stdout).unwrap();
                assert!(text.contains("33 77\r\n"), "{text:?}");
                assert_eq!(output.status.code(), Some(5));
            }
            Err(_) => eprintln!("SKIP the terminal: script is not installed"),
        }
        // A signal is passed on, that and no other, also one that comes before `run` knows that the container runs.
        let words = ["run", "-q", "--rm", "--network", "none", "--name", "wait@", "latest", "sh", "-c"];
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let trap = format!("trap 'exit 9' {}; echo ready; while :; do sleep 0.1; done", &signal.as_str()[3..]);
            let mut child = world.command(&words).arg(trap).stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut ready = [0; 6];
            child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
            nix::sys::signal::kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
        }
    });
}

impl World {
    /// The beginning of a line for a shell that runs a container.
    fn line(&self) -> String {
        let words: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_orlop-image").to_owned())
            .chain(self.command(&["run", "-q"]).get_args().map(|word| word.to_string_lossy().into_owned()))
            .collect();
        words.join(" ")
    }
}

#[test]
fn what_was_killed_is_taken_away_or_stays_manageable() {
    in_namespaces("what_was_killed_is_taken_away_or_stays_manageable", |world| {
        world.ok(&["run", "-q", "-d", "--name", "web@", "-p", "8080:80", "latest"]);
        answers("127.0.0.1:8080");
        let memory = private_memory(supervisor(world, "web@"));
        assert!(memory <= 1024, "the supervisor has {memory} KiB of its own");
        // Without its supervisor it goes on, and is stopped as ever.
        kill(supervisor(world, "web@"));
        assert!(http("[::1]:8080").is_none(), "the supervisor carried it");
        answers("127.0.0.1:8080");
        until("its lock is free", || world.ok(&["ps"]).contains("running, unsupervised"));
        // ps has started another.
        assert_eq!(world.ps("web@")["supervised"], json!(true));
        answers("127.0.0.1:8080");
        answers("[::1]:8080");
        let memory = private_memory(supervisor(world, "web@"));
        assert!(memory <= 1024, "the second supervisor has {memory} KiB of its own");
        world.ok(&["stop", "web@"]);
        assert_eq!((&world.ps("web@")["status"], &world.ps("web@")["exit_code"]), (&json!("exited"), &Value::Null));
        world.ok(&["rm", "web@"]);
        // Both at once: the next command takes away what is left of it.
        world.ok(&["run", "-q", "-d", "--rm", "--name", "gone@", "-p", "8080:80", "latest"]);
        let pid = world.ps("gone@")["pid"].as_i64().unwrap();
        kill(supervisor(world, "gone@"));
        kill(pid);
        until("it is gone", || world.ps("gone@") == Value::Null);
        // In the foreground the program itself carries what comes to `::1`.
        let words = ["run", "-q", "--rm", "--name", "front@", "-p", "8080:80", "latest"];
        let mut front = world.command(&words).spawn().unwrap();
        answers("[::1]:8080");
        world.ok(&["stop", "front@"]);
        assert_eq!(front.wait().unwrap().code(), Some(137));
        // `run` itself, at any moment.
        let delays = [0, 5, 10, 15, 20, 30, 40, 60, 80, 120];
        for (delay, place) in delays.into_iter().flat_map(|delay| [(delay, "-d"), (delay, "-i")]) {
            let mut child =
                world.command(&["run", "-q", place, "--name", "dying@", "-p", "8080:80", "latest"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            child.wait().unwrap();
            until("it can be removed", || {
                world.ps("dying@") == Value::Null || world.output(&["rm", "-f", "dying@"]).status.success()
            });
        }
    });
}

#[test]
fn output_goes_on_after_a_supervisor_was_killed() {
    in_namespaces("output_goes_on_after_a_supervisor_was_killed", |world| {
        let kills = 3;
        let script =
            "i=0; while :; do echo line $i; echo error $i >&2; echo $i > /tmp/last; i=$((i+1)); sleep 0.02; done";
        world.ok(&["run", "-q", "-d", "--name", "chat@", "--network", "none", "latest", "sh", "-c", script]);
        let last = || world.exec("chat@", &["cat", "/tmp/last"]).trim().parse::<usize>().unwrap_or(0);
        until("it writes", || last() > 5);
        let pid = world.ps("chat@")["pid"].clone();
        let mut follower = world.command(&["logs", "-f", "chat@"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        for _ in 0..kills {
            kill(supervisor(world, "chat@"));
            let then = last();
            until("it goes on writing", || last() > then + 20);
            assert_eq!(world.ps("chat@")["pid"], pid);
            until("it is supervised", || world.ps("chat@")["supervised"] == json!(true));
        }
        let (follows, now) = (follower.try_wait().unwrap().is_none(), last());
        let log = |world: &World| {
            let output = world.output(&["logs", "chat@"]);
            [String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap()]
        };
        until("the log has it", || log(world)[0].contains(&format!("line {now}\n")));
        for (text, word) in log(world).iter().zip(["line", "error"]) {
            let number = |line: &str| line.strip_prefix(word)?.strip_prefix(' ')?.parse::<usize>().ok();
            let numbers: Vec<_> = text.lines().map(|line| number(line).expect(line)).collect();
            assert_eq!(numbers.first(), Some(&0), "{text}");
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each line once, in order: {text}");
            // What had been read and not yet written is lost with the process; what waits in the pipe is not.
            let gaps = numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
            assert!(gaps <= kills, "{gaps} gaps: {text}");
        }
        world.ok(&["stop", "-t", "0", "chat@"]);
        until("the follower ends", || follower.try_wait().unwrap().is_some());
        assert!(follows, "it was followed all the time");
        world.ok(&["rm", "chat@"]);
    });
}

/// How much memory is a process's alone, in KiB. Pages of the program's file are not counted: where it has just been
/// written, they are dirty and look private.
fn private_memory(pid: i64) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn only_what_the_container_has_changed_is_a_change() {
    in_namespaces("only_what_the_container_has_changed_is_a_change", |world| {
        let diff = |name: &str| world.ok(&["diff", name]);
        // The image has an /etc with one file, and neither /dev nor /proc nor /sys.
        world.ok(&["run", "-q", "--name", "idle@", "--network", "none", "latest", "true"]);
        assert_eq!(diff("idle@"), "");
        // One that mounts over what the runtime makes sees its own changes all the same.
        world.ok(&[
            "run",
            "-q",
            "--name",
            "busy@",
            "latest",
            "sh",
            "-c",
            "echo x > /etc/motd; echo y > /etc/hosts; busybox mkdir /new",
        ]);
        assert_eq!(diff("busy@"), "C /etc\nA /etc/motd\nA /new\n");
        world.ok(&["commit", "busy@", "changed"]);
        let listed = world.ok(&[
            "run",
            "-q",
            "--rm",
            "--network",
            "none",
            "changed",
            "sh",
            "-c",
            "cat /etc/motd; busybox ls /etc",
        ]);
        assert!(listed.starts_with("x\n") && listed.contains("motd\npasswd"), "{listed}");
        let bundle = world.path().join("bundle");
        world.ok(&["bundle", "-q", "changed", bundle.to_str().unwrap()]);
        for made in ["dev", "proc", "sys", "etc/hosts", "etc/resolv.conf", "etc/hostname"] {
            assert!(bundle.join("rootfs").join(made).symlink_metadata().is_err(), "{made}");
        }
        assert!(bundle.join("rootfs/new").is_dir());
        std::fs::remove_dir_all(bundle).unwrap();
        world.ok(&["rm", "idle@", "busy@"]);
        world.ok(&["remove", "changed"]);
    });
}

#[test]
fn names_are_those_of_the_network() {
    in_namespaces("names_are_those_of_the_network", |world| {
        world.ok(&["run", "-q", "-d", "--name", "web@", "-h", "web.lan", "--dns", "192.0.2.53", "latest"]);
        let run = |network: &str, words: &[&str]| {
            world.ok(&[&["run", "-q", "--rm", "--network", network, "latest"], words].concat())
        };
        let script =
            "busybox hostname; echo $HOSTNAME; cat /etc/hostname /etc/resolv.conf; busybox grep -c web.lan /etc/hosts";
        let own = world.exec("web@", &["/bin/sh", "-c", script]);
        let shared = run("container:web@", &["sh", "-c", script]);
        assert_eq!(shared, own);
        assert!(shared.starts_with("web.lan\nweb.lan\nweb.lan\nnameserver 192.0.2.53\n"), "{shared}");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(run("host", &["busybox", "hostname"]), host);
        assert_eq!(run("host", &["cat", "/etc/hosts"]), std::fs::read_to_string("/etc/hosts").unwrap());
        for words in [["--hostname", "x"], ["--add-host", "x:192.0.2.1"], ["--dns", "192.0.2.1"]] {
            let line = [&["run", "-q", "--network", "container:web@"], &words[..], &["latest"]].concat();
            let (status, error) = world.fails(&line);
            let wanted = format!("{} has no effect with --network container:NAME", words[0]);
            assert!(status == 125 && error.contains(&wanted), "{error}");
        }
        // A variable that the host has not is taken away from the image's.
        let words =
            ["run", "-q", "--rm", "--network", "none", "-e", "PATH", "-e", "A=b", "latest", "/bin/busybox", "env"];
        let mut command = world.command(&words);
        let text = String::from_utf8(command.env_remove("PATH").output().unwrap().stdout).unwrap();
        assert!(text.contains("A=b\n") && !text.contains("PATH="), "{text}");
        world.ok(&["rm", "-f", "web@"]);
    });
}

#[test]
fn a_web_application_and_its_database() {
    in_namespaces("a_web_application_and_its_database", |world| {
        if !world.application() {
            eprintln!("SKIP a_web_application_and_its_database: redis-tools is not installed");
            return;
        }
        let start = || {
            world.ok(&["run", "-q", "-d", "--name", "db@", "-v", "visits@:/data", "database"]);
            until("the database answers", || world.try_exec("db@", &["/usr/bin/redis-cli", "ping"]) == "PONG\n");
        };
        start();
        let variable = own("DATABASE=db@");
        world.ok(&["run", "-q", "-d", "--name", "web@", "-p", "8080:80", "-e", &variable, "application"]);
        answers("127.0.0.1:8080");
        let visit = |address: &str, number: u32| {
            let text = get(address, "/cgi-bin/visit").unwrap_or_default();
            assert!(text.ends_with(&format!("\r\n\r\n:{number}\r\n+OK\r\n")), "{address}: {text:?}");
        };
        visit("127.0.0.1:8080", 1);
        visit("[::1]:8080", 2);
        visit(&format!("{}:8080", bridge_address("inet")), 3);
        visit(&format!("[{}]:8080", bridge_address("inet6")), 4);
        // A new container of the database has the old one's volume, and the web server finds it by the same name.
        assert_eq!(world.ok(&["stop", "db@"]), own("db@\n"));
        assert_eq!(world.ps("db@")["exit_code"], 0);
        assert!(world.ok(&["logs", "db@"]).contains("ready to exit, bye bye"));
        world.ok(&["rm", "db@"]);
        start();
        visit("[::1]:8080", 5);
        assert_eq!(world.exec("db@", &["/usr/bin/redis-cli", "get", "visits"]), "5\n");
        world.ok(&["rm", "-f", "web@", "db@"]);
        assert!(http("[::1]:8080").is_none());
    });
}

#[test]
fn containers_of_one_name_in_two_places_have_nothing_in_common() {
    in_namespaces("containers_of_one_name_in_two_places_have_nothing_in_common", |world| {
        let other = World::new();
        let words = ["run", "-q", "-d", "--name", "same@", "--network", "none", "latest"];
        world.ok(&words);
        other.ok(&words);
        assert_ne!(world.control_group("same@"), other.control_group("same@"));
        // One that shares what the runtime knows cannot have it, and does no harm to the one that does.
        let third = World::new();
        let mut shared = Command::new(env!("CARGO_BIN_EXE_orlop-image"));
        shared.arg("--root").arg(third.place.path().join("state")).arg("--runtime-root").arg(world.runtime_root());
        let output = shared.args(words.map(own)).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(125) && error.contains("not of this state directory"), "{error}");
        world.ok(&["rm", "-f", "same@"]);
        assert_eq!(other.ps("same@")["status"], "running");
        other.ok(&["rm", "-f", "same@"]);
        other.nothing_is_left();
    });
}
