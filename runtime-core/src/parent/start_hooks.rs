//! startContainer hooks: programs of the container's own file system, and so executed with no more rights than its command has.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use orlop_cgroups::Cgroup;
use orlop_init::wire::Phase as Sync;

use crate::base::{Error, Kind, Process as Started, Result, Status, Step};
use crate::config::{Config, Hook, Process};
use crate::parent::agent::send_listener;
use crate::parent::hooks::Spawn;
use crate::parent::launch::{Event, Given, Init, Launch};
use crate::parent::prepare::{compile_seccomp, may_set_groups};
use crate::parent::{cgroup, passwd};
use crate::plan::{ExecPlan, Host, JoinCgroup, Plan, PlanOptions, plan_exec};
use crate::state::Record;

/// Starts startContainer hooks as what the container's command is going to be: its user, capabilities, limits, labels and seccomp
/// filter, in its control groups.
#[derive(Debug)]
pub(crate) struct AsCommand<'c> {
    pub(crate) init: BorrowedFd<'c>,
    pub(crate) record: &'c Record,
    pub(crate) config: &'c Config<'c>,
    pub(crate) host: Host,
}

impl AsCommand<'_> {
    fn plan(&self, hook: &Hook<'_>, process: &Process<'_>, join: JoinCgroup) -> Result<Plan> {
        let filter = compile_seccomp(self.config)?;
        let (bundle, rootfs) = (Path::new(&self.record.bundle), Path::new(&self.record.rootfs));
        let home = passwd::home_of(self.config, bundle, rootfs, process.user.uid);
        let options = PlanOptions {
            join,
            home: home.as_deref(),
            set_groups: may_set_groups(self.config, self.host),
            ..PlanOptions::entering(bundle, self.host)
        };
        let filter = filter.as_ref();
        plan_exec(&ExecPlan { config: self.config, options: &options, process, filter, hook: Some(hook) })
    }

    /// Lets a hook that is ready go on to its execution.
    fn release(&self, hook: &mut Init, plan: &Plan, attach: Option<&mut Cgroup>) -> Result<()> {
        let out_of_turn =
            || Error::new(Kind::System, Step::RunHook).with_reason("the hook's process went on out of turn");
        let Event::Waits(Sync::Ready) = hook.next(plan)? else { return Err(out_of_turn()) };
        if let Some(cgroup) = attach {
            hook.by_number(|pid| cgroup.attach(pid.as_pid()).map_err(|error| Error::cgroup(&error)))?;
        }
        hook.answer()?;
        if plan.seccomp_listener {
            let listener = hook.take_listener()?;
            let profile = self.config.linux.as_ref().and_then(|linux| linux.seccomp.as_deref());
            send_listener(&listener, profile, self.record, Status::Created, hook.pid())?;
        }
        hook.next(plan).map(drop)
    }
}

impl Spawn for AsCommand<'_> {
    fn spawn(&self, hook: &Hook<'_>, stdio: [OwnedFd; 3]) -> Result<Started> {
        let missing = || Error::config("/process", "is missing: there is nothing to execute");
        let process = self.config.process.as_ref().ok_or_else(missing)?;
        let mut cgroup = cgroup::open(self.record);
        let mut join = None;
        if let Some(cgroup) = cgroup.as_ref().filter(|_| !self.host.cgroups_optional) {
            join = Some(cgroup.join().map_err(|error| Error::cgroup(&error))?).filter(|join| !join.attach);
        }
        let (clone_into, tasks) = join.map_or((None, Vec::new()), |join| (join.clone_into, join.tasks));
        let attach = clone_into.is_none() && tasks.is_empty();
        let plan = self.plan(hook, process, JoinCgroup { tasks: !tasks.is_empty(), late: false, attach: false })?;
        let launch = Launch { clone_into, tasks: tasks.len(), ..Launch::entering(&plan, self.host, Some(&stdio)) };
        let init_pid = self.record.init.map(|init| init.pid);
        let given = Given { init_pidfd: Some(self.init), init_pid, ..Given::default() };
        let mut started = launch.start_with(&given, || Ok(tasks))?;
        if let Err(error) = self.release(&mut started, &plan, cgroup.as_mut().filter(|_| attach)) {
            started.kill();
            return Err(error);
        }
        let (pid, pidfd) = started.into_parts();
        Ok(Started::new(pid, pidfd))
    }
}
