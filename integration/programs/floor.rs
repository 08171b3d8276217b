//! The floor that every runtime is measured against, and the stop-watch of the benchmarks.
//!
//! - `floor nothing`: starts and ends.
//! - `floor container ROOTFS COUNT`: makes containers as `runc spec` describes them with nothing but the system calls that this takes:
//!   control groups in every v1 hierarchy, or in cgroup v2 where that alone is mounted, with a device program; five namespaces, all mounts
//!   and devices, masks, pivot, limits, capabilities, execve. Prints the nanoseconds of each.
//! - `floor keep ROOTFS COUNT`: makes as many, each with `/bin/probe pause` in place of the command that ends at once, prints `kept`, and
//!   takes them away when its standard input ends.
//! - `floor exec PID`: for each byte of its standard input, has `/floor nothing` executed in the container whose first process that is, with
//!   nothing but the system calls that this takes, and prints the nanoseconds until its output and its end are known.
//! - `floor burn`: keeps one processor busy until its parent ends.
//! - `floor measure RESULT PROGRAM ARGUMENT…`: starts the program from this small process, so that neither the time nor the peak of memory
//!   has a part of a bigger parent in it, and writes `ns user_us system_us minor_faults major_faults peak_kib status` to RESULT.
//!
//! Built by `build.rs` as a static musl executable from this one file, without dependencies.

#![allow(unsafe_code, reason = "a program of bare system calls")]
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "kernel words are passed through unchanged"
)]

use std::ffi::{CStr, CString};
use std::ptr::null;

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub(crate) const READ: i64 = 0;
    pub(crate) const CLOSE: i64 = 3;
    pub(crate) const EXECVE: i64 = 59;
    pub(crate) const EXIT: i64 = 231;
    pub(crate) const WAIT4: i64 = 61;
    pub(crate) const KILL: i64 = 62;
    pub(crate) const CHDIR: i64 = 80;
    pub(crate) const MKDIRAT: i64 = 258;
    pub(crate) const UNLINKAT: i64 = 263;
    pub(crate) const SYMLINKAT: i64 = 266;
    pub(crate) const MKNODAT: i64 = 259;
    pub(crate) const OPENAT: i64 = 257;
    pub(crate) const WRITE: i64 = 1;
    pub(crate) const MOUNT: i64 = 165;
    pub(crate) const UMOUNT2: i64 = 166;
    pub(crate) const PIVOT_ROOT: i64 = 155;
    pub(crate) const SETHOSTNAME: i64 = 170;
    pub(crate) const PRLIMIT64: i64 = 302;
    pub(crate) const PRCTL: i64 = 157;
    pub(crate) const CAPSET: i64 = 126;
    pub(crate) const SETSID: i64 = 112;
    pub(crate) const CLONE3: i64 = 435;
    pub(crate) const CLOSE_RANGE: i64 = 436;
    pub(crate) const BPF: i64 = 321;
    pub(crate) const PIPE2: i64 = 293;
    pub(crate) const DUP3: i64 = 292;
    pub(crate) const SETNS: i64 = 308;
    pub(crate) const PIDFD_OPEN: i64 = 434;
}

#[cfg(not(target_arch = "x86_64"))]
mod nr {
    pub(crate) const READ: i64 = 63;
    pub(crate) const CLOSE: i64 = 57;
    pub(crate) const EXECVE: i64 = 221;
    pub(crate) const EXIT: i64 = 94;
    pub(crate) const WAIT4: i64 = 260;
    pub(crate) const KILL: i64 = 129;
    pub(crate) const CHDIR: i64 = 49;
    pub(crate) const MKDIRAT: i64 = 34;
    pub(crate) const UNLINKAT: i64 = 35;
    pub(crate) const SYMLINKAT: i64 = 36;
    pub(crate) const MKNODAT: i64 = 33;
    pub(crate) const OPENAT: i64 = 56;
    pub(crate) const WRITE: i64 = 64;
    pub(crate) const MOUNT: i64 = 40;
    pub(crate) const UMOUNT2: i64 = 39;
    pub(crate) const PIVOT_ROOT: i64 = 41;
    pub(crate) const SETHOSTNAME: i64 = 161;
    pub(crate) const PRLIMIT64: i64 = 261;
    pub(crate) const PRCTL: i64 = 167;
    pub(crate) const CAPSET: i64 = 91;
    pub(crate) const SETSID: i64 = 157;
    pub(crate) const CLONE3: i64 = 435;
    pub(crate) const CLOSE_RANGE: i64 = 436;
    pub(crate) const BPF: i64 = 280;
    pub(crate) const PIPE2: i64 = 59;
    pub(crate) const DUP3: i64 = 24;
    pub(crate) const SETNS: i64 = 268;
    pub(crate) const PIDFD_OPEN: i64 = 434;
}

const AT_FDCWD: i64 = -100;

fn call(number: i64, words: [i64; 5]) -> i64 {
    // SAFETY: numbers and words come from this file; every pointer among the words is to memory that lives across the call.
    unsafe { syscall(number, words[0], words[1], words[2], words[3], words[4]) }
}

/// A call that must succeed.
fn must(what: &str, number: i64, words: [i64; 5]) -> i64 {
    let result = call(number, words);
    if result < 0 {
        panic!("{what}: {}", std::io::Error::last_os_error());
    }
    result
}

fn at<T: ?Sized>(value: &T) -> i64 {
    std::ptr::from_ref(value).cast::<u8>() as i64
}

fn text(value: &CStr) -> i64 {
    value.as_ptr() as i64
}

fn now() -> i64 {
    let mut time = [0_i64; 2];
    // SAFETY: CLOCK_MONOTONIC is always there, and `time` is a timespec of two words.
    unsafe { clock_gettime(1, &raw mut time) };
    time[0] * 1_000_000_000 + time[1]
}

const MS_RDONLY: i64 = 1;
const MS_NOSUID: i64 = 2;
const MS_NODEV: i64 = 4;
const MS_NOEXEC: i64 = 8;
const MS_REMOUNT: i64 = 32;
const MS_BIND: i64 = 4096;
const MS_REC: i64 = 16384;
const MS_PRIVATE: i64 = 1 << 18;
const MS_STRICTATIME: i64 = 1 << 24;

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: i64, data: &CStr) {
    let result = call(nr::MOUNT, [text(source), text(target), text(kind), flags, text(data)]);
    if result < 0 {
        panic!("mount {target:?}: {}", std::io::Error::last_os_error());
    }
}

/// Covers `target` by `source`; a target that is not there is left out, as the specification has it.
fn cover(source: &CStr, target: &CStr, kind: &CStr, flags: i64, again: i64) {
    if call(nr::MOUNT, [text(source), text(target), text(kind), flags, 0]) == 0 && again != 0 {
        must("remount", nr::MOUNT, [text(target), text(target), text(kind), flags | again | MS_REMOUNT, 0]);
    }
}

/// The container's cgroups: one in each v1 hierarchy, or one of v2.
struct Group {
    directories: Vec<CString>,
    names: Vec<CString>,
    v2: bool,
}

impl Group {
    fn find(name: &str) -> Self {
        let text = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let places = |kind: &str| -> Vec<&str> {
            let lines = text.lines().filter_map(|line| line.split_once(" - "));
            let lines = lines.filter(|(_, right)| right.split(' ').next() == Some(kind));
            lines.filter_map(|(left, _)| left.split(' ').nth(4)).collect()
        };
        // A mount that covers the v1 hierarchies makes the layout v2.
        let v2 = places("cgroup2").contains(&"/sys/fs/cgroup");
        let places = if v2 { vec!["/sys/fs/cgroup"] } else { places("cgroup") };
        let last = |place: &&str| CString::new(place.rsplit('/').next().unwrap_or_default()).unwrap();
        let names = places.iter().map(last).collect();
        let directories = places.iter().map(|place| CString::new(format!("{place}/{name}")).unwrap()).collect();
        Self { directories, names, v2 }
    }

    /// Makes the cgroups; gives what the child joins by: v1's `tasks` files, or the directory of v2.
    fn make(&self) -> Vec<i64> {
        self.directories.iter().map(|path| if self.v2 { make_v2(path) } else { make_v1(path) }).collect()
    }

    fn remove(&self) {
        for path in &self.directories {
            let begun = now();
            while call(nr::UNLINKAT, [AT_FDCWD, text(path), 0x200, 0, 0]) < 0 {
                assert!(now() - begun < 5_000_000_000, "rmdir {path:?}: {}", std::io::Error::last_os_error());
            }
        }
    }
}

fn make_v1(path: &CString) -> i64 {
    must("mkdir of a cgroup", nr::MKDIRAT, [AT_FDCWD, text(path), 0o755, 0, 0]);
    if path.to_bytes().starts_with(b"/sys/fs/cgroup/cpuset/") {
        // The kernel leaves a new v1 cpuset empty; a task can join only when both are set.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let from = format!("/sys/fs/cgroup/cpuset/{file}");
            std::fs::write(format!("{}/{file}", path.to_str().unwrap()), std::fs::read(from).unwrap()).expect(file);
        }
    }
    let tasks = CString::new(format!("{}/tasks", path.to_str().unwrap())).unwrap();
    must("open tasks", nr::OPENAT, [AT_FDCWD, text(&tasks), 1 | 0o2_000_000, 0, 0])
}

/// The cgroup, with a device program of two instructions: what loading and attaching take, whatever its rules.
fn make_v2(path: &CString) -> i64 {
    must("mkdir of a cgroup", nr::MKDIRAT, [AT_FDCWD, text(path), 0o755, 0, 0]);
    let directory = must("open the cgroup", nr::OPENAT, [AT_FDCWD, text(path), 0o2_200_000, 0, 0]);
    // r0 = 1; exit
    let program: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    // union bpf_attr of BPF_PROG_LOAD: type BPF_PROG_TYPE_CGROUP_DEVICE and the number of instructions; these; the licence.
    let load: [u64; 9] = [15 | 2 << 32, at(&program) as u64, text(c"GPL") as u64, 0, 0, 0, 0, 0, 0];
    let fd = must("load a device program", nr::BPF, [5, at(&load), 72, 0, 0]);
    // union bpf_attr of BPF_PROG_ATTACH: cgroup and program; type BPF_CGROUP_DEVICE, no flags.
    let attach: [u64; 2] = [directory as u64 | (fd as u64) << 32, 6];
    must("attach the device program", nr::BPF, [8, at(&attach), 16, 0, 0]);
    call(nr::CLOSE, [fd, 0, 0, 0, 0]);
    directory
}

/// CLONE_VFORK: the parent goes on when the child executes its command.
const VFORK: u64 = 0x4000;

/// A child in new namespaces and in the new cgroups of `group`, on its way to execute `command`.
fn start(rootfs: &CStr, group: &Group, command: &[&CStr], flags: u64) -> i64 {
    let opened = group.make();
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
    let mut arguments: [u64; 11] =
        [0x2000_0000 | 0x4000_0000 | 0x0800_0000 | 0x0400_0000 | 0x0002_0000 | flags, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
    if group.v2 {
        arguments[0] |= 0x2_0000_0000;
        arguments[10] = opened[0] as u64;
    }
    let child = must("clone3", nr::CLONE3, [at(&arguments), 88, 0, 0, 0]);
    if child == 0 {
        enter(rootfs, group, if group.v2 { &[] } else { &opened }, command);
    }
    for fd in opened {
        call(nr::CLOSE, [fd, 0, 0, 0, 0]);
    }
    child
}

fn wait(child: i64) -> i32 {
    let mut status = 0_i32;
    must("wait4", nr::WAIT4, [child, (&raw mut status) as i64, 0, 0, 0]);
    status
}

fn group(number: i64) -> Group {
    // The benchmarks' tag, so that they find what an interrupted run leaves.
    let tag = std::env::var("ORLOP_TAG").unwrap_or_else(|_| "orlop".into());
    Group::find(&format!("{tag}-floor-{}-{number}", std::process::id()))
}

fn container(rootfs: &CStr, number: i64) -> i64 {
    let group = group(number);
    let begun = now();
    let child = start(rootfs, &group, &[c"/bin/true"], 0);
    assert_eq!(wait(child), 0, "the command in the container");
    group.remove();
    now() - begun
}

/// Makes containers that last until standard input ends.
fn keep(rootfs: &CStr, count: i64) {
    let groups: Vec<Group> = (0..count).map(group).collect();
    let pause = [c"/bin/probe", c"pause"];
    let children: Vec<i64> = groups.iter().map(|group| start(rootfs, group, &pause, VFORK)).collect();
    println!("kept");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("standard input");
    for child in &children {
        must("kill", nr::KILL, [*child, 9, 0, 0, 0]);
    }
    for child in children {
        wait(child);
    }
    groups.iter().for_each(Group::remove);
}

/// What a process of an existing container joins: the paths of its `tasks` files, or of its directory of v2.
fn joined(pid: i64) -> (Vec<CString>, bool) {
    let all = Group::find("");
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the container's cgroups");
    let of = |name: &str| {
        let mut lines = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let wanted = |controllers: &str| match name {
            "cgroup" => controllers.is_empty(),
            _ => controllers.split(',').any(|one| one.trim_start_matches("name=") == name),
        };
        lines.find_map(|(controllers, path)| wanted(controllers).then_some(path)).expect(name)
    };
    let places = all.directories.iter().zip(&all.names).map(|(mount, name)| {
        let (mount, path) = (mount.to_str().unwrap().trim_end_matches('/'), of(name.to_str().unwrap()));
        CString::new(format!("{mount}{path}{}", if all.v2 { "" } else { "/tasks" })).unwrap()
    });
    (places.collect(), all.v2)
}

/// Executes commands in a container, one for each byte of standard input.
fn exec(pid: i64) {
    let (places, v2) = joined(pid);
    let (mut byte, mut output) = ([0_u8; 1], std::io::stdout());
    while std::io::Read::read(&mut std::io::stdin(), &mut byte).expect("standard input") == 1 {
        let begun = now();
        one_exec(pid, &places, v2);
        let line = format!("{}\n", now() - begun);
        std::io::Write::write_all(&mut output, line.as_bytes()).expect("standard output");
    }
}

fn one_exec(pid: i64, places: &[CString], v2: bool) {
    let mut pipe = [0_i32; 2];
    must("pipe2", nr::PIPE2, [(&raw mut pipe) as i64, 0o2_000_000, 0, 0, 0]);
    let [output, input] = pipe.map(i64::from);
    let pidfd = must("pidfd_open", nr::PIDFD_OPEN, [pid, 0, 0, 0, 0]);
    let flags = if v2 { 0o2_200_000 } else { 1 | 0o2_000_000 };
    let opened: Vec<i64> =
        places.iter().map(|path| must("open a cgroup", nr::OPENAT, [AT_FDCWD, text(path), flags, 0, 0])).collect();
    let mut arguments: [u64; 11] = [0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
    if v2 {
        arguments[0] = 0x2_0000_0000;
        arguments[10] = opened[0] as u64;
    }
    let child = must("clone3", nr::CLONE3, [at(&arguments), 88, 0, 0, 0]);
    if child == 0 {
        execute_in(pidfd, if v2 { &[] } else { &opened }, input);
    }
    for fd in opened.into_iter().chain([pidfd, input]) {
        call(nr::CLOSE, [fd, 0, 0, 0, 0]);
    }
    let mut buffer = [0_u8; 64];
    while must("read", nr::READ, [output, (&raw mut buffer) as i64, 64, 0, 0]) > 0 {}
    // The process that went into the pid namespace is a child of this one, too.
    for _ in 0..2 {
        assert_eq!(wait(-1), 0, "the command, or who made it");
    }
    call(nr::CLOSE, [output, 0, 0, 0, 0]);
}

/// The child: goes into the container, and ends when the command's process has been made in its pid namespace.
fn execute_in(pidfd: i64, tasks: &[i64], output: i64) -> ! {
    for fd in tasks {
        must("join", nr::WRITE, [*fd, text(c"0"), 1, 0, 0]);
    }
    // Not dumpable, before anybody inside could trace it.
    must("PR_SET_DUMPABLE", nr::PRCTL, [4, 0, 0, 0, 0]);
    // Mounts, pids, network, IPC and names.
    must("setns", nr::SETNS, [pidfd, 0x0002_0000 | 0x2000_0000 | 0x4000_0000 | 0x0800_0000 | 0x0400_0000, 0, 0, 0]);
    must("dup3", nr::DUP3, [output, 1, 0, 0, 0]);
    must("dup3", nr::DUP3, [output, 2, 0, 0, 0]);
    drop_rights();
    // A sibling: CLONE_PARENT.
    let arguments: [u64; 11] = [0x8000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if must("clone3", nr::CLONE3, [at(&arguments), 88, 0, 0, 0]) != 0 {
        call(nr::EXIT, [0; 5]);
    }
    must("setsid", nr::SETSID, [0; 5]);
    execute(&[c"/floor", c"nothing"]);
}

/// The child: everything of `runc spec`'s config, then the command.
fn enter(rootfs: &CStr, group: &Group, tasks: &[i64], command: &[&CStr]) -> ! {
    for fd in tasks {
        must("join", nr::WRITE, [*fd, text(c"0"), 1, 0, 0]);
    }
    must("setsid", nr::SETSID, [0; 5]);
    must("sethostname", nr::SETHOSTNAME, [text(c"runc"), 4, 0, 0, 0]);
    mount(c"", c"/", c"", MS_REC | MS_PRIVATE, c"");
    mount(rootfs, rootfs, c"", MS_BIND | MS_REC, c"");
    must("chdir", nr::CHDIR, [text(rootfs), 0, 0, 0, 0]);
    mount(c"proc", c"proc", c"proc", 0, c"");
    mount(c"tmpfs", c"dev", c"tmpfs", MS_NOSUID | MS_STRICTATIME, c"mode=755,size=65536k");
    for dir in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        must("mkdir", nr::MKDIRAT, [AT_FDCWD, text(dir), 0o755, 0, 0]);
    }
    mount(c"devpts", c"dev/pts", c"devpts", MS_NOSUID | MS_NOEXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount(c"shm", c"dev/shm", c"tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, c"mode=1777,size=65536k");
    mount(c"mqueue", c"dev/mqueue", c"mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, c"");
    mount(c"sysfs", c"sys", c"sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, c"");
    cgroup_mounts(group);
    for (path, major, minor) in [
        (c"dev/null", 1, 3),
        (c"dev/zero", 1, 5),
        (c"dev/full", 1, 7),
        (c"dev/random", 1, 8),
        (c"dev/urandom", 1, 9),
        (c"dev/tty", 5, 0),
    ] {
        must("mknod", nr::MKNODAT, [AT_FDCWD, text(path), 0o020_666, major << 8 | minor, 0]);
    }
    for (target, path) in [
        (c"pts/ptmx", c"dev/ptmx"),
        (c"/proc/self/fd", c"dev/fd"),
        (c"/proc/self/fd/0", c"dev/stdin"),
        (c"/proc/self/fd/1", c"dev/stdout"),
        (c"/proc/self/fd/2", c"dev/stderr"),
    ] {
        must("symlink", nr::SYMLINKAT, [text(target), AT_FDCWD, text(path), 0, 0]);
    }
    must("pivot_root", nr::PIVOT_ROOT, [text(c"."), text(c"."), 0, 0, 0]);
    must("umount2", nr::UMOUNT2, [text(c"."), 2, 0, 0, 0]);
    must("chdir", nr::CHDIR, [text(c"/"), 0, 0, 0, 0]);
    for path in [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"] {
        cover(path, path, c"", MS_BIND | MS_REC, MS_RDONLY);
    }
    for path in [
        c"/proc/kcore",
        c"/proc/keys",
        c"/proc/latency_stats",
        c"/proc/timer_list",
        c"/proc/timer_stats",
        c"/proc/sched_debug",
    ] {
        cover(c"/dev/null", path, c"", MS_BIND, 0);
    }
    for path in [c"/proc/acpi", c"/proc/asound", c"/sys/firmware", c"/proc/scsi"] {
        cover(c"tmpfs", path, c"tmpfs", MS_RDONLY, 0);
    }
    let limit: [u64; 2] = [1024, 1024];
    must("prlimit", nr::PRLIMIT64, [0, 7, at(&limit), 0, 0]);
    drop_rights();
    must("close_range", nr::CLOSE_RANGE, [3, 0xffff_ffff, 4, 0, 0]);
    execute(command);
}

/// The capabilities of `runc spec`'s config, and no_new_privs.
fn drop_rights() {
    let keep: u64 = 1 << 29 | 1 << 5 | 1 << 10;
    for cap in (0..41_i64).filter(|cap| keep >> cap & 1 == 0) {
        call(nr::PRCTL, [24, cap, 0, 0, 0]);
    }
    let header: [u32; 2] = [0x2008_0522, 0];
    let sets: [u32; 6] = [keep as u32, keep as u32, 0, 0, 0, 0];
    must("capset", nr::CAPSET, [at(&header), at(&sets), 0, 0, 0]);
    must("no_new_privs", nr::PRCTL, [38, 1, 0, 0, 0]);
}

fn execute(command: &[&CStr]) -> ! {
    let mut arguments = [null(); 4];
    arguments.iter_mut().zip(command).for_each(|(slot, word)| *slot = word.as_ptr());
    let environment = [c"PATH=/bin".as_ptr(), null()];
    call(nr::EXECVE, [text(command[0]), at(&arguments), at(&environment), 0, 0]);
    call(nr::EXIT, [127, 0, 0, 0, 0]);
    unreachable!("exit_group does not return");
}

fn cgroup_mounts(group: &Group) {
    if group.v2 {
        let target = c"sys/fs/cgroup";
        mount(&group.directories[0], target, c"", MS_BIND | MS_REC, c"");
        let flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV;
        return mount(&group.directories[0], target, c"", flags, c"");
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, c"mode=755");
    for (name, source) in group.names.iter().zip(&group.directories) {
        let target = CString::new(format!("sys/fs/cgroup/{}", name.to_str().unwrap())).unwrap();
        must("mkdir", nr::MKDIRAT, [AT_FDCWD, text(&target), 0o755, 0, 0]);
        mount(source, &target, c"", MS_BIND | MS_REC, c"");
        let flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV;
        mount(source, &target, c"", flags, c"");
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV, c"mode=755");
}

/// Works until the parent that started this is gone.
fn burn() {
    // SIGKILL at the parent's end.
    must("PR_SET_PDEATHSIG", nr::PRCTL, [1, 9, 0, 0, 0]);
    let mut value = 0_u64;
    loop {
        value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(7));
    }
}

/// Runs a program and writes what it took.
fn measure(result: &str, words: &[String]) {
    let words: Vec<CString> = words.iter().map(|word| CString::new(word.as_str()).unwrap()).collect();
    let mut arguments: Vec<*const i8> = words.iter().map(|word| word.as_ptr().cast()).collect();
    arguments.push(null());
    let environment: Vec<CString> =
        std::env::vars().map(|(key, value)| CString::new(format!("{key}={value}")).unwrap()).collect();
    let mut pointers: Vec<*const i8> = environment.iter().map(|word| word.as_ptr().cast()).collect();
    pointers.push(null());
    let begun = now();
    let flags: [u64; 8] = [0, 0, 0, 0, 17, 0, 0, 0];
    let child = must("clone3", nr::CLONE3, [at(&flags), 64, 0, 0, 0]);
    if child == 0 {
        call(nr::EXECVE, [text(&words[0]), arguments.as_ptr() as i64, pointers.as_ptr() as i64, 0, 0]);
        call(nr::EXIT, [127, 0, 0, 0, 0]);
    }
    let mut status = 0_i32;
    let mut usage = [0_i64; 18];
    must("wait4", nr::WAIT4, [child, (&raw mut status) as i64, 0, (&raw mut usage) as i64, 0]);
    let ended = now();
    let micros = |i: usize| usage[i] * 1_000_000 + usage[i + 1];
    let line = format!("{} {} {} {} {} {} {status}", ended - begun, micros(0), micros(2), usage[8], usage[9], usage[4]);
    std::fs::write(result, line).expect(result);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["nothing"] => {}
        ["burn"] => burn(),
        ["container", rootfs, count] => {
            let rootfs = CString::new(*rootfs).unwrap();
            let times: Vec<i64> = (0..count.parse().expect("a count")).map(|n| container(&rootfs, n)).collect();
            times.iter().for_each(|time| println!("{time}"));
        }
        ["exec", pid] => exec(pid.parse().expect("a pid")),
        ["keep", rootfs, count] => keep(&CString::new(*rootfs).unwrap(), count.parse().expect("a count")),
        ["measure", result, ..] => measure(result, &arguments[2..]),
        _ => std::process::exit(64),
    }
}
