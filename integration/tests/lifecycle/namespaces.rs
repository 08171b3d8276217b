//! Namespaces: new, shared and joined; user mappings; what belongs to them (hostname, sysctl, time offsets, cgroup view).

use std::fs;

use orlop_integration::sandbox::kernel_has_namespace;
use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::{Value, json};

use crate::exec::set;

fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string()
}

#[case(needs(SameUsers))]
fn listed_ones_are_new_and_others_shared(t: &Sandbox) {
    let facts = t.container("a").facts();
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(facts["namespaces"][name], own(name), "{name}");
    }
    for name in ["user", "cgroup"] {
        assert_eq!(facts["namespaces"][name], own(name), "{name}");
    }
    if kernel_has_namespace("time") {
        assert_eq!(facts["namespaces"]["time"], own("time"));
    }
}

#[case(needs(Host))]
fn none_but_mount(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/namespaces", json!([{"type": "mount"}])).remove("/hostname");
    c.edit(|spec| spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/mqueue"));
    let facts = c.facts();
    for name in ["pid", "net", "ipc", "uts"] {
        assert_eq!(facts["namespaces"][name], own(name), "{name}");
    }
    assert_ne!(facts["namespaces"]["mnt"], own("mnt"));
}

#[case]
fn network_has_only_a_working_loopback(t: &Sandbox) {
    let c = t.container("a");
    let out = c.sh("ls /sys/class/net; ip addr show lo; ping -c 1 -W 2 127.0.0.1 > /dev/null && echo answers").run();
    assert!(out.stdout.starts_with("lo\n") && out.stdout.contains("UP"), "{}", out.stdout);
    let c = t.container("b");
    c.push("/process/capabilities/effective", json!("CAP_NET_RAW"))
        .push("/process/capabilities/permitted", json!("CAP_NET_RAW"));
    c.push("/process/capabilities/bounding", json!("CAP_NET_RAW"));
    assert_eq!(c.sh("ping -c 1 -W 2 127.0.0.1 > /dev/null && echo answers").run().ok().stdout, "answers\n");
}

#[case]
fn cgroup_namespace_hides_the_path(t: &Sandbox) {
    let c = t.container("a");
    c.namespace("cgroup");
    let facts = c.facts();
    assert_ne!(facts["namespaces"]["cgroup"], own("cgroup"));
    let text = facts["cgroup"].as_str().unwrap();
    assert!(!text.contains(&t.tag), "the host's path shows: {text}");
    let line = text.lines().find(|line| line.contains("memory")).or_else(|| text.lines().last()).unwrap();
    assert!(line.ends_with(":/"), "{line}");
}

#[case]
fn hostname(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hostname", json!("a-name.example"));
    assert_eq!(c.facts()["hostname"], "a-name.example");
}

#[case]
fn hostname_without_uts_namespace_is_refused(t: &Sandbox) {
    let before = nix::sys::utsname::uname().unwrap().nodename().to_owned();
    t.container("a").share("uts").run().code(1);
    assert_eq!(nix::sys::utsname::uname().unwrap().nodename(), before);
}

#[case(not_runc("since runc 1.2"))]
fn domainname(t: &Sandbox) {
    let c = t.container("a");
    c.set("/domainname", json!("nis.example"));
    assert_eq!(c.facts()["domainname"], "nis.example");
}

#[case(needs(SameUsers))]
fn joining_by_path(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let second = t.container("second");
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        second.join(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    second.remove("/hostname");
    let facts = second.facts();
    for name in ["net", "ipc", "uts"] {
        let expected = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
        assert_eq!(facts["namespaces"][name], expected, "{name}");
    }
    first.end();
}

#[case(needs(SameUsers))]
fn joining_a_pid_namespace(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let second = t.container("second");
    second.join("pid", &format!("/proc/{pid}/ns/pid"));
    let facts = second.facts();
    assert_ne!(facts["pid"], 1);
    let expected = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap().display().to_string();
    assert_eq!(facts["namespaces"]["pid"], expected);
    // Its /proc is that of the namespace: the first container's command is process 1 there.
    let shown = second.args(&["cat", "/proc/1/cmdline"]).run().ok();
    assert_eq!(shown.stdout.as_bytes(), fs::read(format!("/proc/{pid}/cmdline")).unwrap());
    first.end();
}

/// Engines set a score for every container, and a process in a user namespace that is not its own cannot set it by itself.
#[case(needs(Ids), not_runc("since runc 1.2"))]
fn joining_a_user_namespace_with_an_oom_score(t: &Sandbox) {
    let first = t.container("first");
    first.map_users(200_000, 65536);
    first.set("/process/oomScoreAdj", json!(300));
    let pid = first.run_paused();
    let second = t.container("second");
    second.give_rootfs_to(200_000);
    for (kind, name) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        second.join(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    second.remove("/hostname").set("/process/oomScoreAdj", json!(200));
    assert_eq!(second.args(&["cat", "/proc/self/oom_score_adj"]).run().ok().stdout.trim(), "200");
    let process = json!({
        "args": ["cat", "/proc/self/oom_score_adj"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "oomScoreAdj": 100,
    });
    let file = t.dir.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let out = first.simple_cmd("exec", &["--process", file.to_str().unwrap()], &[]).run().ok();
    assert_eq!(out.stdout.trim(), "100");
    first.end();
}

#[case(needs(ControlGroups, SameUsers))]
fn joining_a_pid_namespace_with_a_limit_of_one(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let second = t.container("second");
    second.join("pid", &format!("/proc/{pid}/ns/pid"));
    second.set("/linux/resources/pids", json!({"limit": 1})).args(&["/probe", "exit", "0"]).run().ok();
    first.end();
}

#[case(needs(Ids), not_runc("since runc 1.2"))]
fn joining_a_user_namespace(t: &Sandbox) {
    let first = t.container("first");
    first.map_users(200_000, 65536);
    let pid = first.run_paused();
    let second = t.container("second");
    second.give_rootfs_to(200_000);
    for (kind, name) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        second.join(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    second.remove("/hostname");
    let facts = second.facts();
    for name in ["user", "net", "ipc", "uts", "pid"] {
        let expected = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
        assert_eq!(facts["namespaces"][name], expected, "{name}");
    }
    assert_eq!(facts["uid"], 0);
    first.end();
}

#[case(needs(Ids), not_runc("since runc 1.3"), not_crun("not compared"))]
fn joining_a_namespace_that_the_user_namespace_does_not_own(t: &Sandbox) {
    let owner = t.container("owner");
    owner.map_users(200_000, 65536);
    let pid = owner.run_paused();
    let other = t.container("other");
    let network = other.run_paused();
    let c = t.container("a");
    c.give_rootfs_to(200_000);
    c.join("user", &format!("/proc/{pid}/ns/user")).join("network", &format!("/proc/{network}/ns/net"));
    // A new sysfs needs rights over the network namespace; the host's is bound instead.
    c.edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap().iter_mut().filter(|mount| mount["type"] == "sysfs") {
            *mount = json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind"]});
        }
    });
    c.run_paused();
    let expected = fs::read_link(format!("/proc/{network}/ns/net")).unwrap().display().to_string();
    assert_eq!(c.exec_facts(&[])["namespaces"]["net"], expected);
    for container in [&c, &other, &owner] {
        container.end();
    }
}

#[case]
fn joining_a_missing_path_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    let out = c.join("network", "/run/no-such-namespace").run().code(1);
    assert!(
        out.stderr.to_lowercase().contains("no such file") || out.stderr.contains("/run/no-such"),
        "{}",
        out.stderr
    );
}

#[case]
fn joining_a_path_of_another_type_is_an_error(t: &Sandbox) {
    t.container("a").join("network", "/proc/self/ns/uts").run().code(1);
    t.container("b").join("network", "/etc/passwd").run().code(1);
}

#[case(not_crun("since crun 1.18"))]
fn joining_the_same_namespace_twice_is_refused(t: &Sandbox) {
    t.container("a").namespace("network").run().code(1);
}

#[case]
fn unknown_type_is_refused(t: &Sandbox) {
    t.container("a").namespace("teapot").run().code(1);
}

#[case(needs(Ids))]
fn user_namespace_maps_ids(t: &Sandbox) {
    let c = t.container("a");
    c.map_users(100_000, 65536);
    let facts = c.facts();
    assert_ne!(facts["namespaces"]["user"], own("user"));
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(0), &json!(0)));
    let words: Vec<&str> = facts["uid_map"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536"]);
    c.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}));
    let facts = c.facts();
    assert_eq!((&facts["uid"], &facts["groups"]), (&json!(1000), &json!([5])));
}

#[case(needs(Ids))]
fn user_namespace_with_several_ranges(t: &Sandbox) {
    let c = t.container("a");
    c.map_users(100_000, 10);
    for kind in ["uid", "gid"] {
        c.push(&format!("/linux/{kind}Mappings"), json!({"containerID": 1000, "hostID": 300_000, "size": 5}));
    }
    c.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let facts = c.facts();
    assert_eq!(facts["uid"], 1000);
    assert_eq!(facts["uid_map"].as_str().unwrap().lines().count(), 2);
}

#[case(needs(Ids))]
fn user_namespace_files_belong_to_the_mapped_user(t: &Sandbox) {
    use std::os::unix::fs::MetadataExt;
    let c = t.container("a");
    c.map_users(100_000, 65536).sh("touch /root/made; stat -c %u /root/made /proc/self /dev/pts").run().ok();
    let made = fs::metadata(c.rootfs().join("root/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (100_000, 100_000));
}

#[case(not_crun("makes its own"))]
fn user_namespace_without_mappings_is_refused(t: &Sandbox) {
    t.container("a").namespace("user").run().code(1);
}

#[case(needs(SameUsers), not_runc("accepts them"), not_crun("ignores them"))]
fn mappings_without_user_namespace_are_refused(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1000, "size": 1}])).run().code(1);
}

#[case(needs(Ids))]
fn user_namespace_exec(t: &Sandbox) {
    let c = t.container("a");
    c.map_users(100_000, 65536);
    c.run_paused();
    let facts = c.exec_facts(&["--user", "7:8"]);
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(7), &json!(8)));
    assert_eq!(set(&facts, "CapEff") & !(1 << 5 | 1 << 10 | 1 << 29), 0);
    c.end();
}

#[case(needs(Ids))]
fn user_namespace_with_every_other(t: &Sandbox) {
    let c = t.container("a");
    c.map_users(100_000, 65536).namespace("cgroup");
    if kernel_has_namespace("time") && !t.is(Flavor::Runc) {
        c.namespace("time");
    }
    let facts = c.facts();
    for name in ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup"] {
        assert_ne!(facts["namespaces"][name], own(name), "{name}");
    }
}

fn with_time<'a>(t: &'a Sandbox) -> Container<'a> {
    t.need_promised("time-namespaces", kernel_has_namespace("time"), "this kernel has no time namespaces");
    let c = t.container("a");
    c.namespace("time")
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 86_400, "nanosecs": 5}, "monotonic": {"secs": 3600}}));
    c
}

fn uptime() -> i64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

#[case(not_runc("since runc 1.2"), not_crun("fails on this kernel"))]
fn time_namespace(t: &Sandbox) {
    let facts = with_time(t).facts();
    assert_ne!(facts["namespaces"]["time"], own("time"));
    let offset = facts["boottime"].as_i64().unwrap() - uptime();
    assert!((86_390..86_410).contains(&offset), "{offset}");
}

#[case(not_runc("since runc 1.2"), not_crun("fails on this kernel"))]
fn time_namespace_of_exec(t: &Sandbox) {
    let c = with_time(t);
    c.run_paused();
    let facts = c.exec_facts(&[]);
    let offset = facts["boottime"].as_i64().unwrap() - uptime();
    assert!((86_390..86_410).contains(&offset), "{offset}");
    c.end();
}

#[case(not_runc("since runc 1.2"), not_crun("ignores them"))]
fn time_offsets_without_namespace_are_refused(t: &Sandbox) {
    t.container("a").set("/linux/timeOffsets", json!({"boottime": {"secs": 1}})).run().code(1);
}

#[case(not_runc("does not know the spelling"), not_crun("not compared"))]
fn a_sysctl_of_a_device_whose_name_has_a_dot(t: &Sandbox) {
    let first = t.container("a");
    let pid = first.run_paused();
    let add = format!("nsenter -t {pid} -n ip link add e.10 type veth peer name p0");
    let made = t.program("/bin/sh", &["-c", &add]).run();
    t.need(made.code == 0, "nsenter(1), ip(8) and a kernel that makes veth devices");
    let c = t.container("b");
    c.join("network", &format!("/proc/{pid}/ns/net")).sh("cat /proc/sys/net/ipv4/conf/e.10/forwarding");
    for (key, value) in [("net.ipv4.conf.e/10.forwarding", "1"), ("net/ipv4/conf/e.10/forwarding", "0")] {
        c.set("/linux/sysctl", json!({ key: value }));
        assert_eq!(c.run().ok().stdout.trim(), value, "{key}");
    }
    first.end();
}

#[case(needs(Ids))]
fn sysctl(t: &Sandbox) {
    let c = t.container("a");
    let values = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "123456789", "net.ipv4.ping_group_range": "0 7"});
    c.set("/linux/sysctl", values);
    let out = c.sh("cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax net/ipv4/ping_group_range").run().ok();
    let words: Vec<&str> = out.stdout.split_whitespace().collect();
    assert_eq!(words, ["1", "123456789", "0", "7"]);
}

#[case(not_crun("checks less"))]
fn sysctl_of_the_host_is_refused(t: &Sandbox) {
    let read = || fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    let before = read();
    t.container("a").set("/linux/sysctl", json!({"kernel.panic": "77"})).run().code(1);
    t.container("b").share("network").set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})).run().code(1);
    t.container("c").share("ipc").set("/linux/sysctl", json!({"kernel.shmmax": "1"})).run().code(1);
    assert_eq!(read(), before);
}

#[case]
fn sysctl_that_does_not_exist_is_an_error(t: &Sandbox) {
    t.container("a").set("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"})).run().code(1);
}

#[case]
fn sysctl_with_slash_or_dots_above_is_refused(t: &Sandbox) {
    for name in ["net/../kernel/panic", "net..kernel.panic", "net.../../kernel.panic", "../sysrq-trigger"] {
        t.container(&format!("c{}", name.len())).set("/linux/sysctl", json!({ name: "1" })).run().code(1);
    }
}

/// A bundle that an ordinary user owns and may use, in directories that the user may enter.
pub(crate) fn rootless<'a>(t: &'a Sandbox, uid: u32) -> Container<'a> {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    let c = t.container("a");
    c.give_rootfs_to(uid);
    for dir in [&t.dir, &c.bundle] {
        std::os::unix::fs::chown(dir, Some(uid), Some(uid)).unwrap();
    }
    c.namespace("user").share("network");
    for kind in ["uid", "gid"] {
        c.set(&format!("/linux/{kind}Mappings"), json!([{"containerID": 0, "hostID": uid, "size": 1}]));
    }
    c.edit(|spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        for mount in mounts {
            if mount["destination"] == "/sys" {
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    c
}

pub(crate) const USER: u32 = 54_321;

fn rootless_facts(t: &Sandbox, c: &Container<'_>) -> Value {
    c.args(&["/probe", "facts"]);
    let runtime = t.dir.join("xdg");
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
    c.run_cmd(&[]).env("XDG_RUNTIME_DIR", &runtime).user(USER, USER).run().ok().json()
}

#[case(needs(Ids))]
fn rootless_single_id(t: &Sandbox) {
    let c = rootless(t, USER);
    let facts = rootless_facts(t, &c);
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(0), &json!(0)));
    let words: Vec<&str> = facts["uid_map"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(words, ["0", "54321", "1"]);
    assert_eq!(facts["setgroups"], "deny");
}

#[case(needs(Host, Admin))]
fn rootless_with_subordinate_ids(t: &Sandbox) {
    t.need(std::path::Path::new("/usr/bin/newuidmap").is_file(), "newuidmap is not installed (package uidmap)");
    let c = rootless(t, USER);
    // newuidmap knows users by name: a private view of the user database has one with a range of ids.
    let passwd = fs::read_to_string("/etc/passwd").unwrap() + "orlopit:x:54321:54321::/:/bin/sh\n";
    for (file, text) in
        [("passwd", passwd.as_str()), ("subuid", "orlopit:400000:65536\n"), ("subgid", "orlopit:400000:65536\n")]
    {
        let source = t.dir.join(file);
        fs::write(&source, text).unwrap();
        let target = format!("/etc/{file}");
        t.need(std::path::Path::new(&target).is_file(), "the host has no /etc/subuid or /etc/subgid to cover");
        let none = None::<&str>;
        nix::mount::mount(Some(&source), target.as_str(), none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    }
    for kind in ["uid", "gid"] {
        c.push(&format!("/linux/{kind}Mappings"), json!({"containerID": 1, "hostID": 400_000, "size": 65536}));
    }
    c.set("/process/user", json!({"uid": 33, "gid": 33}));
    if t.is(Flavor::Orlop) {
        c.set("/process/user/additionalGids", json!([100]));
    }
    let facts = rootless_facts(t, &c);
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(33), &json!(33)));
    if t.is(Flavor::Orlop) {
        assert_eq!(facts["groups"], json!([100]), "runc before 1.3 refuses them when rootless");
    }
    assert_eq!(facts["uid_map"].as_str().unwrap().lines().count(), 2);
}

/// A namespace that somebody without rights made: who joins it may not set groups there either, whoever it is.
#[case(needs(Ids, Containers), not_runc("since runc 1.2"), not_crun("not compared"))]
fn joining_a_user_namespace_in_which_groups_cannot_be_set(t: &Sandbox) {
    let c = rootless(t, USER);
    let holder = t.program("/usr/bin/unshare", &["--user", "--map-root-user", "/bin/sleep", "60"]).user(USER, USER);
    let holder = holder.spawn();
    let pid = holder.pid();
    let is =
        |file: &str, text: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|now| now.contains(text));
    t.wait_until("the namespace", || is("setgroups", "deny") && is("uid_map", "54321") && is("gid_map", "54321"));
    c.join("user", &format!("/proc/{pid}/ns/user")).remove("/linux/uidMappings").remove("/linux/gidMappings");
    let expected = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap().display().to_string();
    let by_user = rootless_facts(t, &c);
    // The next caller is another, who has a state directory of its own.
    fs::remove_dir_all(&t.root).unwrap();
    for facts in [by_user, c.facts()] {
        assert_eq!((&facts["uid"], &facts["namespaces"]["user"]), (&json!(0), &json!(expected)));
        assert_eq!(facts["setgroups"], "deny");
    }
    c.run_paused();
    assert_eq!(c.exec_facts(&[])["uid"], 0);
    c.end();
    let _ = holder.kill();
}

#[case(needs(Ids, Containers))]
fn rootless_state_directory(t: &Sandbox) {
    let c = rootless(t, USER);
    let runtime = t.dir.join("xdg");
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
    c.args(&["/probe", "pause"]).write();
    let bundle = c.bundle.display().to_string();
    let call = |words: &[&str]| t.bare(words).env("XDG_RUNTIME_DIR", &runtime).user(USER, USER).run();
    let _ = call(&["run", "--detach", "--bundle", &bundle, &c.id]).ok();
    let name = format!("{:?}", t.subject.flavor).to_lowercase();
    assert!(runtime.join(&name).join(&c.id).is_dir(), "state is below $XDG_RUNTIME_DIR/{name}");
    let state = call(&["state", &c.id]).ok().json();
    assert_eq!(state["status"], "running");
    let _ = call(&["exec", &c.id, "true"]).ok();
    let _ = call(&["kill", &c.id, "KILL"]).ok();
    t.wait_gone(i32::try_from(state["pid"].as_i64().unwrap()).unwrap());
    let _ = call(&["delete", &c.id]).ok();
    assert!(!runtime.join(&name).join(&c.id).is_dir());
}

#[case(needs(Ids))]
fn cve_2023_25809_rootless_writes_no_cgroup(t: &Sandbox) {
    let c = rootless(t, USER);
    let runtime = t.dir.join("xdg");
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
    // Without a cgroup namespace of its own, the host's whole tree shows below /sys.
    c.sh("for d in $(find /sys/fs/cgroup -maxdepth 3 -type d 2>/dev/null); do mkdir $d/made-by-the-container 2>/dev/null && echo $d; done; true");
    let out = c.run_cmd(&[]).env("XDG_RUNTIME_DIR", &runtime).user(USER, USER).run().ok();
    assert_eq!(out.stdout, "", "directories were made there");
}
