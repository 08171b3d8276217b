//! A cgroup for one test, taken away when the test ends, however it ends.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use orlop_cgroups::{Cgroup, Layout, Resources, Spec, Version};

use crate::environment::is_root;

/// A cgroup that is killed and removed when dropped.
pub(crate) struct Sandbox {
    cgroup: Cgroup,
}

/// A name no other test uses.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("orlop-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// An absolute path for a new cgroup that this user may make: below the mount for root, beside the own cgroup for others.
pub(crate) fn path(name: &str) -> String {
    if is_root() {
        return format!("/{name}/c");
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    format!("{}/{name}", own.rsplit_once('/').unwrap().0)
}

/// The layouts that can be tried on this host: what it is; and for a hybrid host also its v1 hierarchies alone, and its v2 tree
/// alone (with the few controllers that tree has).
pub(crate) fn layouts() -> Vec<(&'static str, Layout)> {
    let layout = Layout::detect().unwrap();
    match layout.version() {
        Version::V2 => vec![("v2", layout)],
        Version::V1 => vec![("v1", layout)],
        Version::Hybrid => {
            let v1 = Layout::v1(layout.hierarchies().to_vec(), None);
            let v2 = Layout::v2(layout.unified().unwrap());
            vec![("hybrid", layout), ("v1 of hybrid", v1), ("v2 of hybrid", v2)]
        }
    }
}

impl Sandbox {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self::at(layout, &path(&unique()))
    }

    pub(crate) fn at(layout: &Layout, path: &str) -> Self {
        Self::try_at(layout, path).unwrap()
    }

    pub(crate) fn try_at(layout: &Layout, path: &str) -> orlop_cgroups::Result<Self> {
        let spec = Spec { id: "test", cgroups_path: Some(path), rootless: !is_root(), ..Spec::default() };
        Self::of(layout, &spec)
    }

    pub(crate) fn of(layout: &Layout, spec: &Spec<'_>) -> orlop_cgroups::Result<Self> {
        let record = Cgroup::plan(layout, spec)?;
        Ok(Self { cgroup: Cgroup::create(record, spec)? })
    }

    pub(crate) fn open(cgroup: Cgroup) -> Self {
        Self { cgroup }
    }

    /// Where the files of `controller` are.
    pub(crate) fn file(&self, controller: &str, file: &str) -> String {
        format!("{}/{file}", self.record().path(controller).unwrap())
    }

    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        let path = self.file(controller, file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    }

    /// Makes a cgroup below it in every hierarchy, which processes can enter.
    pub(crate) fn make_sub(&self, name: &str) -> Cgroup {
        // Controllers that are mounted together have one directory.
        let paths: std::collections::BTreeSet<&String> = self.record().paths.iter().collect();
        for path in paths {
            std::fs::create_dir(format!("{path}/{name}")).unwrap();
            // A v1 cpuset wants its CPUs first.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = std::fs::read_to_string(format!("{path}/{file}"))
                    && !self.record().is_v2()
                    && path.contains("/cpuset/")
                {
                    std::fs::write(format!("{path}/{name}/{file}"), value).unwrap();
                }
            }
        }
        self.sub(&[], name).unwrap()
    }

    pub(crate) fn limit(&self, json: &str) {
        self.apply(&resources(json)).unwrap();
    }
}

pub(crate) fn resources(json: &str) -> Resources<'_> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

impl Deref for Sandbox {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl DerefMut for Sandbox {
    fn deref_mut(&mut self) -> &mut Cgroup {
        &mut self.cgroup
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let outcome = self.cgroup.kill_all().and_then(|()| self.cgroup.remove());
        if let Err(error) = outcome
            && !std::thread::panicking()
        {
            panic!("the cgroup of a test could not be removed: {error}");
        }
    }
}
