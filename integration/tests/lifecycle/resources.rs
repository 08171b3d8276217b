//! Control groups as a container's user sees them: limits, update, pause, events, ps.

use std::fs;
use std::path::PathBuf;

use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::{Value, json};

/// The first of these files of a controller's directory that exists; v1's names first, then v2's.
fn value(t: &Sandbox, c: &Container<'_>, controller: &str, files: &[&str]) -> String {
    let dir = directory(t, c, controller);
    let path = files.iter().map(|file| dir.join(file)).find(|path| path.is_file());
    let path = path.unwrap_or_else(|| panic!("none of {files:?} in {}", dir.display()));
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn directory(t: &Sandbox, c: &Container<'_>, controller: &str) -> PathBuf {
    match t.controller(controller, &c.id) {
        Some(dir) => dir,
        None => t.skip(&format!("this host has no {controller} controller")),
    }
}

const MEMORY: &[&str] = &["memory.limit_in_bytes", "memory.max"];
const PIDS: &[&str] = &["pids.max"];

#[case(needs(ControlGroups))]
fn limits_of_the_config_are_set(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 67_108_864, "reservation": 33_554_432}));
    c.set("/linux/resources/pids", json!({"limit": 77}));
    c.set("/linux/resources/cpu", json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"}));
    c.run_paused();
    assert_eq!(value(t, &c, "memory", MEMORY), "67108864");
    assert_eq!(value(t, &c, "memory", &["memory.soft_limit_in_bytes", "memory.low"]), "33554432");
    assert_eq!(value(t, &c, "pids", PIDS), "77");
    assert_eq!(value(t, &c, "cpuset", &["cpuset.cpus"]), "0");
    let cpu = value(t, &c, "cpu", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(cpu == "50000" || cpu == "50000 100000", "{cpu}");
    if directory(t, &c, "cpu").join("cpu.shares").is_file() {
        assert_eq!(value(t, &c, "cpu", &["cpu.shares"]), "512");
    }
    c.end();
}

/// One limit, alone in a config: where it is to be found on v1 and on v2.
struct Limit {
    section: &'static str,
    value: Value,
    controller: [&'static str; 2],
    /// `FILE=VALUE`; of several lines or words, the one that begins or ends so.
    v1: &'static [&'static str],
    v2: &'static [&'static str],
}

fn limits(disk: &str) -> Vec<Limit> {
    let limit = |section, value, controller, v1, v2| Limit { section, value, controller, v1, v2 };
    let (memory, cpu, cpuset, io) = (["memory"; 2], ["cpu"; 2], ["cpuset"; 2], ["blkio", "io"]);
    let (major, minor) = disk.split_once(':').unwrap();
    let number = |text: &str| text.parse::<i64>().unwrap();
    let device = |rate: i64| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
    vec![
        limit(
            "memory",
            json!({"limit": 67_108_864}),
            memory,
            &["memory.limit_in_bytes=67108864"],
            &["memory.max=67108864"],
        ),
        limit(
            "memory",
            json!({"reservation": 33_554_432}),
            memory,
            &["memory.soft_limit_in_bytes=33554432"],
            &["memory.low=33554432"],
        ),
        limit(
            "memory",
            json!({"limit": 67_108_864, "swap": 100_663_296}),
            memory,
            &["memory.memsw.limit_in_bytes=100663296"],
            &["memory.swap.max=33554432"],
        ),
        limit("memory", json!({"swappiness": 7}), memory, &["memory.swappiness=7"], &[]),
        limit("memory", json!({"disableOOMKiller": true}), memory, &["memory.oom_control=oom_kill_disable 1"], &[]),
        limit("memory", json!({"useHierarchy": false}), memory, &[], &[]),
        limit("cpu", json!({"shares": 512}), cpu, &["cpu.shares=512"], &["cpu.weight=59"]),
        limit(
            "cpu",
            json!({"quota": 50_000, "period": 200_000}),
            cpu,
            &["cpu.cfs_quota_us=50000", "cpu.cfs_period_us=200000"],
            &["cpu.max=50000 200000"],
        ),
        limit("cpu", json!({"quota": 50_000, "burst": 1000}), cpu, &["cpu.cfs_burst_us=1000"], &["cpu.max.burst=1000"]),
        limit("cpu", json!({"idle": 1}), cpu, &["cpu.idle=1"], &["cpu.idle=1"]),
        limit("cpu", json!({"realtimePeriod": 500_000}), cpu, &["cpu.rt_period_us=500000"], &[]),
        limit(
            "cpu",
            json!({"cpus": "0", "mems": "0"}),
            cpuset,
            &["cpuset.cpus=0", "cpuset.mems=0"],
            &["cpuset.cpus=0", "cpuset.mems=0"],
        ),
        limit("pids", json!({"limit": 77}), ["pids"; 2], &["pids.max=77"], &["pids.max=77"]),
        limit(
            "blockIO",
            json!({"weight": 300}),
            io,
            &["blkio.weight=300", "blkio.bfq.weight=300"],
            &["io.bfq.weight=300", "io.weight=2930"],
        ),
        limit(
            "blockIO",
            json!({"throttleReadBpsDevice": device(1_048_576)}),
            io,
            &["blkio.throttle.read_bps_device= 1048576"],
            &["io.max=rbps=1048576"],
        ),
        limit(
            "blockIO",
            json!({"throttleWriteBpsDevice": device(2_097_152)}),
            io,
            &["blkio.throttle.write_bps_device= 2097152"],
            &["io.max=wbps=2097152"],
        ),
        limit(
            "blockIO",
            json!({"throttleReadIOPSDevice": device(300)}),
            io,
            &["blkio.throttle.read_iops_device= 300"],
            &["io.max=riops=300"],
        ),
        limit(
            "blockIO",
            json!({"throttleWriteIOPSDevice": device(400)}),
            io,
            &["blkio.throttle.write_iops_device= 400"],
            &["io.max=wiops=400"],
        ),
        limit(
            "hugepageLimits",
            json!([{"pageSize": "2MB", "limit": 4_194_304}]),
            ["hugetlb"; 2],
            &["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304"],
            &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"],
        ),
        limit("network", json!({"classID": 1_048_577}), ["net_cls"; 2], &["net_cls.classid=1048577"], &[]),
        limit(
            "network",
            json!({"priorities": [{"name": "lo", "priority": 5}]}),
            ["net_prio"; 2],
            &["net_prio.ifpriomap=lo 5"],
            &[],
        ),
        limit("rdma", json!({"none0": {"hcaHandles": 2}}), ["rdma"; 2], &[], &[]),
        limit("unified", json!({"memory.high": "50331648"}), memory, &[], &["memory.high=50331648"]),
        limit("unified", json!({"none.such": "1"}), memory, &[], &[]),
    ]
}

/// Whether one of these files has its value. Whichever of a driver's files is there counts: a kernel has not all of them.
fn has_value(dir: &std::path::Path, expected: &[&str]) -> bool {
    let mut seen = 0;
    for file in expected {
        let (name, value) = file.split_once('=').unwrap();
        let Ok(text) = fs::read_to_string(dir.join(name)) else { continue };
        seen += 1;
        let fits = |line: &str| line == value || line.ends_with(value) || line.split(' ').any(|word| word == value);
        assert!(text.lines().any(fits), "{name} should have {value:?}, has {text:?}");
    }
    seen > 0
}

#[case(extension, seconds(120))]
fn every_limit_reaches_its_file_or_is_refused(t: &Sandbox) {
    let disk = fs::read_dir("/sys/block").unwrap().flatten().find_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        let disk = ["vd", "sd", "nvme", "ubd", "xvd"].iter().any(|kind| name.starts_with(kind));
        disk.then(|| fs::read_to_string(entry.path().join("dev")).unwrap())
    });
    let mut set = Vec::new();
    for (number, limit) in limits(disk.as_deref().unwrap_or("7:0").trim()).into_iter().enumerate() {
        let c = t.container(&format!("c{number}"));
        let pointer = format!("/linux/resources/{}", limit.section);
        c.set(&pointer, limit.value.clone()).args(&["/probe", "pause"]);
        let out = c.run_detached();
        let what = format!("{pointer} = {}: {}", limit.value, out.stderr);
        if out.code != 0 {
            // What this host cannot do is an error with its field.
            assert!(out.stderr.contains(&format!("(config {pointer}")), "{what}");
            continue;
        }
        let v1 = t
            .controller(limit.controller[0], &c.id)
            .filter(|dir| dir.starts_with(format!("/sys/fs/cgroup/{}", limit.controller[0])));
        let found = match (v1, t.controller(limit.controller[1], &c.id)) {
            (Some(dir), _) => has_value(&dir, limit.v1),
            (None, Some(dir)) => has_value(&dir, limit.v2),
            (None, None) => false,
        };
        assert!(found, "accepted and ignored: {what}");
        set.push(limit.section);
        c.end();
    }
    for section in ["memory", "cpu", "pids"] {
        t.need_promised("cgroup-v2", set.contains(&section), "the usual controllers are missing");
    }
}

#[case(needs(ControlGroups), not_runc("since runc 1.4"), not_crun("not in Debian's crun"))]
fn a_pids_limit_of_zero_is_a_limit(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/pids", json!({"limit": 0})).run_paused();
    let limit = value(t, &c, "pids", PIDS);
    assert!(limit == "0" || limit == "1", "{limit}");
    c.end();
}

#[case(not_crun("not compared"))]
fn a_limit_below_what_is_used_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=16 2>/dev/null; exec /probe pause").run_detached().ok();
    let dir = directory(t, &c, "memory");
    let used = || {
        let text =
            ["memory.usage_in_bytes", "memory.current"].iter().find_map(|file| fs::read_to_string(dir.join(file)).ok());
        text.unwrap().trim().parse::<u64>().unwrap()
    };
    t.wait_until("use of memory", || used() > 16 << 20);
    let resources = json!({"memory": {"limit": 8 << 20, "checkBeforeUpdate": true}}).to_string();
    let text = c.simple_cmd("update", &["--resources", "-"], &[]).stdin(resources).run().fails().stderr;
    // As runc before 1.2 has it, and since.
    let words = ["unable to set memory limit to 8388608", "rejecting memory limit 8388608"];
    assert!(words.iter().any(|words| text.contains(words)), "{text}");
    c.end();
}

#[case(needs(ControlGroups))]
fn memory_limit_kills(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 20_971_520, "swap": 20_971_520}));
    c.args(&["/probe", "alloc", "104857600"]).run().code(137);
}

#[case(needs(ControlGroups))]
fn pids_limit_holds(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/pids", json!({"limit": 20}));
    let out = c.sh("for i in $(seq 30); do sleep 5 & done; echo all").run();
    assert!(out.stderr.contains("fork"), "{out:?}");
}

#[case(needs(ControlGroups), not_runc("needs more memory to start"), not_crun("not compared"))]
fn small_limits_start(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 524_288})).args(&["/probe", "exit", "0"]);
    c.run().ok();
}

#[case(needs(ControlGroups), not_runc("needs threads to start"), not_crun("needs more"))]
fn pids_limit_of_one_starts(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/pids", json!({"limit": 1})).args(&["/probe", "exit", "0"]).run().ok();
}

#[case(needs(ControlGroups))]
fn update_by_flags(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 67_108_864})).run_paused();
    c.simple("update", &["--memory", "33554432", "--pids-limit", "55"], &[]).ok();
    assert_eq!(value(t, &c, "memory", MEMORY), "33554432");
    assert_eq!(value(t, &c, "pids", PIDS), "55");
    c.simple("update", &["--cpu-quota", "30000", "--cpu-period", "60000"], &[]).ok();
    let cpu = value(t, &c, "cpu", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(cpu == "30000" || cpu == "30000 60000", "{cpu}");
    let last = t.last_cpu().to_string();
    c.simple("update", &["--cpuset-cpus", &last], &[]).ok();
    assert_eq!(value(t, &c, "cpuset", &["cpuset.cpus"]), last);
    c.simple("update", &["--memory", "-1", "--memory-swap", "-1"], &[]).ok();
    let memory = value(t, &c, "memory", MEMORY);
    assert!(memory == "max" || memory.parse::<u64>().is_ok_and(|n| n > 1 << 40), "{memory}");
    c.end();
}

#[case(not_crun("refuses it"))]
fn kernel_memory_is_a_warning(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for flag in ["--kernel-memory", "--kernel-memory-tcp"] {
        let out = c.simple("update", &[flag, "64m"], &[]).ok();
        let warned = out.log.iter().any(|line| line["level"] == "warning");
        assert!(warned && out.log.iter().all(|line| line["level"] != "error"), "{flag}: {:?}", out.log);
    }
    c.end();
}

#[case(needs(ControlGroups), not_crun("reads files only"))]
fn update_by_file_and_standard_input(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let path = t.dir.join("resources.json");
    fs::write(&path, r#"{"pids": {"limit": 44}}"#).unwrap();
    c.simple("update", &["--resources", &path.display().to_string()], &[]).ok();
    assert_eq!(value(t, &c, "pids", PIDS), "44");
    let _ = c.simple_cmd("update", &["-r", "-"], &[]).stdin(r#"{"pids": {"limit": 43}}"#).run().ok();
    assert_eq!(value(t, &c, "pids", PIDS), "43");
    let _ = c.simple_cmd("update", &["--resources=-"], &[]).stdin(r#"{"memory": {"limit": 50331648}}"#).run().ok();
    assert_eq!(value(t, &c, "memory", MEMORY), "50331648");
    c.end();
}

#[case]
fn update_is_refused_for_an_unknown_container(t: &Sandbox) {
    t.logged(&["update", "--pids-limit", "5", &t.id("none")]).run().code(1);
}

#[case(needs(ControlGroups))]
fn update_with_a_wrong_value_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/pids", json!({"limit": 77})).run_paused();
    c.simple("update", &["--pids-limit", "many"], &[]).fails();
    c.simple("update", &["--cpuset-cpus", "999"], &[]).fails();
    c.simple("update", &["--no-such-limit", "5"], &[]).fails();
    assert_eq!(value(t, &c, "pids", PIDS), "77");
    c.end();
}

#[case(needs(ControlGroups), not_crun("not compared"))]
fn update_survives_in_the_state(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/pids", json!({"limit": 77})).run_paused();
    c.simple("update", &["--pids-limit", "33"], &[]).ok();
    c.simple("update", &["--memory", "67108864"], &[]).ok();
    assert_eq!(value(t, &c, "pids", PIDS), "33", "the second update must not undo the first");
    c.end();
}

#[case(not_crun("accepts it"))]
fn update_of_a_stopped_container_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.run_detached().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    c.simple("update", &["--pids-limit", "33"], &[]).fails();
    c.delete().ok();
}

#[case(needs(ControlGroups))]
fn pause_and_resume(t: &Sandbox) {
    let c = t.container("a");
    c.sh("while :; do echo x >> /tmp/ticks; sleep 0.01; done").run_detached().ok();
    let ticks = || fs::metadata(c.rootfs().join("tmp/ticks")).map_or(0, |file| file.len());
    t.wait_until("it ticks", || ticks() > 4);
    c.simple("pause", &[], &[]).ok();
    assert_eq!(c.status(), "paused");
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(ticks(), before);
    c.simple("resume", &[], &[]).ok();
    assert_eq!(c.status(), "running");
    t.wait_until("it ticks again", || ticks() > before);
    c.end();
}

#[case]
fn pause_refuses_what_does_not_run(t: &Sandbox) {
    let c = t.container("a");
    c.run_detached().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    c.simple("pause", &[], &[]).fails();
    c.delete().ok();
    c.simple("pause", &[], &[]).fails();
}

#[case(not_crun("accepts it"))]
fn resume_refuses_what_is_not_paused(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    c.simple("resume", &[], &[]).fails();
    c.end();
}

#[case(needs(ControlGroups))]
fn kill_reaches_a_paused_container_after_resume(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    c.simple("pause", &[], &[]).ok();
    c.kill("KILL").ok();
    // SIGKILL may thaw it by itself; other signals wait.
    if c.status() == "paused" {
        c.simple("resume", &[], &[]).ok();
    }
    t.wait_gone(pid);
    c.delete().ok();
}

#[case(needs(ControlGroups))]
fn cgroup_path_of_several_parts(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/cgroupsPath", json!(t.cgroups_path(&format!("{}/inner/most", c.id)))).run_paused();
    let dir = directory(t, &c, "memory").join("inner/most");
    assert_eq!(fs::read_to_string(dir.join("cgroup.procs")).unwrap().lines().count(), 1);
    c.end();
    // Parents are the engine's: left, or removed when empty.
    for dir in orlop_integration::leak::cgroups(&c.id) {
        fs::remove_dir(dir).unwrap();
    }
}

#[case(needs(ControlGroups))]
fn cgroup_path_relative(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/cgroupsPath", json!(c.id.clone())).run_paused();
    assert!(!orlop_integration::leak::cgroups(&c.id).is_empty());
    c.end();
}

#[case(not_crun("lets them"))]
fn two_containers_may_not_share_a_cgroup(t: &Sandbox) {
    let first = t.container("first");
    first.run_paused();
    let second = t.container("second");
    second.set("/linux/cgroupsPath", json!(t.cgroups_path(&first.id))).args(&["/probe", "pause"]);
    // runc 1.1 only warns; ours must refuse.
    let out = second.run_detached();
    if t.is(orlop_integration::Flavor::Orlop) {
        assert_eq!(out.code, 1, "{}", out.stderr);
    } else {
        second.delete_force().ok();
    }
    if first.status() == "running" {
        first.kill("KILL").ok();
    }
    first.delete_force().ok();
}

#[case(needs(ControlGroups))]
fn without_a_cgroup_path(t: &Sandbox) {
    let c = t.container("a");
    c.remove("/linux/cgroupsPath").run_paused();
    assert!(!orlop_integration::leak::cgroups(&c.id).is_empty());
    c.end();
}

/// The container stays in its caller's cgroup, and limits, which nothing could hold, are refused.
#[case(needs(ControlGroups), not_runc("crun's"))]
fn cgroup_manager_disabled(t: &Sandbox) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let run = |c: &Container<'_>, words: &[&str]| {
        let bundle = c.write().bundle.display().to_string();
        let words = [&["--cgroup-manager", "disabled", "run", "--bundle", &bundle], words, &[&c.id]].concat();
        t.cmd(&words).run()
    };
    let c = t.container("a");
    c.remove("/linux/cgroupsPath").sh("cat /proc/self/cgroup; test -d /sys/fs/cgroup || echo none");
    assert_eq!(run(&c, &[]).ok().stdout, own);
    let c = t.container("b");
    c.remove("/linux/cgroupsPath").args(&["/probe", "pause"]);
    let _ = run(&c, &["--detach"]).ok();
    assert!(t.cgroups_of(&c.id).is_empty());
    assert_eq!(c.exec(&[], &["/bin/cat", "/proc/self/cgroup"]).ok().stdout, own);
    c.end();
    if t.is(Flavor::Orlop) {
        let c = t.container("c");
        let text = run(&c, &[]).fails().stderr;
        assert!(text.contains("(config /linux/cgroupsPath)"), "{text}");
        c.remove("/linux/cgroupsPath").set("/linux/resources/pids", json!({"limit": 9}));
        let text = run(&c, &[]).fails().stderr;
        assert!(text.contains("(config /linux/resources/pids): needs a cgroup"), "{text}");
    }
}

#[case(needs(Host))]
fn device_rules(t: &Sandbox) {
    let c = t.container("a");
    for set in ["effective", "permitted", "bounding"] {
        c.push(&format!("/process/capabilities/{set}"), json!("CAP_MKNOD"));
    }
    c.push("/linux/resources/devices", json!({"allow": true, "type": "c", "major": 99, "minor": 99, "access": "rm"}));
    // Not in the image, which may lie on a file system without device nodes.
    let script = "/probe mknod /dev/none 20644 99 99; /probe open /dev/none 0; /probe open /dev/none 1; \
                  /probe mknod /dev/mem 20644 1 1; /probe mknod /dev/disk 60644 8 0; /probe open /dev/mem 0; cat /dev/null";
    let out = c.sh(script).run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[0], "ok 0", "mknod of an allowed device");
    assert_eq!(lines[1], "errno 6", "reading was allowed, so that the lack of a driver shows");
    assert_eq!(lines[2], "errno 1", "writing was not allowed");
    // A device that may be neither read, written nor made.
    assert!(lines[5] == "errno 1" || lines[5] == "errno 2", "{}", lines[5]);
}

#[case(needs(ControlGroups), not_crun("no such command"))]
fn events_stats(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 67_108_864})).run_paused();
    let event: Value = c.simple("events", &["--stats"], &[]).ok().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    let data = &event["data"];
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{event}");
    assert_eq!(data["memory"]["usage"]["limit"], 67_108_864);
    assert_eq!(data["pids"]["current"], 1);
    assert!(data["cpu"]["usage"]["total"].is_u64(), "{event}");
    c.end();
}

#[case(not_crun("no such command"))]
fn events_stream_ends_with_the_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let events = c.simple_cmd("events", &["--interval", "100ms"], &[]).spawn();
    t.wait_until("two events", || events.stdout().lines().count() >= 2);
    for line in events.stdout().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "stats");
    }
    c.end();
    let _ = events.wait().ok();
}

#[case(needs(ControlGroups), not_crun("no such command"))]
fn events_tell_oom(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/resources/memory", json!({"limit": 20_971_520, "swap": 20_971_520}));
    c.sh("while [ ! -e /tmp/go ]; do sleep 0.02; done; /probe alloc 104857600; exec /probe pause").run_detached().ok();
    let events = c.simple_cmd("events", &["--interval", "100s"], &[]).spawn();
    t.wait_until("the stream has begun", || !events.stdout().is_empty() || events_are_watched(events.pid()));
    fs::write(c.rootfs().join("tmp/go"), "").unwrap();
    t.wait_until("an oom event", || events.stdout().contains("\"type\":\"oom\""));
    c.end();
    let _ = events.wait();
}

/// Whether a process holds an eventfd or inotify descriptor already.
fn events_are_watched(pid: i32) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|path| {
                let text = path.display().to_string();
                text.contains("eventfd") || text.contains("inotify") || text.contains("memory.")
            })
        })
    })
}

#[case(needs(ControlGroups))]
fn ps_json(t: &Sandbox) {
    let c = t.container("a");
    c.sh("/probe pause & exec /probe pause").run_detached().ok();
    t.wait_until("both run", || c.simple("ps", &["--format", "json"], &[]).ok().json().as_array().unwrap().len() == 2);
    let pids = c.simple("ps", &["-f", "json"], &[]).ok().json();
    assert!(pids.as_array().unwrap().contains(&json!(c.pid())), "{pids}");
    c.end();
    c.simple("ps", &["--format", "json"], &[]).fails();
}

#[case(not_crun("pids only"))]
fn ps_table(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused().to_string();
    let out = c.simple("ps", &[], &[]).ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines[0].contains("PID") && lines[0].contains("CMD"), "{}", lines[0]);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains(&pid) && lines[1].contains("/probe pause"), "{}", lines[1]);
    let out = c.simple("ps", &[], &["-o", "pid,comm"]).ok();
    assert!(out.stdout.contains(&pid) && out.stdout.contains("probe"), "{}", out.stdout);
    c.end();
}

#[case(not_runc("ignores it here"), not_crun("not compared"))]
fn unified_needs_v2(t: &Sandbox) {
    let c = t.container("a");
    let out = c.set("/linux/resources/unified", json!({"no.such_file": "1"})).run().code(1);
    assert!(out.stderr.contains("no.such_file") || out.stderr.contains("unified"), "{}", out.stderr);
}

#[case(needs(ControlGroups), not_runc("looks at one hierarchy only"), not_crun("joins it"))]
fn a_cgroup_of_others_is_left_alone(t: &Sandbox) {
    let c = t.container("a");
    let name = t.id("others");
    let v1 = std::path::Path::new("/sys/fs/cgroup/freezer");
    let dir = if v1.is_dir() { v1.join(&name) } else { orlop_integration::leak::cgroup_places(&name).remove(0) };
    fs::create_dir(&dir).unwrap();
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), other.id().to_string()).unwrap();
    c.set("/linux/cgroupsPath", json!(t.cgroups_path(&name)));
    let text = c.run().fails().stderr;
    let alive = other.try_wait().unwrap().is_none();
    let there = fs::symlink_metadata(&dir).is_ok();
    other.kill().unwrap();
    other.wait().unwrap();
    if there {
        fs::remove_dir(&dir).unwrap();
    }
    assert!(alive && there, "the process lives: {alive}, its cgroup is there: {there}: {text}");
}
