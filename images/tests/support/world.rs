//! A state directory with an image, and the program with it: in a network and mount namespace of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use orlop_images::layer::tar::Kind;
use serde_json::{Value, json};

use super::layout::Layout;
use super::{Archive, Place};

/// Set in the child that has namespaces of its own.
const INSIDE: &str = "ORLOP_TEST_INSIDE";
/// How long anything may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a whole test may take, in seconds.
const WHOLE: &str = "900";

/// Runs `body` in new namespaces, as this test in a process of its own.
pub fn in_namespaces(test: &str, body: fn(&mut World)) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let mut world = World::new();
        body(&mut world);
        world.nothing_is_left();
        return;
    }
    if !super::is_root(test) {
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
pub struct World {
    pub place: Place,
    /// The layer of the image.
    pub base: Vec<u8>,
    /// Who the program runs for; root if not said.
    user: Option<u32>,
    /// Where it looks for programs, in the place of the usual places.
    search: Option<PathBuf>,
    program: PathBuf,
}

impl World {
    pub fn new() -> Self {
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
        Self { place, base, user: None, search: None, program: env!("CARGO_BIN_EXE_orlop-image").into() }
    }

    pub fn runtime_root(&self) -> PathBuf {
        self.place.path().join("run")
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// From now on the program runs for this user.
    pub fn become_user(&mut self, user: u32) {
        use std::os::unix::fs::{PermissionsExt, chown};
        std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // Where the user may read it.
        let program = self.path().join("orlop-image");
        if program.symlink_metadata().is_err() {
            std::fs::copy(&self.program, &program).unwrap();
        }
        self.program = program;
        std::fs::create_dir_all(self.runtime_root()).unwrap();
        chown(self.runtime_root(), Some(user), Some(user)).unwrap();
        self.user = Some(user);
    }

    /// Has the program look for others in `directory` only.
    pub fn search(&mut self, directory: &Path) {
        self.search = Some(directory.to_owned());
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.user {
            None => Command::new(&self.program),
            Some(user) => {
                let id = user.to_string();
                let mut command = Command::new("/usr/bin/setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(&self.program);
                command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").current_dir("/");
                command
            }
        };
        if let Some(search) = &self.search {
            command.env("PATH", search);
        }
        command.arg("--root").arg(self.place.path().join("state")).arg("--runtime-root").arg(self.runtime_root());
        command.args(words.iter().map(|word| own(word))).stdin(std::process::Stdio::null());
        command
    }

    pub fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit status, and what was said on standard error.
    pub fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.output(words);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    pub fn ps(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.ok(&["ps", "-a", "--json"])).unwrap();
        all.as_array().unwrap().iter().find(|seen| seen["name"] == own(name)).cloned().unwrap_or(Value::Null)
    }

    /// Runs a command in a container, and returns what it has written.
    pub fn exec(&self, name: &str, words: &[&str]) -> String {
        let (code, text) = self.run_in(name, words);
        assert_eq!(code, 0, "{words:?}: {text}");
        text
    }

    /// The same, whatever its exit status is.
    pub fn try_exec(&self, name: &str, words: &[&str]) -> String {
        self.run_in(name, words).1
    }

    pub fn run_in(&self, name: &str, words: &[&str]) -> (u8, String) {
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

    pub fn nothing_is_left(&self) {
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
    pub fn control_group(&self, name: &str) -> String {
        let pid = self.ps(name)["pid"].as_i64().unwrap();
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = text.lines().find(|line| line.ends_with(&own(name))).expect("a control group of its own");
        line.rsplit('/').next().unwrap().to_owned()
    }
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
    pub fn application(&self) -> bool {
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

/// The control groups of this test's containers.
pub fn control_groups() -> Vec<PathBuf> {
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
pub fn own(name: &str) -> String {
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
pub fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn http(address: &str) -> Option<String> {
    get(address, "/")
}

/// What a web server answers.
pub fn get(address: &str, path: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub fn answers(address: &str) {
    until(address, || http(address).is_some_and(|text| text.ends_with("hello from orlop\n")));
}

/// Kills a process of the test's own containers.
pub fn kill(pid: i64) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), nix::sys::signal::SIGKILL).unwrap();
}

/// The pid of the process that holds the lock of a container.
pub fn supervisor(world: &World, name: &str) -> i64 {
    let wanted = format!("supervise\0{}", world.place.path().join("state").display());
    let find = || {
        std::fs::read_dir("/proc").unwrap().find_map(|entry| {
            let pid: i64 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            (line.contains(&wanted) && line.contains(&format!("\0{}\0", own(name)))).then_some(pid)
        })
    };
    // While it executes itself anew, it has no command line for a moment.
    let mut found = None;
    until("there is a supervisor", || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}
