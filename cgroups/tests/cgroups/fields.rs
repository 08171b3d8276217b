//! Every field of the resources object, on every layout of this host: applied, and read back from the kernel.
//!
//! The table is the one in docs/cgroups.md. A field whose controller or file this host has not is skipped, and counted.

use orlop_cgroups::Layout;

use crate::environment::{block_device, has_controller, skip};
use crate::sandbox::{Sandbox, layouts, resources};

/// One field: its JSON, the controller by its v1 name, the file and content on v1 and on v2 (empty: no such thing there).
struct Field {
    json: &'static str,
    controller: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
}

const fn field(
    json: &'static str,
    controller: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Field {
    Field { json, controller, v1, v2 }
}

const NONE: (&str, &str) = ("", "");

/// `DEV` stands for the number of a block device.
const FIELDS: &[Field] = &[
    field(
        r#"{"memory":{"limit":67108864}}"#,
        "memory",
        ("memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    ),
    field(
        r#"{"memory":{"reservation":33554432}}"#,
        "memory",
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.low", "33554432"),
    ),
    field(
        r#"{"memory":{"limit":67108864,"swap":134217728}}"#,
        "memory",
        ("memory.memsw.limit_in_bytes", "134217728"),
        ("memory.swap.max", "67108864"),
    ),
    field(r#"{"memory":{"swappiness":7}}"#, "memory", ("memory.swappiness", "7"), NONE),
    field(r#"{"memory":{"disableOOMKiller":true}}"#, "memory", ("memory.oom_control", "oom_kill_disable 1"), NONE),
    field(r#"{"memory":{"kernelTCP":1048576}}"#, "memory", ("memory.kmem.tcp.limit_in_bytes", "1048576"), NONE),
    field(r#"{"cpu":{"shares":512}}"#, "cpu", ("cpu.shares", "512"), ("cpu.weight", "59")),
    field(r#"{"cpu":{"quota":50000}}"#, "cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    field(r#"{"cpu":{"period":50000}}"#, "cpu", ("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")),
    field(
        r#"{"cpu":{"quota":20000,"period":50000,"burst":10000}}"#,
        "cpu",
        ("cpu.cfs_burst_us", "10000"),
        ("cpu.max.burst", "10000"),
    ),
    field(r#"{"cpu":{"idle":1}}"#, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
    field(r#"{"cpu":{"cpus":"0"}}"#, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    field(r#"{"cpu":{"mems":"0"}}"#, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    field(r#"{"pids":{"limit":77}}"#, "pids", ("pids.max", "77"), ("pids.max", "77")),
    field(r#"{"pids":{"limit":0}}"#, "pids", ("pids.max", "1"), ("pids.max", "1")),
    field(r#"{"pids":{"limit":-1}}"#, "pids", ("pids.max", "max"), ("pids.max", "max")),
    field(r#"{"blockIO":{"weight":100}}"#, "blkio", ("blkio.bfq.weight", "100"), ("io.weight", "default 910")),
    field(
        r#"{"blockIO":{"weightDevice":[{"major":MAJOR,"minor":MINOR,"weight":500}]}}"#,
        "blkio",
        ("blkio.bfq.weight_device", "DEV 500"),
        ("io.weight", "DEV 4950"),
    ),
    field(
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":MAJOR,"minor":MINOR,"rate":1048576}]}}"#,
        "blkio",
        ("blkio.throttle.read_bps_device", "DEV 1048576"),
        ("io.max", "DEV rbps=1048576 wbps=max riops=max wiops=max"),
    ),
    field(
        r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":MAJOR,"minor":MINOR,"rate":1048576}]}}"#,
        "blkio",
        ("blkio.throttle.write_bps_device", "DEV 1048576"),
        ("io.max", "DEV rbps=max wbps=1048576 riops=max wiops=max"),
    ),
    field(
        r#"{"blockIO":{"throttleReadIOPSDevice":[{"major":MAJOR,"minor":MINOR,"rate":100}]}}"#,
        "blkio",
        ("blkio.throttle.read_iops_device", "DEV 100"),
        ("io.max", "DEV rbps=max wbps=max riops=100 wiops=max"),
    ),
    field(
        r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":MAJOR,"minor":MINOR,"rate":100}]}}"#,
        "blkio",
        ("blkio.throttle.write_iops_device", "DEV 100"),
        ("io.max", "DEV rbps=max wbps=max riops=max wiops=100"),
    ),
    field(
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        "hugetlb",
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.max", "4194304"),
    ),
    field(
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#,
        "hugetlb",
        ("hugetlb.2MB.rsvd.limit_in_bytes", "2097152"),
        ("hugetlb.2MB.rsvd.max", "2097152"),
    ),
    field(r#"{"network":{"classID":1048577}}"#, "net_cls", ("net_cls.classid", "1048577"), NONE),
    field(
        r#"{"network":{"priorities":[{"name":"lo","priority":5}]}}"#,
        "net_prio",
        ("net_prio.ifpriomap", "lo 5"),
        NONE,
    ),
    field(r#"{"rdma":{"rxe0":{"hcaHandles":3,"hcaObjects":10}}}"#, "rdma", ("rdma.max", "rxe0"), ("rdma.max", "rxe0")),
    field(r#"{"unified":{"memory.high":"33554432"}}"#, "memory", NONE, ("memory.high", "33554432")),
    field(r#"{"unified":{"memory.min":"1048576"}}"#, "memory", NONE, ("memory.min", "1048576")),
    field(r#"{"unified":{"memory.oom.group":"1"}}"#, "memory", NONE, ("memory.oom.group", "1")),
    field(r#"{"unified":{"memory.zswap.max":"1048576"}}"#, "memory", NONE, ("memory.zswap.max", "1048576")),
    field(r#"{"unified":{"cpu.uclamp.min":"10.00"}}"#, "cpu", NONE, ("cpu.uclamp.min", "10.00")),
    field(r#"{"unified":{"cpuset.cpus.partition":"member"}}"#, "cpuset", NONE, ("cpuset.cpus.partition", "member")),
    field(r#"{"unified":{"io.latency":"MAJOR:MINOR target=5000"}}"#, "blkio", NONE, ("io.latency", "DEV target=5000")),
    field(r#"{"unified":{"io.prio.class":"idle"}}"#, "blkio", NONE, ("io.prio.class", "idle")),
    field(r#"{"unified":{"pids.max":"33"}}"#, "pids", NONE, ("pids.max", "33")),
    field(r#"{"unified":{"cgroup.max.depth":"3"}}"#, "", NONE, ("cgroup.max.depth", "3")),
    field(r#"{"unified":{"cgroup.max.descendants":"5"}}"#, "", NONE, ("cgroup.max.descendants", "5")),
];

#[test]
fn every_field_reaches_the_kernel() {
    for (name, layout) in layouts() {
        for field in FIELDS {
            if let Err(reason) = check(&layout, field) {
                skip(&format!("{} on {name}", field.json), &reason);
            }
        }
    }
}

/// Applies one field and reads it back; an error says why this host cannot.
fn check(layout: &Layout, field: &Field) -> Result<(), String> {
    let v1 = layout.hierarchy(field.controller).is_some();
    let (file, content) = if v1 { field.v1 } else { field.v2 };
    if file.is_empty() {
        return refused(layout, field);
    }
    if !field.controller.is_empty() && !has_controller(layout, field.controller) {
        return Err(format!("no controller {}", field.controller));
    }
    if field.controller.is_empty() && layout.unified().is_none() {
        return Err("no v2 tree".to_owned());
    }
    let (mut json, mut content) = (field.json.to_owned(), content.to_owned());
    if json.contains("MAJOR") {
        let (major, minor) = block_device().ok_or("no block device")?;
        json = json.replace("MAJOR", &major.to_string()).replace("MINOR", &minor.to_string());
        content = content.replace("DEV", &format!("{major}:{minor}"));
    }
    let sandbox = Sandbox::new(layout);
    match sandbox.apply(&resources(&json)) {
        Ok(()) => {}
        // A file that this kernel has not, or a device it cannot limit: the error has to name the file.
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | 524)) => {
            let text = error.to_string();
            assert!(text.contains(error.object().unwrap()) && error.field().is_some(), "{text}");
            return Err(text);
        }
        Err(error) => panic!("{json}: {error}"),
    }
    let path = sandbox.file(if v1 { field.controller } else { "" }, file);
    let Ok(found) = std::fs::read_to_string(&path) else {
        return Err(format!("no file {file}"));
    };
    let matches = found.trim() == content || found.lines().any(|line| line.trim() == content);
    if !matches && field.controller == "blkio" && content.starts_with("default") {
        // A scheduler with its own file takes the weight there, in the specification's scale.
        let found = sandbox.read("", "io.bfq.weight");
        assert!(found.contains("100") && !found.contains("1000"), "{json}: io.bfq.weight is {found:?}");
        return Ok(());
    }
    if file == "memory.soft_limit_in_bytes" && found.trim() == "9223372036854771712" {
        return Err("this kernel takes a soft limit and forgets it (7.0)".to_owned());
    }
    assert!(matches, "{json}: {path} is {found:?} and not {content:?}");
    Ok(())
}

/// What a layout has nothing for must be refused with the field's name, never be passed over.
fn refused(layout: &Layout, field: &Field) -> Result<(), String> {
    let json = field.json.replace("MAJOR", "1").replace("MINOR", "0");
    let sandbox = Sandbox::new(layout);
    let error = sandbox.apply(&resources(&json)).expect_err(&json);
    assert_eq!(error.kind(), orlop_cgroups::Kind::Unsupported, "{json}: {error}");
    assert!(error.field().is_some_and(|pointer| pointer.starts_with('/')), "{json}: {error}");
    Ok(())
}

#[test]
fn realtime_limits_reach_a_top_level_v1_cgroup() {
    for (name, layout) in layouts() {
        let Some(hierarchy) = layout.hierarchy("cpu") else {
            skip("realtime limits", &format!("{name} has no v1 cpu controller"));
            continue;
        };
        if !std::path::Path::new(&format!("{}/cpu.rt_runtime_us", hierarchy.mount)).is_file() {
            skip("realtime limits", "this kernel has no realtime groups");
            continue;
        }
        // What the host has is shared by all cgroups there, and one may have taken it all.
        let taken = std::fs::read_dir(&hierarchy.mount).unwrap().flatten().any(|entry| {
            std::fs::read_to_string(entry.path().join("cpu.rt_runtime_us")).is_ok_and(|text| text.trim() != "0")
        });
        if taken {
            skip("realtime limits", "another cgroup of this host has realtime");
            continue;
        }
        // Only a cgroup whose parent has realtime to give can get some, so it lies directly below the mount.
        let sandbox = Sandbox::at(&layout, &format!("/{}", crate::sandbox::unique()));
        sandbox.limit(r#"{"cpu":{"realtimePeriod":900000,"realtimeRuntime":1000}}"#);
        assert_eq!(sandbox.read("cpu", "cpu.rt_period_us"), "900000", "{name}");
        assert_eq!(sandbox.read("cpu", "cpu.rt_runtime_us"), "1000", "{name}");
    }
}

#[test]
fn values_the_kernel_refuses_name_file_value_and_field() {
    for (name, layout) in layouts() {
        let table = [
            ("cpuset", r#"{"cpu":{"cpus":"4000"}}"#, "cpuset.cpus", "4000", "/cpu/cpus"),
            ("cpu", r#"{"cpu":{"quota":1}}"#, "cpu.", "1", "/cpu/quota"),
            ("cpu", r#"{"cpu":{"idle":5}}"#, "cpu.idle", "5", "/cpu/idle"),
            (
                "hugetlb",
                r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#,
                "hugetlb.3MB",
                "1",
                "/hugepageLimits/0/limit",
            ),
        ];
        for (controller, json, file, value, pointer) in table {
            if !has_controller(&layout, controller) {
                skip(&format!("{json} on {name}"), &format!("no controller {controller}"));
                continue;
            }
            let sandbox = Sandbox::new(&layout);
            let error = sandbox.apply(&resources(json)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(file) && text.contains(&format!("{value:?}")), "{name}: {text}");
            assert_eq!(error.field(), Some(pointer), "{name}: {text}");
        }
    }
}
