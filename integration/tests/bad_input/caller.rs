//! What the caller hands over besides words: signals, limits, streams, a full disk. The answer is a named error in bounded time, or
//! success; never a signal, a hang or something left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_integration::{Cmd, Sandbox, case, leak};
use serde_json::json;

use crate::nothing_left;

#[case(seconds(120))]
fn ignored_sigchld(t: &Sandbox) {
    let c = t.container("a");
    let _ = c.sh("exit 3").run_cmd(&[]).ignoring_children().run().code(3);
    // A status that nobody gave must not be made up, nor the setting reach the container.
    let out = c.sh("grep SigIgn /proc/self/status").run_cmd(&[]).ignoring_children().run().ok();
    let ignored = u64::from_str_radix(out.stdout.split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << (libc::SIGCHLD - 1)), 0, "{}", out.stdout);
    c.args(&["/no/such"]);
    let _ = c.run_cmd(&[]).ignoring_children().run().fails();
    c.args(&["/probe", "pause"]).create_cmd(&[]).ignoring_children().run().ok();
    let _ = c.simple_cmd("start", &[], &[]).ignoring_children().run().ok();
    let _ = c.simple_cmd("exec", &[], &["/probe", "exit", "4"]).ignoring_children().run().code(4);
    let _ = c.simple_cmd("exec", &["--detach"], &["/bin/true"]).ignoring_children().run().ok();
    let _ = c.simple_cmd("delete", &["--force"], &[]).ignoring_children().run().ok();
}

#[case]
fn ignored_sigchld_with_hooks(t: &Sandbox) {
    let c = t.container("a");
    for kind in ["createRuntime", "createContainer", "poststop"] {
        c.set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/true" }]));
    }
    c.set("/hooks/startContainer", json!([{ "path": "/bin/true" }]));
    c.args(&["/probe", "pause"]).create_cmd(&[]).ignoring_children().run().ok();
    let _ = c.simple_cmd("start", &[], &[]).ignoring_children().run().ok();
    let _ = c.simple_cmd("delete", &["--force"], &[]).ignoring_children().run().ok();
}

#[case(not_runc("its runtime writes the state whatever comes"), not_crun("not compared"), seconds(120))]
fn file_size_limits(t: &Sandbox) {
    let mut codes = Vec::new();
    for blocks in [0, 1, 2, 4, 6, 8, 16, 64] {
        let c = t.container(&format!("c{blocks}"));
        c.args(&["/probe", "pause"]).write();
        let bundle = c.bundle.display().to_string();
        let create = t.cmd(&["create", "--bundle", &bundle, &c.id]).file_size(blocks * 1024);
        let out = create.run();
        assert!(out.code < 128, "{blocks} KiB: {out:?}");
        codes.push(out.code);
        if out.code == 0 {
            c.delete_force().ok();
        } else {
            // Its words are in a file, which may hold none.
            assert!(blocks == 0 || out.stderr.contains("file too large"), "{blocks} KiB: {out:?}");
            nothing_left(t, &format!("a create with files of {blocks} KiB"));
        }
    }
    assert!(codes.first() != Some(&0) && codes.last() == Some(&0), "{codes:?}");
}

#[case(not_runc("not compared"), not_crun("not compared"), seconds(600))]
fn a_state_directory_that_is_full(t: &Sandbox) {
    fs::create_dir(&t.root).unwrap();
    fs::set_permissions(&t.root, fs::Permissions::from_mode(0o700)).unwrap();
    let c = t.container("a");
    c.args(&["/probe", "pause"]);
    let mut codes = Vec::new();
    for size in 1..=64 {
        let options = format!("size={size}k,mode=700");
        mount(Some("full"), &t.root, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let out = c.create();
        assert!(out.code < 128, "{size} KiB: {out:?}");
        codes.push(out.code);
        if out.code == 0 {
            c.start().ok();
            let _ = c.exec(&[], &["/probe", "exit", "6"]).code(6);
        } else {
            assert!(out.stderr.contains("no space left"), "{size} KiB: {out:?}");
            nothing_left(t, &format!("a create with {size} KiB of room"));
        }
        c.delete_force().ok();
        nothing_left(t, &format!("delete --force with {size} KiB of room"));
        umount2(&t.root, MntFlags::empty()).unwrap();
    }
    assert!(codes.first() != Some(&0) && codes.last() == Some(&0), "{codes:?}");
}

#[case(not_runc("its Go runtime needs more"), not_crun("not compared"), seconds(300))]
fn descriptor_limits_of_every_verb(t: &Sandbox) {
    let limited = |verb: &str, count: u64, command: Cmd| {
        let out = command.descriptors(count).run();
        // An exec's own failure is 255.
        assert!(out.code < 128 || (verb == "exec" && out.code == 255), "{verb} with {count}: {out:?}");
        let named = out.stderr.contains("too many open files") || out.stderr.contains("not paused");
        assert!(out.code == 0 || named, "{verb} with {count}: {out:?}");
        out.code
    };
    for count in (3..10).chain([12, 16, 20, 24, 32, 48, 64]) {
        let c = t.container(&format!("c{count}"));
        c.args(&["/probe", "pause"]);
        if limited("create", count, c.create_cmd(&[])) != 0 {
            nothing_left(t, &format!("a create with {count} descriptors"));
            c.create().ok();
        }
        if limited("start", count, c.simple_cmd("start", &[], &[])) != 0 {
            c.start().ok();
        }
        let verbs: [(&str, &[&str], &[&str]); 6] = [
            ("exec", &[], &["/probe", "exit", "0"]),
            ("state", &[], &[]),
            ("ps", &[], &[]),
            ("update", &["--pids-limit", "50"], &[]),
            ("pause", &[], &[]),
            ("resume", &[], &[]),
        ];
        for (verb, flags, words) in verbs {
            limited(verb, count, c.simple_cmd(verb, flags, words));
        }
        // Whether it was paused, and whether that could be undone: it must go.
        limited("delete", count, c.simple_cmd("delete", &["--force"], &[]));
        c.delete_force().ok();
        nothing_left(t, &format!("verbs with {count} descriptors"));
    }
}

#[case(not_crun("not compared"))]
fn closed_standard_streams(t: &Sandbox) {
    let told = t.dir.join("told");
    fs::create_dir(&told).unwrap();
    for (n, streams) in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]].into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.mount("bind", &told.display().to_string(), "/told", &["bind"]);
        c.sh("for n in 0 1 2; do readlink /proc/self/fd/$n; done > /told/streams; exit 5");
        // Without the log: its file would take the place of a stream.
        c.write();
        let bundle = c.bundle.display().to_string();
        let out = t.cmd(&["run", "--bundle", &bundle, &c.id]).without(streams).run();
        assert_eq!(out.code, 5, "{streams:?}: {out:?}");
        let seen = fs::read_to_string(told.join("streams")).unwrap();
        for word in ["state", "cgroup", "memfd", "pidfd", "socket", "/config.json"] {
            assert!(!seen.contains(word), "{streams:?}: the container holds {seen}");
        }
        let out = t.cmd(&["create", "--bundle", &bundle, &c.id]).without(streams).run();
        assert_eq!(out.code, 0, "{streams:?}: {out:?}");
        let out = t.cmd(&["delete", "--force", &c.id]).without(streams).run();
        assert_eq!(out.code, 0, "{streams:?}: {out:?}");
    }
}

/// A freeze that another verb undoes must not be waited for, with the lock held.
#[case(not_runc("not compared"), not_crun("not compared"), seconds(300))]
fn pause_against_kill(t: &Sandbox) {
    let c = t.container("a");
    c.sh("for n in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; exec /probe pause");
    for round in 0..40_u64 {
        c.run_detached().ok();
        let pause = c.simple_cmd("pause", &[], &[]).spawn();
        std::thread::sleep(Duration::from_micros(round * 150));
        let _ = c.kill("KILL");
        let begun = Instant::now();
        c.delete_force().ok();
        assert!(begun.elapsed().as_secs() < 6, "round {round}: delete --force took {:?}", begun.elapsed());
        let _ = pause.wait();
        assert!(begun.elapsed().as_secs() < 6, "round {round}: pause took {:?}", begun.elapsed());
    }
}

#[case(extension, seconds(120))]
fn an_init_out_of_memory_is_named(t: &Sandbox) {
    t.need(t.controller("memory", "").is_some(), "no memory controller");
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("big")).unwrap();
    fs::write(c.rootfs().join("big/file"), vec![b'x'; 96 << 20]).unwrap();
    c.mount("tmpfs", "tmpfs", "/big", &["tmpcopyup"]);
    c.set("/linux/resources/memory", json!({ "limit": 32 << 20, "swap": 32 << 20 }));
    for _ in 0..5 {
        let out = c.create().code(1);
        assert!(out.stderr.contains("killed by signal 9"), "{}", out.stderr);
        assert!(out.stderr.contains("the memory limit may be too low"), "{}", out.stderr);
        nothing_left(t, "an init out of memory");
    }
}

/// The exec may come too late at any of its steps; what it says then must be about that.
#[case(extension, seconds(120))]
fn exec_while_the_container_ends(t: &Sandbox) {
    let c = t.container("a");
    for round in 0..40_u64 {
        c.run_paused();
        let exec = c.simple_cmd("exec", &[], &["/probe", "exit", "0"]).spawn();
        std::thread::sleep(Duration::from_micros(round * 100));
        let _ = c.kill("KILL");
        let out = exec.wait();
        assert!(!out.stderr.contains("out of memory"), "round {round}: {}", out.stderr);
        assert!(!out.stderr.contains("out of turn"), "round {round}: {}", out.stderr);
        c.delete_force().ok();
    }
}

#[case(extension)]
fn a_pid_namespace_that_has_ended(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let place = t.dir.join("pidns");
    fs::write(&place, "").unwrap();
    mount(Some(format!("/proc/{pid}/ns/pid").as_str()), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    first.end();
    let c = t.container("a");
    c.join("pid", &place.display().to_string());
    let out = c.run().code(1);
    assert!(out.stderr.contains("pid namespace"), "{}", out.stderr);
    assert!(!out.stderr.contains("out of memory"), "{}", out.stderr);
    umount2(&place, MntFlags::empty()).unwrap();
}

const USER: u32 = 54_321;

#[case(extension, seconds(120))]
fn newuidmap_that_hangs(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    let bin = t.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["newuidmap", "newgidmap"] {
        fs::write(bin.join(name), "#!/bin/sh\nexec sleep 300\n").unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        let place = format!("/usr/bin/{name}");
        if std::path::Path::new(&place).is_file() {
            mount(Some(&bin.join(name)), place.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
    }
    let c = t.container("a");
    for dir in [&t.dir, &c.bundle] {
        std::os::unix::fs::chown(dir, Some(USER), Some(USER)).unwrap();
    }
    c.give_rootfs_to(USER).namespace("user").share("network");
    for kind in ["uid", "gid"] {
        let map =
            json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 400_000, "size": 9}]);
        c.set(&format!("/linux/{kind}Mappings"), map);
    }
    c.remove("/linux/resources").remove("/linux/cgroupsPath");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let begun = Instant::now();
    let out = c.run_cmd(&[]).env("PATH", path).env("XDG_RUNTIME_DIR", &t.dir).user(USER, USER).deadline(90).run();
    let _ = out.code(1).says("newuidmap");
    assert!(begun.elapsed().as_secs() < 80, "{:?}", begun.elapsed());
    leak::clean(&t.tag);
}
