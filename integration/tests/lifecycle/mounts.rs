//! The root file system and what is mounted on it: types, options, propagation, devices, masked and read-only paths.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use orlop_integration::{Container, Flavor, Sandbox, case, leak};
use serde_json::{Value, json};

/// The topmost mount at `dest`, as the probe saw it.
fn mount_at<'a>(facts: &'a Value, dest: &str) -> &'a Value {
    let list = facts["mounts"].as_array().unwrap();
    list.iter()
        .rev()
        .find(|mount| mount["dest"] == dest)
        .unwrap_or_else(|| panic!("nothing is mounted on {dest}: {list:#?}"))
}

fn options<'a>(facts: &'a Value, dest: &str) -> Vec<&'a str> {
    mount_at(facts, dest)["options"].as_str().unwrap().split(',').collect()
}

#[case]
fn root_is_writable_unless_said(t: &Sandbox) {
    let c = t.container("a");
    c.remove("/root/readonly").sh("echo x > /written").run().ok();
    assert!(c.rootfs().join("written").is_file());
}

#[case]
fn root_read_only(t: &Sandbox) {
    let c = t.container("a");
    c.set("/root/readonly", json!(true)).sh("echo x > /written").run().fails();
    assert!(!c.rootfs().join("written").is_file());
    assert!(options(&c.facts(), "/").contains(&"ro"));
    c.mount("tmpfs", "tmpfs", "/tmp", &[]).sh("echo x > /tmp/written && echo fine").run().ok();
}

#[case]
fn root_by_absolute_and_by_relative_path(t: &Sandbox) {
    let c = t.container("a");
    c.set("/root/path", json!(c.rootfs().display().to_string())).run().ok();
    c.set("/root/path", json!("./rootfs")).run().ok();
    c.set("/root/path", json!("rootfs/")).run().ok();
}

#[case]
fn root_that_is_missing_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    c.set("/root/path", json!("no-such-directory")).run().code(1);
    c.set("/root/path", json!("config.json")).run().code(1);
}

#[case]
fn the_hosts_tree_is_gone(t: &Sandbox) {
    let c = t.container("a");
    let facts = c.facts();
    let list = facts["mounts"].as_array().unwrap();
    assert_eq!(list.iter().filter(|mount| mount["dest"] == "/").count(), 1, "{list:#?}");
    let expected = ["/", "/proc", "/dev", "/sys"];
    for mount in list {
        let dest = mount["dest"].as_str().unwrap();
        let known = expected.contains(&dest) || ["/proc/", "/dev/", "/sys/"].iter().any(|top| dest.starts_with(top));
        assert!(known, "unexpected mount {mount}");
    }
    c.sh("ls /; ls /..").run().ok();
}

#[case]
fn no_pivot_hides_the_hosts_tree_too(t: &Sandbox) {
    let c = t.container("a");
    let out = c.sh("ls /bin/busybox && ls /.. | head -3").run_cmd(&["--no-pivot"]).run().ok();
    assert!(out.stdout.contains("bin"), "{}", out.stdout);
}

#[case]
fn nothing_shows_in_the_hosts_mount_namespace(t: &Sandbox) {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let c = t.container("a");
    c.run_paused();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    c.end();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[case(needs(Ids))]
fn tmpfs_options(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "scratch", "/scratch", &["size=1m", "mode=1711", "uid=7", "gid=8", "nosuid"]);
    // One run only: the second one finds the directory there, and runc then takes that one's mode.
    let out = c.sh("stat -c '%a %u %g' /scratch; grep ' /scratch ' /proc/self/mountinfo").run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[0], "1711 7 8");
    assert!(lines[1].contains("- tmpfs scratch ") && lines[1].contains("size=1024k"), "{}", lines[1]);
}

#[case]
fn flags_are_set(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "tmpfs", "/one", &["nosuid", "nodev", "noexec", "ro"]);
    c.mount("tmpfs", "tmpfs", "/two", &["suid", "dev", "exec", "rw"]);
    let facts = c.facts();
    for flag in ["nosuid", "nodev", "noexec", "ro"] {
        assert!(options(&facts, "/one").contains(&flag), "{flag}");
        assert!(!options(&facts, "/two").contains(&flag), "{flag}");
    }
}

#[case]
fn access_time_flags(t: &Sandbox) {
    let c = t.container("a");
    for flag in ["noatime", "relatime", "nodiratime"] {
        c.mount("tmpfs", "tmpfs", &format!("/{flag}"), &[flag]);
    }
    c.mount("tmpfs", "tmpfs", "/strict", &["strictatime"]);
    let facts = c.facts();
    for flag in ["noatime", "relatime", "nodiratime"] {
        assert!(options(&facts, &format!("/{flag}")).contains(&flag), "{flag}");
    }
    let strict = options(&facts, "/strict");
    assert!(!strict.contains(&"relatime") && !strict.contains(&"noatime"), "{strict:?}");
}

#[case(not_runc("since runc 1.2"), not_crun("no such option"))]
fn symfollow_flag(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "tmpfs", "/plain", &["nosymfollow"]);
    assert!(options(&c.facts(), "/plain").contains(&"nosymfollow"));
}

fn shared_dir(t: &Sandbox, name: &str) -> String {
    let dir = t.dir.join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), format!("in {name}\n")).unwrap();
    dir.display().to_string()
}

#[case]
fn bind_of_a_directory_and_of_a_file(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    fs::create_dir(c.rootfs().join("data")).unwrap();
    fs::write(c.rootfs().join("one"), "").unwrap();
    c.mount("bind", &dir, "/data", &["bind"]).mount("none", &format!("{dir}/file"), "/one", &["rbind"]);
    assert_eq!(c.sh("cat /data/file /one; echo new > /data/new").run().ok().stdout, "in shared\nin shared\n");
    assert_eq!(fs::read_to_string(Path::new(&dir).join("new")).unwrap(), "new\n");
}

#[case]
fn the_path_of_a_destination_may_be_long(t: &Sandbox) {
    let c = t.container("a");
    let destination = format!("/tmp{}", format!("/{}", "d".repeat(200)).repeat(15));
    c.push("/mounts", json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]}));
    let found = c.sh(&format!("cd {destination} && echo x > file && df . | tail -1")).run().ok().stdout;
    assert!(found.starts_with("tmpfs") && found.trim_end().ends_with(&destination), "{found}");
    assert!(!c.rootfs().join(&destination[1..]).join("file").exists());
}

#[case]
fn bind_makes_its_destination(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    c.mount("bind", &dir, "/not/there/yet", &["bind"]).mount("bind", &format!("{dir}/file"), "/nor/this", &["bind"]);
    assert_eq!(c.sh("cat /not/there/yet/file /nor/this").run().ok().stdout, "in shared\nin shared\n");
}

#[case]
fn bind_of_what_an_earlier_mount_put_into_the_rootfs(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    fs::create_dir(c.rootfs().join("first")).unwrap();
    let inside = c.rootfs().join("first/file").display().to_string();
    c.mount("bind", &dir, "/first", &["bind"]).mount("bind", &inside, "/second", &["bind"]);
    assert_eq!(c.sh("cat /second").run().ok().stdout, "in shared\n");
}

#[case]
fn bind_read_only(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    c.mount("bind", &dir, "/data", &["rbind", "ro", "nosuid", "nodev", "noexec"]);
    c.sh("echo x > /data/new").run().fails();
    let facts = c.facts();
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options(&facts, "/data").contains(&flag), "{flag}");
    }
    fs::write(Path::new(&dir).join("host"), "still writable on the host").unwrap();
}

fn with_submount(t: &Sandbox) -> String {
    let dir = shared_dir(t, "outer");
    let inner = format!("{dir}/inner");
    fs::create_dir(&inner).unwrap();
    nix::mount::mount(Some("inner"), inner.as_str(), Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
        .unwrap();
    fs::write(format!("{inner}/deep"), "deep\n").unwrap();
    dir
}

#[case(needs(Admin))]
fn bind_is_not_recursive_and_rbind_is(t: &Sandbox) {
    let c = t.container("a");
    let dir = with_submount(t);
    c.mount("bind", &dir, "/flat", &["bind"]).mount("bind", &dir, "/full", &["rbind"]);
    assert_eq!(c.sh("ls /flat/inner; cat /full/inner/deep").run().ok().stdout, "deep\n");
}

#[case]
fn bind_of_a_missing_source_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    let out = c.mount("bind", "/no/such/source", "/data", &["bind"]).run().code(1);
    assert!(
        out.stderr.contains("/no/such/source") && out.stderr.to_lowercase().contains("no such file"),
        "{}",
        out.stderr
    );
}

#[case]
fn bind_with_relative_source_is_relative_to_the_bundle(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir(c.bundle.join("beside")).unwrap();
    fs::write(c.bundle.join("beside/file"), "beside\n").unwrap();
    c.mount("bind", "beside", "/data", &["bind"]);
    assert_eq!(c.sh("cat /data/file").run().ok().stdout, "beside\n");
}

#[case(needs(Admin))]
fn recursive_read_only(t: &Sandbox) {
    let c = t.container("a");
    let dir = with_submount(t);
    c.mount("bind", &dir, "/data", &["rbind", "rro"]);
    let facts = c.facts();
    assert!(options(&facts, "/data").contains(&"ro") && options(&facts, "/data/inner").contains(&"ro"));
    c.sh("echo x > /data/inner/new").run().fails();
}

#[case(needs(Host, Admin), not_crun("fails on this kernel"))]
fn recursive_flags(t: &Sandbox) {
    let c = t.container("a");
    let dir = with_submount(t);
    c.mount("bind", &dir, "/data", &["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime"]);
    let facts = c.facts();
    for flag in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(options(&facts, "/data/inner").contains(&flag), "{flag}");
    }
}

#[case(needs(Admin))]
fn propagation_of_a_mount(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    let none = None::<&str>;
    nix::mount::mount(Some(dir.as_str()), dir.as_str(), none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    nix::mount::mount(none, dir.as_str(), none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
    for kind in ["private", "slave", "unbindable"] {
        c.mount("bind", &dir, &format!("/{kind}"), &["bind", kind]);
    }
    c.mount("bind", &dir, "/rshared", &["rbind", "rshared"]);
    let facts = c.set("/linux/rootfsPropagation", json!("shared")).facts();
    let at = |dest: &str| mount_at(&facts, dest)["propagation"].as_str().unwrap().to_owned();
    assert_eq!(at("/private"), "");
    assert!(at("/slave").starts_with("master:"), "{}", at("/slave"));
    assert_eq!(at("/unbindable"), "unbindable");
    assert!(at("/rshared").starts_with("shared:"), "{}", at("/rshared"));
}

#[case(needs(Admin), not_runc("makes it private"))]
fn propagation_of_the_root(t: &Sandbox) {
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED, none).unwrap();
    for (value, word) in [("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")] {
        let c = t.container(value);
        let facts = c.set("/linux/rootfsPropagation", json!(value)).facts();
        let found = mount_at(&facts, "/")["propagation"].as_str().unwrap();
        assert!(if word.is_empty() { found.is_empty() } else { found.starts_with(word) }, "{value}: {found}");
        assert!(!found.contains("master:"), "{value}: nothing comes in from the host: {found}");
    }
    let c = t.container("slave");
    let found = c.set("/linux/rootfsPropagation", json!("slave")).facts();
    let found = mount_at(&found, "/")["propagation"].as_str().unwrap().to_owned();
    assert!(!found.contains("shared"), "{found}");
}

#[case(needs(Admin))]
fn root_propagation_default_keeps_mounts_in(t: &Sandbox) {
    let c = t.container("a");
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED, none).unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for set in ["effective", "permitted", "bounding"] {
        c.push(&format!("/process/capabilities/{set}"), json!("CAP_SYS_ADMIN"));
    }
    c.sh("mount -t tmpfs inner /mnt && exec /probe pause").run_detached().ok();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    c.end();
}

#[case(not_crun("ignores it"))]
fn propagation_unknown_is_refused(t: &Sandbox) {
    t.container("a").set("/linux/rootfsPropagation", json!("sideways")).run().code(1);
}

#[case]
fn later_mounts_cover_earlier_ones(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "first", "/data", &[]).mount("tmpfs", "second", "/data/sub", &[]).mount(
        "tmpfs",
        "third",
        "/data",
        &[],
    );
    assert_eq!(mount_at(&c.facts(), "/data")["source"], "third");
}

#[case(not_crun("refuses it"))]
fn destination_through_a_symlink_stays_inside(t: &Sandbox) {
    let c = t.container("a");
    let canary = shared_dir(t, "canary");
    symlink(&canary, c.rootfs().join("absolute")).unwrap();
    symlink("../../../../../../../../etc", c.rootfs().join("upward")).unwrap();
    c.mount("tmpfs", "inside", "/absolute/made", &[]).mount("tmpfs", "inside", "/upward/made", &[]);
    let facts = c.facts();
    assert_eq!(mount_at(&facts, &format!("{canary}/made"))["source"], "inside", "resolved in the root");
    assert_eq!(mount_at(&facts, "/etc/made")["source"], "inside");
    assert!(!Path::new(&canary).join("made").is_dir(), "made on the host");
    assert!(!Path::new("/etc/made").is_dir(), "made on the host");
}

#[case]
fn destination_with_dots_stays_inside(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "inside", &format!("/../../..{}/dots", t.dir.display()), &[]);
    let out = c.sh("grep -c inside /proc/self/mountinfo").run().ok();
    assert_eq!(out.stdout, "1\n");
    assert!(!t.dir.join("dots").is_dir());
}

#[case]
fn tmpcopyup(t: &Sandbox) {
    let c = t.container("a");
    let dir = c.rootfs().join("filled");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), "copied\n").unwrap();
    fs::set_permissions(dir.join("sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("sub/file", dir.join("link")).unwrap();
    c.mount("tmpfs", "tmpfs", "/filled", &["tmpcopyup"]);
    let out = c.sh("cat /filled/link; stat -c %a /filled/sub/file; echo x > /filled/new").run().ok();
    assert_eq!(out.stdout, "copied\n640\n");
    assert!(!dir.join("new").is_file(), "the copy is what is written");
}

#[case(needs(Host), not_runc("since runc 1.2"))]
fn idmapped_bind(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    std::os::unix::fs::chown(Path::new(&dir).join("file"), Some(0), Some(0)).unwrap();
    c.map_users(100_000, 65536);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    c.push(
        "/mounts",
        json!({"type": "bind", "source": dir, "destination": "/data", "options": ["bind", "idmap"],
            "uidMappings": map, "gidMappings": map}),
    );
    let out = c.sh("stat -c '%u %g' /data/file; echo x > /data/new").run();
    if out.stderr.contains("invalid argument") || out.stderr.contains("not supported") {
        t.skip("this file system cannot be id-mapped");
    }
    assert_eq!(out.ok().stdout, "0 0\n");
    assert_eq!(fs::metadata(Path::new(&dir).join("new")).unwrap().uid(), 0, "on disk it is root's");
}

/// The init makes such a mount, and the runtime, whose rights that takes, maps it.
#[case(needs(Host), not_runc("since runc 1.2"), not_crun("takes what lies below the mount"))]
fn idmapped_bind_of_what_an_earlier_mount_put_into_the_rootfs(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    std::os::unix::fs::chown(Path::new(&dir).join("file"), Some(0), Some(0)).unwrap();
    fs::create_dir(c.rootfs().join("first")).unwrap();
    c.map_users(100_000, 65536);
    let source = c.rootfs().join("first").display().to_string();
    c.mount("bind", &dir, "/first", &["rbind"]).mount("bind", &source, "/second", &["rbind", "idmap"]);
    // Once more, with a map of its own.
    let map = json!([{"containerID": 0, "hostID": 100_005, "size": 65536}]);
    c.push(
        "/mounts",
        json!({"type": "bind", "source": source, "destination": "/third", "options": ["bind", "ridmap"],
            "uidMappings": map, "gidMappings": map}),
    );
    let out = c.sh("stat -c '%u %g' /first/file /second/file /third/file; echo x > /second/new").run();
    if out.stderr.contains("invalid argument") || out.stderr.contains("not supported") {
        t.skip("this file system cannot be id-mapped");
    }
    assert_eq!(out.ok().stdout, "65534 65534\n0 0\n5 5\n");
    assert_eq!(fs::metadata(Path::new(&dir).join("new")).unwrap().uid(), 0, "on disk it is root's");
}

#[case(needs(Host), not_runc("since runc 1.2"), not_crun("needs it in the config"))]
fn idmapped_bind_takes_the_mapping_of_a_joined_namespace(t: &Sandbox) {
    let owner = t.container("owner");
    owner.map_users(100_000, 65536);
    owner.run_paused();
    let dir = shared_dir(t, "shared");
    std::os::unix::fs::chown(Path::new(&dir).join("file"), Some(7), Some(8)).unwrap();
    let c = t.container("a");
    c.join("user", &format!("/proc/{}/ns/user", owner.pid())).give_rootfs_to(100_000);
    c.mount("bind", &dir, "/data", &["rbind", "idmap"]);
    let out = c.sh("stat -c '%u %g' /data/file").run();
    owner.end();
    if out.stderr.contains("invalid argument") || out.stderr.contains("not supported") {
        t.skip("this file system cannot be id-mapped");
    }
    assert_eq!(out.ok().stdout, "7 8\n");
}

#[case(needs(Host), not_runc("since runc 1.2"), not_crun("since crun 1.9"))]
fn idmapped_bind_with_own_mapping(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    std::os::unix::fs::chown(Path::new(&dir).join("file"), Some(5), Some(5)).unwrap();
    let map = json!([{"containerID": 5, "hostID": 1005, "size": 1}]);
    c.push(
        "/mounts",
        json!({"type": "bind", "source": dir, "destination": "/data", "options": ["bind", "idmap"],
            "uidMappings": map, "gidMappings": map}),
    );
    assert_eq!(c.sh("stat -c '%u %g' /data/file").run().ok().stdout, "1005 1005\n");
}

#[case(not_crun("names neither"))]
fn unknown_mount_option_is_an_error(t: &Sandbox) {
    let out = t.container("a").mount("tmpfs", "tmpfs", "/data", &["no-such-option"]).run().code(1);
    assert!(out.stderr.contains("/data") || out.stderr.contains("no-such-option"), "{}", out.stderr);
}

#[case]
fn unknown_file_system_is_an_error(t: &Sandbox) {
    let out = t.container("a").mount("no-such-fs", "x", "/data", &[]).run().code(1);
    assert!(
        out.stderr.to_lowercase().contains("no such device") || out.stderr.contains("no-such-fs"),
        "{}",
        out.stderr
    );
}

#[case]
fn proc_and_sysfs_are_the_containers(t: &Sandbox) {
    let c = t.container("a");
    let out = c.sh("ls -d /proc/[0-9]* | wc -l; ls /sys/class/net").run().ok();
    let words: Vec<&str> = out.stdout.split_whitespace().collect();
    assert!(words[0].parse::<u32>().unwrap() <= 4, "{words:?}");
    assert_eq!(words[1..], ["lo"]);
}

#[case]
fn devpts_is_private(t: &Sandbox) {
    let c = t.container("a");
    let out = c.sh("ls /dev/pts; ls -l /dev/ptmx; stat -c %a /dev/pts/ptmx").run().ok();
    assert!(
        out.stdout.starts_with("ptmx\n") && out.stdout.contains("pts/ptmx") && out.stdout.ends_with("666\n"),
        "{}",
        out.stdout
    );
}

#[case(needs(ControlGroups))]
fn cgroup_mount_shows_the_own_cgroup(t: &Sandbox) {
    let c = t.container("a");
    // On v2 without a cgroup namespace the whole tree shows, as with runc.
    let v2 = "cat /sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup)/cgroup.procs";
    let out = c.sh(&format!("cat /sys/fs/cgroup/memory/cgroup.procs 2>/dev/null || {v2}")).run().ok();
    assert!(out.stdout.lines().any(|line| line == "1"), "{:?}", out.stdout);
    c.sh("if [ -d /sys/fs/cgroup/memory ]; then mkdir /sys/fs/cgroup/memory/x; else mkdir /sys/fs/cgroup/x; fi")
        .run()
        .fails();
}

/// From the host's cgroup namespace, the kernel takes the options of a mount for the whole host.
#[case]
fn cgroup_mount_leaves_the_hosts_options(t: &Sandbox) {
    let options = || {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup")).unwrap_or_default();
        line.split(' ').nth(3).unwrap_or_default().to_owned()
    };
    let before = options();
    if !before.split(',').any(|option| option == "nsdelegate") {
        t.skip("no cgroup v2 tree with nsdelegate at /sys/fs/cgroup");
    }
    t.container("a").sh("ls -d /sys/fs/cgroup/cgroup.procs").run().ok();
    assert_eq!(options(), before);
}

/// Whether it is bound or mounted anew; bound, it is a peer of the host's mount in no case.
#[case(needs(Admin, ControlGroups))]
fn propagation_of_the_cgroup_mount(t: &Sandbox) {
    let none = None::<&str>;
    let hosts = leak::cgroup_mounts();
    for hierarchy in &hosts {
        nix::mount::mount(none, hierarchy, none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
    }
    let groups = |line: &str, word: &str| -> Vec<String> {
        line.split(' ').filter_map(|field| field.strip_prefix(word)).map(str::to_owned).collect()
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_host: Vec<String> = mounts.lines().flat_map(|line| groups(line, "shared:")).collect();
    assert!(of_host.len() >= hosts.len(), "{mounts}");
    for asked in ["private", "slave", "shared"] {
        let c = t.container(asked);
        c.edit(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            let mount = mounts.iter_mut().find(|mount| mount["destination"] == "/sys/fs/cgroup").unwrap();
            mount["options"].as_array_mut().unwrap().push(json!(asked));
        });
        let facts = c.facts();
        let inside = facts["mounts"].as_array().unwrap();
        let hierarchies = inside.iter().filter(|mount| mount["type"].as_str().unwrap().starts_with("cgroup"));
        let found: Vec<&str> = hierarchies.map(|mount| mount["propagation"].as_str().unwrap()).collect();
        assert!(!found.is_empty(), "{facts:#}");
        for found in found {
            assert!(groups(found, "shared:").iter().all(|group| !of_host.contains(group)), "{asked}: {found}");
            assert!(asked != "private" || found.is_empty(), "{asked}: {found}");
            assert!(asked == "shared" || !found.contains("shared:"), "{asked}: {found}");
            // On cgroup v2, others leave that one out.
            let is_left_out = asked == "shared" && !found.contains("shared:");
            assert!(!(is_left_out && t.is(Flavor::Orlop)), "{asked}: {found}");
        }
    }
}

/// The mount's source is there only once systemd has made the scope.
#[case]
fn cgroup_mount_shows_the_scope_that_systemd_makes(t: &Sandbox) {
    t.need_promised("systemd", Path::new("/run/systemd/system").is_dir(), "systemd is not the init");
    let c = t.container("a");
    c.set("/linux/cgroupsPath", json!(format!("system.slice:orlop:{}", c.id))).sh("ls -d /sys/fs/cgroup");
    let bundle = c.write().bundle.display().to_string();
    let out = t.cmd(&["--systemd-cgroup", "run", "--bundle", &bundle, &c.id]).run().ok();
    assert_eq!(out.stdout, "/sys/fs/cgroup\n");
}

#[case(needs(ControlGroups))]
fn cgroup_mount_with_namespace(t: &Sandbox) {
    let c = t.container("a");
    c.namespace("cgroup");
    let out = c.sh("cat /sys/fs/cgroup/memory/cgroup.procs 2>/dev/null || cat /sys/fs/cgroup/cgroup.procs").run().ok();
    assert!(out.stdout.lines().any(|line| line == "1"), "{:?}", out.stdout);
}

#[case]
fn default_devices_and_links(t: &Sandbox) {
    let c = t.container("a");
    let out = c
        .sh("for d in null zero full random urandom tty; do stat -c '%F %t:%T %a' /dev/$d; done; \
             for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; \
             echo x > /dev/null && head -c 1 /dev/zero | wc -c")
        .run()
        .ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    let devices = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"].map(|n| format!("character special file {n} 666"));
    assert_eq!(lines[..6], devices);
    assert_eq!(lines[6..10], ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]);
    assert!(lines[10].ends_with("pts/ptmx"), "{}", lines[10]);
    assert_eq!(lines[11], "1");
}

#[case(needs(Host))]
fn modes_in_dev_do_not_depend_on_the_callers_umask(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/devices", json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o642}]));
    c.sh("stat -c %a /dev /dev/null /dev/own /dev/shm");
    assert_eq!(c.run_cmd(&[]).umask(0o77).run().ok().stdout, "755\n666\n642\n1777\n");
}

/// The file system, its parameters and what is in it: the same errors, whoever makes it.
#[case(needs(Host), not_runc("names no field"), not_crun("names no field"))]
fn errors_of_a_dev_name_their_field(t: &Sandbox) {
    let c = t.container("a");
    let mounts = c.config(|config| config["mounts"].as_array().unwrap().clone());
    let index = |path: &str| mounts.iter().position(|mount| mount["destination"] == path).unwrap();
    for (path, kind) in [("/dev", "tmpfs"), ("/dev/shm", "tmpfs")] {
        let index = index(path);
        let options = format!("/mounts/{index}/options");
        let kept = c.config(|config| config["mounts"][index]["options"].clone());
        c.set(&options, json!(["mode=755", "size=nonsense"]));
        let expected = format!("mount {kind} on {path}");
        c.run().code(1).says(&expected).says(&format!("/mounts/{index}")).says("size");
        c.set(&options, kept);
    }
    let long = format!("/dev/{}", "x".repeat(300));
    c.set("/linux/devices", json!([{"path": long, "type": "c", "major": 1, "minor": 5}]));
    c.run().code(1).says(&format!("make device {long}")).says("/linux/devices/0").says("name too long");
    assert_eq!(c.remove("/linux/devices").sh("ls /dev/shm | wc -l").run().ok().stdout, "0\n");
}

/// What a config mounts in /dev lies on top of what every container has there, and not the other way round.
#[case]
fn mounts_in_dev_cover_what_is_there(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("file");
    fs::write(&file, "of the host\n").unwrap();
    let file = file.display().to_string();
    c.mount("bind", &file, "/dev/stdin-like", &["bind", "ro"]);
    c.mount("bind", &file, "/dev/core", &["bind", "ro"]);
    c.mount("tmpfs", "tmpfs", "/dev/shm", &["size=64k"]);
    c.sh("cat /dev/stdin-like /dev/core; df -k /dev/shm | grep -c ' 64 '; grep -c ' /dev/shm ' /proc/self/mountinfo; ls -d /dev/fd/0");
    assert_eq!(c.run().ok().stdout, "of the host\nof the host\n1\n2\n/dev/fd/0\n");
}

/// Their order is what the OCI's validation looks at. Bind mounts stand before, where their sources are opened first.
#[case]
fn file_systems_are_listed_in_the_order_of_the_config(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "tmpfs", "/dev/late", &["size=64k"]);
    c.mount("tmpfs", "tmpfs", "/tmp/last", &["size=64k"]);
    let destination = |mount: &Value| mount["destination"].as_str().unwrap().to_owned();
    let expected: Vec<String> =
        c.config(|config| config["mounts"].as_array().unwrap().iter().map(destination).collect());
    let out = c.sh("cut -d' ' -f5 /proc/self/mountinfo").run().ok();
    let listed: Vec<&str> = out.stdout.lines().filter(|line| expected.iter().any(|one| one == line)).collect();
    assert_eq!(listed, expected);
}

#[case(needs(Host))]
fn extra_devices(t: &Sandbox) {
    let c = t.container("a");
    c.set(
        "/linux/devices",
        json!([
            {"path": "/dev/char", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 99},
            {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600}
        ]),
    );
    let out = c.sh("stat -c '%F %t:%T %a %u %g' /dev/char; stat -c '%F' /dev/block /dev/deep/pipe").run().ok();
    assert_eq!(out.stdout, "character special file 1:5 640 7 8\nblock special file\nfifo\n");
}

#[case(not_crun("accepts it"))]
fn device_with_wrong_type_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/devices", json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 5}])).run().code(1);
}

#[case]
fn masked_paths(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir_all(c.rootfs().join("secret/dir")).unwrap();
    fs::write(c.rootfs().join("secret/file"), "secret").unwrap();
    fs::write(c.rootfs().join("secret/dir/file"), "secret").unwrap();
    c.push("/linux/maskedPaths", json!("/secret/file")).push("/linux/maskedPaths", json!("/secret/dir"));
    let out = c
        .sh("cat /secret/file | wc -c; ls /secret/dir | wc -l; cat /proc/kcore | wc -c; ls /sys/firmware | wc -l")
        .run()
        .ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "0", "0"]);
    c.sh("echo x > /secret/dir/new").run().fails();
}

#[case]
fn protected_paths_without_a_slash_are_taken_from_the_root(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("secret")).unwrap();
    fs::write(c.rootfs().join("secret/file"), "secret").unwrap();
    c.push("/linux/maskedPaths", json!("secret/file")).push("/linux/readonlyPaths", json!("etc"));
    let out = c.sh("cd /tmp; cat /secret/file | wc -c; touch /etc/x").run();
    assert_eq!((out.code, out.stdout.as_str()), (1, "0\n"), "{out:?}");
    if t.is(Flavor::Orlop) {
        let warned = |line: &&Value| line["msg"].as_str().is_some_and(|text| text.contains("taken from the root"));
        assert_eq!(out.log.iter().filter(warned).count(), 2, "{out:?}");
    }
}

#[case(not_runc("since runc 1.5"), not_crun("covers it twice"))]
fn masked_path_that_is_named_twice_is_covered_once(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir_all(c.rootfs().join("secret")).unwrap();
    for path in ["/secret", "/secret", "/secret/"] {
        c.push("/linux/maskedPaths", json!(path));
    }
    assert_eq!(c.sh("grep -c ' /secret ' /proc/self/mountinfo").run().ok().stdout, "1\n");
}

#[case]
fn masked_path_that_is_missing_is_fine(t: &Sandbox) {
    t.container("a")
        .push("/linux/maskedPaths", json!("/no/such/path"))
        .push("/linux/readonlyPaths", json!("/nor/this"))
        .run()
        .ok();
}

#[case]
fn read_only_paths(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("fixed")).unwrap();
    c.push("/linux/readonlyPaths", json!("/fixed"));
    c.sh("echo x > /fixed/new").run().fails();
    c.sh("echo 1 > /proc/sys/net/ipv4/ip_forward").run().fails();
    let facts = c.facts();
    for path in ["/fixed", "/proc/sys"] {
        assert!(options(&facts, path).contains(&"ro"), "{path}");
    }
}

#[case]
fn remount_option(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "tmpfs", "/data", &["nosuid"]).mount("tmpfs", "tmpfs", "/data", &["remount", "ro", "nosuid"]);
    assert!(options(&c.facts(), "/data").contains(&"ro"));
}

#[case]
fn mount_data_is_passed(t: &Sandbox) {
    let c = t.container("a");
    c.mount("proc", "proc", "/proc2", &["hidepid=2"]);
    fs::create_dir(c.rootfs().join("proc2")).unwrap();
    let facts = c.facts();
    let text = mount_at(&facts, "/proc2")["super"].as_str().unwrap();
    assert!(text.contains("hidepid=invisible") || text.contains("hidepid=2"), "{text}");
}

#[case]
fn overlay_by_mount_entry(t: &Sandbox) {
    let c = t.container("a");
    let (lower, upper, work) = (shared_dir(t, "lower"), shared_dir(t, "upper"), t.dir.join("work"));
    fs::create_dir(&work).unwrap();
    fs::write(format!("{lower}/below"), "below\n").unwrap();
    let data = format!("lowerdir={lower},upperdir={upper},workdir={}", work.display());
    let parts: Vec<&str> = data.split(',').collect();
    c.mount("overlay", "overlay", "/merged", &parts);
    let out = c.sh("cat /merged/below; echo x > /merged/new").run();
    if out.stderr.to_lowercase().contains("no such device") {
        t.skip("this kernel has no overlay file system");
    }
    assert_eq!(out.ok().stdout, "below\n");
    assert!(Path::new(&upper).join("new").is_file());
}

#[case(not_runc("leaves the host's /dev/console covered; not compared"), not_crun("not compared"))]
fn dev_from_the_host(t: &Sandbox) {
    let before = fs::metadata("/dev/null").unwrap().ino();
    let count = || fs::read_dir("/dev").unwrap().count();
    let entries = count();
    let c = t.container("a");
    c.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        mounts.push(json!({"type": "bind", "source": "/dev", "destination": "/dev", "options": ["rbind"]}));
    });
    c.run().ok();
    assert_eq!((fs::metadata("/dev/null").unwrap().ino(), count()), (before, entries), "the host's /dev was touched");
}

#[case(needs(Ids))]
fn user_namespace_mounts(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    c.map_users(100_000, 65536).mount("bind", &dir, "/data", &["rbind", "ro"]).mount(
        "tmpfs",
        "tmpfs",
        "/scratch",
        &["size=1m"],
    );
    let facts = c.facts();
    assert!(options(&facts, "/data").contains(&"ro"));
    owner_is_root(&c);
}

fn owner_is_root(c: &Container<'_>) {
    let out = c.sh("stat -c %u /scratch /dev /dev/pts /dev/shm").run().ok();
    assert_eq!(out.stdout, "0\n0\n0\n0\n");
}

#[case(not_runc("since runc 1.2"), not_crun("takes it for a path in the container"))]
fn destination_as_the_host_sees_it(t: &Sandbox) {
    let c = t.container("a");
    let dir = shared_dir(t, "shared");
    let at = |path: &str| c.rootfs().join(path).display().to_string();
    fs::create_dir(c.rootfs().join("first")).unwrap();
    c.mount("bind", &dir, &at("first"), &["bind"]);
    // The source of the second is what the first has put there.
    c.mount("bind", &at("first"), &at("second"), &["rbind"]);
    assert_eq!(c.sh("cat /first/file /second/file | wc -l; test ! -e /tmp/orlop*").run().ok().stdout.trim(), "2");
}

#[case(needs(Host, Admin), not_runc("since runc 1.2"), not_crun("not compared"))]
fn bind_drops_the_flags_that_it_does_not_name(t: &Sandbox) {
    use nix::mount::{MsFlags, mount};
    let dir = shared_dir(t, "restricted");
    let none = None::<&str>;
    mount(Some(dir.as_str()), dir.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    mount(none, dir.as_str(), none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, none).unwrap();
    let c = t.container("a");
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("/plain", &["rbind", "rprivate"], &["ro", "nosuid", "nodev", "noexec", "noatime"]),
        ("/ro", &["rbind", "ro"], &["ro", "noatime"]),
        ("/rw", &["bind", "rw"], &["rw", "noatime"]),
        ("/nosuid", &["bind", "nosuid", "relatime"], &["rw", "nosuid", "relatime"]),
        ("/nodiratime", &["bind", "ro", "nodiratime"], &["ro", "nodiratime", "relatime"]),
    ];
    for (dest, flags, _) in cases {
        c.mount("bind", &dir, dest, flags);
    }
    let facts = c.facts();
    for (dest, _, expected) in cases {
        assert_eq!(options(&facts, dest), expected, "{dest}");
    }
    // In a user namespace, what is not named stays.
    let c = t.container("b");
    c.map_users(100_000, 65536).mount("bind", &dir, "/data", &["bind", "nodev"]);
    assert_eq!(options(&c.facts(), "/data"), ["ro", "nosuid", "nodev", "noexec", "noatime"]);
}

/// A user namespace can make no device nodes: the runtime makes those that the host has not, or has otherwise than the config says.
#[case(needs(Host), not_runc("binds the host's"), not_crun("since crun 1.27"))]
fn devices_of_a_user_namespace(t: &Sandbox) {
    t.need(t.has_user_namespaces(), "this kernel makes no user namespaces");
    t.need(kernel_is_at_least(6, 15), "nodes that are mounted nowhere can be bound since Linux 6.15");
    let c = t.container("a");
    c.map_users(100_000, 65_536);
    // Not on the host; and the host's, with another mode and owner; and the host's as it is.
    c.push(
        "/linux/devices",
        json!({"path": "/dev/orlop-none", "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 8}),
    );
    c.push(
        "/linux/devices",
        json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 384, "uid": 0, "gid": 9}),
    );
    c.push("/linux/devices", json!({"path": "/dev/full", "type": "c", "major": 1, "minor": 7}));
    let script = "stat -c '%a %u:%g %t:%T' /dev/orlop-none /dev/zero /dev/full; \
                  echo x > /dev/orlop-none && head -c 3 /dev/zero | wc -c";
    let out = c.sh(script).run().ok().stdout;
    assert_eq!(out, "666 7:8 1:3\n600 0:9 1:5\n666 65534:65534 1:7\n3\n");
    assert!(fs::symlink_metadata("/dev/orlop-none").is_err(), "the host has no such node");
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

/// `docker run --privileged` lists every device of the host.
#[case(needs(Ids))]
fn the_terminals_of_the_host_are_no_device(t: &Sandbox) {
    let c = t.container("a");
    c.map_users(200_000, 65536);
    c.set("/linux/devices", json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]));
    let out = c.sh("readlink /dev/ptmx; stat -L -c %t:%T /dev/ptmx").run().ok();
    assert_eq!(out.stdout, "pts/ptmx\n5:2\n");
}
