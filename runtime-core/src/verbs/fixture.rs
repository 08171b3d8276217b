//! Containers for tests: a state root, with a process of the test in the place of a container's first.
#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::base::sys::pidfd;
use crate::base::{ContainerId, HostPid, Runtime};
use crate::state::{InitProcess, Phase, Record, Store};

/// A state root with containers whose "init" is a sleeping child of the test, in no cgroup and no namespace of its own.
pub(crate) struct Scratch {
    pub(crate) root: PathBuf,
    pub(crate) runtime: Runtime,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("orlop-verbs-{}-{name}", std::process::id()));
        let runtime = Runtime::new(root.join("root"));
        drop(Store::create(&runtime).unwrap());
        Self { root, runtime }
    }

    pub(crate) fn add(&self, name: &str, change: impl FnOnce(&mut Record)) -> (ContainerId, Sleeper) {
        let id = ContainerId::new(name).unwrap();
        let sleeper = Sleeper(Command::new("sleep").arg("1000").spawn().unwrap());
        let pid = HostPid::new(i32::try_from(sleeper.0.id()).unwrap()).unwrap();
        let pidfd = pidfd::open(pid).unwrap();
        let mut record = Record::intent(&id);
        record.oci_version = "1.3.0".into();
        record.bundle = "/no/such/bundle".into();
        record.rootfs = "/no/such/bundle/rootfs".into();
        record.init = Some(InitProcess::of(pid, pidfd.as_fd()).unwrap());
        record.phase = Phase::Created;
        change(&mut record);
        let hook = self.root.join("hooked");
        let config = format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"hooks":{{"poststop":[
                {{"path":"/bin/sh","args":["sh","-c","cat >> {0}; test -d {1}/{name} && echo still-there >> {0}; exit 3"]}}]}}}}"#,
            hook.display(),
            self.runtime.root.display()
        );
        let store = Store::create(&self.runtime).unwrap();
        let locked = store.claim(&id, &record).unwrap().keep().unwrap();
        locked.keep_config(config.as_bytes()).unwrap();
        (id, sleeper)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.runtime.root.join(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.runtime.root).unwrap().next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

pub(crate) struct Sleeper(pub(crate) Child);

impl Sleeper {
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(crate) fn stop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A cgroup of its own for a test, removed with all that is in it at the end of the test. `None`, with a word, where there can be
/// none.
pub(crate) fn cgroup(test: &str) -> Option<OwnCgroup> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP {test}: needs root");
        return None;
    }
    let layout = match orlop_cgroups::Layout::detect() {
        Ok(layout) => layout,
        Err(error) => {
            eprintln!("SKIP {test}: needs control groups: {error}");
            return None;
        }
    };
    let path = format!("/orlop-test-{}-{test}", std::process::id());
    let spec = orlop_cgroups::Spec { id: test, cgroups_path: Some(&path), ..orlop_cgroups::Spec::default() };
    let record = orlop_cgroups::Cgroup::plan(&layout, &spec).unwrap();
    Some(OwnCgroup(orlop_cgroups::Cgroup::create(record, &spec).unwrap()))
}

pub(crate) struct OwnCgroup(pub(crate) orlop_cgroups::Cgroup);

impl OwnCgroup {
    /// Puts a process of the test into it.
    pub(crate) fn take(&mut self, sleeper: &Sleeper) {
        self.0.attach(orlop_cgroups::Pid::from_child(&sleeper.0)).unwrap();
    }

    /// Whether a directory of it is left.
    pub(crate) fn is_there(&self) -> bool {
        self.0.record().paths.iter().any(|path| std::path::Path::new(path).exists())
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        self.0.kill_all().unwrap();
        self.0.remove().unwrap();
    }
}
