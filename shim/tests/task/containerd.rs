//! What containerd decides besides its calls: the options of a shim, and when it listens to events.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::getpid;
use orlop_integration::{Sandbox, case};

use crate::client::{Events, Fifo, Shim, Stdio3, bundle, call_binary, params};
use crate::proto::bootstrap::{BootstrapResult, Extension};
use crate::proto::options::{CheckpointOptions, RuncOptions};
use crate::proto::task::{CheckpointTaskRequest, PidResponse};
use crate::proto::{Any, Empty, decode, encode};
use crate::ttrpc::Code;

/// Events are kept until containerd, which may be restarted, takes them.
#[case]
fn events_wait_for_a_containerd_that_is_away(t: &Sandbox) {
    let c = t.container("a");
    c.sh("exit 3");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let events = t.dir.join("events.sock");
    let mut asked = params(t, &id);
    asked.containerd_ttrpc_address = events.display().to_string();
    let (ok, answer) = call_binary(&bundle, &id, "start", &encode(&asked), &[]);
    assert!(ok, "{}", String::from_utf8_lossy(&answer));
    let mut shim = Shim::connect(t, &decode::<BootstrapResult>(&answer).unwrap().address);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 3);
    let events = Events::serve(&events);
    assert_eq!(events.topics(3), ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    shim.delete(&id, "").unwrap();
    assert_eq!(events.topics(4)[3], "/tasks/delete");
    shim.shut_down();
}

/// The hierarchies that have a control group of this name.
fn own_cgroup(t: &Sandbox, name: &str) -> Option<(PathBuf, String)> {
    let path = t.cgroups_path(name);
    let mount = ["pids", "memory", "cpu", ""].map(|controller| Path::new("/sys/fs/cgroup").join(controller));
    let mount = mount.into_iter().find(|mount| fs::symlink_metadata(mount.join("cgroup.procs")).is_ok())?;
    let dir = mount.join(path.trim_start_matches('/'));
    fs::create_dir_all(&dir).ok()?;
    Some((dir, path))
}

#[case]
fn the_options_of_a_shim_act(t: &Sandbox) {
    let c = t.container("a");
    c.sh("stat -L -c '%u %g' /proc/self/fd/1; sleep 1000");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let Some((dir, path)) = own_cgroup(t, "shim") else { t.skip("no control group can be made for the shim") };
    let options = RuncOptions {
        root: t.dir.display().to_string(),
        shim_cgroup: path,
        io_uid: 1234,
        io_gid: 4321,
        ..RuncOptions::default()
    };
    let any = Any::of("containerd.runc.v1.Options", &options);
    let mut asked = params(t, &id);
    asked.extensions = vec![Extension { value: Some(any.clone()) }];
    let (ok, answer) = call_binary(&bundle, &id, "start", &encode(&asked), &[]);
    assert!(ok, "{}", String::from_utf8_lossy(&answer));
    let mut shim = Shim::connect(t, &decode::<BootstrapResult>(&answer).unwrap().address);
    let pid = shim.pid("");
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), pid.to_string());
    // One more than containerd has, which here is the case.
    let score =
        |pid: i32| -> i32 { fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap() };
    assert_eq!(score(pid), (score(getpid().as_raw()) + 1).min(1000));
    let mut out = Fifo::output(t, "out");
    let mut request = shim.create_request(&bundle, &id);
    request.options = Some(any);
    request.stdout = out.path.display().to_string();
    shim.call::<PidResponse>("Create", &request).unwrap();
    shim.start_task(&id, "").unwrap();
    // Every runtime gives the streams to the process's user, and leaves them their group.
    assert_eq!(out.read_until(|all| all.ends_with(b"\n")), b"0 4321\n", "the owner of the pipe");
    shim.end(&id);
    shim.shut_down();
    fs::remove_dir(&dir).unwrap();
    // A cgroup that is not there is an error, and no shim is started.
    let (ok, answer) = call_binary(&bundle, &id, "start", &encode(&asked), &[]);
    assert!(!ok && String::from_utf8_lossy(&answer).contains("option ShimCgroup: there is no cgroup"));
    assert_eq!(fs::read_dir(t.dir.join("s")).unwrap().count(), 0, "a socket is left");
}

#[case]
fn checkpoints_that_cannot_be_are_refused(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    let refused = |shim: &mut Shim, path: &str, options: Option<Any>, reason: &str| {
        let asked = CheckpointTaskRequest { id: id.clone(), path: path.to_owned(), options };
        let error = shim.call::<Empty>("Checkpoint", &asked).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument as i32);
        assert!(error.message.contains(reason), "{}", error.message);
    };
    refused(&mut shim, "", None, "the checkpoint has no path");
    let images = t.dir.join("images").display().to_string();
    refused(&mut shim, &images, Some(Any { type_url: "another.Options".to_owned(), value: vec![] }), "another.Options");
    let namespaces = CheckpointOptions { empty_namespaces: vec!["network".to_owned()], ..CheckpointOptions::default() };
    let namespaces = Any::of("containerd.runc.v1.CheckpointOptions", &namespaces);
    refused(&mut shim, &images, Some(namespaces), "empty_namespaces");
    let mode = CheckpointOptions { cgroups_mode: "some".to_owned(), ..CheckpointOptions::default() };
    let mode = Any::of("containerd.runc.v1.CheckpointOptions", &mode);
    refused(&mut shim, &images, Some(mode), "cgroups_mode \"some\"");
    assert_eq!(shim.state(&id, "").unwrap().status, 2, "it goes on");
    shim.end(&id);
    shim.shut_down();
}
