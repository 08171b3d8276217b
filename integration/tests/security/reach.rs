//! What a container's process can reach: descriptors, the runtime's own program, sockets, capabilities; and wedged starts.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use orlop_integration::{Sandbox, case};
use serde_json::{Value, json};

fn open_path(path: &str) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).unwrap();
    file.into()
}

#[case(not_crun("before crun 1.14: not compared"), seconds(300))]
fn cve_2024_21626_cwd_through_descriptors(t: &Sandbox) {
    let c = t.container("a");
    c.sh("cat etc/shadow tmp/canary 2>/dev/null; ls | head -50");
    fs::write(t.dir.join("canary-of-the-host"), "host").unwrap();
    let place = t.dir.display().to_string();
    for number in 3..20 {
        c.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let mut command = c.run_cmd(&[]);
        for fd in 3..20 {
            command = command.fd(open_path(&place), fd);
        }
        let out = command.run();
        assert!(!out.stdout.contains("canary-of-the-host"), "CVE-2024-21626 by descriptor {number}: {}", out.stdout);
    }
}

#[case(not_crun("before crun 1.14: not compared"), seconds(300))]
fn cve_2024_21626_exec_cwd_through_descriptors(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    fs::write(t.dir.join("canary-of-the-host"), "host").unwrap();
    let place = t.dir.display().to_string();
    for number in 3..20 {
        let path = format!("/proc/self/fd/{number}");
        let mut command = c.simple_cmd("exec", &["--cwd", &path], &["sh", "-c", "ls; ls ../../..; pwd"]);
        for fd in 3..20 {
            command = command.fd(open_path(&place), fd);
        }
        let out = command.run();
        assert!(!out.stdout.contains("canary-of-the-host"), "CVE-2024-21626 by descriptor {number}: {}", out.stdout);
    }
    c.end();
}

#[case]
fn working_directory_is_inside(t: &Sandbox) {
    let c = t.container("a");
    for number in 3..12 {
        let out =
            c.set("/process/cwd", json!(format!("/proc/self/fd/{number}"))).sh("pwd; readlink /proc/self/cwd").run();
        assert!(!out.stdout.contains("unreachable"), "{}", out.stdout);
    }
}

/// Size, time and first bytes of the runtime's file.
fn fingerprint(t: &Sandbox) -> (u64, std::time::SystemTime, Vec<u8>) {
    let data = fs::metadata(&t.subject.path).unwrap();
    (data.len(), data.modified().unwrap(), fs::read(&t.subject.path).unwrap()[..4096].to_vec())
}

#[case]
fn cve_2019_5736_entrypoint_is_proc_self_exe(t: &Sandbox) {
    let before = fingerprint(t);
    let c = t.container("a");
    // The entry point is the runtime's own program as the kernel names it; whatever runs then must not be the host's file.
    c.args(&["/proc/self/exe", "--version"]).set("/process/noNewPrivileges", json!(false));
    let _ = c.run();
    assert_eq!(fingerprint(t), before);
}

#[case]
fn cve_2019_5736_script_by_proc_self_exe(t: &Sandbox) {
    let before = fingerprint(t);
    let c = t.container("a");
    let script = c.rootfs().join("entry");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for set in ["effective", "permitted", "bounding"] {
        c.set(
            &format!("/process/capabilities/{set}"),
            json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_KILL"]),
        );
    }
    c.remove("/process/capabilities/ambient");
    let _ = c.args(&["/entry"]).run();
    let _ = c.args(&["/proc/self/exe", "init"]).run();
    assert_eq!(fingerprint(t), before, "CVE-2019-5736");
}

#[case]
fn cve_2019_5736_exec_of_proc_self_exe(t: &Sandbox) {
    let before = fingerprint(t);
    let c = t.container("a");
    c.run_paused();
    let _ = c.exec(&[], &["/proc/self/exe", "init"]);
    assert_eq!(fingerprint(t), before, "CVE-2019-5736");
    c.delete_force().ok();
}

#[case]
fn cve_2019_5736_program_is_out_of_reach(t: &Sandbox) {
    let before = fingerprint(t);
    let c = t.container("a");
    for set in ["effective", "permitted", "bounding"] {
        c.set(
            &format!("/process/capabilities/{set}"),
            json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_KILL"]),
        );
    }
    c.remove("/process/capabilities/ambient");
    // Opens the executable of every process that appears, again and again, to write to it when it is no longer in use.
    let script = "for i in $(seq 40); do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] || \
                  (exec 9<$p/exe && readlink /proc/self/fd/9) 2>/dev/null; done; sleep 0.02; done";
    let run = c.sh(script).run_cmd(&[]).spawn();
    t.wait_until("running", || t.root.join(&c.id).is_dir() && c.simple("state", &[], &[]).stdout.contains("running"));
    for _ in 0..20 {
        let _ = c.exec(&[], &["/probe", "exit", "0"]);
    }
    let out = run.wait();
    let name = t.subject.path.display().to_string();
    assert!(!out.stdout.lines().any(|line| line == name), "the host's program was opened: {}", out.stdout);
    assert_eq!(fingerprint(t), before, "CVE-2019-5736");
}

fn set(facts: &Value, name: &str) -> u64 {
    u64::from_str_radix(facts["status"][name].as_str().unwrap(), 16).unwrap()
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[case]
fn cve_2022_24769_capability_matrix_of_run(t: &Sandbox) {
    let kill = 1_u64 << 5;
    let raw = 1_u64 << 13;
    // (uid, inheritable, ambient) to the five sets, in the order of SETS.
    let table = [
        (0, false, false, [0, kill | raw, kill | raw, kill | raw, 0]),
        (1000, false, false, [0, 0, 0, kill | raw, 0]),
        (0, true, false, [kill, kill | raw, kill | raw, kill | raw, 0]),
        (1000, true, false, [kill, 0, 0, kill | raw, 0]),
        (1000, true, true, [kill, kill, kill, kill | raw, kill]),
    ];
    for (n, (uid, inheritable, ambient, expected)) in table.into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let both = json!(["CAP_KILL", "CAP_NET_RAW"]);
        let mut caps = json!({"bounding": both, "permitted": both, "effective": both});
        if inheritable {
            caps["inheritable"] = json!(["CAP_KILL"]);
        }
        if ambient {
            caps["ambient"] = json!(["CAP_KILL"]);
        }
        c.set("/process/capabilities", caps).set("/process/user", json!({"uid": uid, "gid": uid}));
        let facts = c.facts();
        assert_eq!(SETS.map(|name| set(&facts, name)), expected, "row {n}");
    }
}

#[case(not_crun("before crun 1.5: adds to the inheritable set"))]
fn cve_2022_29162_capability_matrix_of_exec(t: &Sandbox) {
    let c = t.container("a");
    let kill = json!(["CAP_KILL"]);
    c.set("/process/capabilities", json!({"bounding": kill, "permitted": kill, "effective": kill})).run_paused();
    let (kill, raw) = (1_u64 << 5, 1_u64 << 13);
    let facts = c.exec_facts(&[]);
    assert_eq!(SETS.map(|name| set(&facts, name)), [0, kill, kill, kill, 0], "root, plain");
    let facts = c.exec_facts(&["--user", "1000:1000"]);
    assert_eq!(SETS.map(|name| set(&facts, name)), [0, 0, 0, kill, 0], "user, plain");
    let facts = c.exec_facts(&["--cap", "CAP_NET_RAW"]);
    assert_eq!(SETS.map(|name| set(&facts, name)), [0, kill | raw, kill | raw, kill | raw, 0], "root, --cap");
    let facts = c.exec_facts(&["--user", "1000:1000", "--cap", "CAP_NET_RAW"]);
    assert_eq!(set(&facts, "CapInh"), 0, "CVE-2022-29162");
    assert_eq!(set(&facts, "CapBnd"), kill | raw, "user, --cap");
    c.end();
}

#[case]
fn cve_2020_15257_no_abstract_sockets(t: &Sandbox) {
    let abstract_names = || -> Vec<String> {
        let text = fs::read_to_string("/proc/net/unix").unwrap();
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(7))
            .filter(|n| n.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    let before = abstract_names();
    let c = t.container("a");
    let socket = orlop_integration::console::Receiver::new(&t.dir.join("console"));
    c.set("/process/terminal", json!(true)).args(&["/probe", "pause"]);
    let create = c
        .create_cmd(&["--console-socket", &socket.path.display().to_string()])
        .env("NOTIFY_SOCKET", t.dir.join("notify"))
        .spawn();
    let terminal = socket.terminal();
    let _ = create.wait().ok();
    let new: Vec<String> = abstract_names().into_iter().filter(|name| !before.contains(name)).collect();
    // Other programs of this host may open some meanwhile: only names that speak of the container or the runtime count.
    let name = t.subject.path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!new.iter().any(|found| found.contains(&c.id) || found.contains(&name)), "CVE-2020-15257: {new:?}");
    drop(terminal);
    c.delete_force().ok();
}

#[case(not_runc("cannot start then"))]
fn a_keyring_that_another_container_names_is_not_joined(t: &Sandbox) {
    let (hostile, victim) = (t.container("a"), t.container("b"));
    hostile.sh(&format!("/probe join-keyring _ses.{} /new && mv /new /made; sleep 100", victim.id)).run_detached().ok();
    let made = hostile.rootfs().join("made");
    t.wait_until("the keyring to be made", || made.symlink_metadata().is_ok());
    let made: i64 = fs::read_to_string(made).unwrap().parse().unwrap();
    assert_ne!(victim.facts()["session_keyring"].as_i64(), Some(made));
    hostile.delete_force().ok();
}

#[case]
fn cve_2024_25621_state_directory_modes(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    fn walk(dir: &std::path::Path) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let data = entry.path().symlink_metadata().unwrap();
            let mode = data.permissions().mode();
            assert_eq!(mode & 0o022, 0, "{} may be written by others: {mode:o}", entry.path().display());
            if data.is_dir() {
                walk(&entry.path());
            }
        }
    }
    walk(&t.root);
    let _ = t.program("/bin/ls", &[&t.root.join(&c.id).display().to_string()]).user(1000, 1000).run().fails();
    c.end();
}

#[case]
fn masks_are_in_place(t: &Sandbox) {
    let c = t.container("a");
    let facts = c.facts();
    let mounts = facts["mounts"].as_array().unwrap();
    let on = |path: &str| mounts.iter().rev().find(|mount| mount["dest"] == path);
    for path in c.config(|spec| spec["linux"]["maskedPaths"].as_array().unwrap().clone()) {
        let path = path.as_str().unwrap();
        if std::path::Path::new(path).is_dir() || std::path::Path::new(path).is_file() {
            assert!(on(path).is_some(), "{path} is not masked");
        }
    }
    for path in c.config(|spec| spec["linux"]["readonlyPaths"].as_array().unwrap().clone()) {
        let path = path.as_str().unwrap();
        if std::path::Path::new(path).is_dir() || std::path::Path::new(path).is_file() {
            let mount = on(path).unwrap_or_else(|| panic!("{path} has no mount"));
            assert!(mount["options"].as_str().unwrap().split(',').any(|word| word == "ro"), "{mount}");
        }
    }
}

fn profile(default: &str, names: &[&str], action: &str) -> Value {
    json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": names, "action": action}]})
}

fn wedged(t: &Sandbox, what: Value) {
    for no_new_privileges in [true, false] {
        let c = t.container(if no_new_privileges { "with" } else { "without" });
        c.set("/linux/seccomp", what.clone()).set("/process/noNewPrivileges", json!(no_new_privileges));
        for verb in ["run", "create"] {
            let begun = Instant::now();
            let out = if verb == "run" { c.run() } else { c.create() };
            assert!(begun.elapsed().as_secs() < 5, "{verb} took {:?}", begun.elapsed());
            if out.code == 0 && verb == "create" {
                let begun = Instant::now();
                let _ = c.start();
                assert!(begun.elapsed().as_secs() < 5, "start took {:?}", begun.elapsed());
                c.delete_force().ok();
            } else {
                assert!(out.code != 0 && out.code < 1000, "{out:?}");
                c.simple("state", &[], &[]).fails();
            }
        }
        let left = orlop_integration::leak::cgroups(&t.tag);
        assert!(left.is_empty(), "{left:?}");
    }
}

#[case(not_runc("its issue 5087: hangs"), not_crun("leaves its cgroup"), seconds(120))]
fn seccomp_that_kills_init_is_an_error_soon(t: &Sandbox) {
    wedged(
        t,
        profile(
            "SCMP_ACT_ALLOW",
            &["write", "execve", "execveat", "close", "read", "exit_group"],
            "SCMP_ACT_KILL_PROCESS",
        ),
    );
    for (n, name) in ["write", "execve", "read", "prctl"].iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", &[name], "SCMP_ACT_KILL_PROCESS"));
        let begun = Instant::now();
        let _ = c.run();
        assert!(begun.elapsed().as_secs() < 5, "{name}: {:?}", begun.elapsed());
    }
}

#[case(not_runc("its issue 5087"), not_crun("leaves its cgroup"), seconds(120))]
fn seccomp_that_forbids_everything_is_an_error_soon(t: &Sandbox) {
    wedged(t, json!({"defaultAction": "SCMP_ACT_KILL"}));
    let c = t.container("errno");
    c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ERRNO"})).run().fails();
}

#[case]
fn seccomp_basic_verdicts(t: &Sandbox) {
    let c = t.container("a");
    let mut rules = profile("SCMP_ACT_ALLOW", &["getcwd"], "SCMP_ACT_ERRNO");
    rules["syscalls"][0]["errnoRet"] = json!(39);
    rules["syscalls"].as_array_mut().unwrap().push(json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}));
    c.set("/linux/seccomp", rules);
    t.need(cfg!(target_arch = "x86_64"), "the numbers below are x86-64's");
    let script = "/probe syscall 79 0 0; /probe syscall 135 8; /probe syscall 135 0; grep Seccomp: /proc/self/status";
    let out = c.sh(script).run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[..3], ["errno 39", "errno 1", "ok 0"]);
    assert!(lines[3].ends_with('2'), "{}", lines[3]);
    let c = t.container("b");
    c.share("pid").set("/linux/seccomp", profile("SCMP_ACT_ALLOW", &["getcwd"], "SCMP_ACT_KILL_PROCESS"));
    c.args(&["/probe", "syscall", "79", "0", "0"]).run().code(159);
}

#[case]
fn seccomp_of_exec(t: &Sandbox) {
    t.need(cfg!(target_arch = "x86_64"), "the number below is x86-64's");
    let c = t.container("a");
    c.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", &["getcwd"], "SCMP_ACT_ERRNO")).run_paused();
    assert_eq!(c.exec(&[], &["/probe", "syscall", "79", "0", "0"]).ok().stdout, "errno 1\n");
    c.end();
}

#[case]
fn devices_of_the_host_are_closed(t: &Sandbox) {
    let c = t.container("a");
    let caps = json!(["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
    c.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let devices = [
        ("mem", "20600 1 1"),
        ("kmsg", "20600 1 11"),
        ("disk", "60600 8 0"),
        ("vda", "60600 254 0"),
        ("loop", "60600 7 0"),
    ];
    // In /dev, which is no file system of the host that might lack device nodes.
    let script: Vec<String> = devices
        .iter()
        .map(|(name, numbers)| format!("/probe mknod /dev/{name} {numbers} > /dev/null; /probe open /dev/{name} 2"))
        .collect();
    let out = c.sh(&script.join("; ")).run().ok();
    for (line, (name, _)) in out.stdout.lines().zip(devices) {
        // No such file, when making it was refused already.
        assert!(["errno 1", "errno 2"].contains(&line), "{name}: {line}");
    }
    assert_eq!(out.stdout.lines().count(), devices.len());
}

#[case]
fn no_core_file_of_the_runtime(t: &Sandbox) {
    let c = t.container("a");
    c.share("pid")
        .set("/process/cwd", json!("/tmp"))
        .sh("ulimit -c unlimited 2>/dev/null; kill -SEGV $$; sleep 5")
        .run()
        .code(139);
}

#[case]
fn exec_environment_does_not_reach_the_runtime(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let facts = c
        .simple_cmd("exec", &["--env", "LD_PRELOAD=/evil.so", "--env", "PATH=/none"], &["/probe", "facts"])
        .env("CALLERS_SECRET", "1")
        .run()
        .ok()
        .json();
    let env = facts["env"].as_array().unwrap();
    assert!(!env.iter().any(|v| v.as_str().unwrap().starts_with("CALLERS_SECRET")), "{env:?}");
    c.end();
}

#[case]
fn setuid_programs_gain_nothing(t: &Sandbox) {
    let c = t.container("a");
    let place = c.rootfs().join("su");
    t.copy_probe(&place);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o4755)).unwrap();
    c.set("/process/user", json!({"uid": 1000, "gid": 1000})).args(&["/su", "facts"]);
    assert_eq!(c.run().ok().json()["euid"], 1000, "noNewPrivileges");
}

#[case(extension)]
fn default_config_masks_what_measures_or_changes_the_host(t: &Sandbox) {
    for (name, flags) in [("a", &[][..]), ("rootless", &["--rootless"][..])] {
        let c = t.container(name);
        let bundle = c.bundle.display().to_string();
        t.bare(&[&["spec", "--bundle", &bundle], flags].concat()).run().ok();
        let spec: Value = serde_json::from_slice(&fs::read(c.bundle.join("config.json")).unwrap()).unwrap();
        let masked = spec["linux"]["maskedPaths"].as_array().unwrap();
        for path in ["/sys/devices/virtual/powercap", "/sys/kernel/security", "/proc/interrupts", "/proc/kcore"] {
            assert!(masked.contains(&json!(path)), "{name}: {path} is not among {masked:?}");
        }
    }
}

#[case(extension)]
fn cve_2025_24965_handlers_are_refused(t: &Sandbox) {
    let c = t.container("a");
    let before = fs::read_dir(c.rootfs()).unwrap().count();
    for (name, value) in [("run.oci.handler", "krun"), ("krun.cpus", "1"), ("module.wasm.image/variant", "compat")] {
        c.set("/annotations", json!({ name: value }));
        c.run().fails().says(&name.replace('/', "~1")).says("handler");
    }
    assert_eq!(fs::read_dir(c.rootfs()).unwrap().count(), before, "a file was made");
}
