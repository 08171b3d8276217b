//! What one case owns: a directory, a state root, a mount namespace, and a tag that all its names carry.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::figures::{self, Row};
use crate::{Cmd, Container, Flavor, Need, Subject, World, leak, process, sys};

/// The file in the run's directory that figures are written to.
pub(crate) const FIGURES: &str = "figures.jsonl";

/// The exit code by which a forked case tells that it was skipped.
pub(crate) const SKIPPED: i32 = 77;

/// The busybox applets that the root file system offers.
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "dmesg", "echo", "env", "false", "find", "grep", "head",
    "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nc", "od", "ping",
    "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "seq", "setsid", "sh", "sleep", "sort", "stat", "stty",
    "sync", "tail", "test", "touch", "tr", "true", "tty", "umask", "umount", "uname", "usleep", "wc", "yes",
];

/// One case's surroundings.
#[derive(Debug)]
pub struct Sandbox {
    /// The runtime under test.
    pub subject: Subject,
    /// What the runtime's caller may do here.
    pub world: World,
    /// Part of every name this case makes.
    pub tag: String,
    /// The case's directory, removed afterwards.
    pub dir: PathBuf,
    /// The `--root` given to the runtime.
    pub root: PathBuf,
    /// Where the run keeps what all cases share.
    cache: PathBuf,
    commands: Cell<usize>,
    reason_file: PathBuf,
    /// More state roots to look through for leaks.
    pub(crate) more_roots: RefCell<Vec<PathBuf>>,
}

impl Sandbox {
    /// Enters a mount namespace of its own, where the caller may, and makes the directory. Called in the forked child.
    pub(crate) fn enter(subject: Subject, world: World, tag: String, base: &Path, reason_file: PathBuf) -> Self {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        use nix::sched::{CloneFlags, unshare};
        if world.has(Need::Admin) {
            unshare(CloneFlags::CLONE_NEWNS).expect("unshare(CLONE_NEWNS)");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("make / private");
            if subject.flavor == Flavor::Crun && Path::new("/sys/fs/cgroup/unified").is_dir() {
                umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH).expect("umount unified for crun");
            }
        }
        let dir = base.join(&tag);
        fs::create_dir(&dir).expect("case directory");
        let root = dir.join("state");
        Self {
            subject,
            world,
            tag,
            root,
            cache: base.join("cache"),
            dir,
            commands: Cell::new(0),
            reason_file,
            more_roots: RefCell::new(Vec::new()),
        }
    }

    /// Ends the case as skipped; the run prints and counts the reason.
    pub fn skip(&self, reason: &str) -> ! {
        fs::write(&self.reason_file, reason).expect("reason file");
        sys::exit_now(SKIPPED)
    }

    /// Skips the case unless `condition` holds; fails it when the surroundings promise what `word` names (`ORLOP_TEST_NEEDS`).
    ///
    /// # Panics
    /// When the promise is not kept.
    pub fn need_promised(&self, word: &str, condition: bool, reason: &str) {
        assert!(condition || !crate::runner::is_promised(word), "{word} is promised, but: {reason}");
        self.need(condition, reason);
    }

    /// Marks the case unless the runtime's caller has it; what a case needs from the start it declares ([`crate::Case::needs`]).
    pub fn need_of_caller(&self, need: Need) {
        if let Some(reason) = self.world.lacks(need as u8) {
            self.skip(&reason);
        }
    }

    /// Skips the case unless `condition` holds.
    pub fn need(&self, condition: bool, reason: &str) {
        if !condition {
            self.skip(reason);
        }
    }

    /// Whether the runtime under test is of this family.
    #[must_use]
    pub fn is(&self, flavor: Flavor) -> bool {
        self.subject.flavor == flavor
    }

    /// Adds a row to a table that is printed at the end of the run.
    pub fn figures(&self, row: &Row) {
        figures::add(&self.cache.with_file_name(FIGURES), row);
    }

    /// Does `work` in `count` processes at once, each with its number and a sandbox of its own within this one, and gives what they
    /// found, in their order.
    ///
    /// # Panics
    /// When one of them ends without a result.
    pub fn in_parallel<R: Serialize + DeserializeOwned>(
        &self,
        count: usize,
        work: impl Fn(&Sandbox, usize) -> R,
    ) -> Vec<R> {
        let file = |n: usize| self.dir.join(format!("worker-{n}.json"));
        let workers: Vec<_> = (0..count)
            .map(|n| match sys::fork() {
                Some(worker) => worker,
                None => self.work(n, &file(n), &work),
            })
            .collect();
        let ends: Vec<WaitStatus> = workers.iter().map(|worker| waitpid(*worker, None).expect("waitpid")).collect();
        if ends.iter().any(|end| matches!(end, WaitStatus::Exited(_, SKIPPED))) {
            sys::exit_now(SKIPPED);
        }
        for (n, end) in ends.iter().enumerate() {
            assert!(matches!(end, WaitStatus::Exited(_, 0)), "worker {n} ended by {end:?}");
        }
        (0..count).map(|n| serde_json::from_slice(&fs::read(file(n)).expect("result")).expect("JSON")).collect()
    }

    /// What a process of [`Self::in_parallel`] does.
    fn work<R: Serialize>(&self, n: usize, result: &Path, work: &impl Fn(&Sandbox, usize) -> R) -> ! {
        sys::die_with_parent();
        sys::become_subreaper();
        let tag = format!("{}-w{n}", self.tag);
        let dir = self.dir.join(format!("worker-{n}"));
        fs::create_dir(&dir).expect("directory of a worker");
        let own = Self {
            subject: self.subject.clone(),
            world: self.world,
            root: dir.join("state"),
            tag,
            dir,
            cache: self.cache.clone(),
            commands: Cell::new(0),
            reason_file: self.reason_file.clone(),
            more_roots: RefCell::default(),
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&own, n)));
        let Ok(found) = done else { sys::exit_now(101) };
        let left = leak::find(&own.tag, std::slice::from_ref(&own.root));
        if !left.is_empty() {
            eprintln!("worker {n} left behind: {left:#?}");
            sys::exit_now(101);
        }
        fs::write(result, serde_json::to_vec(&found).expect("JSON")).expect("result of a worker");
        sys::exit_now(0)
    }

    /// Removes the files of the commands that have ended: a case of thousands would drown in them.
    pub fn forget_commands(&self) {
        for entry in fs::read_dir(&self.dir).expect("the case's directory").flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b"command-") {
                fs::remove_file(entry.path()).expect("a command's file");
            }
        }
    }

    /// A path for files that belong to the next command.
    fn next_files(&self) -> PathBuf {
        self.commands.set(self.commands.get() + 1);
        self.dir.join(format!("command-{}", self.commands.get()))
    }

    /// A command of the runtime: `RUNTIME --root ROOT ARGS…`.
    pub fn cmd<S: AsRef<str>>(&self, args: &[S]) -> Cmd {
        let root = self.root.display().to_string();
        self.bare(&["--root", &root]).args(args.iter().map(|arg| arg.as_ref().to_owned()))
    }

    /// The same with `--log FILE --log-format json`; [`crate::Output::log`] has the lines.
    pub fn logged<S: AsRef<str>>(&self, args: &[S]) -> Cmd {
        let files = self.next_files();
        let log = files.with_extension("log");
        let root = self.root.display().to_string();
        let path = log.display().to_string();
        self.bare(&["--root", &root, "--log", &path, "--log-format", "json"])
            .args(args.iter().map(|arg| arg.as_ref().to_owned()))
            .log(log)
    }

    /// The runtime with no global options of ours.
    pub fn bare(&self, args: &[&str]) -> Cmd {
        Cmd::new(self.subject.path.as_os_str(), self.next_files()).args(args.iter().copied())
    }

    /// Another program.
    pub fn program(&self, path: &str, args: &[&str]) -> Cmd {
        Cmd::new(path.as_ref(), self.next_files()).args(args.iter().copied())
    }

    /// An id that carries the tag.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// A bundle with a busybox root file system and the default config, and the id to run it under.
    #[must_use]
    pub fn container(&self, name: &str) -> Container<'_> {
        Container::new(self, name)
    }

    /// Fills `rootfs` with busybox, the probe and the directories that mounts go on.
    pub fn fill_rootfs(&self, rootfs: &Path) {
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "run", "home", "var", "usr/bin", "mnt"] {
            fs::create_dir_all(rootfs.join(dir)).expect("rootfs directory");
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode of /tmp");
        fs::hard_link(self.cache.join("busybox"), rootfs.join("bin/busybox")).expect("busybox");
        fs::hard_link(self.cache.join("probe"), rootfs.join("probe")).expect("probe");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("applet");
        }
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n1:x:4242:4242::/home/one:/bin/sh\n";
        fs::write(rootfs.join("etc/passwd"), passwd).expect("passwd");
        fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n").expect("group");
    }

    /// Puts the hostile neighbour, which is a harmless command too, into a root file system as `/neighbour`.
    pub fn add_neighbour(&self, rootfs: &Path) {
        fs::hard_link(self.cache.join("neighbour"), rootfs.join("neighbour")).expect("neighbour");
    }

    /// A copy of the probe of its own, for cases that might damage it.
    pub fn copy_probe(&self, to: &Path) {
        fs::copy(self.cache.join("probe"), to).expect("copy of the probe");
    }

    /// A copy of the floor program, which makes containers with nothing but the system calls that this takes, and ends at once if it is
    /// told to do nothing.
    pub fn copy_floor(&self, to: &Path) {
        fs::copy(self.cache.join("floor"), to).expect("copy of the floor program");
    }

    /// Waits until `done` holds.
    ///
    /// # Panics
    /// When it does not within ten seconds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < until, "not within 10 s: {what}");
            // The first process of a pid namespace ends once the others of it have been collected.
            process::reap_orphans();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the process `pid` has ended, and collects it if it was given to us.
    #[track_caller]
    pub fn wait_gone(&self, pid: i32) {
        self.wait_until(&format!("end of process {pid}"), || {
            process::reap_orphans();
            !process::is_alive(pid)
        });
    }

    /// The directories of hierarchies in which a cgroup of this name stands.
    #[must_use]
    pub fn cgroups_of(&self, id: &str) -> Vec<PathBuf> {
        leak::cgroup_places(id).into_iter().filter(|dir| dir.is_dir()).collect()
    }

    /// The `cgroupsPath` of a cgroup that this caller may make.
    #[must_use]
    pub fn cgroups_path(&self, name: &str) -> String {
        format!("{}/{name}", leak::cgroup_parent())
    }

    /// The directory of a v1 controller (or the v2 tree that has it) for the cgroup `name`.
    #[must_use]
    pub fn controller(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let v1 = Path::new("/sys/fs/cgroup").join(controller).join(name);
        if v1.is_dir() {
            return Some(v1);
        }
        let mut trees = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().map(Path::new);
        let tree = trees.find(|tree| {
            let list = fs::read_to_string(tree.join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|word| word == controller)
        })?;
        Some(tree.join(self.cgroups_path(name).trim_start_matches('/')))
    }

    /// The number of this machine's last CPU; a guest may have but one.
    ///
    /// # Panics
    /// When the kernel does not say.
    #[must_use]
    pub fn last_cpu(&self) -> u32 {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").expect("the CPUs that are online");
        online.trim().rsplit([',', '-']).next().and_then(|last| last.parse().ok()).expect("a number")
    }

    /// Whether the host's kernel lets this process make a user namespace.
    #[must_use]
    pub fn has_user_namespaces(&self) -> bool {
        fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|text| text.trim() != "0")
    }
}

/// Whether this kernel has `name` in /proc/self/ns.
#[must_use]
pub fn kernel_has_namespace(name: &str) -> bool {
    Path::new("/proc/self/ns").join(name).is_symlink()
}
