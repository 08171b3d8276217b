//! What happens around an init that waits: network devices, and hooks inside the container.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::base::{HostPid, Process, Result};
use crate::config::{Config, Hook};
use crate::parent::hooks::Spawn;
use crate::parent::launch::{Given, Init, Launch};
use crate::plan::{self, Host, Plan};

/// Moves the config's network devices into the container's network namespace.
pub(crate) fn move_net_devices(config: &Config<'_>, init: &Init) -> Result<()> {
    let Some(linux) = config.linux.as_ref().filter(|linux| !linux.net_devices.is_empty()) else { return Ok(()) };
    let devices = linux
        .net_devices
        .iter()
        .map(|(name, device)| (name.as_str(), device.name.as_ref().map_or(name.as_str(), |new| new.as_str())));
    init.by_number(|pid| crate::parent::net_devices::move_all(devices, pid))
}

/// Starts hooks inside the namespaces of a container whose init waits or runs.
#[derive(Debug)]
pub(crate) struct InContainer<'c> {
    init: BorrowedFd<'c>,
    pid: Option<HostPid>,
    config: &'c Config<'c>,
    host: Host,
    cwd: Option<&'c str>,
}

impl<'c> InContainer<'c> {
    pub(crate) fn new(init: BorrowedFd<'c>, pid: Option<HostPid>, config: &'c Config<'c>, host: Host) -> Self {
        Self { init, pid, config, host, cwd: None }
    }

    /// The same, with a working directory: the root file system, where the createContainer hooks of runc start.
    pub(crate) fn with_cwd(self, cwd: &'c str) -> Self {
        Self { cwd: Some(cwd), ..self }
    }

    fn plan(&self, hook: &Hook<'_>) -> Plan {
        plan::plan_hook(self.config, hook, self.cwd, self.host)
    }
}

impl Spawn for InContainer<'_> {
    fn spawn(&self, hook: &Hook<'_>, stdio: [OwnedFd; 3]) -> Result<Process> {
        let plan = self.plan(hook);
        let given = Given { init_pidfd: Some(self.init), init_pid: self.pid, ..Given::default() };
        let mut init = Launch::entering(&plan, self.host, Some(&stdio)).start_with(&given, || Ok(Vec::new()))?;
        match init.next(&plan) {
            Ok(_) => {
                let (pid, pidfd) = init.into_parts();
                Ok(Process::new(pid, pidfd))
            }
            Err(error) => {
                init.kill();
                Err(error)
            }
        }
    }
}
