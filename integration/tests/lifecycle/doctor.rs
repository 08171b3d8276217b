//! What `doctor` finds in worlds of different kinds, against what then happens to a container there.

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_integration::{Cmd, Container, Output, Sandbox, case, leak};
use serde_json::{Value, json};

use crate::namespaces::{USER, rootless};

/// The findings by name, of a `doctor --json` whose exit code and text agree with them.
fn findings(out: &Output) -> Vec<Value> {
    assert!(out.code == 0 || out.code == 1, "exit code {}: {}", out.code, out.stderr);
    let all = out.json()["findings"].as_array().unwrap().clone();
    assert!(all.len() > 15, "{all:#?}");
    let bad = |finding: &&Value| finding["level"] == "limit" || finding["level"] == "broken";
    for finding in all.iter().filter(bad) {
        assert!(finding["consequence"].is_string() && finding["remedy"].is_string(), "{finding}");
    }
    assert_eq!(out.code == 1, all.iter().any(|finding| finding["level"] == "broken"), "{all:#?}");
    all
}

fn named<'f>(findings: &'f [Value], name: &str) -> &'f Value {
    findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name}: {findings:#?}"))
}

/// `doctor` says that exactly these are broken; if none is, the container runs, and else it does not.
fn agrees(doctor: Cmd, run: Cmd, broken: &[&str]) -> (Vec<Value>, Output) {
    let found = findings(&doctor.run());
    let names: Vec<_> = found.iter().filter(|one| one["level"] == "broken").map(|one| one["name"].clone()).collect();
    assert_eq!(json!(names), json!(broken), "{found:#?}");
    let out = run.run();
    assert_eq!(out.code == 0, broken.is_empty(), "{}: {}", out.text, out.stderr);
    (found, out)
}

/// A command of the runtime as an argument of another program.
fn within(t: &Sandbox, program: &str, before: &[&str], words: &[&str]) -> Cmd {
    let (path, root) = (t.subject.path.display().to_string(), t.root.display().to_string());
    t.program(program, before).args([path.as_str(), "--root", root.as_str()]).args(words.iter().copied())
}

fn run_words(c: &Container<'_>) -> [String; 4] {
    c.write();
    ["run".into(), "--bundle".into(), c.bundle.display().to_string(), c.id.clone()]
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_as_root(t: &Sandbox) {
    let c = t.container("a");
    let (found, _) = agrees(t.cmd(&["doctor", "--json"]), c.run_cmd(&[]), &[]);
    assert_eq!(named(&found, "rights")["level"], "ok");
    // What is missing of the capabilities no container can have.
    let capabilities = named(&found, "capabilities");
    let lacks = capabilities["found"].as_str().unwrap().contains("CAP_SYS_RESOURCE");
    for set in ["bounding", "effective", "permitted"] {
        c.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_RESOURCE"]));
    }
    c.remove("/process/capabilities/ambient");
    let given = c.sh("grep CapEff /proc/self/status").run();
    assert_eq!(given.code != 0 || given.stdout.contains("0000000000000000"), lacks, "{}{}", given.stdout, given.stderr);
    // The text has a line for each.
    let text = t.cmd(&["doctor"]).run().ok().stdout;
    for finding in &found {
        assert!(text.contains(&format!("  {}: ", finding["name"].as_str().unwrap())), "{text}");
    }
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_as_root_of_a_user_namespace(t: &Sandbox) {
    let c = t.container("a");
    c.edit(|spec| {
        // As `spec --rootless` does: there is but one group.
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    let words = run_words(&c);
    let words = words.each_ref().map(String::as_str);
    // Without a mount namespace of its own it may not copy mounts.
    let alone: &[&str] = &["--map-root-user"];
    let doctor = within(t, "/usr/bin/unshare", alone, &["doctor", "--json"]);
    let _ = agrees(doctor, within(t, "/usr/bin/unshare", alone, &words), &["mount namespace"]);
    let both: &[&str] = &["--map-root-user", "--mount"];
    let doctor = within(t, "/usr/bin/unshare", both, &["doctor", "--json"]);
    let (found, _) = agrees(doctor, within(t, "/usr/bin/unshare", both, &words), &[]);
    assert_eq!(named(&found, "rights")["level"], "note");
    assert_eq!(named(&found, "ranges of ids")["level"], "limit");
    // Two ids cannot be mapped where there is one.
    for kind in ["uid", "gid"] {
        c.set(&format!("/linux/{kind}Mappings"), json!([{"containerID": 0, "hostID": 0, "size": 2}]));
    }
    c.namespace("user");
    let words = run_words(&c);
    let out = within(t, "/usr/bin/unshare", both, &words.each_ref().map(String::as_str)).run().fails();
    assert!(out.stderr.contains("map ids"), "{}", out.stderr);
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_as_an_ordinary_user(t: &Sandbox) {
    let c = rootless(t, USER);
    let as_user = |command: Cmd| command.env("XDG_RUNTIME_DIR", &t.dir).user(USER, USER);
    let (found, _) = agrees(as_user(t.cmd(&["doctor", "--json"])), as_user(c.run_cmd(&[])), &[]);
    assert!(named(&found, "rights")["found"].as_str().unwrap().contains("not: rules the host, mounts"), "{found:#?}");
    // No row in /etc/subuid gives this user more ids.
    assert_eq!(named(&found, "ranges of ids")["level"], "limit");
    for kind in ["uid", "gid"] {
        c.push(&format!("/linux/{kind}Mappings"), json!({"containerID": 1, "hostID": 400_000, "size": 10}));
    }
    let _ = as_user(c.run_cmd(&[])).run().fails();
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_without_control_groups(t: &Sandbox) {
    umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).unwrap();
    let c = t.container("a");
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup"));
    let (_, out) = agrees(t.cmd(&["doctor", "--json"]), c.run_cmd(&[]), &["cgroups"]);
    assert!(out.stderr.contains("control groups"), "{}", out.stderr);
    // Who asks for none does without.
    let manager = ["--cgroup-manager", "disabled"];
    let out = t.bare(&manager).args(["doctor", "--json"]).run();
    assert_eq!(named(&findings(&out), "cgroups")["level"], "limit");
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_under_a_filter_of_the_mount_calls(t: &Sandbox) {
    const CALLS: [libc::c_long; 6] = [
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
    ];
    for errno in [libc::ENOSYS, libc::EPERM] {
        let c = t.container(&format!("a{errno}"));
        let doctor = t.cmd(&["doctor", "--json"]).refused(&CALLS, errno);
        let found = findings(&doctor.run());
        let calls = named(&found, "system calls");
        assert_eq!(calls["level"], "broken");
        assert!(calls["found"].as_str().unwrap().contains("open_tree"), "{calls}");
        assert!(calls["remedy"].as_str().unwrap().contains("seccomp filter"), "{calls}");
        assert_eq!(named(&found, "seccomp around us")["level"], "note");
        let out = c.run_cmd(&[]).refused(&CALLS, errno).run().fails();
        assert!(out.stderr.contains("seccomp filter"), "{}", out.stderr);
    }
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_with_few_descriptors(t: &Sandbox) {
    let c = t.container("a");
    let _ = agrees(t.cmd(&["doctor", "--json"]).descriptors(9), c.run_cmd(&[]).descriptors(9), &["limits"]);
    let c = t.container("b");
    let _ = agrees(t.cmd(&["doctor", "--json"]).descriptors(64), c.run_cmd(&[]).descriptors(64), &[]);
}

/// The kernel makes no user namespaces in a chroot, so that an ordinary user has no containers there.
#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_in_a_chroot(t: &Sandbox) {
    let jail = t.dir.join("jail");
    fs::create_dir(&jail).unwrap();
    t.fill_rootfs(&jail);
    let none = None::<&str>;
    fs::copy(&t.subject.path, jail.join("orlop")).unwrap();
    // What the program may be linked with, and control groups.
    let libraries: Vec<_> =
        ["lib", "lib64", "usr", "sys"].iter().filter(|name| Path::new("/").join(name).is_dir()).collect();
    for name in &libraries {
        let (from, to) = (Path::new("/").join(name), jail.join(name));
        fs::create_dir_all(&to).unwrap();
        mount(Some(&from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    }
    mount(Some("proc"), &jail.join("proc"), Some("proc"), MsFlags::empty(), none).unwrap();
    let words = [jail.display().to_string(), "/orlop".into(), "--root".into(), "/tmp/state".into()];
    let user = format!("--userspec={USER}:{USER}");
    let before = [user.as_str()];
    let doctor = t.program("/usr/sbin/chroot", &before).args(words.clone()).args(["doctor", "--json"]);
    let c = rootless(t, USER);
    c.write();
    // The bundle is the jail's own root, with the config beside it.
    fs::copy(c.bundle.join("config.json"), jail.join("config.json")).unwrap();
    fs::create_dir(jail.join("rootfs")).unwrap();
    let run = t.program("/usr/sbin/chroot", &before).args(words).args(["run", "--bundle", "/", &c.id]);
    let (found, out) = agrees(doctor, run, &["user namespaces"]);
    let namespaces = named(&found, "user namespaces");
    assert!(namespaces["remedy"].as_str().unwrap().contains("pivot_root"), "{namespaces}");
    assert!(out.stderr.contains("create process"), "{}", out.stderr);
    for name in libraries.into_iter().chain([&"proc"]) {
        umount2(&jail.join(name), MntFlags::MNT_DETACH).unwrap();
    }
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_with_a_state_directory_that_cannot_be_written(t: &Sandbox) {
    let place = t.dir.join("place");
    fs::create_dir(&place).unwrap();
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).unwrap();
    let root = place.join("state").display().to_string();
    let c = t.container("a");
    c.write();
    let bundle = c.bundle.display().to_string();
    let run = t.bare(&["--root", &root, "run", "--bundle", &bundle, &c.id]);
    let _ = agrees(t.bare(&["--root", &root, "doctor", "--json"]), run, &["state directory"]);
    umount2(&place, MntFlags::MNT_DETACH).unwrap();
}

/// As in a container of an engine's, whose /proc is masked: no new procfs in a user namespace below it.
#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_with_a_covered_procfs(t: &Sandbox) {
    let c = rootless(t, USER);
    // One procfs that nothing covers is enough for the kernel, wherever it is mounted.
    for line in leak::mounts(" - proc ") {
        let point = line.split(' ').nth(4).unwrap();
        if point != "/proc" {
            umount2(point, MntFlags::MNT_DETACH).unwrap();
        }
    }
    mount(Some("/dev/null"), Path::new("/proc/interrupts"), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let as_user = |command: Cmd| command.env("XDG_RUNTIME_DIR", &t.dir).user(USER, USER);
    let (_, out) = agrees(as_user(t.cmd(&["doctor", "--json"])), as_user(c.run_cmd(&[])), &["new procfs"]);
    assert!(out.stderr.contains("/proc"), "{}", out.stderr);
    umount2("/proc/interrupts", MntFlags::MNT_DETACH).unwrap();
}

#[case(extension, needs(Host, Admin, ControlGroups))]
fn doctor_changes_nothing(t: &Sandbox) {
    let now = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let cgroups: Vec<_> =
            fs::read_dir("/sys/fs/cgroup").map(|dir| dir.flatten().map(|one| one.path()).collect()).unwrap_or_default();
        (mounts, cgroups, t.root.is_dir())
    };
    let before = now();
    findings(&t.cmd(&["doctor", "--json"]).run());
    assert_eq!(now(), before);
    assert!(!t.root.is_dir(), "it made the state directory");
}
