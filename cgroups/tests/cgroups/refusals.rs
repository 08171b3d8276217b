//! What is refused, with which words, and that nothing is left of it.

use std::path::Path;

use orlop_cgroups::{Cgroup, Driver, Kind, Layout, Spec};

use crate::environment::{Need, needs};
use crate::process::shell;
use crate::sandbox::{Sandbox, layouts, path, resources, unique};

#[test]
fn a_cgroup_with_processes_is_not_taken_over() {
    for (name, layout) in layouts() {
        let place = path(&unique());
        let sandbox = Sandbox::at(&layout, &place);
        let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        let error = Sandbox::try_at(&layout, &place).err().unwrap();
        assert_eq!(error.kind(), Kind::Busy, "{name}");
        assert!(error.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{name}: {error}");
        assert_eq!(sandbox.processes().unwrap().pids, [child.pid()], "{name}: it still is where it was");
    }
}

#[test]
fn an_empty_cgroup_that_is_there_is_used_and_kept_by_a_failed_create() {
    for (name, layout) in layouts() {
        let place = path(&unique());
        let first = Sandbox::at(&layout, &place);
        let second = Sandbox::at(&layout, &place);
        assert!(second.record().made.is_empty(), "{name}: {:?}", second.record().made);
        drop(first);
    }
}

#[test]
fn a_frozen_parent_is_recognised() {
    for (name, layout) in layouts() {
        let place = path(&unique());
        let parent = Sandbox::at(&layout, &place);
        parent.freeze().unwrap();
        let error = Sandbox::try_at(&layout, &format!("{place}/child")).err().unwrap();
        assert_eq!(error.kind(), Kind::Frozen, "{name}: {error}");
        assert!(error.to_string().contains("container's cgroup unexpectedly frozen"), "{name}: {error}");
        for path in parent.record().paths.iter() {
            assert!(!Path::new(&format!("{path}/child")).is_dir(), "{name}: left over");
        }
        parent.thaw().unwrap();
    }
}

#[test]
fn a_threaded_parent_is_recognised() {
    for (name, layout) in layouts() {
        if layout.unified().is_none() || !layout.hierarchies().is_empty() {
            continue;
        }
        let place = path(&unique());
        let parent = Sandbox::at(&layout, &place);
        // Made by hand: a cgroup made by this crate hands domain controllers down, and then its children cannot be threaded.
        let inner = parent.file("", "threaded");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(format!("{inner}/cgroup.type"), "threaded").unwrap();
        let error = Sandbox::try_at(&layout, &format!("{place}/threaded/child")).err().unwrap();
        assert_eq!(error.kind(), Kind::Threaded, "{name}: {error}");
        assert!(!Path::new(&inner).join("child").is_dir(), "{name}: left over");
    }
}

#[test]
fn a_path_that_leaves_its_place_is_refused() {
    let layout = Layout::detect().unwrap();
    for bad in ["/a/../../b", "../b", "/", "a\nb"] {
        let error = Sandbox::try_at(&layout, bad).err().unwrap();
        assert_eq!(error.kind(), Kind::InvalidPath, "{bad:?}: {error}");
        assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
    }
}

#[test]
fn a_hierarchy_that_cannot_be_written_is_explained() {
    // A directory that is no cgroup file system stands for one that is read-only: mkdir fails the same way for an ordinary user.
    needs!(Rootless);
    let layout = Layout::detect().unwrap();
    let spec = Spec { id: "x", cgroups_path: Some("/orlop-test-forbidden"), rootless: true, ..Spec::default() };
    let error = Sandbox::of(&layout, &spec).err().unwrap();
    assert_eq!(error.kind(), Kind::NotDelegated, "{error}");
    assert!(error.to_string().contains("nothing is delegated to this user there"), "{error}");
}

#[test]
fn without_rights_and_limits_a_rootless_container_stays_where_it_is() {
    needs!(Rootless);
    let layout = Layout::detect().unwrap();
    // A mount of which nothing is ours: every directory is refused.
    let spec = Spec { id: "orlop-test-nothing", rootless: true, ..Spec::default() };
    let mut record = Cgroup::plan(&layout, &spec).unwrap();
    for path in record.paths.iter_mut() {
        *path = format!("{}/orlop-test-nothing", layout.unified().unwrap());
    }
    let cgroup = Cgroup::create(record, &spec).unwrap();
    assert!(cgroup.record().paths.is_empty());
    let join = cgroup.join().unwrap();
    assert!(join.clone_into.is_none() && join.tasks.is_empty() && !join.attach);
    cgroup.apply(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)).unwrap();
    let error = cgroup.apply(&resources(r#"{"pids":{"limit":5}}"#)).unwrap_err();
    assert_eq!((error.kind(), error.field()), (Kind::NotDelegated, Some("/pids/limit")), "{error}");
}

#[test]
fn a_missing_controller_is_named() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        if layout.hierarchy("memory").is_some() {
            let error = sandbox.apply(&resources(r#"{"unified":{"memory.min":"131072"}}"#)).unwrap_err();
            assert!(error.to_string().contains("invalid configuration"), "{name}: {error}");
        }
        let table = [
            (r#"{"unified":{"nonsense.max":"1"}}"#, "nonsense", "/unified/nonsense.max"),
            (r#"{"rdma":{"mlx5_0":{"hcaHandles":1}}}"#, "rdma", "/rdma/mlx5_0"),
        ];
        for (json, controller, pointer) in table {
            if controller == "rdma" && crate::environment::has_controller(&layout, "rdma") {
                continue;
            }
            let error = sandbox.apply(&resources(json)).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
            assert_eq!(error.field(), Some(pointer), "{name}");
            let text = error.to_string();
            let named = text.contains(&format!("{controller:?}")) || text.contains("no cgroup v2 tree");
            assert!(named, "{name}: {text}");
        }
    }
}

#[test]
fn no_bus_is_a_clear_error() {
    if Need::Systemd.is_met() || Need::SystemdUser.is_met() {
        return crate::environment::skip("no_bus_is_a_clear_error", "there is a systemd here");
    }
    let layout = Layout::detect().unwrap();
    let spec = Spec { id: "orlop-test-bus", driver: Driver::Systemd, ..Spec::default() };
    let mut cgroup = Cgroup::create(Cgroup::plan(&layout, &spec).unwrap(), &spec).unwrap();
    assert!(cgroup.join().unwrap().attach);
    let error = cgroup.attach(orlop_cgroups::Pid::INIT).unwrap_err();
    assert_eq!(error.kind(), Kind::Bus, "{error}");
    assert!(error.to_string().contains("/run/systemd/private: No such file"), "{error}");
    assert!(error.hint().unwrap().contains("the cgroupfs driver does without it"), "{error}");
    // Nothing was made, so there is nothing that a bus would be needed for.
    cgroup.remove().unwrap();
}
