//! The life of a cgroup on this host, whatever layout it has.
use orlop_cgroups::{Cgroup, Layout, Resources, Spec};
use std::process::Command;

#[test]
fn life() {
    let layout = Layout::detect().unwrap();
    println!("{layout:?}");
    let path = format!("/orlop-smoke-{}/c", std::process::id());
    let spec = Spec { id: "c", cgroups_path: Some(&path), ..Spec::default() };
    let record = Cgroup::plan(&layout, &spec).unwrap();
    let mut cgroup = Cgroup::create(record, &spec).unwrap();
    println!("{:?}", cgroup.join().unwrap());
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let attached = cgroup.attach(pid);
    let text = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
        {"allow":true,"type":"c","major":136,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":229,"access":"rwm"}],
        "memory":{"limit":134217728,"swap":268435456,"disableOOMKiller":false},
        "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"},"pids":{"limit":77},"blockIO":{}}"#;
    let resources: Resources<'_> = serde_json::from_str(text).unwrap();
    let applied = cgroup.apply(&resources);
    println!("{}", serde_json::to_string_pretty(&cgroup.stats().unwrap()).unwrap());
    let mut events = cgroup.events(&[]).unwrap();
    let processes = cgroup.processes();
    let frozen = cgroup.freeze();
    let is = cgroup.is_frozen();
    let thawed = cgroup.thaw();
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
    println!("{:?}", events.next(Some(std::time::Duration::from_secs(1))));
    let removed = cgroup.remove();
    println!("{:?}", events.next(Some(std::time::Duration::from_secs(1))));
    attached.unwrap();
    applied.unwrap();
    frozen.unwrap();
    thawed.unwrap();
    assert!(is.unwrap());
    assert_eq!(processes.unwrap(), [pid]);
    removed.unwrap();
}
