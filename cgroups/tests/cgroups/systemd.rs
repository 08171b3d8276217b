//! The systemd driver against a real systemd: the system's for root, the user's own for others.

use std::process::Command;

use orlop_cgroups::{Cgroup, Driver, Join, Kind, Layout, Property, Spec};

use crate::environment::{Need, is_root, needs};
use crate::process::{Child, shell, until};
use crate::sandbox::{Sandbox, resources, unique};

/// What `systemctl show` says of a property.
fn show(unit: &str, property: &str) -> String {
    let mut command = Command::new("systemctl");
    if !is_root() {
        command.arg("--user");
    }
    let output = command.args(["show", "--value", "-p", property, unit]).output().unwrap();
    assert!(output.status.success(), "systemctl show: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A process outside any container.
fn outside(script: &str) -> Child {
    shell(&Join { clone_into: None, tasks: Vec::new(), attach: false }, script)
}

fn scope(path: Option<&str>, id: &str, properties: Vec<Property>) -> Sandbox {
    let layout = Layout::detect().unwrap();
    let spec =
        Spec { id, cgroups_path: path, driver: Driver::Systemd, rootless: !is_root(), properties, ..Spec::default() };
    Sandbox::of(&layout, &spec).unwrap()
}

fn systemd_here(test: &str) -> bool {
    let need = if is_root() { Need::Systemd } else { Need::SystemdUser };
    crate::environment::can_run(test, &[need])
}

#[test]
fn a_scope_has_runcs_properties_and_limits() {
    if !systemd_here("a_scope_has_runcs_properties_and_limits") {
        return;
    }
    let id = unique();
    let annotation = Property::from_annotation("org.systemd.property.TimeoutStopSec", "7").unwrap().unwrap();
    let mut sandbox = scope(None, &id, vec![annotation]);
    let unit = sandbox.record().unit.clone().unwrap();
    assert_eq!(unit.name, format!("orlop-{id}.scope"));
    assert!(sandbox.join().unwrap().attach);
    let child = outside("exec sleep 100");
    sandbox.attach(child.pid()).unwrap();
    assert_eq!(sandbox.processes().unwrap().pids, [child.pid()]);
    let slice = if is_root() { "system.slice" } else { "user.slice" };
    let v2 = sandbox.record().is_v2();
    let main = sandbox.record().path("memory").unwrap().to_owned();
    let table = [
        ("Slice", slice),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("MemoryAccounting", "yes"),
        ("TasksAccounting", "yes"),
        (if v2 { "IOAccounting" } else { "BlockIOAccounting" }, "yes"),
        ("TimeoutStopUSec", "7s"),
        ("ActiveState", "active"),
        ("Transient", "yes"),
    ];
    for (property, expected) in table {
        assert_eq!(show(&unit.name, property), expected, "{property}");
    }
    assert!(main.ends_with(&show(&unit.name, "ControlGroup")));
    let json =
        r#"{"memory":{"limit":67108864},"pids":{"limit":50},"cpu":{"shares":512,"quota":50000,"period":100000}}"#;
    sandbox.limit(json);
    let limit = if v2 { "MemoryMax" } else { "MemoryLimit" };
    let weight = if v2 { ("CPUWeight", "59") } else { ("CPUShares", "512") };
    for (property, expected) in [(limit, "67108864"), ("TasksMax", "50"), weight, ("CPUQuotaPerSecUSec", "500ms")] {
        assert_eq!(show(&unit.name, property), expected, "{property}");
    }
    let limit_file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let quota = || {
        if v2 {
            sandbox.read("", "cpu.max")
        } else {
            format!("{} {}", sandbox.read("cpu", "cpu.cfs_quota_us"), sandbox.read("cpu", "cpu.cfs_period_us"))
        }
    };
    let weight = if v2 { ("cpu.weight", "59") } else { ("cpu.shares", "512") };
    assert_eq!(sandbox.read("memory", limit_file), "67108864");
    assert_eq!(sandbox.read("pids", "pids.max"), "50");
    assert_eq!(sandbox.read("cpu", weight.0), weight.1);
    assert_eq!(quota(), "50000 100000");
    sandbox.update(&resources(r#"{"memory":{"limit":134217728},"cpu":{"quota":12345}}"#)).unwrap();
    assert_eq!(show(&unit.name, limit), "134217728");
    assert_eq!(quota(), "13000 100000", "systemd has whole percents");
    assert_eq!(show(&unit.name, "CPUQuotaPerSecUSec"), "130ms");
    sandbox.update(&resources(r#"{"cpu":{"quota":500000,"period":900000}}"#)).unwrap();
    assert_eq!(quota(), "504000 900000");
    assert_eq!(show(&unit.name, "CPUQuotaPerSecUSec"), "560ms");
    // systemd writes its own idea of the limits when it reloads: it has to be ours.
    if is_root() {
        assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
        assert_eq!(sandbox.read("memory", limit_file), "134217728");
        assert_eq!(sandbox.read("pids", "pids.max"), "50");
        assert_eq!(quota(), "504000 900000");
    }
    if v2 && std::fs::exists(format!("{main}/cpu.idle")).unwrap() {
        let idle = |json: &str, expected: &str| {
            sandbox.update(&resources(json)).unwrap();
            assert_eq!(sandbox.read("", "cpu.idle"), expected, "{json}");
        };
        idle(r#"{"cpu":{"shares":512,"idle":1}}"#, "1");
        idle(r#"{"cpu":{"shares":1024}}"#, "0");
        assert_eq!(show(&unit.name, "CPUWeight"), "100");
        idle(r#"{"unified":{"cpu.idle":"1","cpu.weight":"8"}}"#, "1");
        // What changes something else leaves it idle, and what ends it does so for good.
        idle(r#"{"cpu":{"quota":50000,"period":100000}}"#, "1");
        idle(r#"{"cpu":{"idle":0}}"#, "0");
        idle(r#"{"cpu":{"quota":60000,"period":100000}}"#, "0");
        idle(r#"{"unified":{"cpu.idle":"1"}}"#, "1");
        idle(r#"{"unified":{"cpu.weight":"8"}}"#, "0");
        assert_eq!(sandbox.read("", "cpu.weight"), "8");
    }
    sandbox.freeze().unwrap();
    assert!(sandbox.is_frozen().unwrap());
    sandbox.thaw().unwrap();
    sandbox.kill_all().unwrap();
    drop(child);
    sandbox.remove().unwrap();
    until(10, "the scope is gone", || show(&unit.name, "ActiveState") == "inactive");
    for path in sandbox.record().paths.iter() {
        assert!(!std::path::Path::new(path).exists_dir(), "{path}");
    }
}

/// `Path::exists` is not used in this project: it hides errors.
trait ExistsDir {
    fn exists_dir(&self) -> bool;
}

impl ExistsDir for std::path::Path {
    fn exists_dir(&self) -> bool {
        std::fs::symlink_metadata(self).is_ok_and(|metadata| metadata.is_dir())
    }
}

#[test]
fn scopes_lie_in_the_slice_they_name() {
    if !systemd_here("scopes_lie_in_the_slice_they_name") {
        return;
    }
    let id = unique();
    // The name of a slice has its own dashes.
    let slice = format!("{}.slice", id.replace('-', "_"));
    let mut sandbox = scope(Some(&format!("{slice}:cri:{id}")), &id, Vec::new());
    let child = outside("exec sleep 100");
    sandbox.attach(child.pid()).unwrap();
    assert!(sandbox.record().path("memory").unwrap().ends_with(&format!("/{slice}/cri-{id}.scope")));
    assert_eq!(sandbox.processes().unwrap().pids, [child.pid()]);
    // An exec goes in beside it.
    let text = serde_json::to_string(sandbox.record()).unwrap();
    let mut opened = Cgroup::open(serde_json::from_str(&text).unwrap());
    let second = if opened.join().unwrap().attach {
        let second = outside("exec sleep 100");
        opened.attach(second.pid()).unwrap();
        second
    } else {
        shell(&opened.join().unwrap(), "exec sleep 100")
    };
    let mut both = [child.pid(), second.pid()];
    both.sort_unstable_by_key(|pid| pid.as_raw_pid());
    assert_eq!(opened.processes().unwrap().pids, both);
    sandbox.freeze().unwrap();
    assert!(opened.is_frozen().unwrap());
    sandbox.thaw().unwrap();
    let error = scope_error(Some(&format!("{slice}:cri:{id}")), &id);
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    sandbox.kill_all().unwrap();
    drop((child, second));
    sandbox.remove().unwrap();
    let mut stop = Command::new("systemctl");
    if !is_root() {
        stop.arg("--user");
    }
    stop.args(["stop", &slice]).status().unwrap();
}

#[test]
fn a_subgroup_below_the_scope_is_the_containers() {
    if !systemd_here("a_subgroup_below_the_scope_is_the_containers") {
        return;
    }
    needs!(V2);
    let id = unique();
    let layout = Layout::detect().unwrap();
    let spec = Spec {
        id: &id,
        driver: Driver::Systemd,
        rootless: !is_root(),
        subgroup: Some("container"),
        payload: Some("payload"),
        ..Spec::default()
    };
    let mut sandbox = Sandbox::of(&layout, &spec).unwrap();
    let child = outside("exec sleep 100");
    sandbox.attach(child.pid()).unwrap();
    let own = || std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).unwrap();
    assert!(own().ends_with(&format!("/orlop-{id}.scope/container\n")), "{}", own());
    assert!(sandbox.file("", "pids.max").contains(".scope/container/"), "controllers are handed down");
    sandbox.limit(r#"{"pids":{"limit":50}}"#);
    assert_eq!(sandbox.read("pids", "pids.max"), "50");
    let unit = sandbox.record().unit.clone().unwrap();
    assert_eq!(show(&unit.name, "TasksMax"), "50");
    sandbox.enter_payload(child.pid()).unwrap();
    assert!(own().ends_with(".scope/container/payload\n"), "{}", own());
    assert_eq!(sandbox.read("pids", "payload/pids.max"), "max", "the payload's limits are its own");
    // A further process goes there, too, by way of the manager where it has to.
    let mut payload = Cgroup::open(sandbox.record().clone()).payload().unwrap();
    let second = if payload.join().unwrap().attach {
        let second = outside("exec sleep 100");
        payload.attach(second.pid()).unwrap();
        second
    } else {
        shell(&payload.join().unwrap(), "exec sleep 100")
    };
    let mut both = [child.pid(), second.pid()];
    both.sort_unstable_by_key(|pid| pid.as_raw_pid());
    assert_eq!(sandbox.processes().unwrap().pids, both);
    assert_eq!(payload.processes().unwrap().pids, both);
    sandbox.kill_all().unwrap();
    drop((child, second));
    sandbox.remove().unwrap();
    until(10, "the scope is gone", || show(&unit.name, "ActiveState") == "inactive");
    assert!(!std::path::Path::new(sandbox.record().paths.unified.as_ref().unwrap()).exists_dir());
}

fn scope_error(path: Option<&str>, id: &str) -> orlop_cgroups::Error {
    let layout = Layout::detect().unwrap();
    let spec = Spec { id, cgroups_path: path, driver: Driver::Systemd, rootless: !is_root(), ..Spec::default() };
    Sandbox::of(&layout, &spec).err().unwrap()
}

/// Everything about limits that runc and this crate could tell systemd.
const COMPARED: [&str; 25] = [
    "Slice",
    "Delegate",
    "DefaultDependencies",
    "Transient",
    "MemoryAccounting",
    "CPUAccounting",
    "IOAccounting",
    "TasksAccounting",
    "MemoryMax",
    "MemoryLow",
    "MemoryHigh",
    "MemorySwapMax",
    "TasksMax",
    "CPUWeight",
    "CPUShares",
    "MemoryLimit",
    "BlockIOAccounting",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "DevicePolicy",
    "DeviceAllow",
    "OOMPolicy",
    "KillMode",
];

#[test]
fn a_scope_is_as_runc_makes_it() {
    needs!(Root, Systemd, Program("runc"));
    // runc adds the devices every container has; with these in the list both lists are the same.
    let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},"pids":{"limit":50},
        "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"},
        "devices":[{"allow":true,"access":"rwm"}],
        "unified":{"memory.high":"50331648"}}"#;
    let v2 = Layout::detect().unwrap().version() == orlop_cgroups::Version::V2;
    let json =
        if v2 { json.to_owned() } else { json.replace(r#""unified":{"memory.high":"50331648"}"#, r#""unified":{}"#) };
    let json = json.as_str();
    let id = unique();
    let theirs = format!("runc-{id}.scope");
    let bundle = crate::bundle::Bundle::new(&["/bin/sleep", "100"], &format!("system.slice:runc:{id}"), json);
    let runc = |arguments: &[&str]| {
        let output = Command::new("runc")
            .arg("--systemd-cgroup")
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(output.success(), "runc {arguments:?}");
    };
    runc(&["run", "--detach", "--bundle", bundle.dir.to_str().unwrap(), &id]);
    let expected: Vec<String> = COMPARED.iter().map(|property| show(&theirs, property)).collect();
    runc(&["delete", "--force", &id]);

    let mut sandbox = scope(Some(&format!("system.slice:orlop:{id}")), &id, Vec::new());
    let child = outside("exec sleep 100");
    sandbox.attach(child.pid()).unwrap();
    sandbox.limit(json);
    let ours = sandbox.record().unit.clone().unwrap().name;
    for (property, expected) in COMPARED.iter().zip(expected) {
        let found = show(&ours, property);
        // Later versions of runc convert shares by another curve than earlier ones.
        if *property == "CPUWeight" && expected == "20" {
            assert_eq!(found, "59");
            continue;
        }
        assert_eq!(found, expected, "{property}");
    }
}

#[test]
fn devices_are_confined_under_systemd_too() {
    needs!(Root, Systemd);
    let id = unique();
    let mut sandbox = scope(None, &id, Vec::new());
    // Waits for the limits as a container's first process does.
    let gate = std::env::temp_dir().join(&id);
    let script = format!(
        "while [ ! -e {0} ]; do sleep 0.05; done; {{ true < /dev/zero; }} 2>&- && exit 1; {{ true < /dev/null; }} || exit 2; exit 0",
        gate.display()
    );
    let mut child = outside(&script);
    sandbox.attach(child.pid()).unwrap();
    sandbox.limit(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]}"#,
    );
    let unit = sandbox.record().unit.clone().unwrap().name;
    assert_eq!(show(&unit, "DevicePolicy"), "strict");
    assert_eq!(show(&unit, "DeviceAllow"), "/dev/char/1:3 rwm");
    std::fs::write(&gate, "").unwrap();
    let status = child.wait();
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(status, 0);
}

#[test]
fn a_wrong_property_is_refused_by_systemd_in_its_words() {
    if !systemd_here("a_wrong_property_is_refused_by_systemd_in_its_words") {
        return;
    }
    let id = unique();
    let wrong = Property::from_annotation("org.systemd.property.NoSuchProperty", "5").unwrap().unwrap();
    let mut sandbox = scope(None, &id, vec![wrong]);
    let child = outside("exec sleep 100");
    let error = sandbox.attach(child.pid()).unwrap_err();
    assert_eq!(error.kind(), Kind::Bus, "{error}");
    assert!(error.to_string().contains("NoSuchProperty"), "{error}");
    assert!(sandbox.processes().unwrap().is_empty(), "nothing was made");
}

#[test]
fn a_delegated_cgroup_belongs_to_its_owner() {
    needs!(Root, V2);
    use std::os::unix::fs::MetadataExt;
    let layout = Layout::detect().unwrap();
    let path = crate::sandbox::path(&unique());
    let owner = orlop_cgroups::Owner { uid: 1234, gid: Some(1235) };
    let spec = Spec { id: "c", cgroups_path: Some(&path), owner: Some(owner), ..Spec::default() };
    let sandbox = Sandbox::of(&layout, &spec).unwrap();
    let dir = sandbox.record().paths.unified.as_ref().unwrap();
    for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        let metadata = std::fs::metadata(format!("{dir}/{file}")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1235), "{file}");
    }
    assert_eq!(std::fs::metadata(format!("{dir}/memory.max")).unwrap().uid(), 0, "limits stay root's");
}
