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

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use orlop_images::layer::tar::Kind;
use serde_json::{Value, json};
use support::layout::Layout;
use support::{Archive, Place};

/// Set in the child that has namespaces of its own.
const INSIDE: &str = "ORLOP_TEST_INSIDE";
/// How long anything may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a whole test may take, in seconds.
const WHOLE: &str = "900";

/// Runs `body` in new namespaces, as this test in a process of its own.
fn in_namespaces(test: &str, body: fn(&World)) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let world = World::new();
        body(&world);
        world.nothing_is_left();
        return;
    }
    if !support::is_root(test) {
        return;
    }
    for program in ["busybox", "nft", "ip", "unshare"] {
        let found = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).is_file());
        if !found {
            eprintln!("SKIP {test}: {program} is not installed");
            return;
        }
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", WHOLE, "unshare", "--net", "--mount", "--"]).arg(program).args([
        "--exact",
        test,
        "--nocapture",
        "--test-threads=1",
    ]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// A state directory with the image `latest`, and a runtime's directory. Names of containers have `@` where what is this
/// test's own is put in: control groups are the whole machine's.
struct World {
    place: Place,
    /// The layer of the image.
    base: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox")).unwrap();
        let mut root = Archive::new();
        root.directory("bin").directory("etc").directory("www").directory("tmp").directory("data");
        root.file("bin/busybox", &busybox).with(|entry| entry.mode = 0o755);
        for name in ["sh", "httpd", "nc", "printf", "sleep", "cat", "echo", "true", "kill", "test", "stty"] {
            root.link(&format!("bin/{name}"), Kind::Symlink(b"busybox".to_vec()));
        }
        root.file("etc/passwd", b"root:x:0:0::/:/bin/sh\n").file("www/index.html", b"hello from orlop\n");
        let config = json!({
            "Cmd": ["/bin/httpd", "-f", "-p", "[::]:80", "-h", "/www"], "StopSignal": "SIGKILL", "Env": ["PATH=/bin"],
        });
        let base = root.bytes();
        Layout::with_config(&place.path().join("state/images"), std::slice::from_ref(&base), &config);
        Self { place, base }
    }

    fn runtime_root(&self) -> PathBuf {
        self.place.path().join("run")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-image"));
        command.arg("--root").arg(self.place.path().join("state")).arg("--runtime-root").arg(self.runtime_root());
        command.args(words.iter().map(|word| own(word))).stdin(std::process::Stdio::null());
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit status, and what was said on standard error.
    fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.output(words);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn ps(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.ok(&["ps", "-a", "--json"])).unwrap();
        all.as_array().unwrap().iter().find(|seen| seen["name"] == own(name)).cloned().unwrap_or(Value::Null)
    }

    /// Runs a command in a container, and returns what it has written.
    fn exec(&self, name: &str, words: &[&str]) -> String {
        let (code, text) = self.run_in(name, words);
        assert_eq!(code, 0, "{words:?}: {text}");
        text
    }

    /// The same, whatever its exit status is.
    fn try_exec(&self, name: &str, words: &[&str]) -> String {
        self.run_in(name, words).1
    }

    fn run_in(&self, name: &str, words: &[&str]) -> (u8, String) {
        let container = orlop::Container::new(
            orlop::Runtime::new(self.runtime_root()),
            orlop::ContainerId::new(own(name)).unwrap(),
        );
        let args: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let path = self.place.path().join("exec-output");
        let open = || std::os::fd::OwnedFd::from(std::fs::File::create(&path).unwrap());
        let null = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let options = orlop::ExecOptions::new(orlop::ExecProcess::Args(args)).stdio([null(), open(), null()]);
        let exit = container.exec(options).unwrap().wait().unwrap();
        (exit.shell_code(), std::fs::read_to_string(&path).unwrap())
    }

    fn nothing_is_left(&self) {
        assert_eq!(self.ok(&["ps", "-aq"]), "");
        for dir in ["state/containers", "state/snapshots", "run"] {
            let path = self.place.path().join(dir);
            let names: Vec<_> =
                std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
            assert!(names.iter().all(|name| name.to_string_lossy().starts_with('.')), "{dir}: {names:?}");
        }
        let says = |program: &str, words: &[&str]| {
            String::from_utf8(Command::new(program).args(words).output().unwrap().stdout).unwrap()
        };
        assert!(!says("ip", &["-o", "link"]).contains("orlop"), "{}", says("ip", &["-o", "link"]));
        assert!(!says("nft", &["list", "tables"]).contains("orlop"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.place.path().to_str().unwrap()), "{mounts}");
        let groups = control_groups();
        assert!(groups.is_empty(), "{groups:?}");
    }

    /// The rest of the path of a container's control groups, as the kernel says it.
    fn control_group(&self, name: &str) -> String {
        let pid = self.ps(name)["pid"].as_i64().unwrap();
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = text.lines().find(|line| line.ends_with(&own(name))).expect("a control group of its own");
        line.rsplit('/').next().unwrap().to_owned()
    }
}

/// The control groups of this test's containers.
fn control_groups() -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().ends_with(&own("@")) {
                    found.push(entry.path());
                }
                left.push(entry.path());
            }
        }
    }
    found
}

/// A name with what is this test's own.
fn own(name: &str) -> String {
    name.replace('@', &format!("-{}", std::process::id()))
}

impl Drop for World {
    /// A test that fails leaves no container on the machine.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let listed = self.output(&["ps", "-aq"]).stdout;
        for name in String::from_utf8_lossy(&listed).split_whitespace() {
            let removed = self.output(&["rm", "-f", name]);
            eprint!("{}", String::from_utf8_lossy(&removed.stderr));
        }
    }
}

/// Waits until `what` is true.
fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn http(address: &str) -> Option<String> {
    get(address, "/")
}

/// What a web server answers.
fn get(address: &str, path: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn answers(address: &str) {
    until(address, || http(address).is_some_and(|text| text.ends_with("hello from orlop\n")));
}

/// Kills a process of the test's own containers.
fn kill(pid: i64) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), nix::sys::signal::SIGKILL).unwrap();
}

/// The pid of the process that holds the lock of a container.
fn supervisor(world: &World, name: &str) -> i64 {
    let wanted = format!("supervise\0{}", world.place.path().join("state").display());
    let mut found = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i64 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (line.contains(&wanted) && line.contains(&format!("\0{}\0", own(name)))).then_some(pid)
    });
    found.next().unwrap()
}

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
            (&["run", "--network", "other", "latest"], "known are bridge, host, none and container:NAME"),
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
        // A signal is passed on.
        let words = ["run", "-q", "--rm", "--network", "none", "--name", "wait@", "latest", "sh", "-c"];
        let trap = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
        let mut child = world.command(&words).arg(trap).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9));
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
        until("its lock is free", || world.ps("web@")["supervised"] == json!(false));
        assert!(world.ok(&["ps"]).contains("running, unsupervised"));
        answers("127.0.0.1:8080");
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
        for delay in [0, 5, 10, 15, 20, 30, 40, 60, 80, 120] {
            let mut child =
                world.command(&["run", "-q", "-d", "--name", "dying@", "-p", "8080:80", "latest"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            child.wait().unwrap();
            until("it can be removed", || {
                world.ps("dying@") == Value::Null || world.output(&["rm", "-f", "dying@"]).status.success()
            });
        }
    });
}

/// How much memory is a process's alone, in KiB, whatever the number of its kind: pages of the program are shared.
fn private_memory(pid: i64) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Private_Dirty"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// The programs of Debian's redis-tools with the libraries that they need, as a layer: `redis-check-rdb` is the server under
/// another name. None where the package is not installed.
fn redis() -> Option<Vec<u8>> {
    let programs = ["/usr/bin/redis-check-rdb", "/usr/bin/redis-cli"];
    let listed = Command::new("ldd").args(programs).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(listed.stdout).unwrap();
    let mut files: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with('/')).collect();
    files.retain(|path| !path.ends_with(':'));
    files.sort_unstable();
    files.dedup();
    let mut layer = Archive::new();
    for directory in ["data", "etc", "lib", "lib/x86_64-linux-gnu", "lib64", "tmp", "usr", "usr/bin", "usr/lib"] {
        layer.directory(directory);
    }
    layer.file("etc/passwd", b"root:x:0:0::/:/bin/sh\nredis:x:106:112::/data:/bin/sh\n");
    layer.directory("usr/lib/x86_64-linux-gnu");
    layer.directory("data").with(|entry| (entry.uid, entry.gid) = (106, 112));
    for path in files {
        layer.file(path.trim_start_matches('/'), &std::fs::read(path).unwrap()).with(|entry| entry.mode = 0o755);
    }
    for (path, name) in programs.iter().zip(["usr/bin/redis-server", "usr/bin/redis-cli"]) {
        layer.file(name, &std::fs::read(path).unwrap()).with(|entry| entry.mode = 0o755);
    }
    Some(layer.bytes())
}

impl World {
    /// Adds a database, and a web server that counts in it, to the images; whether that can be.
    fn application(&self) -> bool {
        let images = self.place.path().join("state/images");
        let Some(layer) = redis() else { return false };
        let server = ["/usr/bin/redis-server", "--dir", "/data", "--appendonly", "yes", "--bind", "*", "-::*"];
        let command = [&server[..], &["--protected-mode", "no"]].concat();
        let config = json!({ "Cmd": command, "User": "redis", "Volumes": { "/data": {} }, "Env": ["PATH=/usr/bin"] });
        Layout::add(&images, "database", &[layer], &config);
        let script = b"#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n\
            printf 'INCR visits\\r\\nQUIT\\r\\n' | nc -w 60 $DATABASE 6379\n";
        let mut layer = Archive::new();
        layer.directory("www").directory("www/cgi-bin");
        layer.file("www/cgi-bin/visit", script).with(|entry| entry.mode = 0o755);
        let config = json!({
            "Cmd": ["/bin/httpd", "-f", "-p", "[::]:80", "-h", "/www"], "StopSignal": "SIGKILL", "Env": ["PATH=/bin"],
        });
        Layout::add(&images, "application", &[self.base.clone(), layer.bytes()], &config);
        true
    }
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
