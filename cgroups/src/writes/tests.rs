use super::*;

fn list(json: &str, mounts: Mounts<'_>) -> std::result::Result<Vec<String>, String> {
    let resources: Resources<'_> = serde_json::from_str(json).unwrap();
    let writes = writes_for(&resources, mounts).map_err(|error| error.to_string())?;
    Ok(writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect())
}

const V1: Mounts<'static> = Mounts { v1: &|_| true, unified: false };
const V2: Mounts<'static> = Mounts { v1: &|_| false, unified: true };
const MIXED: Mounts<'static> = Mounts { v1: &|name| name != "hugetlb", unified: true };
const BARE: Mounts<'static> = Mounts { v1: &|_| false, unified: false };

/// A resources object and the files it becomes on v1 and on v2, or the text of the refusal.
type Files = std::result::Result<&'static [&'static str], &'static str>;
type Case = (&'static str, Files, Files);

const CASES: &[Case] = &[
    ("{}", Ok(&[]), Ok(&[])),
    (
        r#"{"memory":{"disableOOMKiller":false},"blockIO":{"weight":0},"cpu":{"shares":0,"quota":0,"period":0}}"#,
        Ok(&[]),
        Ok(&[]),
    ),
    (
        r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":524288}}"#,
        Ok(&[
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=2097152",
            "memory.soft_limit_in_bytes=524288",
        ]),
        Ok(&["memory.swap.max=1048576", "memory.max=1048576", "memory.low=524288"]),
    ),
    // No swap at all.
    (
        r#"{"memory":{"limit":1048576,"swap":1048576}}"#,
        Ok(&["memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=1048576"]),
        Ok(&["memory.swap.max=0", "memory.max=1048576"]),
    ),
    (
        r#"{"memory":{"limit":-1}}"#,
        Ok(&["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]),
        Ok(&["memory.swap.max=max", "memory.max=max"]),
    ),
    (
        r#"{"memory":{"limit":-5}}"#,
        Err("check the resources (/memory/limit): -5 is neither a size nor -1"),
        Err("check the resources (/memory/limit): -5 is neither a size nor -1"),
    ),
    (
        r#"{"memory":{"swap":5}}"#,
        Ok(&["memory.memsw.limit_in_bytes=5"]),
        Err("check the resources (/memory/swap): a swap limit needs a memory limit beside it on cgroup v2"),
    ),
    (
        r#"{"memory":{"swappiness":60,"disableOOMKiller":true}}"#,
        Ok(&["memory.oom_control=1", "memory.swappiness=60"]),
        Err("set a limit (/memory/swappiness): cgroup v2 has no swappiness per cgroup"),
    ),
    (
        r#"{"memory":{"swappiness":101}}"#,
        Err("check the resources (/memory/swappiness): 101 is not between 0 and 100"),
        Err("set a limit (/memory/swappiness): cgroup v2 has no swappiness per cgroup"),
    ),
    (
        r#"{"memory":{"disableOOMKiller":true}}"#,
        Ok(&["memory.oom_control=1"]),
        Err(
            "set a limit (/memory/disableOOMKiller): cgroup v2 cannot disable the OOM killer; memory.high in unified throttles",
        ),
    ),
    (r#"{"memory":{"useHierarchy":true,"kernel":-1,"kernelTCP":0}}"#, Ok(&[]), Ok(&[])),
    (
        r#"{"memory":{"kernel":1,"kernelTCP":2}}"#,
        Ok(&["memory.kmem.limit_in_bytes=1", "memory.kmem.tcp.limit_in_bytes=2"]),
        Err("set a limit (/memory/kernel): cgroup v2 has no limit of its own for kernel memory, it counts as memory"),
    ),
    (
        r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":10000,"cpus":"0-1","mems":"0"}}"#,
        Ok(&[
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_burst_us=10000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ]),
        Ok(&["cpu.weight=59", "cpu.max.burst=10000", "cpu.max=50000 100000", "cpuset.cpus=0-1", "cpuset.mems=0"]),
    ),
    (r#"{"cpu":{"quota":-1}}"#, Ok(&["cpu.cfs_quota_us=-1"]), Ok(&["cpu.max=max"])),
    (r#"{"cpu":{"period":50000}}"#, Ok(&["cpu.cfs_period_us=50000"]), Ok(&["cpu.max=max 50000"])),
    (r#"{"cpu":{"idle":1,"shares":512}}"#, Ok(&["cpu.idle=1"]), Ok(&["cpu.idle=1"])),
    (r#"{"cpu":{"idle":0,"shares":512}}"#, Ok(&["cpu.idle=0", "cpu.shares=512"]), Ok(&["cpu.idle=0", "cpu.weight=59"])),
    (
        r#"{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":950000}}"#,
        Ok(&["cpu.rt_period_us=1000000", "cpu.rt_runtime_us=950000"]),
        Err("set a limit (/cpu/realtimePeriod): cgroup v2 has no realtime limits"),
    ),
    (
        r#"{"cpu":{"shares":1}}"#,
        Err("check the resources (/cpu/shares): 1 is not between 2 and 262144"),
        Ok(&["cpu.weight=1"]),
    ),
    (r#"{"pids":{"limit":0}}"#, Ok(&["pids.max=1"]), Ok(&["pids.max=1"])),
    (r#"{"pids":{"limit":-1}}"#, Ok(&["pids.max=max"]), Ok(&["pids.max=max"])),
    (r#"{"pids":{"limit":77}}"#, Ok(&["pids.max=77"]), Ok(&["pids.max=77"])),
    (
        r#"{"blockIO":{"weight":100,"weightDevice":[{"major":8,"minor":0,"weight":500}],
            "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
            "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
        Ok(&[
            "blkio.weight=100",
            "blkio.weight_device=8:0 500",
            "blkio.throttle.read_bps_device=8:0 1",
            "blkio.throttle.write_bps_device=8:0 2",
            "blkio.throttle.read_iops_device=8:0 3",
            "blkio.throttle.write_iops_device=8:0 0",
        ]),
        Ok(&[
            "io.bfq.weight=100",
            "io.bfq.weight=8:0 500",
            "io.max=8:0 rbps=1",
            "io.max=8:0 wbps=2",
            "io.max=8:0 riops=3",
            "io.max=8:0 wiops=max",
        ]),
    ),
    (
        r#"{"blockIO":{"leafWeight":10,"weightDevice":[{"major":8,"minor":0,"leafWeight":11}]}}"#,
        Ok(&["blkio.leaf_weight=10", "blkio.leaf_weight_device=8:0 11"]),
        Err("set a limit (/blockIO/leafWeight): cgroup v2 has no leaf weight"),
    ),
    (
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        Ok(&["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304"]),
        Ok(&["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"]),
    ),
    (
        r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#,
        Err("check the resources (/hugepageLimits/0/pageSize): \"../x\" is not a page size such as 64KB, 2MB or 1GB"),
        Err("check the resources (/hugepageLimits/0/pageSize): \"../x\" is not a page size such as 64KB, 2MB or 1GB"),
    ),
    (
        r#"{"rdma":{"mlx5_0":{"hcaHandles":3,"hcaObjects":10000},"mlx5_1":{}}}"#,
        Ok(&["rdma.max=mlx5_0 hca_handle=3 hca_object=10000"]),
        Ok(&["rdma.max=mlx5_0 hca_handle=3 hca_object=10000"]),
    ),
    (
        r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#,
        Ok(&["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]),
        Err(
            "set a limit (/network/classID): packet classes and priorities exist on cgroup v1 only, and the controller is not mounted",
        ),
    ),
    (
        r#"{"unified":{"io.max":"8:0 rbps=1\n8:16 wbps=2\n","memory.high":"max"}}"#,
        Err("set a limit (/unified/io.max): invalid configuration: there is no cgroup v2 tree on this host"),
        Ok(&["io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=max"]),
    ),
    (
        r#"{"unified":{"cgroup.procs":"1"}}"#,
        Err("check the resources (/unified/cgroup.procs): this file is the runtime's own and no limit"),
        Err("check the resources (/unified/cgroup.procs): this file is the runtime's own and no limit"),
    ),
    (
        r#"{"unified":{"../memory.max":"1"}}"#,
        Err(
            "check the resources (/unified/..~1memory.max): it is a file name of the form CONTROLLER.PARAMETER, without a slash",
        ),
        Err(
            "check the resources (/unified/..~1memory.max): it is a file name of the form CONTROLLER.PARAMETER, without a slash",
        ),
    ),
];

#[test]
fn every_field_becomes_its_files() {
    for (json, v1, v2) in CASES {
        for (name, mounts, expected) in [("v1", V1, v1), ("v2", V2, v2)] {
            let found = list(json, mounts);
            let expected =
                expected.map(|files| files.iter().map(|file| (*file).to_owned()).collect()).map_err(str::to_owned);
            assert_eq!(found, expected, "{json} on {name}");
        }
    }
}

#[test]
fn hybrid_uses_v2_for_what_no_v1_hierarchy_has() {
    let json =
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}],"pids":{"limit":5},"unified":{"hugetlb.2MB.max":"2"}}"#;
    let resources: Resources<'_> = serde_json::from_str(json).unwrap();
    let found: Vec<_> =
        writes_for(&resources, MIXED).unwrap().into_iter().map(|write| (write.place, write.file)).collect();
    let expected: Vec<(Place, Cow<'_, str>)> = vec![
        (Place::V1("pids"), "pids.max".into()),
        (Place::Unified, "hugetlb.2MB.max".into()),
        (Place::Unified, "hugetlb.2MB.rsvd.max".into()),
        (Place::Unified, "hugetlb.2MB.max".into()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_controller_that_is_nowhere_is_named() {
    assert_eq!(
        list(r#"{"pids":{"limit":5}}"#, BARE),
        Err("set a limit (/pids/limit): controller \"pids\" is not mounted on this host".to_owned())
    );
    assert_eq!(
        list(r#"{"memory":{"limit":4096}}"#, BARE),
        Err("set a limit (/memory/limit): controller \"memory\" is not mounted on this host".to_owned())
    );
    assert_eq!(list(r#"{"memory":{"disableOOMKiller":false},"blockIO":{},"cpu":{"shares":0}}"#, BARE), Ok(Vec::new()));
}

#[test]
fn fallback_files_carry_their_own_scale() {
    let resources: Resources<'_> = serde_json::from_str(r#"{"blockIO":{"weight":100}}"#).unwrap();
    let writes = writes_for(&resources, V2).unwrap();
    assert_eq!(writes[0].absent, Absent::Instead { file: "io.weight", value: "910".to_owned() });
    let writes = writes_for(&resources, V1).unwrap();
    assert_eq!(writes[0].absent, Absent::Instead { file: "blkio.bfq.weight", value: "100".to_owned() });
}
