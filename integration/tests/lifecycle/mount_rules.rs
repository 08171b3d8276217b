//! Rules that mounts keep beside their options: what stays as it is on the host, what a source may not lose, what a target takes over.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_integration::{Sandbox, case};
use serde_json::json;

fn no_option() -> Option<&'static str> {
    None
}

#[case]
fn mount_point_is_not_made_in_a_read_only_source(t: &Sandbox) {
    let source = t.dir.join("source");
    fs::create_dir(&source).unwrap();
    let before = fs::metadata(&source).unwrap();
    let c = t.container("a");
    c.mount("bind", &source.display().to_string(), "/data", &["rbind", "ro"]);
    c.mount("tmpfs", "tmpfs", "/data/sub", &[]);
    let out = c.run();
    assert_eq!(out.code, 1);
    let after = fs::metadata(&source).unwrap();
    assert_eq!(
        (before.ino(), before.mtime(), before.mtime_nsec()),
        (after.ino(), after.mtime(), after.mtime_nsec()),
        "the source has changed"
    );
    assert!(fs::read_dir(&source).unwrap().next().is_none());
    assert!(out.stderr.to_lowercase().contains("read-only file system"), "{}", out.stderr);
}

/// CVE-2026-115521: a remount that looks for the root by the container's own /proc can be led elsewhere.
#[case(not_runc("needs a /proc in the container"))]
fn read_only_root_without_proc_is_read_only(t: &Sandbox) {
    for (name, bound) in [("none", false), ("bound", true)] {
        let c = t.container(name);
        c.set("/root/readonly", json!(true));
        c.edit(|spec| {
            spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "proc");
            spec["linux"]["maskedPaths"] = json!([]);
            spec["linux"]["readonlyPaths"] = json!([]);
        });
        // A directory of the image that looks like procfs.
        for n in 0..40 {
            fs::create_dir_all(c.rootfs().join(format!("proc/self/fd/{n}"))).unwrap();
        }
        if bound {
            c.mount("bind", &c.rootfs().join("proc").display().to_string(), "/mnt", &["bind"]);
        }
        let out = c.sh("touch /written").run();
        assert!(out.code != 0 && !c.rootfs().join("written").exists(), "{name}: {out:?}");
        assert!(out.stderr.contains("Read-only file system"), "{name}: {}", out.stderr);
    }
}

#[case(needs(Admin), not_runc("since runc 1.5"), not_crun("not compared"))]
fn slave_root_sees_what_the_host_unmounts(t: &Sandbox) {
    let shared = t.dir.join("shared");
    fs::create_dir_all(&shared).unwrap();
    mount(Some(&shared), &shared, no_option(), MsFlags::MS_BIND, no_option()).unwrap();
    mount(no_option(), &shared, no_option(), MsFlags::MS_SHARED, no_option()).unwrap();
    let below = shared.join("below");
    fs::create_dir(&below).unwrap();
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), no_option()).unwrap();
    let c = t.container("a");
    c.set("/linux/rootfsPropagation", json!("rslave"));
    c.mount("bind", &shared.display().to_string(), "/mnt", &["rbind", "rslave"]);
    c.run_paused();
    let sees = || c.exec(&[], &["grep", "-c", " /mnt/below ", "/proc/self/mountinfo"]).stdout.trim().to_owned();
    assert_eq!(sees(), "1");
    umount2(&below, MntFlags::empty()).unwrap();
    assert_eq!(sees(), "0");
    c.end();
    umount2(&shared, MntFlags::MNT_DETACH).unwrap();
}

#[case(needs(Admin), not_runc("leaves a mount behind"), not_crun("not compared"))]
fn without_a_mount_namespace_the_hosts_propagation_stays(t: &Sandbox) {
    mount(no_option(), "/", no_option(), MsFlags::MS_SHARED, no_option()).unwrap();
    let propagation = || -> Vec<String> {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let before = propagation();
    let c = t.container("a");
    c.share("mount").edit(|spec| {
        spec["mounts"] = json!([]);
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
        spec["process"]["user"]["umask"] = json!(0o27);
    });
    assert_eq!(c.sh("umask").run().ok().stdout, "0027\n");
    assert_eq!(propagation(), before);
}

#[case(not_runc("takes the mode of the directory that it covers"))]
fn modes_of_new_file_systems(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir_all(c.rootfs().join("dev/shm")).unwrap();
    fs::create_dir_all(c.rootfs().join("data")).unwrap();
    fs::set_permissions(c.rootfs().join("data"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(c.rootfs().join("proc"), fs::Permissions::from_mode(0o700)).unwrap();
    c.mount("tmpfs", "tmpfs", "/data", &["mode=1777"]);
    let out =
        c.sh("stat -c %a /data /proc; grep ' / /sys ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1").run().ok();
    assert_eq!(out.stdout, "1777\n555\nro\n");
}

#[case(needs(Ids, Admin))]
fn read_only_root_on_a_restricted_file_system_in_a_user_namespace(t: &Sandbox) {
    t.need(t.has_user_namespaces(), "user namespaces are off");
    let c = t.container("a");
    let store = t.dir.join("store");
    fs::create_dir(&store).unwrap();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &store, Some("tmpfs"), flags, Some("mode=755")).unwrap();
    let root = store.join("rootfs");
    t.program("/bin/cp", &["-a", &c.rootfs().display().to_string(), &root.display().to_string()]).run().ok();
    c.map_users(100_000, 65_536).set("/root/path", json!(root.display().to_string()));
    c.set("/root/readonly", json!(true)).remove("/linux/resources");
    t.program("/bin/chown", &["-hR", "100000:100000", &root.display().to_string()]).run().ok();
    let out = c
        .sh("awk '$5 == \"/\" {print $6}' /proc/self/mountinfo 2>/dev/null || grep ' / / ' /proc/self/mountinfo")
        .run();
    let out = if out.stdout.is_empty() {
        c.sh("grep ' / ' /proc/self/mountinfo | cut -d' ' -f6").run().ok()
    } else {
        out.ok()
    };
    for flag in ["ro", "nosuid", "nodev"] {
        assert!(out.stdout.contains(flag), "{flag}: {}", out.stdout);
    }
    umount2(&store, MntFlags::MNT_DETACH).unwrap();
}

#[case(not_crun("takes the type for an option"))]
fn bind_is_told_by_its_options_alone(t: &Sandbox) {
    let source = t.dir.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "text\n").unwrap();
    for (n, kind) in ["tmpfs", "none", "bind", "whatever"].into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.mount(kind, &source.display().to_string(), "/data", &["bind"]).sh("cat /data/file");
        assert_eq!(c.run().ok().stdout, "text\n", "{kind}");
    }
    // A type that only says bind is no bind mount, and no file system either.
    let c = t.container("no-option");
    c.mount("bind", &source.display().to_string(), "/data", &[]).run().code(1);
}

#[case(needs(Host), not_runc("some are unknown to it"), not_crun("not compared"))]
fn access_time_options_of_binds_are_no_error(t: &Sandbox) {
    let source = t.dir.join("source");
    fs::create_dir(&source).unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["bind", "rnostrictatime"], "relatime"),
        (&["bind", "ratime"], "relatime"),
        (&["bind", "rrelatime", "rnoatime"], "noatime"),
        (&["rbind", "rstrictatime"], ""),
        (&["bind", "nostrictatime"], "relatime"),
    ];
    for (n, (options, shows)) in cases.into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.mount("bind", &source.display().to_string(), "/data", options);
        let out = c.sh("grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6").run().ok();
        let set: Vec<&str> = out.stdout.trim().split(',').filter(|flag| flag.ends_with("atime")).collect();
        assert_eq!(set.join(","), shows, "{options:?}: {}", out.stdout);
    }
}

#[case(extension, needs(Ids))]
fn nodes_bound_in_a_user_namespace_execute_nothing(t: &Sandbox) {
    t.need(t.has_user_namespaces(), "user namespaces are off");
    let c = t.container("a");
    c.map_users(100_000, 65_536);
    let out =
        c.sh("grep -E ' /dev/(null|zero|full|random|urandom|tty) ' /proc/self/mountinfo | cut -d' ' -f5,6").run().ok();
    assert_eq!(out.stdout.lines().count(), 6, "{}", out.stdout);
    for line in out.stdout.lines() {
        assert!(line.contains("nosuid") && line.contains("noexec") && !line.contains("nodev"), "{line}");
    }
}

/// A machine with very many processors has as many directories to mask: one file system serves all.
#[case]
fn many_masked_directories(t: &Sandbox) {
    let c = t.container("a");
    let paths: Vec<String> = (0..512).map(|n| format!("/var/masked/{n}")).collect();
    for path in &paths {
        fs::create_dir_all(c.rootfs().join(&path[1..])).unwrap();
        fs::write(c.rootfs().join(&path[1..]).join("secret"), "").unwrap();
    }
    c.set("/linux/maskedPaths", json!(paths));
    let out = c.sh("find /var/masked -name secret | wc -l; grep ' /var/masked/' /proc/self/mountinfo | cut -d' ' -f3 | sort | uniq | wc -l");
    let out = out.run().ok();
    let lines: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[0], "0");
    if t.is(orlop_integration::Flavor::Orlop) {
        assert_eq!(lines[1], "1", "one file system for all");
    }
}

#[case]
fn masked_directory_is_empty_and_read_only(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir_all(c.rootfs().join("secret")).unwrap();
    let out = c.push("/linux/maskedPaths", json!("/secret")).sh("ls -A /secret | wc -l; touch /secret/x 2>&1").run();
    assert!(out.stdout.starts_with('0') && out.stdout.contains("Read-only file system"), "{out:?}");
}
