//! What mount(2) takes, the newer calls do not, and a config may still ask for.

use std::fs;
use std::path::{Path, PathBuf};

use orlop_integration::{Sandbox, case};
use serde_json::json;

#[case(needs(Admin))]
fn bind_of_a_tree_in_which_a_mount_namespace_is_pinned(t: &Sandbox) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
    let here = nix::unistd::Pid::from_raw(0);
    // The kernel compares the namespaces by numbers that it hands out per CPU.
    let all = sched_getaffinity(here).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false)).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    sched_setaffinity(here, &one).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let host = t.dir.join("host");
    fs::create_dir(&host).unwrap();
    mount(Some("tmpfs"), &host, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, &host, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    fs::write(host.join("pinned"), "").unwrap();
    fs::create_dir(host.join("below")).unwrap();
    mount(Some("tmpfs"), &host.join("below"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    t.program("/usr/bin/unshare", &[&format!("--mount={}", host.join("pinned").display()), "/bin/true"]).run().ok();
    for n in 0..3 {
        let c = t.container(&format!("c{n}"));
        c.mount("bind", &host.display().to_string(), "/host", &["rbind", "rslave", "ro"]);
        c.sh("cat /host/file; grep -c ' /host/below ' /proc/self/mountinfo; touch /host/x 2>&1 | grep -c Read-only");
        assert_eq!(c.run().ok().stdout, "of the host\n1\n1\n");
    }
    nix::mount::umount2(&host, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// A directory whose path has at least this many bytes.
fn deep(t: &Sandbox, name: &str, length: usize) -> PathBuf {
    let mut dir = t.dir.join(name);
    while dir.as_os_str().len() < length {
        dir.push("d".repeat(100));
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Layers with a file each, and what an overlay of them says.
fn layers(dir: &Path, count: usize) -> String {
    let one = |n: usize| {
        let layer = dir.join(format!("layer-{n}"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("file-{n}")), "").unwrap();
        layer.display().to_string()
    };
    (0..count).map(one).collect::<Vec<_>>().join(":")
}

#[case]
fn overlay_whose_options_are_longer_than_255_bytes(t: &Sandbox) {
    let c = t.container("a");
    let dir = deep(t, "store", 320);
    let lower = layers(&dir, 2);
    let [upper, work] = ["upper", "work"].map(|name| {
        fs::create_dir(dir.join(name)).unwrap();
        dir.join(name).display().to_string()
    });
    let options =
        [format!("lowerdir={lower}"), format!("upperdir={upper}"), format!("workdir={work}"), "nosuid".into()];
    c.mount("overlay", "overlay", "/data", &options.each_ref().map(String::as_str));
    c.sh("ls /data; echo new > /data/new; grep ' /data ' /proc/self/mountinfo | grep -c nosuid");
    assert_eq!(c.run().ok().stdout, "file-0\nfile-1\n1\n");
    assert_eq!(fs::read_to_string(Path::new(&upper).join("new")).unwrap(), "new\n");
}

#[case(not_runc("mount(2) takes no more"), not_crun("mount(2) takes no more"))]
fn overlay_whose_options_are_longer_than_a_page(t: &Sandbox) {
    let c = t.container("a");
    let dir = deep(t, "store", 120);
    let lower = layers(&dir, 40);
    assert!(lower.len() > 4096);
    c.mount("overlay", "overlay", "/data", &[&format!("lowerdir={lower}"), "ro"]).sh("ls /data | wc -l");
    assert_eq!(c.run().ok().stdout.trim(), "40");
}

#[case(extension)]
fn options_that_are_too_long_for_the_kernel(t: &Sandbox) {
    let c = t.container("a");
    let dir = deep(t, "store", 400);
    let out = c.mount("overlay", "overlay", "/data", &[&format!("lowerdir={}", layers(&dir, 20))]).run();
    assert_eq!(out.code, 1);
    let index = c.config(|config| config["mounts"].as_array().unwrap().len() - 1);
    let field = format!("/mounts/{index}/options");
    assert!(out.stderr.contains(&field) && out.stderr.contains("4095 bytes"), "{}", out.stderr);
}

#[case]
fn several_options_in_one_string(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "tmpfs", "/data", &["nosuid", "size=1m,mode=711,nr_inodes=50"]);
    c.mount("tmpfs", "tmpfs", "/more", &["size=1m,ro"]);
    let out = c.sh("grep ' /data ' /proc/self/mountinfo; touch /more/x 2>&1").run();
    for option in ["nosuid", "size=1024k", "mode=711", "nr_inodes=50", "Read-only"] {
        assert!(out.stdout.contains(option), "{option}: {}", out.stdout);
    }
}

/// A second root file system, told from the first by a file.
fn other_root(t: &Sandbox) -> String {
    let other = t.dir.join("other");
    fs::create_dir(&other).unwrap();
    t.fill_rootfs(&other);
    fs::write(other.join("mark"), "other\n").unwrap();
    other.display().to_string()
}

#[case(not_crun("refuses it"))]
fn mount_on_the_root_becomes_the_root(t: &Sandbox) {
    let other = other_root(t);
    for (n, destination) in ["/", "/.", "//"].into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let root = json!({"type": "bind", "source": other, "destination": destination, "options": ["rbind", "rw"]});
        c.edit(|spec| spec["mounts"].as_array_mut().unwrap().insert(0, root));
        c.mount("tmpfs", "tmpfs", "/mnt", &[]);
        c.sh("cat /mark; echo x > /dev/null; test -d /proc/1 && ls -d /proc/1; grep -c ' /mnt ' /proc/self/mountinfo");
        assert_eq!(c.run().ok().stdout, "other\n/proc/1\n1\n", "{destination}");
    }
}

#[case(not_runc("names its own old root"), not_crun("refuses it"))]
fn file_system_on_the_root_becomes_the_root(t: &Sandbox) {
    let other = other_root(t);
    for late in [false, true] {
        let c = t.container(if late { "late" } else { "early" });
        let upper = t.dir.join(format!("upper-{late}"));
        let work = t.dir.join(format!("work-{late}"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let options = [
            format!("lowerdir={other}"),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ];
        let root = json!({"type": "overlay", "source": "overlay", "destination": "/", "options": options});
        c.edit(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            let at = if late { mounts.len() } else { 0 };
            mounts.insert(at, root);
        });
        // Listed last, it hides what was mounted before it: as it says.
        let has_proc = if late { "no" } else { "yes" };
        c.sh("cat /mark; test -d /proc/1 && echo yes || echo no; echo x > /written");
        assert_eq!(c.run().ok().stdout, format!("other\n{has_proc}\n"));
        assert!(upper.join("written").is_file());
    }
}

#[case(not_crun("refuses it"))]
fn root_that_was_covered_is_read_only_when_asked(t: &Sandbox) {
    let c = t.container("a");
    let root = json!({"type": "bind", "source": other_root(t), "destination": "/", "options": ["rbind"]});
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().insert(0, root));
    let out = c.set("/root/readonly", json!(true)).sh("cat /mark; touch /x 2>&1").run();
    assert!(out.stdout.starts_with("other\n") && out.stdout.contains("Read-only file system"), "{out:?}");
}

/// What was mounted on the root must not keep the host's root in the namespace: an exec enters there.
#[case(not_crun("refuses it"))]
fn exec_enters_the_root_that_was_mounted_on_the_root(t: &Sandbox) {
    let c = t.container("a");
    let root = json!({"type": "bind", "source": other_root(t), "destination": "/", "options": ["rbind", "rw"]});
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().insert(0, root));
    c.sh("while :; do sleep 1; done").run_detached().ok();
    assert_eq!(c.exec(&[], &["cat", "/mark"]).ok().stdout, "other\n");
    let mounts = |who: &str| c.exec(&[], &["sh", "-c", &format!("wc -l < /proc/{who}/mountinfo")]).ok().stdout;
    assert_eq!(mounts("self"), mounts("1"));
    c.simple("delete", &["--force"], &[]).ok();
}

/// An outer sandbox whose profile is older than the calls that make mounts.
#[case(extension, needs(Admin))]
fn filter_around_the_runtime_is_named(t: &Sandbox) {
    let all = [
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
    ];
    for (n, errno) in [libc::ENOSYS, libc::EPERM].into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let out = c.run_cmd(&[]).refused(&all, errno).run();
        assert_eq!(out.code, 1);
        assert!(out.stderr.contains("a seccomp filter around this process refuses open_tree(2)"), "{}", out.stderr);
        assert!(!out.stderr.contains("CAP_SYS_ADMIN"), "{}", out.stderr);
    }
    let c = t.container("some");
    let out = c.run_cmd(&[]).refused(&[libc::SYS_fsconfig], libc::EPERM).run();
    assert!(out.code == 1 && out.stderr.contains("refuses fsconfig(2)"), "{out:?}");
}

#[case(extension, needs(ControlGroups))]
fn options_of_a_cgroup_mount_act_or_are_refused(t: &Sandbox) {
    let with = |name: &str, option: &str, namespace: bool| {
        let c = t.container(name);
        if namespace {
            c.namespace("cgroup");
        }
        c.edit(|spec| {
            for mount in spec["mounts"].as_array_mut().unwrap() {
                if mount["type"] == "cgroup" {
                    mount["options"].as_array_mut().unwrap().push(json!(option));
                }
            }
        });
        c.run()
    };
    let unified = !Path::new("/sys/fs/cgroup/memory").is_dir();
    let out = with("own", "nsdelegate", true);
    if unified || Path::new("/sys/fs/cgroup/unified").is_dir() {
        let warned = out.log.iter().any(|line| line["msg"].as_str().is_some_and(|text| text.contains("nsdelegate")));
        assert!(out.code == 0 && warned, "{out:?}");
        assert!(with("unknown", "nonsense", true).code == 1);
    } else {
        assert!(out.code == 1 && out.stderr.contains("nsdelegate"), "{out:?}");
    }
    // Bound, a hierarchy keeps what it has.
    if !unified {
        let out = with("bound", "nsdelegate", false);
        assert!(out.code == 1 && out.stderr.contains("has no effect"), "{out:?}");
    }
}
