//! Where the benchmarks work, and how one command is timed.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use orlop_integration::leak;

use crate::Peer;

/// Which control groups the runtimes find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// What the machine has, without a `unified` hierarchy beside v1: crun does not work with one.
    Host,
    /// cgroup v2 alone, with the controllers that no v1 hierarchy holds.
    V2,
}

impl Layout {
    /// Whether the number of processes can be limited in it.
    pub(crate) fn limits_pids(self) -> bool {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        self == Self::Host || controllers.is_ok_and(|text| text.split_whitespace().any(|name| name == "pids"))
    }

    /// In a mount namespace of our own.
    fn mount(self) {
        let none = None::<&str>;
        // Below a cgroup2 that covers it, its mount would still stand for both, and nothing left would be found by it.
        if Path::new("/sys/fs/cgroup/unified").is_dir() {
            umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH).expect("umount unified");
        }
        if self == Self::V2 {
            mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none)
                .expect("mount cgroup2 alone");
        }
    }
}

/// The benchmarks' directory, and the tag that all names carry.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) tag: String,
    pub(crate) layout: Layout,
}

impl Bench {
    /// Enters a mount namespace of its own and makes the directory and the root file system.
    pub(crate) fn new(layout: Layout) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare: the benchmarks need root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("make / private");
        layout.mount();
        let tag = format!("orlopbench-{}", std::process::id());
        let dir = std::env::temp_dir().join(&tag);
        fs::create_dir(&dir).expect("directory");
        // Where every host has /run, which is where runtimes keep their state.
        let run = dir.join("run");
        fs::create_dir(&run).expect("directory");
        mount(Some("tmpfs"), &run, Some("tmpfs"), MsFlags::empty(), none).expect("mount a tmpfs for the state");
        own_null(&run);
        let rootfs = dir.join("rootfs");
        for name in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(name)).expect("rootfs");
        }
        // The command that every container runs ends at once, and is as small as can be.
        let script = env!("ORLOP_PROGRAM_FLOOR");
        fs::copy(script, rootfs.join("bin/floor")).expect("floor");
        fs::copy(env!("ORLOP_PROGRAM_PROBE"), rootfs.join("bin/probe")).expect("probe");
        fs::copy(script, rootfs.join("bin/true")).expect("true");
        fs::copy(script, dir.join("floor")).expect("floor");
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").expect("passwd");
        Self { dir, tag, layout }
    }

    /// In a process that was started where all of this was made.
    pub(crate) fn inherited(dir: PathBuf, layout: Layout) -> Self {
        let tag = dir.file_name().expect("the directory's name").to_string_lossy().into_owned();
        Self { dir, tag, layout }
    }

    /// Takes away what is left.
    pub(crate) fn finish(&self) {
        leak::clean(&self.tag);
        if let Err(errno) = umount2(&self.dir.join("run"), MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {}: {errno}", self.dir.join("run").display());
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// Busy loops beside the measurements, ended with this value or with this process.
#[derive(Debug)]
pub(crate) struct Load(Vec<std::process::Child>);

impl Load {
    pub(crate) fn start(bench: &Bench, count: usize) -> Self {
        let one = |_| Command::new(bench.dir.join("floor")).arg("burn").spawn().expect("a busy loop");
        Self((0..count).map(one).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// crun gives the standard streams to the container's user, the host's /dev/null among them: it gets one of our own.
fn own_null(run: &Path) {
    let null = run.join("null");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&null, SFlag::S_IFCHR, mode, makedev(1, 3)).expect("make a null device");
    fs::set_permissions(&null, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("mode of the null device");
    mount(Some(&null), "/dev/null", None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind the null device");
}

/// What one command took, its waited-for children included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) milliseconds: f64,
    pub(crate) cpu_milliseconds: f64,
    pub(crate) faults: f64,
    pub(crate) peak_kib: f64,
    /// The wait status.
    pub(crate) status: i32,
}

/// Times commands through the `floor` program.
#[derive(Debug)]
pub(crate) struct Stopwatch<'a> {
    pub(crate) bench: &'a Bench,
    counter: Cell<usize>,
}

impl<'a> Stopwatch<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        Self { bench, counter: Cell::new(0) }
    }

    /// A name that was not used before.
    pub(crate) fn name(&self) -> String {
        self.counter.set(self.counter.get() + 1);
        format!("{}-{}", self.bench.tag, self.counter.get())
    }

    /// The small program of this directory.
    pub(crate) fn floor(&self) -> PathBuf {
        self.bench.dir.join("floor")
    }

    /// The state root of a runtime.
    pub(crate) fn root(&self, peer: &Peer) -> String {
        self.bench.dir.join("run").join(&peer.name).display().to_string()
    }

    /// Times any command; its output is thrown away, its errors kept.
    pub(crate) fn time_any(&self, words: &[&str]) -> Sample {
        let result = self.bench.dir.join("result");
        let errors = fs::File::create(self.bench.dir.join("errors")).expect("error file");
        let status = Command::new(self.floor())
            .env("ORLOP_TAG", &self.bench.tag)
            .arg("measure")
            .arg(&result)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .status()
            .expect("the stop-watch");
        assert!(status.success(), "the stop-watch failed");
        let text = fs::read_to_string(&result).expect("result");
        let numbers: Vec<f64> = text.split(' ').map(|word| word.parse().expect("a number")).collect();
        #[allow(clippy::cast_possible_truncation, reason = "a wait status has 16 bits")]
        let status = numbers[6] as i32;
        Sample {
            milliseconds: numbers[0] / 1e6,
            cpu_milliseconds: (numbers[1] + numbers[2]) / 1e3,
            faults: numbers[3] + numbers[4],
            peak_kib: numbers[5],
            status,
        }
    }

    /// Times a command of a runtime; it must succeed.
    pub(crate) fn time(&self, peer: &Peer, words: &[&str]) -> Sample {
        let sample = self.try_time(peer, words);
        let errors = fs::read_to_string(self.bench.dir.join("errors")).unwrap_or_default();
        assert_eq!(sample.status, 0, "{} {words:?}: {errors}", peer.name);
        sample
    }

    /// The same for a command that may fail.
    pub(crate) fn try_time(&self, peer: &Peer, words: &[&str]) -> Sample {
        let path = peer.path.display().to_string();
        let root = self.root(peer);
        let mut all = vec![path.as_str(), "--root", root.as_str()];
        all.extend_from_slice(words);
        self.time_any(&all)
    }

    /// Runs a command of a runtime untimed; whether it succeeded.
    pub(crate) fn quiet(&self, peer: &Peer, words: &[&str]) -> bool {
        self.try_time(peer, words).status == 0
    }

    /// What a command of a runtime prints.
    pub(crate) fn output(&self, peer: &Peer, words: &[&str]) -> String {
        let output = Command::new(&peer.path).args(["--root", &self.root(peer)]).args(words).output().expect("runtime");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The pid of a container's first process.
    pub(crate) fn pid(&self, peer: &Peer, id: &str) -> i32 {
        let state: serde_json::Value = serde_json::from_str(&self.output(peer, &["state", id])).expect("state");
        i32::try_from(state["pid"].as_i64().expect("pid")).expect("a pid")
    }

    /// Kills, waits and deletes, untimed.
    pub(crate) fn remove(&self, peer: &Peer, id: &str) {
        let _ = self.quiet(peer, &["delete", "--force", id]);
        orlop_integration::process::reap();
    }
}
