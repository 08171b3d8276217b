//! Attackers that run beside the runtime: swapping directories and links, and prying into processes that enter a container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use orlop_integration::tracer::{Act, Point, Whose, can_inject};
use orlop_integration::{Container, Sandbox, case, process};
use serde_json::json;

fn rounds() -> usize {
    std::env::var("ORLOP_RACE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// The attacker of CVE-2021-30465 in a container of its own, with a volume that the victim mounts too.
fn attacker<'a>(t: &'a Sandbox, volume: &Path, a: &str, b: &str) -> Container<'a> {
    let c = t.container("attacker");
    c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
    c.args(&["/probe", "exchange", &format!("/volume/{a}"), &format!("/volume/{b}")]);
    c.run_detached().ok();
    c
}

/// Every name below `dir`, links not followed.
fn names(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        }
    }
    found.sort();
    found
}

#[case(not_runc("CVE-2021-30465"), seconds(3000))]
fn cve_2021_30465_symlink_exchange_on_a_destination(t: &Sandbox) {
    let volume = t.dir.join("volume");
    let canary = t.dir.join("canary");
    fs::create_dir_all(volume.join("dir")).unwrap();
    fs::create_dir_all(&canary).unwrap();
    symlink(
        "/".to_owned() + &"../".repeat(12) + canary.strip_prefix("/").unwrap().to_str().unwrap(),
        volume.join("link"),
    )
    .unwrap();
    let attacker = attacker(t, &volume, "dir", "link");
    let before = names(&canary);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for n in 0..rounds() {
        let c = t.container(&format!("v{n}"));
        c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
        c.mount("tmpfs", "trap", "/volume/dir/deep", &[]).mount("tmpfs", "trap", "/volume/dir", &[]);
        let out = c.sh("grep -c trap /proc/self/mountinfo").run();
        assert!(out.code < 1000, "{out:?}");
        assert_eq!(names(&canary), before, "round {n}: made on the host");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts, "round {n}: mounted on the host");
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    attacker.end();
}

#[case(not_runc("CVE-2024-45310"), seconds(3000))]
fn cve_2024_45310_symlink_exchange_below_a_destination(t: &Sandbox) {
    let volume = t.dir.join("volume");
    let canary = t.dir.join("canary");
    fs::create_dir_all(volume.join("dir")).unwrap();
    fs::create_dir_all(&canary).unwrap();
    symlink(&canary, volume.join("link")).unwrap();
    let attacker = attacker(t, &volume, "dir", "link");
    let before = names(&canary);
    for n in 0..rounds() {
        let c = t.container(&format!("v{n}"));
        c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
        c.mount("bind", "/etc/hostname", &format!("/volume/dir/made-{n}/file"), &["bind", "ro"]);
        c.set(
            "/linux/devices",
            json!([{"path": format!("/volume/dir/node-{n}"), "type": "c", "major": 1, "minor": 3}]),
        );
        c.set("/process/cwd", json!(format!("/volume/dir/cwd-{n}")));
        let out = c.run();
        assert!(out.code < 1000, "{out:?}");
        // CVE-2024-45310: not even an empty directory may appear.
        assert_eq!(names(&canary), before, "round {n}: made on the host");
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    attacker.end();
}

#[case(seconds(3000))]
fn cve_2025_52881_symlink_exchange_on_masked_paths(t: &Sandbox) {
    let canary_text = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let volume = t.dir.join("volume");
    fs::create_dir_all(volume.join("dir")).unwrap();
    fs::write(volume.join("null"), "").unwrap();
    symlink("/proc/sys/kernel/core_pattern", volume.join("link")).unwrap();
    let attacker = attacker(t, &volume, "null", "link");
    for n in 0..rounds() {
        let c = t.container(&format!("v{n}"));
        c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
        c.push("/linux/maskedPaths", json!("/volume/null")).push("/linux/readonlyPaths", json!("/volume/null"));
        c.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        let out = c.sh("echo '|/evil' > /volume/null; cat /proc/sys/net/ipv4/ip_forward").run();
        assert!(out.code < 1000, "{out:?}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), canary_text, "round {n}: escape");
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    attacker.end();
}

#[case(not_runc("hangs on the fifo"), seconds(3000))]
fn file_that_is_copied_up_is_exchanged_for_a_fifo(t: &Sandbox) {
    let volume = t.dir.join("volume");
    fs::create_dir_all(volume.join("dir")).unwrap();
    fs::write(volume.join("dir/file"), "text\n").unwrap();
    nix::unistd::mkfifo(&volume.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let attacker = attacker(t, &volume, "dir/file", "fifo");
    for n in 0..rounds() * 4 {
        let c = t.container(&format!("v{n}"));
        c.mount("bind", &volume.display().to_string(), "/volume", &["rbind"]);
        c.mount("tmpfs", "copy", "/volume/dir", &["tmpcopyup"]);
        // What hangs is stopped by the deadline of each command.
        let out = c.sh("test -p /volume/dir/file || cat /volume/dir/file").run();
        assert!(out.code == 0 || out.stderr.contains("copying what the target directory holds"), "round {n}: {out:?}");
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    attacker.end();
}

/// The same without luck: the file becomes a FIFO, or a device, at each of the calls by which the container's first process opens
/// something.
#[case(not_runc("hangs on the fifo"), not_crun("not compared"), seconds(300))]
fn file_that_is_copied_up_becomes_a_fifo_as_it_is_opened(t: &Sandbox) {
    t.need(can_inject(), "system calls are told apart on x86-64 only");
    let image = |name: &str| {
        let c = t.container(name);
        fs::create_dir(c.rootfs().join("copied")).unwrap();
        fs::write(c.rootfs().join("copied/file"), "text\n").unwrap();
        c.mount("tmpfs", "copy", "/copied", &["tmpcopyup"]).args(&["/probe", "exit", "0"]);
        c
    };
    let (out, trace) = image("watched").run_cmd(&[]).trace(Point::watch(Whose::Children));
    drop(out.ok());
    let opens = |number: &u64| {
        [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2].iter().any(|open| open.cast_unsigned() == *number)
    };
    let points: Vec<u64> = (0..).zip(&trace.numbers).filter(|(_, number)| opens(number)).map(|(at, _)| at).collect();
    let mut became = 0;
    for (n, at) in points.iter().enumerate() {
        let c = image(&format!("c{n}"));
        let place = c.rootfs().join("copied/file").display().to_string();
        let other = t.dir.join("fifo").display().to_string();
        nix::unistd::mkfifo(other.as_str(), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        let exchange = t.program("/bin/mv", &["--no-target-directory", &other, &place]);
        let point = Point { at: *at, act: Act::Beside, whose: Whose::Children };
        let (out, trace) = c.run_cmd(&[]).deadline(8).trace_beside(point, Some(exchange));
        assert!(trace.number.is_some(), "the point was not reached: {trace:?}");
        // Too late, in time for a refusal, or so early that the FIFO itself is copied.
        let refused = out.code == 1 && out.stderr.contains("copying what the target directory holds");
        became += usize::from(refused);
        assert!(refused || out.code == 0, "open {at}: {out:?}");
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    assert!(became > 0, "it was never the open of the file: {} points", points.len());
}

#[case(seconds(600))]
fn cve_2016_9962_entering_processes_are_closed(t: &Sandbox) {
    let c = t.container("a");
    // The attacker is the first process, with the same user and the same capabilities as what is executed beside it; its output
    // says what it could open. (With CAP_SYS_PTRACE over the same user namespace, nothing could stop it.)
    c.args(&["/probe", "pry", "5"]);
    c.run_detached().ok();
    let pid = c.pid();
    let mut count = 0;
    while process::is_alive(pid) && count < 400 {
        let _ = c.exec(&[], &["/probe", "exit", "0"]).code;
        count += 1;
    }
    assert!(count > 0, "nothing was executed meanwhile");
    let files = fs::read_dir(&t.dir).unwrap().flatten();
    let text: String = files
        .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "out"))
        .map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
        .collect();
    for line in text.lines() {
        let reached = line.starts_with("fd ")
            && (line.contains("/state") || line.contains("/cgroup") || line.contains("/proc"))
            // One that is ending has no executable any more: it was the command itself.
            || line.strip_prefix("ptrace ").is_some_and(|rest| rest.contains(" /") && !rest.contains("/probe"));
        assert!(!reached, "CVE-2016-9962: {line}");
    }
    c.delete_force().ok();
}
