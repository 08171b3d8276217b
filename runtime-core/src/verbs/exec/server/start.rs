//! Starting the process of an exec server.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::base::procfs::Procfs;
use crate::base::{Error, Result, Step};
use crate::config::{Config, Process};
use crate::parent::exec_server::ExecServer as Server;
use crate::plan::{CgroupMounts, ExecPlan, Host, JoinCgroup, PlanOptions, ServerOf, plan_exec_server};
use crate::state::Entry;
use crate::verbs::exec::execution::{Exec, cgroup_to_join};
use crate::verbs::exec::options::{ExecOptions, ExecProcess};

/// What a server is started from.
pub(super) struct Start<'s> {
    pub(super) entry: &'s Entry,
    pub(super) config: &'s Config<'s>,
    pub(super) process: &'s Process<'s>,
    pub(super) host: Host,
    pub(super) set_groups: bool,
    pub(super) init_pidfd: BorrowedFd<'s>,
}

impl Start<'_> {
    /// # Errors
    /// As [`crate::exec()`].
    pub(super) fn server(&self, of: ServerOf, cancel: Option<OwnedFd>) -> Result<Server> {
        let null = |write: bool| File::options().read(!write).write(write).open("/dev/null").map(OwnedFd::from);
        let streams = || Ok([null(false)?, null(true)?, null(true)?]);
        let streams =
            streams().map_err(|error: std::io::Error| Error::io(Step::Clone, &error).with_object("/dev/null"))?;
        let mut options = ExecOptions::new(ExecProcess::Args(Vec::new())).stdio(streams);
        options.cancel = cancel;
        let cgroup = cgroup_to_join(&Procfs::open()?, &self.entry.record, &[])?;
        let tasks = cgroup.as_ref().is_some_and(|cgroup| !cgroup.record().paths.v1.is_empty());
        let join = JoinCgroup { tasks, late: false, attach: false };
        let plan_options = plan_options(self.entry, self.host, self.set_groups, join, None);
        let exec =
            ExecPlan { config: self.config, options: &plan_options, process: self.process, filter: None, hook: None };
        let plan = plan_exec_server(&exec, of)?;
        let mut exec = Exec {
            record: &self.entry.record,
            options: &options,
            plan: &plan,
            host: self.host,
            program: None,
            cgroup,
            paused: false,
            attach: false,
            init_pidfd: self.init_pidfd,
            beside: true,
        };
        let mut child = exec.launch(false)?;
        if let Err(error) = exec.make_ready(&mut child) {
            child.kill();
            return Err(error);
        }
        Ok(Server::new(child))
    }
}

/// What a plan for a process of the container of `entry` is made with.
pub(super) fn plan_options<'o>(
    entry: &'o Entry,
    host: Host,
    set_groups: bool,
    join: JoinCgroup,
    home: Option<&'o str>,
) -> PlanOptions<'o> {
    let bundle = Path::new(&entry.record.bundle);
    let no_new_keyring = entry.record.no_new_keyring;
    let cgroups = CgroupMounts::Unused;
    PlanOptions { no_new_keyring, join, cgroups, home, set_groups, ..PlanOptions::entering(bundle, host) }
}
