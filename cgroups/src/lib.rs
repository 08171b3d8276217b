//! Linux control groups for container runtimes: v1, hybrid and v2 hosts, by mkdir or through systemd, behind one type.
//!
//! # Terms
//! A *cgroup* is a group of processes with common limits. On **v1** each controller (`memory`, `cpu`, …) has a hierarchy of its
//! own, and a container a directory in each; on **v2** there is one tree; a **hybrid** host has v1 controllers and a v2 tree
//! beside them. [`Layout`] tells which, [`Spec`] says what is wanted, [`Record`] where it is (for a state file), and [`Cgroup`]
//! is the thing itself.
//!
//! # A container's life
//! ```no_run
//! use orlop_cgroups::{Cgroup, Layout, Resources, Spec};
//!
//! # fn clone_container(_: orlop_cgroups::Join<'_>) -> i32 { 0 }
//! # fn main() -> orlop_cgroups::Result<()> {
//! let layout = Layout::detect()?;
//! let spec = Spec { id: "web", cgroups_path: Some("/demo/web"), ..Spec::default() };
//! let record = Cgroup::plan(&layout, &spec)?; // changes nothing: write it to disk first
//! let mut cgroup = Cgroup::create(record, &spec)?; // makes the directories
//! let pid = clone_container(cgroup.join()?); // clone3 with CLONE_INTO_CGROUP, or `0` into each `tasks`
//! # let _ = pid;
//! let resources: Resources = serde_json::from_str(r#"{"memory":{"limit":67108864},"pids":{"limit":100}}"#).unwrap();
//! cgroup.apply(&resources)?; // limits last
//! // …
//! cgroup.kill_all()?;
//! cgroup.remove()
//! # }
//! ```

mod apply;
mod cgroup;
pub mod convert;
mod create;
mod devices;
mod dir;
mod error;
mod events;
mod layout;
mod life;
mod path;
mod record;
mod resources;
pub mod stats;
mod sys;
mod systemd;
mod writes;

pub use cgroup::{Cgroup, Join};
pub use error::{Error, Kind, Result};
pub use events::{Event, Events, PressureKind, PressureTrigger};
pub use layout::{DEFAULT_ROOT, Hierarchy, Layout, Version};
pub use life::{FREEZE_TIMEOUT, REMOVE_TIMEOUT};
pub use record::{Driver, Owner, Record, Spec, Unit};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources, ThrottleDevice,
    WeightDevice,
};
pub use stats::Stats;
pub use systemd::Property;
pub use writes::{Absent, Place, Write, writes};
