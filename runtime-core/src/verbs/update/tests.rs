use serde_json::{Value, json};

use super::*;

fn resources(value: &Value) -> Resources<'static> {
    let text = value.to_string();
    serde_json::from_str::<Resources<'_>>(&text).unwrap().into_owned()
}

#[test]
fn what_an_update_does_not_name_stays() {
    let cases = [
        (json!({}), json!({"pids": {"limit": 5}}), json!({"pids": {"limit": 5}})),
        (json!({"pids": {"limit": 5}}), json!({"pids": {"limit": null}}), json!({"pids": {"limit": 5}})),
        (json!({"pids": {"limit": 5}}), json!({"pids": {"limit": -1}}), json!({"pids": {"limit": -1}})),
        (
            json!({"memory": {"limit": 100, "swap": 200, "swappiness": 7}}),
            json!({"memory": {"limit": 150, "reservation": 20, "checkBeforeUpdate": true}}),
            json!({"memory": {"limit": 150, "reservation": 20, "swap": 200, "swappiness": 7}}),
        ),
        (
            json!({"memory": {"limit": 100, "swap": 200}}),
            json!({"memory": {"limit": -1}}),
            json!({"memory": {"limit": -1, "swap": -1}}),
        ),
        (json!({"memory": {"limit": 100}}), json!({"memory": {"limit": -1}}), json!({"memory": {"limit": -1}})),
        (
            json!({"cpu": {"quota": 5000, "period": 10000, "cpus": "0-1", "shares": 512}}),
            json!({"cpu": {"quota": 7000, "cpus": "", "mems": "0", "shares": 0, "burst": 0}}),
            json!({"cpu": {"quota": 7000, "period": 10000, "cpus": "0-1", "mems": "0", "shares": 512, "burst": 0}}),
        ),
        (json!({"cpu": {"idle": 1}}), json!({"cpu": {"shares": 512}}), json!({"cpu": {"shares": 512}})),
        (json!({"cpu": {"idle": 1}}), json!({"cpu": {"quota": 7000}}), json!({"cpu": {"idle": 1, "quota": 7000}})),
        (
            json!({"unified": {"cpu.idle": "1", "pids.max": "2"}}),
            json!({"unified": {"cpu.weight": "8"}}),
            json!({"unified": {"cpu.weight": "8", "pids.max": "2"}}),
        ),
        (
            json!({"blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "weightDevice": [{"major": 8, "minor": 0, "weight": 11, "leafWeight": 12}]}}),
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 16, "rate": 3}],
                "weightDevice": [{"major": 8, "minor": 0, "weight": 13}]}}),
            json!({"blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 13, "leafWeight": 12}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 16, "rate": 3}]}}),
        ),
        (
            json!({"unified": {"memory.high": "1", "pids.max": "2"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}),
            json!({"unified": {"memory.high": "max"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 2}, {"pageSize": "1GB", "limit": 3}]}),
            json!({"unified": {"memory.high": "max", "pids.max": "2"},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 2}, {"pageSize": "1GB", "limit": 3}]}),
        ),
        (
            json!({"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]}, "rdma": {"a": {"hcaHandles": 1}}}),
            json!({"network": {"priorities": [{"name": "lo", "priority": 2}]}, "rdma": {"b": {"hcaObjects": 2}}}),
            json!({"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 2}]},
                "rdma": {"a": {"hcaHandles": 1}, "b": {"hcaObjects": 2}}}),
        ),
    ];
    for (current, new, expected) in cases {
        let merged = merge::merged(&resources(&current), resources(&new));
        assert_eq!(serde_json::to_value(&merged).unwrap(), expected, "{current} + {new}");
    }
}

#[test]
fn what_is_written_can_be_said_on_both_kinds_of_cgroup() {
    let current =
        json!({"memory": {"limit": 100, "swap": 200}, "cpu": {"quota": 5000, "period": 10000, "shares": 512}});
    let cases = [
        (json!({"memory": {"swap": 300}}), json!({"memory": {"limit": 100, "swap": 300}})),
        (json!({"memory": {"limit": 50}}), json!({"memory": {"limit": 50}})),
        (json!({"cpu": {"quota": 7000}}), json!({"cpu": {"quota": 7000, "period": 10000}})),
        (json!({"cpu": {"period": 20000}}), json!({"cpu": {"quota": 5000, "period": 20000}})),
        (json!({"cpu": {"shares": 100}}), json!({"cpu": {"shares": 100}})),
        (json!({"cpu": {"idle": 0}}), json!({"cpu": {"idle": 0, "shares": 512}})),
        (json!({"cpu": {"idle": 1}}), json!({"cpu": {"idle": 1}})),
        (json!({"pids": {"limit": 1}}), json!({"pids": {"limit": 1}})),
    ];
    for (new, expected) in cases {
        let effective = merge::with_companions(&resources(&new), &resources(&current));
        assert_eq!(serde_json::to_value(&effective).unwrap(), expected, "{new}");
    }
}

#[test]
fn what_was_changed_can_be_taken_back() {
    let changed = resources(
        &json!({"memory": {"limit": 1, "swap": 2, "reservation": 3}, "cpu": {"quota": 4, "idle": 1}, "pids": {"limit": 5}}),
    );
    let current = resources(&json!({"memory": {"limit": 100}, "devices": [{"allow": false, "access": "rwm"}]}));
    let expected = json!({"memory": {"limit": 100, "swap": -1, "reservation": -1}, "cpu": {"quota": -1, "idle": 0}, "pids": {"limit": -1}});
    assert_eq!(serde_json::to_value(merge::restored(&changed, &current)).unwrap(), expected);
}

#[test]
fn single_options_become_resources() {
    let options = UpdateOptions {
        blkio_weight: Some(10),
        cpu_period: Some(1),
        cpu_quota: Some(-1),
        cpu_burst: Some(2),
        cpu_shares: Some(3),
        cpu_rt_period: Some(4),
        cpu_rt_runtime: Some(5),
        cpu_idle: Some(1),
        cpuset_cpus: Some("0".into()),
        cpuset_mems: Some("1".into()),
        memory: Some(6),
        memory_reservation: Some(7),
        memory_swap: Some(8),
        kernel_memory: Some(9),
        kernel_memory_tcp: Some(10),
        pids_limit: Some(11),
        ..UpdateOptions::default()
    };
    let expected = json!({"memory": {"limit": 6, "reservation": 7, "swap": 8, "kernel": 9, "kernelTCP": 10},
        "cpu": {"shares": 3, "quota": -1, "burst": 2, "period": 1, "realtimeRuntime": 5, "realtimePeriod": 4, "cpus": "0",
            "mems": "1", "idle": 1},
        "pids": {"limit": 11}, "blockIO": {"weight": 10}});
    assert_eq!(serde_json::to_value(options.named()).unwrap(), expected);
    assert_eq!(UpdateOptions::default().named(), Resources::default());
}

#[test]
fn what_an_update_does_not_do_gets_a_word() {
    let rule = json!([{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]);
    let current = resources(&json!({"devices": rule}));
    for (new, warnings) in [
        (json!({"devices": rule}), 0),
        (json!({"devices": [{"allow": true, "access": "rwm"}]}), 1),
        (json!({"memory": {"kernel": 1, "kernelTCP": 2}}), 1),
        (json!({"memory": {"kernelTCP": 2}, "devices": [{"allow": true, "access": "rwm"}]}), 2),
        (json!({"pids": {"limit": 1}}), 0),
        (json!({"cpu": {"shares": 200, "idle": 1}}), 1),
        (json!({"unified": {"cpu.idle": "1", "cpu.weight": "8"}}), 1),
        (json!({"cpu": {"shares": 200}}), 0),
    ] {
        let mut new = resources(&new);
        assert_eq!(set_aside(&mut new, &current).len(), warnings);
        assert!(new.devices.is_empty() && new.memory.is_none_or(|memory| memory == Memory::default()));
    }
}
