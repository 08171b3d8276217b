//! An exec server: further processes in a running container, without doing again for each what all of them have in common.

mod start;
mod streams;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entering::{init_of, join_time_of_restore, wrong_status};
use super::execution::{goes_on, home, out_of_turn, wait_ready};
use super::options::{ExecOptions, ExecProcess};
use super::process;
use crate::base::procfs::Procfs;
use crate::base::{
    ContainerId, Error, HostPid, Kind, Process as Started, Report, Result, Runtime, Status, Step, Warning,
};
use crate::config::{self, Config, CpuAffinity, Linux, Namespace, NamespaceType, Process};
use crate::parent::exec_server::ExecServer as Server;
use crate::parent::facts::host_within;
use crate::parent::launch::{Event, Given, Init, Launch};
use crate::parent::liveness::{is_paused, not_running};
use crate::parent::options::Terminal;
use crate::parent::prepare::{compile_seccomp, may_set_groups};
use crate::plan::{ExecPlan, Host, JoinCgroup, Plan, ServerOf, bounding, own_server_fits, plan_served, same_identity};
use crate::state::{Entry, Store};
use start::{Start, plan_options};

/// A process that waits inside a running container and starts commands there in a fraction of the time that an [`exec`](crate::exec())
/// takes: the config is read once, the profile compiled once, and namespaces and control groups are joined once. It ends with this value
/// or with the container.
///
/// What its commands get is what [`exec`](crate::exec()) gives them: user, capabilities, limits, seccomp filter, a session and a keyring
/// of their own. They are children of this program. What [`exec`](crate::exec()) would take from this program as it is then (limits
/// that the config does not name, its priority, rights of its own that it has dropped since), they have as it was when the server was
/// started. A process that this program forks cannot use the server.
///
/// The server is in the container's control groups, where it counts as one process of a few hundred KiB, and in its namespaces but for
/// the pid namespace: the container's processes do not see it, and cannot trace it. Of the container's files it reads none but
/// `/etc/passwd`, where a command's environment has no HOME; what that says is kept for each user.
///
/// Commands that have the user, rights and limits of the container's own process come fastest. Where that process can neither trace nor
/// mount, has a pid namespace, is root if it has a user namespace, and gains no rights by execve(2) or has no filter, the server has these
/// rights itself and makes such commands by a single fork. With the first other command there is a second server, of another process, for those.
///
/// Commands can be started by several threads at once. All of them have the labels, the `oomScoreAdj`
/// and the initial CPU affinity of the container's process.
#[derive(Debug)]
pub struct ExecServer {
    entry: Entry,
    /// The kinds of the container's namespaces: all that a command's plan takes from the config.
    config: Config<'static>,
    /// The container's own process.
    process: Process<'static>,
    filter: Option<orlop_seccomp::Filter>,
    host: Host,
    set_groups: bool,
    homes: Mutex<BTreeMap<u32, Option<String>>>,
    /// The container's first process.
    init_pidfd: OwnedFd,
    /// What makes the commands that are what the container's own process is.
    own: Option<Server>,
    /// What makes all others, once there is one.
    all: Mutex<Option<Arc<Server>>>,
}

/// Starts an exec server in the running container `id`.
///
/// # Errors
/// As [`exec`](crate::exec()); [`Kind::Unsupported`] where the container's seccomp profile has an agent, who is told of each process.
pub fn exec_server(runtime: &Runtime, id: &ContainerId) -> Result<ExecServer> {
    let entry = Store::find(runtime, id)?;
    let options = ExecOptions::new(ExecProcess::Args(Vec::new()));
    let (init_pidfd, _) = init_of(&entry, &options)?;
    let bytes = entry.config()?;
    let mut config = config::load(&bytes)?;
    join_time_of_restore(&entry.record, &mut config);
    let mut process = config.process.take().ok_or_else(|| Error::config("/process", "is missing"))?;
    process.terminal = false;
    let filter = compile_seccomp(&config)?;
    if filter.as_ref().is_some_and(|filter| filter.notify) {
        return Err(Error::new(Kind::Unsupported, Step::Clone)
            .with_object("an exec server")
            .with_field("/linux/seccomp/listenerPath")
            .with_reason("the profile's agent is told of each process by itself")
            .with_hint("use exec"));
    }
    let procfs = Procfs::open()?;
    let host = host_within(runtime, &config, Some(&process), &procfs, init_pid(&entry)?);
    let set_groups = may_set_groups(&config, host);
    let of = if own_server_fits(&config, &process, filter.is_some()) { ServerOf::Own } else { ServerOf::All };
    let start =
        Start { entry: &entry, config: &config, process: &process, host, set_groups, init_pidfd: init_pidfd.as_fd() };
    let server = start.server(of, None)?;
    let (own, all) = match of {
        ServerOf::Own => (Some(server), None),
        ServerOf::All => (None, Some(Arc::new(server))),
    };
    Ok(ExecServer {
        config: of_kinds(&config)?,
        process: process.into_owned(),
        filter,
        host,
        set_groups,
        homes: Mutex::default(),
        init_pidfd,
        own,
        all: Mutex::new(all),
        entry,
    })
}

impl ExecServer {
    /// Executes a process in the container, as [`exec`](crate::exec()) does, and returns once the command has taken over.
    ///
    /// # Errors
    /// As there. [`Kind::Unsupported`] for what only [`exec`](crate::exec()) can do: a terminal, a sub-cgroup, descriptors besides the
    /// standard streams, a paused container, labels, `oomScoreAdj` or an initial CPU affinity that are not those of the container's
    /// process, and capabilities that are not in its bounding set. A server that has not begun with a command within a second of its being
    /// cancelled (it is stopped, or frozen with its container) is ended with it, as is one that gives no sign of life for a minute.
    pub fn exec(&self, options: ExecOptions) -> Result<Started> {
        let mut warnings = Vec::new();
        match self.execute(&options, &mut warnings) {
            Ok((pid, pidfd, notes)) => {
                let warnings = warnings.into_iter().map(Warning::from).collect();
                Ok(Started::new(pid, pidfd).with_report(Report::new(warnings, notes)))
            }
            Err(error) => Err(error.after(warnings)),
        }
    }

    fn execute(&self, options: &ExecOptions, warnings: &mut Vec<String>) -> Executed {
        let file = process::file(options)?;
        let process = process::of(file.as_deref(), options, || Some(self.process.clone()), warnings)?;
        self.check(&process, options)?;
        match is_paused(&self.entry.record, self.init_pidfd.as_fd())? {
            Some(false) => {}
            Some(true) => return Err(wrong_status(&self.entry.record, Status::Paused)),
            None => return Err(wrong_status(&self.entry.record, Status::Stopped)),
        }
        if let Some(own) = self.own.as_ref().filter(|_| same_identity(&process, &self.process)) {
            if !has_user_namespace(&self.config) {
                streams::give(options, process.user.uid)?;
            }
            match self.command(own, ServerOf::Own, &process, options) {
                Err(error) if takes_more_rights(&error) => {}
                executed => return executed,
            }
        }
        self.command(&*self.all(options)?, ServerOf::All, &process, options)
    }

    fn command(&self, server: &Server, of: ServerOf, process: &Process<'_>, options: &ExecOptions) -> Executed {
        let home = self.home(process)?;
        let plan_options =
            plan_options(&self.entry, self.host, self.set_groups, JoinCgroup::default(), home.as_deref());
        let (config, filter) = (&self.config, self.filter.as_ref());
        let exec = ExecPlan { config, options: &plan_options, process, filter, hook: None };
        let plan = plan_served(&exec, &self.process, of)?;
        let given = Given {
            init_pidfd: Some(self.init_pidfd.as_fd()),
            init_pid: Some(init_pid(&self.entry)?),
            ..Given::default()
        };
        let cancel = options.cancel.as_ref().map(AsFd::as_fd);
        let goes_on = goes_on(&plan, options);
        let launch = Launch { cancel, goes_on, ..Launch::entering(&plan, self.host, options.stdio.as_ref()) };
        let mut child = server.start(launch, &given)?;
        if let Err(error) = carry_out(&mut child, &plan, options) {
            child.kill();
            return Err(error);
        }
        let (pid, pidfd) = child.into_parts();
        Ok((pid, pidfd, plan.notes))
    }

    /// The server for commands of any identity.
    fn all(&self, options: &ExecOptions) -> Result<Arc<Server>> {
        // In a process that the owner has forked, a new one would be that process's.
        self.own.as_ref().map_or(Ok(()), Server::check_owner)?;
        let mut all = locked(&self.all);
        if let Some(server) = &*all {
            return Ok(Arc::clone(server));
        }
        let bytes = self.entry.config()?;
        let mut config = config::load(&bytes)?;
        join_time_of_restore(&self.entry.record, &mut config);
        let start = Start {
            entry: &self.entry,
            config: &config,
            process: &self.process,
            host: self.host,
            set_groups: self.set_groups,
            init_pidfd: self.init_pidfd.as_fd(),
        };
        // Without a descriptor to spare it cannot be cancelled; it still has its deadlines.
        let cancel = options.cancel.as_ref().and_then(|cancel| cancel.try_clone().ok());
        let server = Arc::new(start.server(ServerOf::All, cancel)?);
        Ok(Arc::clone(all.insert(server)))
    }

    /// What the server did once and for all its commands, or cannot do.
    fn check(&self, process: &Process<'_>, options: &ExecOptions) -> Result<()> {
        let own = &self.process;
        let initial = |affinity: &Option<CpuAffinity<'_>>| {
            affinity.as_ref().and_then(|affinity| affinity.initial.as_ref()).map(|cpus| cpus.as_str().to_owned())
        };
        let terminal = process.terminal || !matches!(options.terminal, Terminal::None);
        let cannot = [
            (terminal, "a terminal"),
            (!options.sub_cgroups.is_empty(), "a sub-cgroup"),
            (options.preserve_fds > 0, "descriptors besides the standard streams"),
            (options.ignore_paused, "waiting until a paused container is resumed"),
            (process.apparmor_profile != own.apparmor_profile, "an AppArmor profile that is not the container's"),
            (process.selinux_label != own.selinux_label, "an SELinux label that is not the container's"),
            (
                bounding(process) & !bounding(own) != 0,
                "a capability that is not in the bounding set of the container's process",
            ),
            (process.oom_score_adj != own.oom_score_adj, "an oomScoreAdj that is not the container's"),
            (
                initial(&process.exec_cpu_affinity) != initial(&own.exec_cpu_affinity),
                "an initial CPU affinity that is not the container's",
            ),
        ];
        match cannot.into_iter().find(|(asked, _)| *asked) {
            None => Ok(()),
            Some((_, what)) => Err(Error::new(Kind::Unsupported, Step::CheckArguments)
                .with_object(what)
                .with_reason("an exec server cannot give it to a single command")
                .with_hint("use exec")),
        }
    }

    fn home(&self, process: &Process<'_>) -> Result<Option<String>> {
        if crate::plan::gives_home(&process.env) {
            return Ok(None);
        }
        let mut homes = locked(&self.homes);
        if let Some(known) = homes.get(&process.user.uid) {
            return Ok(known.clone());
        }
        let found = home(&Procfs::open()?, process, init_pid(&self.entry)?, self.init_pidfd.as_fd());
        homes.insert(process.user.uid, found.clone());
        Ok(found)
    }
}

/// The pid, the pidfd and the notes of what was executed.
type Executed = Result<(HostPid, OwnedFd, Vec<String>)>;

fn has_user_namespace(config: &Config<'_>) -> bool {
    let mut namespaces = config.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.any(|namespace| namespace.kind == NamespaceType::User)
}

/// Whether a command that has nothing but its own rights could not be made for that: its working directory is one that others may not
/// enter, a stream is not its user's, or it is not in the root that an exec would enter.
fn takes_more_rights(error: &Error) -> bool {
    match error.step() {
        Step::EnterCwd | Step::SetUpTerminal => matches!(error.errno(), Some(libc::EACCES | libc::EPERM)),
        Step::JoinNamespace => error.errno() == Some(libc::ESTALE),
        _ => false,
    }
}

/// A thread that panicked while it held the lock has left nothing half-done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry_out(child: &mut Init, plan: &Plan, options: &ExecOptions) -> Result<()> {
    if !child.goes_on() {
        wait_ready(child, plan, options)?;
        child.answer()?;
    }
    match child.next(plan)? {
        Event::Disconnected => Ok(()),
        Event::Waits(_) => Err(out_of_turn()),
    }
}

fn init_pid(entry: &Entry) -> Result<HostPid> {
    entry.record.init.map(|init| init.pid).ok_or_else(|| not_running(&entry.record))
}

/// A config with nothing but the kinds of another one's namespaces.
fn of_kinds(config: &Config<'_>) -> Result<Config<'static>> {
    let mut kinds = config::load(br#"{"ociVersion": "1.3.0", "root": {"path": "/"}}"#)?;
    let namespaces = config.linux.iter().flat_map(|linux| &linux.namespaces);
    let namespaces = namespaces.map(|namespace| Namespace { kind: namespace.kind, path: None }).collect();
    kinds.linux = Some(Box::new(Linux { namespaces, ..Linux::default() }));
    Ok(kinds)
}
