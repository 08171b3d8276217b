//! Hostile root file systems: symbolic links where the runtime will make directories, devices and mounts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use orlop_integration::{Container, Sandbox, case};
use serde_json::json;

/// A directory of the host that must not change, and its listing with sizes.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

fn listing(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let data = entry.path().symlink_metadata().unwrap();
            let text = format!(
                "{} {:?} {} {:?}",
                entry.path().display(),
                data.file_type(),
                data.len(),
                data.modified().unwrap()
            );
            out.push(text);
            if data.is_dir() {
                walk(&entry.path(), out);
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, &mut out);
    out.sort();
    out
}

impl Canary {
    fn new(t: &Sandbox) -> Self {
        let dir = t.dir.join("canary");
        fs::create_dir(&dir).unwrap();
        for name in ["null", "ptmx", "console", "file"] {
            fs::write(dir.join(name), "canary\n").unwrap();
        }
        fs::create_dir(dir.join("pts")).unwrap();
        fs::create_dir(dir.join("shm")).unwrap();
        let before = listing(&dir);
        Self { dir, before }
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(listing(&self.dir), self.before, "the host's directory was changed");
    }
}

/// Replaces a path of the root file system by a symbolic link.
fn link(c: &Container<'_>, path: &str, target: impl AsRef<Path>) {
    let place = c.rootfs().join(path);
    if place.is_dir() {
        fs::remove_dir_all(&place).unwrap();
    } else {
        let _ = fs::remove_file(&place);
    }
    symlink(target, place).unwrap();
}

/// Runs it; that may succeed (inside the root) or fail cleanly, but nothing outside may change.
fn run_and_check(t: &Sandbox, c: &Container<'_>, canary: &Canary) -> i32 {
    let out = c.run();
    canary.check();
    assert!(out.code == 0 || (out.code < 1000 && !out.stderr.is_empty()), "{out:?}");
    c.set("/process/terminal", json!(false));
    let created = c.create();
    canary.check();
    if created.code == 0 {
        c.start().ok();
        c.delete_force().ok();
    }
    canary.check();
    let _ = t;
    out.code
}

#[case(not_runc("CVE-2026-41579"))]
fn cve_2026_41579_dev_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "dev", &canary.dir);
    run_and_check(t, &c, &canary);
    // The same without a mount on /dev: the image's own directory is used then.
    c.edit(|spec| {
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    run_and_check(t, &c, &canary);
    for climb in ["../../canary", "../../../../../../../../../../tmp"] {
        link(&c, "dev", climb);
        let _ = c.run();
        canary.check();
    }
}

#[case]
fn dev_is_a_symlink_inside(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("real-dev")).unwrap();
    link(&c, "dev", "real-dev");
    run_and_check(t, &c, &canary);
}

#[case]
fn dev_entries_are_symlinks_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    c.edit(|spec| {
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    for name in ["null", "zero", "ptmx", "console", "fd", "pts", "shm", "tty"] {
        link(&c, &format!("dev/{name}"), canary.dir.join(name));
    }
    run_and_check(t, &c, &canary);
}

#[case(not_runc("CVE-2026-41579"))]
fn cve_2026_47766_devices_below_a_symlink(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "outside", &canary.dir);
    c.set("/linux/devices", json!([{"path": "/outside/made", "type": "c", "major": 1, "minor": 3}]));
    run_and_check(t, &c, &canary);
}

#[case]
fn cve_2019_19921_proc_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "proc", &canary.dir);
    assert_ne!(run_and_check(t, &c, &canary), 0, "CVE-2019-19921: a /proc that is a symlink must be refused");
}

#[case]
fn cve_2023_27561_proc_is_a_symlink_inside(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("elsewhere")).unwrap();
    link(&c, "proc", "elsewhere");
    assert_ne!(run_and_check(t, &c, &canary), 0, "CVE-2023-27561: a /proc that is a symlink must be refused");
}

#[case]
fn cve_2023_28642_sys_is_a_symlink(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "sys", &canary.dir);
    assert_ne!(run_and_check(t, &c, &canary), 0, "CVE-2023-28642: a /sys that is a symlink must be refused");
}

#[case]
fn pts_and_shm_are_symlinks_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev"));
    link(&c, "dev/pts", canary.dir.join("pts"));
    link(&c, "dev/shm", canary.dir.join("shm"));
    run_and_check(t, &c, &canary);
}

#[case]
fn cve_2024_45310_mount_points_are_not_made_outside(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "data", &canary.dir);
    link(&c, "up", "../../canary");
    c.mount("tmpfs", "tmpfs", "/data/made", &[]).mount("tmpfs", "tmpfs", "/up/made/deep", &[]);
    c.mount("bind", "/etc/passwd", "/data/made-file", &["bind", "ro"]);
    run_and_check(t, &c, &canary);
}

#[case]
fn masked_path_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "secret", canary.dir.join("file"));
    c.push("/linux/maskedPaths", json!("/secret"));
    run_and_check(t, &c, &canary);
    assert_eq!(fs::read_to_string(canary.dir.join("file")).unwrap(), "canary\n");
}

#[case(not_runc("CVE-2025-31133"))]
fn cve_2025_31133_dev_null_is_a_symlink(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev"));
    link(&c, "dev/null", "/proc/sys/kernel/core_pattern");
    fs::write(c.rootfs().join("secret"), "secret").unwrap();
    c.push("/linux/maskedPaths", json!("/secret"));
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let out = c.sh("cat /secret /proc/keys; echo x > /secret").run();
    assert!(!out.stdout.contains("secret") && !out.stdout.contains(pattern.trim()), "{out:?}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    canary.check();
}

#[case]
fn cve_2025_52565_dev_console_is_a_symlink(t: &Sandbox) {
    let canary = Canary::new(t);
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for (n, target) in
        ["/proc/sys/kernel/core_pattern", "../../canary/console", "/proc/sysrq-trigger"].iter().enumerate()
    {
        let c = t.container(&format!("c{n}"));
        // The image's own /dev, and a devpts on it.
        c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev"));
        link(&c, "dev/console", target);
        c.set("/process/terminal", json!(true)).sh("echo '|/evil' > /dev/console; exit 0");
        let (mut master, other) = orlop_integration::console::Terminal::open(24, 80);
        let run = c.run_cmd(&[]).terminal(&other).spawn();
        drop(other);
        let _ = master.rest();
        let out = run.wait();
        assert!(out.code < 1000, "{out:?}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
        canary.check();
    }
}

#[case(not_runc("CVE-2026-41579"))]
fn cve_2025_54867_mounts_on_symlinks_stay_inside(t: &Sandbox) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for name in ["proc", "sys", "dev", "tmp"] {
        let canary = t.dir.join(format!("canary-{name}"));
        fs::create_dir(&canary).unwrap();
        let c = t.container(name);
        link(&c, name, &canary);
        let _ = c.run();
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{name}: made on the host");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts, "{name}: mounted on the host");
    }
}

#[case]
fn read_only_path_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "fixed", &canary.dir);
    c.push("/linux/readonlyPaths", json!("/fixed"));
    run_and_check(t, &c, &canary);
    fs::write(canary.dir.join("probe-of-write"), "").unwrap();
}

#[case]
fn cve_2019_16884_volume_over_proc_self_attr(t: &Sandbox) {
    let c = t.container("a");
    // Harmless as long as nothing is written through it: what is checked is that the host's label files are not its target.
    let out = c.mount("tmpfs", "tmpfs", "/proc/self/attr", &[]).run();
    assert!(out.code == 0 || out.code == 1, "{out:?}");
    let c = t.container("b");
    c.mount("bind", "/proc/self/sched", "/proc/self/attr/exec", &["bind"]).run().code(1);
}

#[case]
fn cve_2019_16884_proc_is_a_volume(t: &Sandbox) {
    let volume = t.dir.join("volume");
    fs::create_dir_all(volume.join("self/attr")).unwrap();
    fs::write(volume.join("self/attr/exec"), "").unwrap();
    let c = t.container("a");
    c.mount("bind", &volume.display().to_string(), "/proc", &["rbind"]).run().code(1);
}

#[case]
fn mounts_inside_proc_are_refused(t: &Sandbox) {
    for (n, place) in ["/proc/sys", "/proc/1/attr", "/proc/sysrq-trigger", "/proc/self/fd"].iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.mount("bind", "/tmp", place, &["bind"]).run().code(1);
    }
}

/// CVE-2019-16884 by what the image says instead of what the config says: the names in the config are not below /proc.
#[case]
fn mounts_inside_proc_by_a_link_of_the_image_are_refused(t: &Sandbox) {
    let volume = t.dir.join("volume");
    fs::create_dir_all(volume.join("kernel")).unwrap();
    for (n, (link_to, place)) in
        [("/proc/sys", "/d"), ("/proc", "/d"), ("/proc", "/d/sys"), ("/proc/1/attr", "/d"), ("../proc/sys", "/home/d")]
            .into_iter()
            .enumerate()
    {
        let c = t.container(&format!("c{n}"));
        let at = c.rootfs().join(place.trim_start_matches('/').trim_end_matches("/sys"));
        symlink(link_to, at).unwrap();
        let out = c.mount("bind", &volume.display().to_string(), place, &["rbind"]).run();
        assert_eq!(out.code, 1, "{link_to} {place}: {out:?}");
        assert!(out.stderr.contains("proc"), "{link_to} {place}: {}", out.stderr);
    }
    // A monitoring file by its own name stays allowed.
    let c = t.container("allowed");
    fs::write(t.dir.join("cpuinfo"), "ours\n").unwrap();
    c.mount("bind", &t.dir.join("cpuinfo").display().to_string(), "/proc/cpuinfo", &["bind", "ro"]);
    assert_eq!(c.sh("cat /proc/cpuinfo").run().ok().stdout, "ours\n");
}

#[case(extension)]
fn whole_root_is_neither_masked_nor_covered_by_a_link(t: &Sandbox) {
    let c = t.container("mask");
    let out = c.push("/linux/maskedPaths", json!("/")).run();
    assert!(out.code == 1 && out.stderr.contains("it is the container's whole root"), "{out:?}");
    let c = t.container("link");
    symlink("/", c.rootfs().join("here")).unwrap();
    let out = c.mount("tmpfs", "tmpfs", "/here", &[]).run();
    assert!(out.code == 1 && out.stderr.contains("name it /"), "{out:?}");
    // A root that is named read-only is.
    let c = t.container("readonly");
    let out = c.push("/linux/readonlyPaths", json!("/")).sh("touch /x 2>&1; touch /dev/x 2>&1").run();
    assert_eq!(out.stdout.matches("Read-only file system").count(), 2, "{out:?}");
}

/// CVE-2026-88264 and CVE-2026-88265: without a mount of /dev, what the image has there are links to the host or to a volume.
#[case(not_runc("writes to what the link leads to"))]
fn console_and_null_of_the_image_are_links(t: &Sandbox) {
    let canary = Canary::new(t);
    let volume = t.dir.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("file"), "text\n").unwrap();
    let before = listing(&volume);
    for (n, (name, to)) in [
        ("console", canary.dir.join("made").display().to_string()),
        ("console", "/mnt/file".to_owned()),
        ("null", "/mnt/file".to_owned()),
        ("null", "/mnt/made".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let c = t.container(&format!("c{n}"));
        c.edit(|spec| {
            spec["mounts"].as_array_mut().unwrap().retain(|mount| {
                let destination = mount["destination"].as_str().unwrap();
                !destination.starts_with("/dev") || destination == "/dev/pts"
            });
        });
        fs::create_dir_all(c.rootfs().join("dev/pts")).unwrap();
        symlink(&to, c.rootfs().join("dev").join(name)).unwrap();
        c.mount("bind", &volume.display().to_string(), "/mnt", &["rbind"]);
        c.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        // It may start, or be refused: nothing outside may change.
        let out = c.sh("echo started").run();
        assert!(out.code < 1000, "{out:?}");
        canary.check();
        assert_eq!(listing(&volume), before, "{name} -> {to}");
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(volume.join("file")).unwrap());
        assert_eq!(owner, 0, "{name} -> {to}: the volume's file has another owner");
    }
}

#[case]
fn cwd_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "work", &canary.dir);
    c.set("/process/cwd", json!("/work")).sh("pwd; ls");
    let out = c.run();
    assert!(!out.stdout.contains("ptmx"), "the host's directory shows: {}", out.stdout);
    canary.check();
    c.set("/process/cwd", json!("/work/made")).run();
    canary.check();
}

#[case]
fn rootfs_that_is_a_symlink_stays_a_rootfs(t: &Sandbox) {
    let c = t.container("a");
    fs::rename(c.rootfs(), c.bundle.join("real")).unwrap();
    symlink("real", c.rootfs()).unwrap();
    // runc refuses it, crun allows it; either is safe.
    let out = c.sh("cat /etc/passwd").run();
    assert!(out.code == 1 || out.stdout.contains("/home/user"), "{out:?}");
}

#[case]
fn state_and_config_survive_a_hostile_etc(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "etc", &canary.dir);
    link(&c, "run", &canary.dir);
    run_and_check(t, &c, &canary);
}

#[case(not_runc("hangs on the fifo"))]
fn passwd_is_a_fifo_or_huge(t: &Sandbox) {
    let c = t.container("a");
    let passwd = c.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let out = c.run();
    assert!(out.code < 1000, "a fifo must not hang it: {out:?}");
    fs::remove_file(&passwd).unwrap();
    let line = "x".repeat(1 << 20) + "\n";
    fs::write(&passwd, line.repeat(8) + "root:x:0:0::/root:/bin/sh\n").unwrap();
    c.run().ok();
}

#[case]
fn passwd_is_a_symlink_out(t: &Sandbox) {
    let canary = Canary::new(t);
    fs::write(canary.dir.join("outside"), "x:x:0:0::/taken-from-the-host:/bin/sh\n").unwrap();
    let c = t.container("a");
    link(&c, "etc/passwd", canary.dir.join("outside"));
    let out = c.sh("echo $HOME").run();
    assert!(!out.stdout.contains("taken-from-the-host"), "{}", out.stdout);
}

#[case]
fn hook_directory_is_untouched(t: &Sandbox) {
    let canary = Canary::new(t);
    let c = t.container("a");
    link(&c, "tmp", &canary.dir);
    c.mount("tmpfs", "tmpfs", "/tmp", &["tmpcopyup"]);
    run_and_check(t, &c, &canary);
}
