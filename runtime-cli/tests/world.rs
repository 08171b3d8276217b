//! The world that a caller hands over: ignored signals, small limits, closed streams. What the runtime does must not depend on it,
//! and where it cannot do without, it says so and leaves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, and tells why it is skipped"
)]

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, with a bundle and a state root; containers left in it and the directory itself go when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    /// `None`, with the reason on standard output, where this machine cannot run a container at all.
    fn new(name: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("orlop-world-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let scratch = Self(path);
        scratch.configure("true", |_| {});
        let (status, error) = scratch.run("exec", "run able");
        if status != Some(0) {
            println!("SKIP {name}: orlop run of true: {}", error.trim());
            return None;
        }
        Some(scratch)
    }

    /// Makes the bundle one that runs `script` on this machine's root file system, read-only.
    fn configure(&self, script: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.0.join("config.json");
        fs::remove_file(&path).ok();
        let rootless: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--rootless"] };
        let spec = Command::new(env!("CARGO_BIN_EXE_orlop")).arg("spec").args(rootless).arg("-b").arg(&self.0).status();
        assert!(spec.unwrap().success());
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["root"]["path"] = "/".into();
        config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        config["process"]["terminal"] = false.into();
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// `orlop LINE`, called by a shell after `before`.
    fn called(&self, before: &str, line: &str) -> Command {
        let mut command = Command::new("sh");
        let orlop = format!("{} --root {}/state {line}", env!("CARGO_BIN_EXE_orlop"), self.0.display());
        command.arg("-c").arg(format!("{before} {orlop}")).current_dir(&self.0).stdin(Stdio::null());
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
        command
    }

    /// Exit status and standard error: what was in the pipe at the end of the command, since a container may keep it open.
    fn run(&self, before: &str, line: &str) -> (Option<i32>, String) {
        let (mut ours, theirs) = std::io::pipe().unwrap();
        let mut child = self.called(before, line).stdout(Stdio::null()).stderr(theirs).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("{before} orlop {line}: does not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut error = [0; 65536];
        let length = ours.read(&mut error).unwrap_or(0);
        (status.code(), String::from_utf8_lossy(&error[..length]).into_owned())
    }

    /// What is in the state root: containers, and what a failed command may have left.
    fn left(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join("state")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The control groups with this name, wherever they are.
    fn cgroups(name: &str) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let points = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let points =
            points.filter(|words| words[2].starts_with("cgroup")).map(|words| PathBuf::from(words[1]).join(name));
        points.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for id in self.left() {
            self.run("exec", &format!("delete --force {id}"));
        }
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn an_ignored_sigchld_changes_nothing() {
    let Some(scratch) = Scratch::new("sigchld") else { return };
    let ignored = "exec env --ignore-signal=CHLD";
    scratch.configure("exit 3", |_| {});
    assert_eq!(scratch.run(ignored, "run one"), (Some(3), String::new()));
    let hook = serde_json::json!([{ "path": "/bin/true" }]);
    scratch.configure("exec sleep 100", |config| {
        for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            config["hooks"][kind] = hook.clone();
        }
    });
    assert_eq!(scratch.run(ignored, "create two"), (Some(0), String::new()));
    assert_eq!(scratch.run(ignored, "start two"), (Some(0), String::new()));
    assert_eq!(scratch.run(ignored, "exec two sh -c 'exit 4'"), (Some(4), String::new()));
    assert_eq!(scratch.run(ignored, "exec --detach two true"), (Some(0), String::new()));
    assert_eq!(scratch.run(ignored, "ps two"), (Some(0), String::new()));
    assert_eq!(scratch.run(ignored, "delete --force two"), (Some(0), String::new()));
    assert!(scratch.left().is_empty());
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_the_container_gets_the_signal_that_goes_with_it() {
    let Some(scratch) = Scratch::new("fsize") else { return };
    scratch.configure("exec sleep 100", |_| {});
    let mut failures = 0;
    for blocks in 0..=40 {
        let (status, error) = scratch.run(&format!("ulimit -f {blocks}; exec"), "create orlop-fsize");
        match status {
            Some(1) => {
                assert!(error.contains("file too large") && error.lines().count() == 1, "{blocks}: {error}");
                assert!(scratch.left().is_empty() && Scratch::cgroups("orlop-fsize").is_empty(), "{blocks}: {error}");
                failures += 1;
            }
            Some(0) => assert_eq!(scratch.run("exec", "delete --force orlop-fsize"), (Some(0), String::new())),
            other => panic!("{blocks}: {other:?} {error}"),
        }
    }
    assert!(failures > 2, "no limit was small enough");
    // 25 is SIGXFSZ: bit 24 of the mask of what is ignored.
    scratch.configure("set -- $(grep SigIgn /proc/self/status); exit $((0x$2 >> 24 & 1))", |_| {});
    assert_eq!(scratch.run("exec", "run orlop-fsize"), (Some(0), String::new()));
}

#[test]
fn with_too_few_descriptors_a_command_fails_by_name_and_leaves_nothing() {
    let Some(scratch) = Scratch::new("nofile") else { return };
    scratch.configure("exec sleep 100", |_| {});
    assert_eq!(scratch.run("exec", "run --detach there"), (Some(0), String::new()));
    let mut made = 0;
    for count in 3..=48 {
        let few = format!("ulimit -Sn {count}; exec");
        let (status, error) = scratch.run(&few, "create orlop-nofile");
        if error.contains("while loading shared libraries") {
            // A build that is not static does not even start.
            assert!(status == Some(127) && count < 6, "{error}");
            continue;
        }
        if status == Some(0) {
            made += 1;
            assert_eq!(scratch.run("exec", "delete --force orlop-nofile"), (Some(0), String::new()));
        } else {
            assert!(status == Some(1) && error.contains("too many open files"), "{count}: {status:?} {error}");
        }
        assert_eq!(scratch.left(), ["there"], "{count}: {error}");
        assert!(Scratch::cgroups("orlop-nofile").is_empty(), "{count}");
        let (status, error) = scratch.run(&few, "exec there true");
        let refused = status == Some(255) && error.contains("too many open files");
        assert!(status == Some(0) || refused, "{count}: {status:?} {error}");
    }
    assert!((1..46).contains(&made), "{made} creates of 46 succeeded");
}

#[test]
fn closed_standard_streams_never_become_the_container_s() {
    let Some(scratch) = Scratch::new("streams") else { return };
    // What is open in the container beyond the directory that is being read: nothing but /dev/null.
    let found = scratch.0.join("found");
    fs::write(&found, "").unwrap();
    let bind =
        serde_json::json!({ "destination": "/mnt", "source": scratch.0, "type": "bind", "options": ["bind", "rw"] });
    scratch.configure("exec >/mnt/found; exec ls -l /proc/self/fd", |config| {
        config["mounts"].as_array_mut().unwrap().push(bind);
    });
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        fs::write(&found, "").unwrap();
        assert_eq!(scratch.run("exec", &format!("run orlop-closed {closed}")).0, Some(0), "{closed}");
        let text = fs::read_to_string(&found).unwrap();
        let others = text.lines().filter_map(|line| line.split_once(" -> ")).filter(|(place, target)| {
            let number = place.rsplit(' ').next();
            !(matches!(number, Some("0" | "1" | "2")) || number == Some("3") && target.ends_with("/fd"))
        });
        assert!(text.contains("/dev/null") && others.count() == 0, "{closed}: {text}");
    }
    assert!(scratch.left().is_empty());
}

#[test]
fn a_signal_ends_a_run_whose_container_is_still_being_made() {
    let Some(scratch) = Scratch::new("cancel") else { return };
    let begun = scratch.0.join("begun");
    let script = format!("touch {}; exec sleep 100", begun.display());
    for kind in ["prestart", "createRuntime"] {
        scratch.configure("true", |config| {
            config["hooks"][kind] = serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        });
        for (name, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
            fs::remove_file(&begun).ok();
            let (mut ours, theirs) = std::io::pipe().unwrap();
            // A shell that runs the tests in the background ignores some of them.
            let before = "exec env --default-signal=TERM,INT,HUP";
            let mut child = scratch.called(before, "run orlop-cancel").stderr(theirs).spawn().unwrap();
            let end = Instant::now() + PATIENCE;
            while !begun.is_file() {
                assert!(Instant::now() < end, "the hook does not begin");
                std::thread::sleep(Duration::from_millis(2));
            }
            let signal = format!("kill -{name} {}", child.id());
            assert!(Command::new("sh").args(["-c", &signal]).status().unwrap().success());
            while child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < end, "{kind}: SIG{name} does not end it");
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut error = String::new();
            ours.read_to_string(&mut error).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(status), "{error}");
            assert!(error.contains("cancelled by the caller") && error.lines().count() == 1, "{error}");
            assert!(scratch.left().is_empty() && Scratch::cgroups("orlop-cancel").is_empty(), "{error}");
        }
    }
    // What is ignored (nohup) goes on being so.
    scratch.configure("true", |config| {
        config["hooks"]["prestart"] =
            serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", "kill -HUP $PPID"] }]);
    });
    assert_eq!(scratch.run("exec env --ignore-signal=HUP", "run orlop-cancel").0, Some(0), "it cancels nothing");
}

#[test]
fn a_second_signal_ends_what_a_first_one_cannot() {
    let Some(scratch) = Scratch::new("stuck") else { return };
    // A pipe that nobody writes to, in the place of the config.
    fs::remove_file(scratch.0.join("config.json")).unwrap();
    assert!(Command::new("mkfifo").arg(scratch.0.join("config.json")).status().unwrap().success());
    let mut child = scratch.called("exec", "run orlop-stuck").spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    let signal = format!("kill -TERM {}", child.id());
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "SIGTERM does not end it");
        Command::new("sh").args(["-c", &signal]).stderr(Stdio::null()).status().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(scratch.left().is_empty());
}
