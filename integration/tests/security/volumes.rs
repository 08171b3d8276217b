//! Hostile volumes: files that a neighbour puts where the runtime reads or makes something, and exchanges at any moment.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::json;

const HOME: &str = "echo home=$HOME";

fn volume(t: &Sandbox) -> std::path::PathBuf {
    let volume = t.dir.join("volume");
    fs::create_dir(&volume).unwrap();
    volume
}

/// A container with the volume on /etc that says where its home is.
fn with_etc<'a>(t: &'a Sandbox, volume: &Path) -> Container<'a> {
    let c = t.container("a");
    c.mount("bind", &volume.display().to_string(), "/etc", &["rbind"]).sh(HOME);
    c
}

/// Runs it, within seconds, and gives its home.
#[track_caller]
fn home(c: &Container<'_>) -> String {
    let begun = Instant::now();
    let out = c.run();
    assert!(begun.elapsed().as_secs() < 5, "took {:?}", begun.elapsed());
    out.ok().stdout.trim().to_owned()
}

#[case(not_runc("not compared: its init follows it inside"))]
fn passwd_of_a_volume_is_a_link_to_the_hosts(t: &Sandbox) {
    let volume = volume(t);
    let secret = t.dir.join("of-the-host");
    fs::write(&secret, "x:x:0:0::/taken-from-the-host:/bin/sh\n").unwrap();
    let deep = "../".repeat(12) + secret.strip_prefix("/").unwrap().to_str().unwrap();
    for target in [secret.display().to_string(), deep, format!("/proc/self/root{}", secret.display())] {
        symlink(&target, volume.join("passwd")).unwrap();
        let c = with_etc(t, &volume);
        assert!(!home(&c).contains("taken-from-the-host"), "{target}");
        fs::remove_file(volume.join("passwd")).unwrap();
        fs::remove_dir_all(&c.bundle).unwrap();
    }
}

#[case(not_runc("hangs"), not_crun("not compared"))]
fn passwd_of_a_volume_is_a_fifo(t: &Sandbox) {
    let volume = volume(t);
    mkfifo(&volume.join("passwd"), Mode::from_bits_truncate(0o666)).unwrap();
    assert_eq!(home(&with_etc(t, &volume)), "home=/");
}

/// Opening a device can have effects; it must not even be tried.
#[case(not_crun("not compared"))]
fn passwd_of_a_volume_is_a_device(t: &Sandbox) {
    let volume = volume(t);
    // The controlling terminal, and a number without a driver.
    for (major, minor) in [(5, 0), (10, 259)] {
        let place = volume.join("passwd");
        mknod(&place, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
        let c = with_etc(t, &volume);
        assert_eq!(home(&c), "home=/");
        fs::remove_file(place).unwrap();
        fs::remove_dir_all(&c.bundle).unwrap();
    }
}

/// A terminal, which tells its master when the last one who had it open has closed it, and says nothing before.
struct Bell {
    master: nix::pty::PtyMaster,
    path: String,
}

impl Bell {
    fn new() -> Self {
        let master = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let path = nix::pty::ptsname_r(&master).unwrap();
        Self { master, path }
    }

    /// Whether it was ever opened.
    fn has_rung(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut descriptors = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).unwrap();
        descriptors[0].revents().unwrap().contains(PollFlags::POLLHUP)
    }
}

/// Bound on the file itself, and in a volume that is bound on /etc; at create, start (whose hook's HOME is looked up) and exec.
#[case(not_runc("its init opens it"), not_crun("not compared"))]
fn a_device_given_as_passwd_is_never_opened(t: &Sandbox) {
    let bell = Bell::new();
    let volume = volume(t);
    fs::write(volume.join("passwd"), "").unwrap();
    let bind = |source: &str, target: &Path| {
        nix::mount::mount(Some(source), target, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();
    };
    bind(&bell.path, &volume.join("passwd"));
    let hook = json!([{ "path": "/probe", "args": ["probe", "exit", "0"] }]);
    let direct = t.container("direct");
    direct.mount("bind", &bell.path, "/etc/passwd", &["bind"]);
    let inside = t.container("inside");
    inside.mount("bind", &volume.display().to_string(), "/etc", &["rbind"]);
    for c in [direct, inside] {
        c.set("/hooks/startContainer", hook.clone());
        c.run_paused();
        assert!(!bell.has_rung(), "{}: opened by run", c.id);
        c.exec(&[], &["/probe", "exit", "0"]).ok();
        assert!(!bell.has_rung(), "{}: opened by exec", c.id);
        c.end();
    }
    drop(fs::File::open(&bell.path).unwrap());
    assert!(bell.has_rung(), "an open is not seen, so nothing was shown");
    nix::mount::umount(&volume.join("passwd")).unwrap();
}

#[case(not_runc("an error: token too long"), not_crun("not compared"))]
fn passwd_of_a_volume_is_huge(t: &Sandbox) {
    let volume = volume(t);
    let file = fs::File::create(volume.join("passwd")).unwrap();
    file.set_len(8 << 30).unwrap();
    assert_eq!(home(&with_etc(t, &volume)), "home=/");
}

#[case(not_crun("not compared"))]
fn passwd_that_is_bound_is_read(t: &Sandbox) {
    let file = t.dir.join("passwd");
    fs::write(&file, "root:x:0:0::/home-of-the-file:/bin/sh\n").unwrap();
    let c = t.container("a");
    c.mount("bind", &file.display().to_string(), "/etc/passwd", &["bind", "ro"]).sh(HOME);
    assert_eq!(home(&c), "home=/home-of-the-file");
}

#[case(not_runc("hangs"), not_crun("not compared"))]
fn passwd_that_is_bound_is_a_fifo(t: &Sandbox) {
    let file = t.dir.join("passwd");
    mkfifo(&file, Mode::from_bits_truncate(0o666)).unwrap();
    let c = t.container("a");
    c.mount("bind", &file.display().to_string(), "/etc/passwd", &["bind"]).sh(HOME);
    assert_eq!(home(&c), "home=/");
}

/// `start` looks again, for its startContainer hooks; it holds the container's lock then.
#[case(not_runc("hangs"), not_crun("not compared"))]
fn passwd_becomes_a_fifo_before_start(t: &Sandbox) {
    let volume = volume(t);
    let c = with_etc(t, &volume);
    c.set("/hooks/startContainer", json!([{ "path": "/bin/true" }])).args(&["/probe", "pause"]);
    c.create().ok();
    mkfifo(&volume.join("passwd"), Mode::from_bits_truncate(0o666)).unwrap();
    let begun = Instant::now();
    c.start().ok();
    assert!(begun.elapsed().as_secs() < 5, "start took {:?}", begun.elapsed());
    c.delete_force().ok();
}

#[case(not_crun("not compared"))]
fn passwd_becomes_a_device_before_exec(t: &Sandbox) {
    let c = t.container("a");
    let caps = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    c.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}));
    c.sh("rm /etc/passwd; mknod /etc/passwd c 10 259; exec /probe pause").run_detached().ok();
    let place = c.rootfs().join("etc/passwd");
    t.wait_until("the device", || place.symlink_metadata().is_ok_and(|data| data.file_type().is_char_device()));
    assert_eq!(c.exec(&[], &["sh", "-c", HOME]).ok().stdout.trim(), "home=/");
    c.delete_force().ok();
}

/// The runtime copies what a directory holds while another container exchanges a file in it for a link to the host.
#[case(not_runc("not compared"), not_crun("not compared"), seconds(600))]
fn cve_2026_133553_tmpcopyup_of_exchanged_files(t: &Sandbox) {
    let volume = volume(t);
    let secret = t.dir.join("of-the-host");
    fs::write(&secret, "of the host").unwrap();
    let before = fs::metadata(&secret).unwrap();
    fs::create_dir(volume.join("dir")).unwrap();
    fs::write(volume.join("dir/file"), "plain").unwrap();
    symlink(&secret, volume.join("link")).unwrap();
    let rounds: usize = std::env::var("ORLOP_RACE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let attacker = t.container("attacker");
    attacker.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
    attacker.args(&["/probe", "exchange", "/volume/dir/file", "/volume/link"]).run_detached().ok();
    let c = t.container("victim");
    c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
    c.mount("tmpfs", "tmpfs", "/volume/dir", &["tmpcopyup"]).sh("cat /volume/dir/file 2>/dev/null; exit 0");
    for round in 0..rounds {
        let out = c.run();
        assert!(out.code < 128 && !out.stdout.contains("of the host"), "round {round}: {out:?}");
    }
    attacker.end();
    let after = fs::metadata(&secret).unwrap();
    assert_eq!((after.size(), after.mtime(), after.ctime()), (before.size(), before.mtime(), before.ctime()));
}

/// A config without a mount on /dev: the image's own is used, and what lies in it leads elsewhere.
fn without_dev(c: &Container<'_>) {
    c.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
}

#[case(not_crun("CVE-2026-88264"))]
fn cve_2026_88264_dev_console_without_dev(t: &Sandbox) {
    let c = t.container("a");
    without_dev(&c);
    let made = t.dir.join("made-on-the-host");
    symlink(
        "/".to_owned() + &"../".repeat(12) + made.strip_prefix("/").unwrap().to_str().unwrap(),
        c.rootfs().join("dev/console"),
    )
    .unwrap();
    c.set("/process/terminal", json!(true)).sh("exit 0");
    let (mut master, other) = orlop_integration::console::Terminal::open(24, 80);
    let run = c.run_cmd(&[]).terminal(&other).spawn();
    drop(other);
    let _ = master.rest();
    assert!(run.wait().code < 1000);
    assert!(made.symlink_metadata().is_err(), "a file was made on the host");
}

#[case(not_runc("reopens the streams on it"), not_crun("CVE-2026-88265"))]
fn cve_2026_88265_dev_null_without_dev(t: &Sandbox) {
    let volume = volume(t);
    let file = volume.join("file");
    fs::write(&file, "of the host").unwrap();
    let before = fs::metadata(&file).unwrap();
    let c = t.container("a");
    without_dev(&c);
    c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
    symlink("/volume/file", c.rootfs().join("dev/null")).unwrap();
    c.set("/process/user", json!({"uid": 1000, "gid": 1000})).sh("echo written; echo written >&2");
    let _ = c.run();
    let after = fs::metadata(&file).unwrap();
    assert_eq!(
        (after.uid(), after.gid(), after.mode()),
        (before.uid(), before.gid(), before.mode()),
        "its owner changed"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "of the host");
}

/// The root becomes read-only at the end, on the mount itself: not on what a path through /proc says it is.
#[case]
fn cve_2026_115521_read_only_root_through_descriptors(t: &Sandbox) {
    let volume = volume(t);
    let c = t.container("a");
    c.set("/root/readonly", json!(true));
    // /proc and its descriptors are the image's own, and lead to a volume.
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc"));
    c.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    fs::create_dir_all(c.rootfs().join("proc/self/fd")).unwrap();
    for number in 0..40 {
        symlink("/volume", c.rootfs().join(format!("proc/self/fd/{number}"))).unwrap();
    }
    fs::create_dir(c.rootfs().join("volume")).unwrap();
    c.mount("bind", &volume.display().to_string(), "/volume", &["rbind", "rw"]);
    let out = c.sh("touch /written; touch /volume/written").run();
    // With no /proc it may be refused; what runs must not be able to write.
    assert!(c.rootfs().join("written").symlink_metadata().is_err(), "the root can be written to: {out:?}");
    if t.is(Flavor::Orlop) {
        assert!(out.stderr.contains("Read-only file system"), "{out:?}");
        assert!(volume.join("written").is_file(), "the volume was made read-only instead: {out:?}");
    }
}

#[case(extension)]
fn exec_cgroup_does_not_reach_a_sibling(t: &Sandbox) {
    let (sibling, c) = (t.container("sibling"), t.container("a"));
    sibling.run_paused();
    c.run_paused();
    for path in [format!("../{}", sibling.id), "..".into(), format!("/../{}", sibling.id), "x/../..".into()] {
        let out = c.exec(&["--cgroup", &path], &["/probe", "facts"]);
        assert!(out.code != 0 || !out.stdout.contains(&sibling.id), "{path}: {}", out.stdout);
        for cgroup in t.cgroups_of(&sibling.id) {
            let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
            assert_eq!(pids.lines().count(), 1, "{path}: {} has {pids}", cgroup.display());
        }
    }
    sibling.end();
    c.end();
}
