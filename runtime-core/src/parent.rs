//! What the runtime's own process does on the host: facts, cgroups, launches, hooks, CRIU.

pub(crate) mod agent;
pub(crate) mod cgroup;
#[cfg(feature = "criu")]
pub(crate) mod criu;
pub(crate) mod exec_server;
pub(crate) mod facts;
pub(crate) mod handover;
pub(crate) mod hooks;
pub(crate) mod launch;
pub(crate) mod liveness;
pub(crate) mod net_devices;
pub(crate) mod network;
pub(crate) mod options;
pub(crate) mod passwd;
pub(crate) mod prepare;
pub(crate) mod proc_mounts;
pub(crate) mod processors;
pub(crate) mod resctrl;
pub(crate) mod sockets;
pub(crate) mod start_hooks;
pub(crate) mod verify;
