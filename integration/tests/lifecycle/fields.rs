//! Fields of newer specifications and of other runtimes: network devices, memory policy, seccomp agents, crun's mount options,
//! labels and classes that this kernel may not have.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sched::{CloneFlags, unshare};
use orlop_integration::console::Receiver;
use orlop_integration::sandbox::kernel_has_namespace;
use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::{Value, json};

/// Makes a network namespace for this case, in which devices can be made without being seen elsewhere.
fn own_network(t: &Sandbox) {
    t.need(t.program("/bin/sh", &["-c", "command -v ip"]).run().code == 0, "needs ip(8)");
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let made = t.program("/bin/sh", &["-c", "ip link add d0 type veth peer name p0 && ip link add d1 type ifb"]).run();
    t.need(made.code == 0, "the kernel makes no veth and ifb devices");
    let script = "ip addr add 10.9.9.9/24 dev d0; ip addr add 127.0.0.33/8 scope host dev d0; ip link set d0 up";
    t.program("/bin/sh", &["-c", script]).run().ok();
}

#[case(needs(Admin), not_runc("since runc 1.4"), not_crun("not in Debian's crun"))]
fn network_devices_move_with_their_addresses(t: &Sandbox) {
    own_network(t);
    let c = t.container("a");
    c.set("/linux/netDevices", json!({"d0": {"name": "web0"}, "d1": {}}));
    let out = c.sh("ip addr show web0; ip link show d1").run().ok();
    assert!(out.stdout.contains("inet 10.9.9.9/24 "), "{}", out.stdout);
    assert!(!out.stdout.contains("127.0.0.33"), "{}", out.stdout);
    assert_eq!(out.stdout.matches("UP").count() - out.stdout.matches("LOWER_UP").count(), 2, "{}", out.stdout);
    let left = t.program("/bin/sh", &["-c", "ip -o link"]).run().ok().stdout;
    assert!(!left.contains(" d0") && !left.contains(" d1"), "{left}");
}

#[case(extension, needs(Admin))]
fn network_devices_return_when_one_fails(t: &Sandbox) {
    own_network(t);
    let c = t.container("a");
    c.set("/linux/netDevices", json!({"d0": {"name": "web0"}, "none0": {}}));
    let text = c.run().fails().stderr;
    assert!(text.contains("(config /linux/netDevices/none0): no such device"), "{text}");
    c.set("/linux/netDevices", json!({"d0": {}, "d1": {"name": "lo"}}));
    let text = c.run().fails().stderr;
    assert!(text.contains("(config /linux/netDevices/d1/name): \"lo\" is there already"), "{text}");
    let d0 = t.program("/bin/sh", &["-c", "ip addr show d0"]).run().ok().stdout;
    assert!(d0.contains("inet 10.9.9.9/24 ") && d0.contains(",UP"), "{d0}");
}

#[case(not_runc("since runc 1.4"), not_crun("not in Debian's crun"))]
fn memory_policy_of_run_and_exec(t: &Sandbox) {
    t.need(fs::metadata("/proc/self/numa_maps").is_ok(), "the kernel knows no NUMA");
    let first = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2";
    let cases = [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), "prefer=relative:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ];
    for (n, (policy, seen)) in cases.into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.set("/linux/memoryPolicy", policy);
        assert_eq!(c.sh(first).run().ok().stdout.trim(), seen);
    }
    let c = t.container("exec");
    c.set("/linux/memoryPolicy", json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}));
    c.set("/linux/personality", json!({"domain": "LINUX32"})).run_paused();
    assert_eq!(c.exec_facts(&[])["personality"], 8);
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", first]).ok().stdout.trim(), "interleave:0");
    c.end();
}

fn notifying(path: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "of the test",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]})
}

#[case(not_runc("sends nothing with the libseccomp of Debian 12"), not_crun("not compared"))]
fn seccomp_agent_gets_the_listener_and_the_state(t: &Sandbox) {
    let agent = Receiver::new(&t.dir.join("agent"));
    let c = t.container("a");
    c.set("/linux/seccomp", notifying(&agent.path.display().to_string()));
    let run = c.sh("mkdir /tmp/x").run_cmd(&[]).spawn();
    let (listener, payload) = agent.receive();
    let state: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "of the test");
    assert_eq!(state["state"]["id"], json!(c.id));
    assert!(state["pid"].as_i64().unwrap() > 0, "{state}");
    // Once nobody listens any more, the kernel answers ENOSYS.
    drop(listener);
    let out = run.wait();
    assert!(out.code == 1 && out.stderr.contains("Function not implemented"), "{out:?}");
}

#[case(not_crun("not compared"))]
fn seccomp_agent_that_is_missing_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    let text = c.set("/linux/seccomp", notifying("/no/such/agent")).run().fails().stderr;
    if t.is(Flavor::Orlop) {
        assert!(text.contains("/linux/seccomp/listenerPath") && text.contains("no such file or directory"), "{text}");
        assert!(text.contains("failed to connect with seccomp agent"), "{text}");
    }
}

#[case(not_runc("since runc 1.1.6"), not_crun("not compared"))]
fn seccomp_flags_are_set(t: &Sandbox) {
    for (n, flag) in ["LOG", "SPEC_ALLOW", "TSYNC"].iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [format!("SECCOMP_FILTER_FLAG_{flag}")],
            "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]}),
        );
        assert_eq!(c.facts()["status"]["Seccomp"], "2", "{flag}");
    }
}

#[case(extension)]
fn symlink_options_of_a_bind_mount(t: &Sandbox) {
    let source = t.dir.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "of the file").unwrap();
    symlink("file", source.join("link")).unwrap();
    let link = source.join("link").display().to_string();
    let bind = |c: &Container<'_>, option: &str, to: &str| {
        c.mount("bind", &link, to, &["bind", option]);
    };
    let c = t.container("copy");
    bind(&c, "copy-symlink", "/copied");
    assert_eq!(c.sh("readlink /copied").run().ok().stdout, "file\n");
    let c = t.container("source");
    symlink("nowhere", c.rootfs().join("itself")).unwrap();
    c.mount("bind", &link, "/itself", &["bind", "src-nofollow", "dest-nofollow"]);
    assert_eq!(c.sh("readlink /itself").run().ok().stdout, "file\n");
    let c = t.container("neither");
    bind(&c, "ro", "/followed");
    assert_eq!(c.sh("cat /followed").run().ok().stdout, "of the file");
}

/// A label of a security module that this kernel has not.
fn label_is_refused(t: &Sandbox, module: &str, name: &str, pointer: &str, label: &str) {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    t.need(!modules.contains(module), "this kernel has the module");
    let c = t.container(name);
    let text = c.set(pointer, json!(label)).run().fails().stderr;
    assert!(text.contains(&format!("(config {pointer})")), "{text}");
}

#[case(extension)]
fn apparmor_profile_without_apparmor_is_refused(t: &Sandbox) {
    label_is_refused(t, "apparmor", "a", "/process/apparmorProfile", "some-profile");
}

#[case(extension)]
fn selinux_labels_without_selinux_are_refused(t: &Sandbox) {
    label_is_refused(t, "selinux", "a", "/process/selinuxLabel", "system_u:system_r:container_t:s0");
    label_is_refused(t, "selinux", "b", "/linux/mountLabel", "system_u:object_r:container_file_t:s0");
}

#[case(extension)]
fn intel_rdt_without_resctrl_is_refused(t: &Sandbox) {
    t.need(fs::metadata("/sys/fs/resctrl/schemata").is_err(), "this machine has resctrl mounted");
    let c = t.container("a");
    let text = c.set("/linux/intelRdt", json!({"closID": "gold"})).run().fails().stderr;
    assert!(text.contains("(config /linux/intelRdt): resctrl is not mounted"), "{text}");
}

#[case(needs(Host), not_runc("crun's"))]
fn annotations_of_crun_act(t: &Sandbox) {
    let annotate = |c: &Container<'_>, name: &str, value: &str| {
        c.edit(|spec| spec["annotations"][name] = json!(value));
    };
    let c = t.container("groups");
    annotate(&c, "run.oci.keep_original_groups", "1");
    let own = nix::unistd::getgroups().unwrap();
    nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(4321)]).unwrap();
    let groups = c.sh("id -G").run().ok().stdout;
    nix::unistd::setgroups(&own).unwrap();
    assert_eq!(groups, "0 4321\n");

    let c = t.container("pidfd");
    let receiver = Receiver::new(&t.dir.join("pidfd"));
    annotate(&c, "run.oci.pidfd_receiver", &receiver.path.display().to_string());
    let create = c.args(&["/probe", "pause"]).create_cmd(&[]).spawn();
    drop(receiver.receive());
    let _ = create.wait().ok();
    c.delete_force().ok();

    let c = t.container("agent");
    let agent = Receiver::new(&t.dir.join("agent"));
    annotate(&c, "run.oci.seccomp.receiver", &agent.path.display().to_string());
    c.set("/linux/seccomp", notifying("/no/such/agent"));
    let run = c.sh("mkdir /tmp/x").run_cmd(&[]).spawn();
    drop(agent.receive());
    assert!(run.wait().stderr.contains("Function not implemented"));

    let c = t.container("unknown");
    annotate(&c, "run.oci.seccomp_fail_unknown_syscall", "1");
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getcwd", "no_such_call"],
        "action": "SCMP_ACT_ERRNO"}]}),
    );
    assert!(c.run().fails().stderr.contains("no_such_call"));

    let c = t.container("hooks");
    let file = t.dir.join("said");
    annotate(&c, "run.oci.hooks.stdout", &file.display().to_string());
    c.set("/hooks", json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "echo said"]}]}));
    let _ = c.run().ok();
    assert_eq!(fs::read_to_string(file).unwrap(), "said\n");
}

/// getcwd fails with errno 5 by a filter of four instructions that the annotation brings; the section's own rule does not count.
#[case(not_runc("crun's"), not_crun("not in Debian's crun"))]
fn annotation_with_a_ready_made_seccomp_filter(t: &Sandbox) {
    let getcwd = u32::try_from(nix::libc::SYS_getcwd).unwrap();
    let filter = |code: [u32; 4]| {
        let allow = [0x06, 0, 0, 0x7fff_0000];
        let program = [[0x20, 0, 0, 0], [0x15, 0, 1, getcwd], code, allow];
        let one = |[code, jt, jf, k]: [u32; 4]| {
            let bytes = |value: u32| u8::try_from(value).unwrap();
            [&u16::try_from(code).unwrap().to_ne_bytes()[..], &[bytes(jt), bytes(jf)], &k.to_ne_bytes()].concat()
        };
        base64(&program.into_iter().flat_map(one).collect::<Vec<u8>>())
    };
    let annotate = |c: &Container<'_>, value: &str| {
        c.edit(|spec| spec["annotations"]["run.oci.seccomp_bpf_data"] = json!(value));
    };
    let c = t.container("errno");
    annotate(&c, &filter([0x06, 0, 0, 0x5_0005]));
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}),
    );
    let text = c.sh("mkdir /tmp/x && /bin/pwd").run().fails().stderr;
    assert!(text.contains("Input/output error") || text.contains("I/O error"), "{text}");

    let c = t.container("kill");
    annotate(&c, &filter([0x06, 0, 0, 0x8000_0000]));
    let _ = c.args(&["/bin/pwd"]).run().code(128 + 31);

    // An agent answers, and gets the container's state, though there is no seccomp section.
    let c = t.container("agent");
    let agent = Receiver::new(&t.dir.join("agent"));
    annotate(&c, &filter([0x06, 0, 0, 0x7fc0_0000]));
    c.edit(|spec| spec["annotations"]["run.oci.seccomp.receiver"] = json!(agent.path.display().to_string()));
    let run = c.args(&["/bin/pwd"]).run_cmd(&[]).spawn();
    let (listener, payload) = agent.receive();
    let state: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(state["state"]["id"], json!(c.id));
    drop(listener);
    assert!(run.wait().stderr.contains("Function not implemented"));

    let c = t.container("wrong");
    for (value, message) in [
        ("AAA", "is not base64"),
        ("BgAAAAAA/38AAA==", "10 bytes are no whole number of instructions of 8"),
        ("BQAAAP////8GAAAAAAD/fw==", "instruction 0: jumps beyond the end"),
    ] {
        annotate(&c, value);
        let text = c.run().fails().stderr;
        assert!(text.contains(&format!("(config /annotations/run.oci.seccomp_bpf_data): {message}")), "{text}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| -> Vec<char> {
        let word = chunk.iter().chain([0, 0].iter()).take(3).fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        let digit = |place: usize| {
            if place > chunk.len() { '=' } else { char::from(DIGITS[word >> (18 - 6 * place) & 63]) }
        };
        (0..4).map(digit).collect()
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[case(not_runc("crun's"))]
fn annotation_with_time_offsets(t: &Sandbox) {
    t.need(kernel_has_namespace("time"), "the kernel has no time namespaces");
    let c = t.container("a");
    c.namespace("time");
    c.edit(|spec| spec["annotations"]["run.oci.timens_offset"] = json!("boottime 7777777 0"));
    let uptime = c.args(&["/bin/cat", "/proc/uptime"]).run().ok().stdout;
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(seconds > 7_777_777.0, "{uptime}");
    if t.is(Flavor::Orlop) {
        c.set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
        let text = c.run().fails().stderr;
        assert!(text.contains("(config /annotations/run.oci.timens_offset): contradicts /linux/timeOffsets"), "{text}");
    }
}

/// On cgroup v2 the processes live in a cgroup below the container's, which the container sees and manages; elsewhere the
/// annotation is refused.
#[case(not_runc("crun's"), not_crun("not compared"))]
fn annotation_of_a_delegated_cgroup(t: &Sandbox) {
    let c = t.container("a");
    c.namespace("cgroup").args(&["/probe", "pause"]);
    c.edit(|spec| spec["annotations"]["run.oci.delegate-cgroup"] = json!("payload"));
    let v2 = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    t.need_promised("cgroup-v2", v2 || !orlop_integration::runner::is_promised("cgroup-v2"), "the host has cgroup v1");
    if !v2 {
        let text = c.run().fails().stderr;
        assert!(text.contains("(config /annotations/run.oci.delegate-cgroup): it needs cgroup v2"), "{text}");
        return;
    }
    c.set("/linux/resources/pids", json!({"limit": 55}));
    let _ = c.run_detached().ok();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let dir = format!("/sys/fs/cgroup{}", own.trim().strip_prefix("0::").unwrap());
    let limit = |dir: &str| fs::read_to_string(format!("{dir}/pids.max")).unwrap();
    assert_eq!((limit(&dir), limit(dir.strip_suffix("/payload").unwrap())), ("max\n".into(), "55\n".into()));
    assert_eq!(c.exec(&[], &["/bin/cat", "/proc/self/cgroup"]).ok().stdout, "0::/payload\n");
    c.end();
}
