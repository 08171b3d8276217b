//! `checkpoint`, with the double.

use std::fs;

use orlop_integration::{Container, Output, Sandbox, case};
use serde_json::json;

use orlop_integration::double::{self, asked, was_asked};

/// A checkpoint with these flags, by a double that behaves so.
fn checkpoint(c: &Container<'_>, behaviour: &str, flags: &[&str]) -> Output {
    let images = c.sandbox.dir.join("images").display().to_string();
    let all: Vec<&str> = ["--image-path", &images].iter().chain(flags).copied().collect();
    double::with(c.sandbox, c.simple_cmd("checkpoint", &all, &[]), behaviour).run()
}

#[case(extension)]
fn a_saved_container_is_gone(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    checkpoint(&c, "good", &[]).ok();
    t.wait_gone(pid);
    c.simple("state", &[], &[]).fails().says("does not exist");
    assert!(t.cgroups_of(&c.id).is_empty());
    assert_eq!(fs::read_to_string(t.dir.join("images/descriptors.json")).unwrap(), "[]");
    assert_eq!(fs::read_to_string(t.dir.join("images/core-1.img")).unwrap(), "a process");
    // Engines delete it, too.
    c.delete_force().ok();
}

#[case(extension)]
fn poststop_hooks_are_run(t: &Sandbox) {
    let c = t.container("a");
    let ran = t.dir.join("ran");
    let script = format!("cat > {}", ran.display());
    c.set("/hooks/poststop", json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    c.run_paused();
    checkpoint(&c, "good", &["--leave-running"]).ok();
    assert!(!ran.exists());
    checkpoint(&c, "good", &[]).ok();
    assert!(fs::read_to_string(ran).unwrap().contains("\"stopped\""));
}

#[case(extension)]
fn one_that_is_left_running_runs(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    checkpoint(&c, "good", &["--leave-running"]).ok();
    assert_eq!((c.status().as_str(), c.pid()), ("running", pid));
    assert_eq!(asked(t, "dump")[&3], ["1"]);
    c.end();
}

#[case(extension)]
fn a_pre_dump_saves_memory_only(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    checkpoint(&c, "no-features", &["--pre-dump"]).fails().says("cannot tell which memory has changed");
    checkpoint(&c, "good", &["--pre-dump"]).ok();
    assert_eq!(c.status(), "running");
    let pre = asked(t, "pre-dump");
    assert_eq!(pre[&15], ["1"], "memory is tracked");
    assert!(!pre.contains_key(&23), "mounts are of no interest");
    assert!(!t.dir.join("images/descriptors.json").exists() && !was_asked(t, "dump"));
    let further = t.dir.join("further").display().to_string();
    let last = |parent: &str| {
        let flags = ["--image-path", &further, "--parent-path", parent];
        double::with(t, c.simple_cmd("checkpoint", &flags, &[]), "good").run()
    };
    last("/images").fails().says("must be relative to the directory of the images");
    last("../none").fails().says("--parent-path: the images of an earlier --pre-dump: no such file or directory");
    last("../images").ok();
    assert_eq!(
        (&asked(t, "dump")[&14][..], &asked(t, "dump")[&15][..]),
        (&["../images".into()][..], &["1".into()][..])
    );
}

#[case(extension)]
fn the_request_says_what_criu_needs(t: &Sandbox) {
    let c = t.container("a");
    let data = t.dir.join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink("/mnt", c.rootfs().join("link")).unwrap();
    c.mount("bind", &data.display().to_string(), "/link/data", &["rbind", "ro"]);
    c.set("/linux/maskedPaths", json!(["/proc/timer_list", "/proc/acpi", "/no/such"]));
    let file = t.dir.join("criu.conf");
    fs::write(&file, "").unwrap();
    c.set("/annotations", json!({ "org.criu.config": file.display().to_string() }));
    let pid = c.run_paused();
    checkpoint(&c, "good", &["--leave-running"]).ok();
    let dump = asked(t, "dump");
    assert_eq!(dump[&2], [pid.to_string()]);
    assert_eq!(dump[&10], ["dump.log"]);
    assert_eq!(dump[&13], [c.rootfs().display().to_string()]);
    assert_eq!(dump[&12], ["1"], "points are told of");
    assert_eq!(dump[&50], ["1"], "terminals are handed over");
    assert_eq!(dump[&34], ["3"], "cgroups: soft");
    assert_eq!(dump[&38], ["1073741824"], "network devices are not saved");
    assert_eq!(dump[&51], [file.display().to_string()]);
    let external = &dump[&23];
    assert!(
        external.contains(&"/mnt/data=/link/data".to_owned()),
        "where links lead, by the name in the config: {external:?}"
    );
    if std::path::Path::new("/proc/timer_list").exists() {
        assert!(external.contains(&"/proc/timer_list=/dev/null".to_owned()), "{external:?}");
    }
    assert!(!external.iter().any(|one| one.contains("acpi") || one.contains("such")), "{external:?}");
    let freezer = &dump[&44][0];
    assert!(freezer.ends_with(&c.id) && std::path::Path::new(freezer).is_dir(), "{freezer}");
    c.end();
}

#[case(extension)]
fn every_flag_reaches_criu(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for (flags, field, value) in [
        (&["--tcp-established"][..], 5, "1"),
        (&["--tcp-close"], 52, "1"),
        (&["--tcp-skip-in-flight"], 46, "1"),
        (&["--link-remap"], 18, "1"),
        (&["--ext-unix-sk"], 4, "1"),
        (&["--shell-job"], 7, "1"),
        (&["--file-locks"], 8, "1"),
        (&["--auto-dedup"], 16, "1"),
        (&["--lazy-pages"], 48, "1"),
        (&["--manage-cgroups-mode", "ignore"], 34, "0"),
        (&["--network-lock", "nftables"], 64, "2"),
        (&["--empty-ns", "network"], 38, "1073741824"),
        (&["--page-server", "127.0.0.1:2800"], 11, "127.0.0.1=2800"),
    ] {
        let all: Vec<&str> = flags.iter().copied().chain(["--leave-running"]).collect();
        checkpoint(&c, "good", &all).ok();
        assert_eq!(asked(t, "dump")[&field], [value], "{flags:?}");
        if !flags[0].contains("manage") && !flags[0].contains("empty") {
            checkpoint(&c, "good", &["--leave-running"]).ok();
            let plain = asked(t, "dump").remove(&field).unwrap_or_default();
            assert!(plain.is_empty() || plain == ["0"], "{flags:?}: {plain:?} without");
        }
    }
    let work = t.dir.join("work");
    checkpoint(&c, "refuses", &["--work-path", &work.display().to_string()]).fails().says("work/dump.log");
    assert!(work.join("dump.log").is_file());
    c.end();
}

#[case(extension)]
fn a_joined_network_namespace_is_external(t: &Sandbox) {
    let first = t.container("first");
    let pid = first.run_paused();
    let path = format!("/proc/{pid}/ns/net");
    let c = t.container("a");
    c.join("network", &path).run_paused();
    checkpoint(&c, "good", &["--leave-running"]).ok();
    let inode = fs::read_link(&path).unwrap().display().to_string();
    assert_eq!(asked(t, "dump")[&37], [inode.replace(':', "") + ":extRootNetNS"]);
    c.end();
    first.end();
}

#[case(extension)]
fn the_standard_streams_are_written_down(t: &Sandbox) {
    let c = t.container("a");
    let (_read, write) = nix::unistd::pipe().unwrap();
    let inode = nix::sys::stat::fstat(&write).unwrap().st_ino;
    c.args(&["/probe", "pause"]);
    c.run_cmd(&["--detach"]).fd(write.try_clone().unwrap(), 1).fd(write, 2).run().ok();
    checkpoint(&c, "good", &[]).ok();
    let written = fs::read_to_string(t.dir.join("images/descriptors.json")).unwrap();
    assert_eq!(written, format!("[\"\",\"pipe:[{inode}]\",\"pipe:[{inode}]\"]"));
}

#[case(extension)]
fn without_criu_it_says_so(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let empty = t.dir.join("empty");
    fs::create_dir(&empty).unwrap();
    let output = c.simple_cmd("checkpoint", &[], &[]).env("PATH", &empty).dir(&t.dir).run();
    output.code(1).says("run criu: no such program in PATH").says("install it");
    assert!(!t.dir.join("checkpoint").exists());
    c.end();
}

#[case(extension)]
fn whatever_criu_does_the_container_runs_on(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    for (behaviour, words) in [
        ("old", "4 is too old for checkpoint and restore: 3.15 is needed"),
        ("version-garbage", "its answer to the version request cannot be understood"),
        ("version-without", "its answer to the version request cannot be understood"),
        ("version-dies", "ended with exit status 3 without an answer"),
        ("dies", "was killed by signal 9 without an answer"),
        ("exits", "ended with exit status 9 without an answer"),
        ("garbage", "its answer to the dump request cannot be understood"),
        ("long", "message too long"),
        ("other-answer", "its answer to the dump request cannot be understood"),
        ("refuses", "dump failed; cannot do the thing; FAILED: device or resource busy"),
    ] {
        let output = checkpoint(&c, behaviour, &[]).code(1).says(words);
        if !behaviour.starts_with("version") && behaviour != "old" {
            let _ = output.says("dump.log");
        }
        assert_eq!((c.status().as_str(), c.pid()), ("running", pid), "{behaviour}");
    }
    c.end();
}

#[case(extension)]
fn a_criu_that_dies_over_a_frozen_container_leaves_it_running(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    checkpoint(&c, "frozen-death", &[]).code(1).says("was killed by signal 9");
    assert_eq!(c.status(), "running");
    c.end();
}

#[case(extension)]
fn a_hanging_criu_is_ended(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let begun = std::time::Instant::now();
    checkpoint(&c, "hangs", &["--timeout", "700ms"])
        .code(1)
        .says("does not come to an end of the dump")
        .says("it was killed");
    assert!(begun.elapsed().as_millis() >= 700);
    assert_eq!(c.status(), "running");
    c.end();
}

#[case(extension)]
fn only_a_live_container_is_saved(t: &Sandbox) {
    let c = t.container("a");
    checkpoint(&c, "good", &[]).code(1).says("container does not exist");
    c.args(&["/probe", "pause"]).create().ok();
    checkpoint(&c, "good", &[]).code(1).says("a container cannot be checkpointed in the created state");
    c.start().ok();
    let pid = c.pid();
    c.kill("KILL").ok();
    t.wait_gone(pid);
    checkpoint(&c, "good", &[]).code(1).says("container not running");
    c.delete().ok();
    assert!(!was_asked(t, "dump"));
}

#[case(extension)]
fn a_paused_container_is_saved(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    c.simple("pause", &[], &[]).ok();
    checkpoint(&c, "good", &["--leave-running"]).ok();
    assert_eq!(c.status(), "paused");
    c.simple("resume", &[], &[]).ok();
    c.end();
}

#[case(extension)]
fn what_cannot_come_back_is_refused(t: &Sandbox) {
    t.need(t.has_user_namespaces(), "no user namespaces");
    let c = t.container("a");
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    let source = t.dir.display().to_string();
    c.push(
        "/mounts",
        json!({ "destination": "/mnt", "source": source, "options": ["bind"], "uidMappings": map, "gidMappings": map }),
    );
    c.args(&["/probe", "pause"]);
    let run = c.run_detached();
    t.need(run.code == 0, "no id-mapped mounts here");
    checkpoint(&c, "good", &[]).code(1).says("/uidMappings").says("CRIU cannot make an id-mapped mount again");
    assert!(!was_asked(t, "dump"));
    c.end();
}

#[case(extension)]
fn the_status_descriptor_gets_its_byte(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let images = t.dir.join("images").display().to_string();
    let save = |flags: &[&str], fd| {
        let all: Vec<&str> = ["--image-path", &images, "--leave-running"].iter().chain(flags).copied().collect();
        double::with(t, c.simple_cmd("checkpoint", &all, &[]), "good").fd(fd, 5).run()
    };
    let (read, write) = nix::unistd::pipe().unwrap();
    save(&["--status-fd", "5"], write.try_clone().unwrap()).code(1).says("it goes with --lazy-pages");
    save(&["--lazy-pages", "--status-fd", "5"], read.try_clone().unwrap()).code(1).says("not open for writing");
    save(&["--lazy-pages", "--status-fd", "5"], write).ok();
    let mut bytes = [7; 4];
    assert_eq!((nix::unistd::read(&read, &mut bytes), bytes[0]), (Ok(1), 0));
    c.end();
}

#[case(extension)]
fn wrong_words_are_refused(t: &Sandbox) {
    let c = t.container("a");
    for (flags, words) in [
        (["--manage-cgroups-mode", "hard"], "not one of soft, full, strict, ignore"),
        (["--network-lock", "door"], "not one of iptables, nftables, skip"),
        (["--empty-ns", "pid"], "only network can be left empty"),
        (["--page-server", "host:1"], "not ADDRESS:PORT"),
        (["--timeout", "0"], "not a time"),
        (["--timeout", "soon"], "not a time"),
    ] {
        checkpoint(&c, "good", &flags).code(1).says(words);
    }
}
