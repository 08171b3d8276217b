//! `restore`, with the double.

use std::fs;

use orlop_integration::console::Receiver;
use orlop_integration::{Cmd, Container, Sandbox, case, process};
use serde_json::json;

use orlop_integration::double::{self, asked, was_asked};

/// Images as a checkpoint leaves them.
pub(crate) fn images(t: &Sandbox) -> String {
    let dir = t.dir.join("images");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("descriptors.json"), "[]").unwrap();
    dir.display().to_string()
}

/// A detached restore with these flags, by a double that behaves so.
pub(crate) fn restore(c: &Container<'_>, behaviour: &str, flags: &[&str]) -> Cmd {
    let images = images(c.sandbox);
    verb(c, behaviour, &images, &[&["--detach"], flags].concat())
}

fn verb(c: &Container<'_>, behaviour: &str, images: &str, flags: &[&str]) -> Cmd {
    c.write();
    let bundle = c.bundle.display().to_string();
    let all: Vec<&str> = ["--image-path", images, "--bundle", &bundle].iter().chain(flags).copied().collect();
    double::with(c.sandbox, c.simple_cmd("restore", &all, &[]), behaviour)
}

#[case(extension)]
fn a_restored_container_is_an_ordinary_one(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("pid");
    restore(&c, "good", &["--pid-file", &file.display().to_string()]).run().ok();
    let pid = c.pid();
    assert_eq!(c.status(), "running");
    assert_eq!(fs::read_to_string(&file).unwrap(), pid.to_string());
    assert!(!t.cgroups_of(&c.id).is_empty());
    for cgroup in t.cgroups_of(&c.id) {
        assert_eq!(fs::read_to_string(cgroup.join("cgroup.procs")).unwrap().trim(), pid.to_string(), "{cgroup:?}");
    }
    // The root was where CRIU looks for it, in a mount namespace that nobody else has.
    let root = fs::read_to_string(t.dir.join("double/root")).unwrap();
    assert!(root.starts_with("root:x:0:0"), "{root}");
    assert!(!t.root.join(&c.id).join("criu-root").exists());
    c.simple("pause", &[], &[]).ok();
    assert_eq!(c.status(), "paused");
    c.simple("resume", &[], &[]).ok();
    let pids = c.simple("ps", &["--format", "json"], &[]).ok().json();
    assert_eq!(pids, json!([pid]));
    c.end();
}

#[case(extension)]
fn in_the_foreground_it_ends_as_its_process_does(t: &Sandbox) {
    let c = t.container("a");
    verb(&c, "ends", &images(t), &[]).run().code(7);
    c.simple("state", &[], &[]).fails().says("does not exist");
    let mut running = verb(&c, "good", &images(t), &["--no-subreaper"]).spawn();
    t.wait_until("a running container", || c.simple("state", &[], &[]).stdout.contains("running"));
    assert!(!running.has_ended());
    c.kill("KILL").ok();
    let _ = running.wait().code(137);
    c.simple("state", &[], &[]).fails();
}

#[case(extension)]
fn the_request_says_where_everything_is(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("file");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink("/mnt", c.rootfs().join("link")).unwrap();
    c.mount("bind", &file.display().to_string(), "/link/made", &["bind"]);
    c.set("/annotations", json!({ "org.criu.config": "" }));
    c.set("/linux/maskedPaths", json!(["/proc/timer_list"]));
    restore(&c, "good", &[]).run().ok();
    let request = asked(t, "restore");
    assert_eq!(request[&10], ["restore.log"]);
    assert_eq!(request[&13], [t.root.join(&c.id).join("criu-root").display().to_string()]);
    assert_eq!((&request[&26][..], &request[&6][..]), (&["1".into()][..], &["1".into()][..]));
    assert!(!request.contains_key(&51), "the annotation says: no configuration file");
    let external = &request[&23];
    assert!(external.contains(&format!("/link/made={}", file.display())), "by its name in the config: {external:?}");
    assert!(external.contains(&"/dev/null=/dev/null".to_owned()), "{external:?}");
    assert!(c.rootfs().join("mnt/made").is_file());
    // Where CRIU itself is, the restored cgroups are to be.
    let own = fs::read_to_string(t.dir.join("double/cgroup")).unwrap();
    let mut roots = 0;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        assert!(path.ends_with(&c.id), "{line}");
        for controller in controllers.split(',') {
            let root = if controller.is_empty() { path.to_owned() } else { format!("{controller}={path}") };
            assert!(request[&25].contains(&root), "{root}: {:?}", request[&25]);
            roots += 1;
        }
    }
    assert_eq!(roots, request[&25].len());
    c.end();
}

#[case(extension)]
fn every_flag_reaches_criu(t: &Sandbox) {
    let c = t.container("a");
    for (flags, field, value) in [
        (&["--tcp-established"][..], 5, "1"),
        (&["--tcp-close"], 52, "1"),
        (&["--ext-unix-sk"], 4, "1"),
        (&["--shell-job"], 7, "1"),
        (&["--file-locks"], 8, "1"),
        (&["--auto-dedup"], 16, "1"),
        (&["--lazy-pages"], 48, "1"),
        (&["--manage-cgroups-mode", "strict"], 34, "5"),
        (&["--network-lock", "skip"], 64, "3"),
        (&["--lsm-profile", "apparmor:other"], 53, "apparmor:other"),
        (&["--lsm-mount-context", "system_u:object_r:x:s0"], 63, "system_u:object_r:x:s0"),
    ] {
        restore(&c, "good", flags).run().ok();
        assert_eq!(asked(t, "restore")[&field], [value], "{flags:?}");
        c.end();
    }
}

#[case(extension)]
fn pipes_become_those_of_the_caller(t: &Sandbox) {
    let c = t.container("a");
    let dir = images(t);
    fs::write(t.dir.join("images/descriptors.json"), r#"["/dev/null","pipe:[11]","pipe:[12]"]"#).unwrap();
    verb(&c, "good", &dir, &["--detach"]).run().ok();
    assert_eq!(asked(t, "restore")[&27], ["pipe:[11]=1", "pipe:[12]=2"]);
    c.end();
}

#[case(extension)]
fn joined_namespaces_are_handed_over(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let c = t.container("a");
    c.join("network", &path("net")).join("uts", &path("uts"));
    restore(&c, "good", &[]).run().ok();
    let request = asked(t, "restore");
    assert!(request[&27][0].starts_with("extRootNetNS="), "{:?}", request[&27]);
    assert_eq!(request[&39], [format!("uts={}", path("uts"))]);
    c.end();
    c.join("network", &path("uts"));
    restore(&c, "good", &[]).run().code(1).says("is no network namespace").says("/linux/namespaces/");
    c.join("network", "/no/such");
    restore(&c, "good", &[]).run().code(1).says("join namespace /no/such").says("no such file or directory");
    first.end();
}

#[case(extension)]
fn what_mounts_go_on_is_made(t: &Sandbox) {
    let c = t.container("a");
    let (outer, inner) = (t.dir.join("outer"), t.dir.join("inner"));
    fs::create_dir(&outer).unwrap();
    fs::write(&inner, "").unwrap();
    c.mount("bind", &outer.display().to_string(), "/new/outer", &["bind"]);
    c.mount("bind", &inner.display().to_string(), "/new/outer/deep/inner", &["bind"]);
    c.mount("tmpfs", "tmpfs", "/scratch", &[]);
    c.mount("bind", &inner.display().to_string(), "/scratch/inner", &["bind"]);
    restore(&c, "good", &[]).run().ok();
    assert!(c.rootfs().join("new/outer").is_dir() && c.rootfs().join("scratch").is_dir());
    assert!(outer.join("deep/inner").is_file(), "in what is mounted, not below it");
    assert!(!c.rootfs().join("new/outer/deep").exists());
    assert!(!c.rootfs().join("scratch/inner").exists(), "CRIU brings the files of a tmpfs along");
    c.end();
    c.mount("bind", "/no/such/source", "/other", &["bind"]);
    restore(&c, "good", &[]).run().code(1).says("bind mount /no/such/source").says("no such file or directory");
    c.edit(|spec| {
        spec["mounts"].as_array_mut().unwrap().pop();
    });
    fs::write(c.rootfs().join("blocked"), "").unwrap();
    c.mount("tmpfs", "tmpfs", "/blocked/below", &[]);
    restore(&c, "good", &[]).run().code(1).says("make mount target").says("not a directory");
}

#[case(extension)]
fn hooks_of_the_runtime_are_run(t: &Sandbox) {
    let c = t.container("a");
    let log = t.dir.join("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(cat | tr -d ' \\n') >> {}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        c.set(&format!("/hooks/{kind}"), hook(kind));
    }
    restore(&c, "good", &[]).run().ok();
    let pid = c.pid();
    c.end();
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let names: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["prestart", "createRuntime", "poststop"], "as runc does");
    assert!(lines[1].contains(&format!("\"pid\":{pid}")) && lines[1].contains("\"creating\""), "{}", lines[1]);
}

#[case(extension)]
fn a_failing_hook_stops_it(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hooks/createRuntime", json!([{ "path": "/bin/false" }]));
    restore(&c, "good", &[]).run().code(1).says("error running createRuntime hook #0: exit status 1");
    let points = fs::read_to_string(t.dir.join("double/points")).unwrap();
    assert_eq!(points, "setup-namespaces false\n", "CRIU was told");
}

#[case(extension)]
fn limits_are_set(t: &Sandbox) {
    let c = t.container("a");
    t.need(t.controller("pids", "").is_some(), "no pids controller");
    c.set("/linux/resources/pids", json!({ "limit": 17 }));
    restore(&c, "good", &[]).run().ok();
    let dir = t.controller("pids", &c.id).unwrap();
    assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap().trim(), "17");
    c.end();
}

#[case(extension)]
fn whatever_criu_does_nothing_is_left(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("pid");
    for (behaviour, words) in [
        ("old", "3.14 is too old"),
        ("dies", "was killed by signal 9 without an answer"),
        ("exits", "ended with exit status 9 without an answer"),
        ("garbage", "its answer to the restore request cannot be understood"),
        ("long", "message too long"),
        ("other-answer", "its answer to the restore request cannot be understood"),
        ("refuses", "restore failed; cannot do the thing; FAILED: device or resource busy"),
        ("no-process", "it has not told of any process"),
        ("wrong-process", "no pid at \"setup-namespaces\""),
        ("late-failure", "restore failed"),
        ("late-exit", "ended with exit status 4"),
    ] {
        restore(&c, behaviour, &["--pid-file", &file.display().to_string()]).run().code(1).says(words);
        assert!(!t.root.join(&c.id).exists(), "{behaviour}: state");
        assert!(t.cgroups_of(&c.id).is_empty(), "{behaviour}: cgroup");
        assert!(!file.exists(), "{behaviour}: pid file");
    }
}

#[case(extension)]
fn a_hanging_criu_is_ended(t: &Sandbox) {
    let c = t.container("a");
    restore(&c, "hangs", &["--timeout", "700ms"]).run().code(1).says("does not come to an end of the restore");
    assert!(!t.root.join(&c.id).exists());
}

/// SIGKILL of the runtime while CRIU is at work: the intent on disk leads to all that is there.
#[case(extension)]
fn what_a_killed_restore_leaves_is_deleted(t: &Sandbox) {
    for verb in ["delete", "gc"] {
        let c = t.container(verb);
        let running = restore(&c, "hangs", &[]).spawn();
        let request = t.dir.join("double/restore");
        t.wait_until("a request", || request.exists());
        running.kill();
        assert_eq!(c.status(), "creating");
        if verb == "delete" {
            c.delete_force().ok();
        } else {
            t.cmd(&["gc"]).run().ok().says("");
        }
        assert!(!t.root.join(&c.id).exists() && t.cgroups_of(&c.id).is_empty(), "{verb}");
        fs::remove_file(request).unwrap();
    }
}

/// What a mount is called is the config's word alone: where links of the image lead makes no difference.
#[case(extension)]
fn cve_2026_119101_links_do_not_rename_a_mount(t: &Sandbox) {
    let c = t.container("a");
    let (good, other) = (t.dir.join("good"), t.dir.join("other"));
    fs::create_dir(&good).unwrap();
    fs::create_dir(&other).unwrap();
    fs::create_dir(c.rootfs().join("data")).unwrap();
    c.mount("bind", &good.display().to_string(), "/link", &["bind"]);
    c.mount("bind", &other.display().to_string(), "/data", &["bind"]);
    std::os::unix::fs::symlink("/data", c.rootfs().join("link")).unwrap();
    restore(&c, "good", &[]).run().ok();
    let external = asked(t, "restore")[&23].clone();
    assert!(external.contains(&format!("/link={}", good.display())), "{external:?}");
    assert!(external.contains(&format!("/data={}", other.display())), "{external:?}");
    c.end();
}

#[case(extension)]
fn cve_2026_115520_confusable_mounts_are_refused(t: &Sandbox) {
    let c = t.container("a");
    let source = t.dir.join("source");
    fs::create_dir(&source).unwrap();
    c.mount("bind", &source.display().to_string(), "/data]:/etc", &["bind"]);
    restore(&c, "good", &[]).run().code(1).says("/data]:/etc").says("CRIU cannot tell mounts apart");
    assert!(!was_asked(t, "restore"));
}

#[case(extension)]
fn nothing_is_made_in_a_read_only_source(t: &Sandbox) {
    let c = t.container("a");
    let (outer, inner) = (t.dir.join("outer"), t.dir.join("inner"));
    fs::create_dir(&outer).unwrap();
    fs::write(&inner, "").unwrap();
    c.mount("bind", &outer.display().to_string(), "/outer", &["bind", "ro"]);
    c.mount("bind", &inner.display().to_string(), "/outer/deep/inner", &["bind"]);
    restore(&c, "good", &[]).run().code(1).says("bound read-only").says("read-only file system");
    assert_eq!(fs::read_dir(&outer).unwrap().count(), 0, "made on the host");
    // What is there already is no obstacle.
    fs::create_dir(outer.join("deep")).unwrap();
    fs::write(outer.join("deep/inner"), "").unwrap();
    restore(&c, "good", &[]).run().ok();
    c.end();
}

#[case(extension)]
fn cve_2026_18107_more_rights_than_the_configs_are_refused(t: &Sandbox) {
    let c = t.container("a");
    restore(&c, "more-rights", &[]).run().code(1).says("config /process/capabilities").says("which are not given");
    assert!(!t.root.join(&c.id).exists() && t.cgroups_of(&c.id).is_empty());
    // A process whose container has changed its rights itself is one that may.
    c.set("/process/user", json!({ "uid": 5, "gid": 0 }));
    restore(&c, "good", &[]).run().code(1).says("config /process/user/uid");
    c.set("/process/user", json!({ "uid": 0, "gid": 0 }));
    c.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["getcwd"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    restore(&c, "good", &[]).run().code(1).says("config /linux/seccomp").says("no seccomp filter");
}

#[case(extension)]
fn an_id_is_restored_once(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    restore(&c, "good", &[]).run().code(1).says("container with given ID already exists");
    assert_eq!(c.pid(), pid);
    assert!(process::is_alive(pid) && !was_asked(t, "restore"));
    c.end();
}

#[case(extension)]
fn terminals_need_somebody_who_takes_them(t: &Sandbox) {
    let c = t.container("a");
    let socket = Receiver::new(&t.dir.join("console"));
    let path = socket.path.display().to_string();
    restore(&c, "good", &["--console-socket", &path]).run().code(1).says("no terminal is allocated");
    verb(&c, "good", &images(t), &["--console-socket", &path]).run().code(1).says("--console-socket is for --detach");
    c.set("/process/terminal", json!(true));
    restore(&c, "good", &[]).run().code(1).says("--console-socket is needed");
    assert!(!was_asked(t, "restore"));
}

#[case(extension)]
fn wrong_words_are_refused(t: &Sandbox) {
    let c = t.container("a");
    for (flags, words) in [
        (&["--lsm-profile", "smack:x"][..], "not apparmor:PROFILE or selinux:LABEL"),
        (&["--no-pivot"], "--no-pivot is not supported: CRIU changes the root by pivot_root in any case"),
        (&["--manage-cgroups-mode", "hard"], "not one of"),
    ] {
        restore(&c, "good", flags).run().code(1).says(words);
    }
    restore(&c, "no-features", &["--lazy-pages"]).run().code(1).says("cannot fetch memory when it is used");
}
