//! Linux control groups for container runtimes: v1, hybrid and v2 hosts, by mkdir or through systemd, behind one type.
//!
//! # Terms
//! A *cgroup* is a group of processes with common limits. On **v1** each controller (`memory`, `cpu`, …) has a hierarchy of its
//! own, and a container a directory in each; on **v2** there is one tree; a **hybrid** host has v1 controllers and a v2 tree
//! beside them, and a container is in all of it. [`Layout`] tells which, [`Spec`] says what is wanted, [`Record`] where it is
//! (for a state file), and [`Cgroup`] is the thing itself. [`Resources`] is `linux.resources` of the OCI specification, and
//! [`writes()`] what becomes of it.
//!
//! # A container's life, the same on every layout
//! ```
//! use std::process::Command;
//! use std::time::Duration;
//!
//! use orlop_cgroups::{Cgroup, Kind, Layout, Pid, Resources, Spec};
//!
//! fn main() -> orlop_cgroups::Result<()> {
//!     let layout = Layout::detect()?;
//!     let spec = Spec { id: "demo", cgroups_path: Some("/orlop-doc/demo"), ..Spec::default() };
//!     let record = Cgroup::plan(&layout, &spec)?; // changes nothing: write it to disk first
//!     let mut cgroup = match Cgroup::create(record, &spec) {
//!         Err(error) if error.kind() == Kind::NotDelegated => return Ok(()), // not root
//!         other => other?,
//!     };
//!     // A runtime clones its child into `cgroup.join()?`; this program moves one that runs already, which is slower.
//!     let mut child = Command::new("sleep").arg("100").spawn().unwrap();
//!     let outcome = cgroup.attach(Pid::from_child(&child)).and_then(|()| {
//!         let limits: Resources = serde_json::from_str(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#).unwrap();
//!         cgroup.apply(&limits)?; // last, so that setting up is not limited itself
//!         cgroup.freeze()?;
//!         cgroup.thaw()?;
//!         println!("{}", serde_json::to_string(&cgroup.stats()?).unwrap());
//!         Ok(())
//!     });
//!     cgroup.kill_all()?;
//!     child.wait().unwrap();
//!     cgroup.wait_empty(Duration::from_secs(5))?;
//!     cgroup.remove()?; // with what was made above it; never with processes in it
//!     outcome
//! }
//! ```
//!
//! # v2: birth in the cgroup
//! `clone3` with `CLONE_INTO_CGROUP` puts the child where it belongs without the kernel's wait for moving a process.
//! ```
//! use orlop_cgroups::{Cgroup, Layout, Spec};
//!
//! # fn main() -> orlop_cgroups::Result<()> {
//! let spec = Spec { id: "demo", cgroups_path: Some("/demo"), ..Spec::default() };
//! let record = Cgroup::plan(&Layout::v2("/sys/fs/cgroup"), &spec)?;
//! assert!(record.is_v2());
//! assert_eq!(record.path("memory"), Some("/sys/fs/cgroup/demo"));
//! // let cgroup = Cgroup::create(record, &spec)?; clone_args.cgroup = cgroup.join()?.clone_into …
//! # Ok(())
//! # }
//! ```
//!
//! # v1: a directory in each hierarchy
//! The child writes `0` to every descriptor in [`Join::tasks`] while it has one thread, which costs no wait either.
//! ```
//! use orlop_cgroups::{Cgroup, Hierarchy, Layout, Resources, Spec, writes};
//!
//! # fn main() -> orlop_cgroups::Result<()> {
//! let hierarchy = |names: &[&str], dir: &str| Hierarchy {
//!     controllers: names.iter().map(|name| name.to_string()).collect(),
//!     mount: format!("/sys/fs/cgroup/{dir}"),
//! };
//! let layout = Layout::v1(vec![hierarchy(&["cpu", "cpuacct"], "cpu,cpuacct"), hierarchy(&["memory"], "memory")], None);
//! let record = Cgroup::plan(&layout, &Spec { id: "demo", cgroups_path: Some("/demo"), ..Spec::default() })?;
//! assert_eq!(record.path("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/demo"));
//!
//! let limits: Resources = serde_json::from_str(r#"{"memory":{"limit":67108864},"cpu":{"shares":512}}"#).unwrap();
//! let files: Vec<_> = writes(&limits, &layout)?.iter().map(|write| format!("{}={}", write.file, write.value)).collect();
//! assert_eq!(files, ["memory.limit_in_bytes=67108864", "cpu.shares=512"]);
//! # Ok(())
//! # }
//! ```
//!
//! # hybrid: v1 controllers, and v2 for the rest
//! A controller that no v1 hierarchy has is used in its v2 form, and so are `unified` and pressure.
//! ```
//! # use orlop_cgroups::{Hierarchy, Layout, Place, Resources, writes};
//! # fn main() -> orlop_cgroups::Result<()> {
//! # let hierarchy = |name: &str| Hierarchy { controllers: vec![name.to_owned()], mount: format!("/sys/fs/cgroup/{name}") };
//! let layout = Layout::v1(vec![hierarchy("pids")], Some("/sys/fs/cgroup/unified".to_owned()));
//! let json = r#"{"pids":{"limit":9},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#;
//! let limits: Resources = serde_json::from_str(json).unwrap();
//! let places: Vec<_> = writes(&limits, &layout)?.iter().map(|write| (write.place, write.file.to_string())).collect();
//! assert_eq!(places[0], (Place::V1("pids"), "pids.max".to_owned()));
//! assert_eq!(places[1], (Place::Unified, "hugetlb.2MB.max".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! # systemd: a scope around a waiting child
//! [`Cgroup::join`] then says `attach`: while the child waits, [`Cgroup::attach`] has the scope made around it. For an ordinary
//! user (`rootless`) it is the user's own systemd that is asked.
//! ```no_run
//! use orlop_cgroups::{Cgroup, Driver, Layout, Pid, Property, Resources, Spec};
//!
//! # fn waiting_child() -> Pid { Pid::INIT }
//! # fn main() -> orlop_cgroups::Result<()> {
//! let properties = Property::from_annotation("org.systemd.property.TimeoutStopSec", "5")?.into_iter().collect();
//! let spec = Spec {
//!     id: "demo",
//!     cgroups_path: Some("machine.slice:orlop:demo"), // slice:prefix:name
//!     driver: Driver::Systemd,
//!     properties,
//!     ..Spec::default()
//! };
//! let mut cgroup = Cgroup::create(Cgroup::plan(&Layout::detect()?, &spec)?, &spec)?;
//! assert!(cgroup.join()?.attach);
//! cgroup.attach(waiting_child())?; // orlop-demo.scope in machine.slice, with Delegate=yes
//! let limits: Resources = serde_json::from_str(r#"{"memory":{"limit":67108864}}"#).unwrap();
//! cgroup.apply(&limits) // as unit properties, and in the files
//! # }
//! ```
//!
//! # What this crate never does
//! It moves no process but the one it is told to attach, removes no cgroup with processes in it, writes to no ancestor but to hand
//! down controllers that are missing, follows no `..` and no symbolic link, and reads no list of mounts where the usual ones are
//! mounted. It starts no thread and keeps no state outside its values.

mod apply;
mod cgroup;
pub mod convert;
mod create;
mod devices;
mod dir;
mod error;
mod events;
mod freeze;
mod freezers;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod life;
mod making;
mod members;
pub mod mountinfo;
#[cfg(test)]
#[cfg(feature = "systemd")]
mod parsers_never_panic;
mod part;
mod path;
mod plan;
mod present;
mod record;
mod resources;
mod rights;
mod signal;
pub mod stats;
mod sys;
#[cfg_attr(not(feature = "systemd"), path = "no_systemd.rs")]
mod systemd;
mod writes;

pub use cgroup::{Cgroup, Join};
pub use devices::DeviceFilter;
pub use error::{Error, Kind, Result};
pub use events::{Event, Events, PressureKind, PressureTrigger};
pub use freeze::FREEZE_TIMEOUT;
pub use freezers::Freezers;
pub use layout::{DEFAULT_ROOT, Hierarchy, Layout, Version};
pub use life::REMOVE_TIMEOUT;
pub use members::{Members, Pid};
pub use plan::Spec;
pub use present::{Present, ProcessCgroups};
pub use record::{Driver, Owner, Paths, Record, Unit};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources, ThrottleDevice,
    WeightDevice,
};
pub use rights::{HierarchyRights, Obstacle, Rights};
pub use signal::Signal;
pub use stats::Stats;
pub use systemd::{Property, systemd_version};
pub use writes::{Absent, Place, Write, writes};
