//! Where processes are now, and what the caller may do: on the real kernel.

use orlop_cgroups::{Cgroup, Layout, Pid, ProcessCgroups, Record, Spec};

use crate::environment::{is_root, needs};
use crate::process::{shell, until};
use crate::sandbox::{Sandbox, layouts, path, unique};

fn cgroups_of(pid: Pid) -> ProcessCgroups {
    ProcessCgroups::parse(std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
}

fn present(record: &Record, pid: Pid) -> orlop_cgroups::Present {
    Cgroup::present(record, pid, &cgroups_of(pid), |_| true).unwrap()
}

#[test]
fn a_process_is_found_in_its_cgroup_below_it_and_elsewhere() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        until(5, "the process is in the cgroup", || sandbox.processes().unwrap().pids == [child.pid()]);
        let found = present(sandbox.record(), child.pid());
        assert!(found.moved.is_none(), "{name}: {:?}", found.moved);
        assert_eq!(found.cgroup.record(), sandbox.record(), "{name}");

        // Below is within.
        let mut nested = sandbox.make_sub("inner");
        nested.attach(child.pid()).unwrap();
        assert!(present(sandbox.record(), child.pid()).moved.is_none(), "{name}");

        // Elsewhere, in every hierarchy, while the recorded one is there and when it is gone.
        let mut elsewhere = Sandbox::new(&layout);
        elsewhere.attach(child.pid()).unwrap();
        let record = sandbox.record().clone();
        for gone in [false, true] {
            if gone {
                sandbox.remove().unwrap();
            }
            let found = present(&record, child.pid());
            assert_eq!(found.cgroup.record().paths, elsewhere.record().paths, "{name}");
            assert_eq!(found.cgroup.processes().unwrap().pids, [child.pid()], "{name}");
            assert!(found.cgroup.record().made.is_empty(), "{name}: it is not ours to remove");
            assert_eq!(found.moved.unwrap().record().paths, elsewhere.record().paths, "{name}");
            assert_eq!(record.is_there().unwrap(), !gone, "{name}");
        }
        // Where others are too, the recorded one stays, if it is so wanted.
        let mut seen = Vec::new();
        let refused = Cgroup::present(&record, child.pid(), &cgroups_of(child.pid()), |processes| {
            seen.push(processes.pids.clone());
            false
        });
        assert_eq!((refused.unwrap().cgroup.record(), seen.first()), (&record, Some(&vec![child.pid()])), "{name}");
        // Another one joins it there.
        let second = shell(&present(&record, child.pid()).cgroup.join().unwrap(), "exec sleep 100");
        until(5, "both are there", || elsewhere.processes().unwrap().len() == 2);
        elsewhere.kill_all().unwrap();
        drop((child, second));
    }
}

#[test]
fn one_hierarchy_may_be_left_alone() {
    needs!(V1, Root);
    let layout = Layout::detect().unwrap();
    let sandbox = Sandbox::new(&layout);
    let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
    until(5, "the process is in the cgroup", || sandbox.processes().unwrap().pids == [child.pid()]);
    let pids = &layout.hierarchy("pids").expect("a v1 host has the pids hierarchy").mount;
    std::fs::write(format!("{pids}/cgroup.procs"), child.pid().to_string()).unwrap();
    std::fs::remove_dir(sandbox.record().path("pids").unwrap()).unwrap();
    let found = present(sandbox.record(), child.pid());
    assert_eq!(found.cgroup.record().path("pids"), Some(pids.as_str()));
    assert_eq!(found.cgroup.record().path("memory"), sandbox.record().path("memory"));
    assert_eq!(found.moved.unwrap().record().paths.iter().count(), 1);
    let second = shell(&found.cgroup.join().unwrap(), "exec sleep 100");
    until(5, "both are there", || sandbox.processes().unwrap().len() == 2);
    sandbox.kill_all().unwrap();
    drop((child, second));
}

#[test]
fn a_sub_cgroup_is_used_where_it_is() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let some = sandbox.record().paths.iter().last().unwrap().clone();
        std::fs::create_dir(format!("{some}/foo")).unwrap();
        let record = sandbox.sub(&[], "foo").unwrap().record().clone();
        for (path, own) in record.paths.iter().zip(sandbox.record().paths.iter()) {
            let expected = if *own == some { format!("{own}/foo") } else { own.clone() };
            assert_eq!(*path, expected, "{name}");
        }
        let error = sandbox.sub(&[], "nowhere").unwrap_err();
        assert_eq!(error.kind(), orlop_cgroups::Kind::NotFound, "{name}");
        assert!(error.to_string().contains("adding pid of the new process to"), "{name}: {error}");
        // A controller that is named has to have it.
        if let Some(controller) =
            sandbox.record().paths.v1.iter().find(|(_, path)| **path != some).map(|(name, _)| name)
        {
            assert!(sandbox.sub(&[controller], "foo").is_err(), "{name}: {controller}");
        }
        // The neighbour's begins with the same letters.
        for outside in ["../foo2", "foo/../../x", "/../foo2", ".."] {
            let error = sandbox.sub(&[], outside).unwrap_err();
            assert_eq!(error.kind(), orlop_cgroups::Kind::InvalidPath, "{name}: {outside}");
        }
    }
}

#[test]
fn rights_are_told_without_a_change() {
    for (name, layout) in layouts() {
        let place = path(&unique());
        let spec = Spec { id: "test", cgroups_path: Some(&place), rootless: !is_root(), ..Spec::default() };
        let record = Cgroup::plan(&layout, &spec).unwrap();
        let rights = Cgroup::rights(&record).unwrap();
        assert!(!record.is_there().unwrap(), "{name}: the question made it");
        // What was promised is held.
        let made = Sandbox::try_at(&layout, &place);
        assert_eq!(rights.is_granted(), made.is_ok(), "{name}: {rights:?}");
        if let Ok(sandbox) = made {
            assert!(Cgroup::rights(sandbox.record()).unwrap().is_granted(), "{name}");
            let controllers: usize = rights.hierarchies.iter().map(|one| one.controllers.len().max(1)).sum();
            assert_eq!(controllers, sandbox.record().paths.iter().count(), "{name}: {rights:?}");
        }
    }
}

/// Set for this program when it is started again as somebody else: the layout to ask about.
const WITHOUT_RIGHTS: &str = "ORLOP_TEST_WITHOUT_RIGHTS";

#[test]
fn who_has_no_rights_is_told_where() {
    if std::env::var_os(WITHOUT_RIGHTS).is_some() {
        for (name, layout) in layouts() {
            let spec = Spec { id: "t", cgroups_path: Some("/orlop-none/t"), ..Spec::default() };
            let rights = Cgroup::rights(&Cgroup::plan(&layout, &spec).unwrap()).unwrap();
            assert!(rights.is_denied(), "{name}: {rights:?}");
            let error = rights.error().unwrap();
            assert_eq!(error.kind(), orlop_cgroups::Kind::NotDelegated, "{name}");
            assert!(error.to_string().contains("; nothing is delegated to this user there"), "{name}: {error}");
        }
        return;
    }
    needs!(Root, Program("setpriv"), Program("unshare"));
    // A copy, since the build's directory may be closed to others.
    let copy = std::env::temp_dir().join(unique());
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let in_namespace = [&other[..], &["unshare", "--user", "--map-root-user"]].concat();
    let read_only = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "for m in /sys/fs/cgroup/* /sys/fs/cgroup; do mountpoint -q $m && mount -o remount,bind,ro $m; done; exec \"$0\" \"$@\"",
    ];
    for world in [&other[..], &in_namespace, &read_only] {
        let outcome = std::process::Command::new(world[0])
            .args(&world[1..])
            .arg(&copy)
            .args(["--exact", "present::who_has_no_rights_is_told_where"])
            .env(WITHOUT_RIGHTS, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success() && said.contains("1 passed"), "{world:?}: {said}");
    }
    std::fs::remove_file(&copy).unwrap();
}

#[test]
fn what_is_delegated_is_granted() {
    if std::env::var_os(WITHOUT_RIGHTS).is_some() {
        let layout = Layout::v2(Layout::detect().unwrap().unified().unwrap());
        let place = std::env::var(WITHOUT_RIGHTS).unwrap();
        let rights = |path: &str| {
            let spec = Spec { id: "t", cgroups_path: Some(path), ..Spec::default() };
            Cgroup::rights(&Cgroup::plan(&layout, &spec).unwrap()).unwrap()
        };
        let below = rights(&format!("{place}/c"));
        assert!(below.is_granted(), "{below:?}");
        // Beside it, and out of it, is not theirs.
        let beside = rights(&format!("{place}-2/c"));
        assert!(beside.hierarchies[0].create.is_some() && beside.hierarchies[0].enter.is_some(), "{beside:?}");
        return;
    }
    needs!(Root, Program("setpriv"));
    let Some(unified) = Layout::detect().unwrap().unified().map(str::to_owned) else {
        crate::environment::skip("what_is_delegated_is_granted", "no v2 tree");
        return;
    };
    let layout = Layout::v2(&unified);
    let place = format!("/{}", unique());
    let spec = Spec {
        id: "t",
        cgroups_path: Some(&place),
        owner: Some(orlop_cgroups::Owner { uid: 65534, gid: None }),
        ..Spec::default()
    };
    let sandbox = Sandbox::of(&layout, &spec).unwrap();
    let user = sandbox.make_sub("session");
    let copy = std::env::temp_dir().join(unique());
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    // The user's session lies below what was delegated.
    let script = format!(
        "exec env {WITHOUT_RIGHTS}={place} setpriv --reuid=65534 --regid=65534 --clear-groups {} --exact present::what_is_delegated_is_granted",
        copy.display()
    );
    let mut child = shell(&user.join().unwrap(), &script);
    assert_eq!(child.wait(), 0);
    std::fs::remove_file(&copy).unwrap();
}
