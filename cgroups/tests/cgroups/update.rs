//! Updates: all or nothing.

use orlop_cgroups::Kind;

use crate::environment::{has_controller, skip};
use crate::process::shell;
use crate::sandbox::{Sandbox, layouts, resources};

/// The limits of memory, processes and CPU as the kernel has them.
fn state(sandbox: &Sandbox) -> Vec<String> {
    let v1 = sandbox.record().paths.v1.contains_key("memory");
    let files: &[(&str, &str)] = if v1 {
        &[
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.memsw.limit_in_bytes"),
            ("pids", "pids.max"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
            ("cpuset", "cpuset.cpus"),
        ]
    } else {
        &[("", "memory.max"), ("", "pids.max"), ("", "cpu.weight"), ("", "cpu.max"), ("", "cpuset.cpus")]
    };
    files.iter().map(|(controller, file)| sandbox.read(controller, file)).collect()
}

const FIRST: &str = r#"{"memory":{"limit":67108864,"swap":134217728},"pids":{"limit":50},
    "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"}}"#;

#[test]
fn a_failed_update_changes_nothing() {
    for (name, layout) in layouts() {
        if !["memory", "pids", "cpu", "cpuset"].iter().all(|controller| has_controller(&layout, controller)) {
            skip("a failed update", &format!("{name} has not all of memory, pids, cpu and cpuset"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(FIRST);
        let before = state(&sandbox);
        // All of it is fine but the CPUs, which are set last.
        let json = r#"{"memory":{"limit":33554432,"swap":33554432},"pids":{"limit":7},
            "cpu":{"shares":2048,"quota":70000,"period":50000,"cpus":"4000"}}"#;
        let error = sandbox.update(&resources(json)).unwrap_err();
        assert_eq!(error.field(), Some("/cpu/cpus"), "{name}: {error}");
        assert_eq!(state(&sandbox), before, "{name}");
        // And a good one does all of it.
        sandbox.update(&resources(&json.replace("4000", "0"))).unwrap();
        assert_ne!(state(&sandbox), before, "{name}");
    }
}

#[test]
fn limits_go_up_and_down_in_whatever_order_the_kernel_wants() {
    for (name, layout) in layouts() {
        if !["memory", "cpu"].iter().all(|controller| has_controller(&layout, controller)) {
            skip("limits up and down", &format!("{name} has not both of memory and cpu"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        let steps = [
            r#"{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":10000,"period":10000}}"#,
            r#"{"memory":{"limit":134217728,"swap":268435456},"cpu":{"quota":900000,"period":1000000,"burst":100000}}"#,
            r#"{"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":1000,"period":1000,"burst":0}}"#,
            r#"{"memory":{"limit":-1},"cpu":{"quota":-1}}"#,
            r#"{"memory":{"limit":33554432,"swap":-1},"cpu":{"period":20000}}"#,
        ];
        for step in steps {
            sandbox.update(&resources(step)).unwrap_or_else(|error| panic!("{name}: {step}: {error}"));
        }
        if sandbox.record().paths.v1.contains_key("cpu") {
            assert_eq!(sandbox.read("cpu", "cpu.cfs_period_us"), "20000", "{name}");
        } else {
            assert_eq!(sandbox.read("", "cpu.max"), "max 20000", "{name}");
            sandbox.update(&resources(r#"{"cpu":{"quota":5000}}"#)).unwrap();
            assert_eq!(sandbox.read("", "cpu.max"), "5000 20000", "{name}: the period stays");
            sandbox.update(&resources(r#"{"cpu":{"period":50000}}"#)).unwrap();
            assert_eq!(sandbox.read("", "cpu.max"), "5000 50000", "{name}: the quota stays");
        }
    }
}

#[test]
fn a_limit_below_usage_is_refused_when_asked() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "memory") {
            skip("checkBeforeUpdate", &format!("{name} has no controller memory"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"memory":{"limit":268435456,"swap":268435456}}"#);
        // A string of 32 MiB in the shell's memory.
        let script = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); exec 3>&-; while :; do sleep 1; done";
        let mut child = shell(&sandbox.join().unwrap(), script);
        crate::process::until(60, "the memory is used", || sandbox.stats().unwrap().memory.usage.usage > 33_554_432);
        let error = sandbox
            .update(&resources(r#"{"memory":{"limit":4194304,"swap":4194304,"checkBeforeUpdate":true}}"#))
            .unwrap_err();
        assert_eq!((error.kind(), error.field()), (Kind::BelowUsage, Some("/memory/swap")), "{name}: {error}");
        assert_eq!(sandbox.stats().unwrap().memory.usage.limit, 268_435_456, "{name}");
        assert!(child.is_running(), "{name}");
    }
}

#[test]
fn a_limit_per_device_is_taken_back_for_that_device_alone() {
    let Some((major, minor)) = crate::environment::block_device() else {
        return skip("a limit per device", "no block device");
    };
    for (name, layout) in layouts() {
        if !["blkio", "cpuset"].iter().all(|controller| has_controller(&layout, controller)) {
            skip("a limit per device", &format!("{name} has not both of io and cpuset"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        let json = |rate: u64, cpus: &str| {
            format!(
                r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":{rate}}}]}},"cpu":{{"cpus":"{cpus}"}}}}"#
            )
        };
        sandbox.update(&resources(&json(1_048_576, "0"))).unwrap();
        let v1 = sandbox.record().paths.v1.contains_key("blkio");
        let (controller, file) = if v1 { ("blkio", "blkio.throttle.read_bps_device") } else { ("", "io.max") };
        let before = sandbox.read(controller, file);
        assert!(before.contains("1048576"), "{name}: {before}");
        sandbox.update(&resources(&json(2_097_152, "4000"))).unwrap_err();
        assert_eq!(sandbox.read(controller, file), before, "{name}");
        // 0 takes the limit away.
        sandbox.update(&resources(&json(0, "0"))).unwrap();
        assert!(!sandbox.read(controller, file).contains("1048576"), "{name}");
    }
}
