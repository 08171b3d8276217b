//! Carrying an exec out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use orlop_cgroups::Cgroup;
use orlop_init::wire::Phase as Sync;

use super::entering::{init_of, join_time_of_restore};
use super::kept::Kept;
use super::options::{ExecOptions, SubCgroup};
use super::process;
use crate::base::procfs::Procfs;
use crate::base::{
    ContainerId, Error, HostPid, Kind, Process as Started, Report, Result, Runtime, Status, Step, Warning,
};
use crate::config::{self, Config, Process};
use crate::parent::agent::send_listener;
use crate::parent::facts::host_within;
use crate::parent::launch::{Event, Given, Init, Launch, Program};
use crate::parent::liveness::not_running;
use crate::parent::options::Terminal;
use crate::parent::prepare::{check_preserved, compile_seccomp, may_set_groups};
use crate::parent::processors::another_is_idle;
use crate::parent::sockets::{send_pidfd, terminal_socket, write_pid_file};
use crate::parent::{cgroup, passwd};
use crate::plan::{CgroupMounts, ExecPlan, JoinCgroup, Plan, PlanOptions, plan_exec};
use crate::state::{Record, Store};

/// With `kept`, what it says is not found out again, and what is found out is left there.
pub(super) fn execute(
    runtime: &Runtime,
    id: &ContainerId,
    options: &ExecOptions,
    kept: Option<&Kept>,
) -> Result<Started> {
    let mut warnings = Vec::new();
    let executed = match kept {
        Some(kept) => execute_kept(runtime, id, options, kept, &mut warnings),
        None => execute_once(runtime, id, options, &mut warnings),
    };
    match executed {
        Ok((pid, pidfd, notes)) => {
            let warnings = warnings.into_iter().map(Warning::from).collect();
            Ok(Started::new(pid, pidfd).with_report(Report::new(warnings, notes)))
        }
        Err(error) => Err(error.after(warnings)),
    }
}

/// The pid, the pidfd and the notes of what was executed. Warnings are added to a list whether it succeeds or not.
type Executed = Result<(HostPid, OwnedFd, Vec<String>)>;

fn execute_once(runtime: &Runtime, id: &ContainerId, options: &ExecOptions, warnings: &mut Vec<String>) -> Executed {
    let entry = Store::find(runtime, id)?;
    let (init_pidfd, paused) = init_of(&entry, options)?;
    let bytes = entry.config()?;
    let mut config = config::load(&bytes)?;
    join_time_of_restore(&entry.record, &mut config);
    let own = config.process.take();
    let filter = compile_seccomp(&config)?;
    let container = Target {
        record: &entry.record,
        init_pidfd: init_pidfd.as_fd(),
        paused,
        config: &config,
        filter: filter.as_ref(),
        program: None,
    };
    container.execute(runtime, options, || own, warnings)
}

fn execute_kept(
    runtime: &Runtime,
    id: &ContainerId,
    options: &ExecOptions,
    kept: &Kept,
    warnings: &mut Vec<String>,
) -> Executed {
    let (found, paused) = kept.find(runtime, id, options)?;
    let container = Target {
        record: &found.record,
        init_pidfd: found.init_pidfd.as_fd(),
        paused,
        config: &found.config,
        filter: found.filter.as_ref(),
        program: Some(&found.program),
    };
    container.execute(runtime, options, || found.config.process.clone(), warnings)
}

/// The container that a process is executed in.
struct Target<'t> {
    record: &'t Record,
    init_pidfd: BorrowedFd<'t>,
    paused: bool,
    config: &'t Config<'t>,
    filter: Option<&'t orlop_seccomp::Filter>,
    program: Option<&'t Program>,
}

impl<'t> Target<'t> {
    fn execute(
        &self,
        runtime: &Runtime,
        options: &ExecOptions,
        own: impl FnOnce() -> Option<Process<'t>>,
        warnings: &mut Vec<String>,
    ) -> Executed {
        let Self { record, config, filter, paused, .. } = *self;
        let file = process::file(options)?;
        let process = process::of(file.as_deref(), options, own, warnings)?;
        check_streams(&process, options)?;
        check_preserved(options.preserve_fds)?;
        let pid = record.init.map(|init| init.pid).ok_or_else(|| not_running(record))?;
        let procfs = Procfs::open()?;
        let host = host_within(runtime, config, Some(&process), &procfs, pid);
        let home = home(&procfs, &process, pid, self.init_pidfd);
        let cgroup = cgroup_to_join(&procfs, record, &options.sub_cgroups)?;
        let joins_later = paused || cgroup.is_none();
        let has_tasks = cgroup.as_ref().is_some_and(|cgroup| !cgroup.record().paths.v1.is_empty());
        let plan_options = PlanOptions {
            no_new_keyring: record.no_new_keyring,
            plain_lines: options.terminal.has_plain_lines(),
            preserve_fds: options.preserve_fds,
            join: JoinCgroup { tasks: has_tasks && !joins_later, late: false, attach: false },
            cgroups: CgroupMounts::Unused,
            home: home.as_deref(),
            set_groups: may_set_groups(config, host),
            ..PlanOptions::entering(Path::new(&record.bundle), host)
        };
        let plan = plan_exec(&ExecPlan { config, options: &plan_options, process: &process, filter, hook: None })?;
        let mut exec = Exec {
            record,
            options,
            plan: &plan,
            host,
            program: self.program,
            cgroup,
            paused,
            attach: paused,
            init_pidfd: self.init_pidfd,
            beside: another_is_idle(&procfs, 0),
        };
        let mut child = exec.launch(process.terminal)?;
        if let Err(error) = exec.carry_out(&mut child, config) {
            child.kill();
            return Err(error);
        }
        let (pid, pidfd) = child.into_parts();
        Ok((pid, pidfd, plan.notes))
    }
}

fn check_streams(process: &Process<'_>, options: &ExecOptions) -> Result<()> {
    let wrong = |detail: &str| Err(Error::new(Kind::InvalidArgument, Step::SetUpTerminal).with_reason(detail));
    match (process.terminal, &options.terminal) {
        (true, Terminal::None) => wrong("a terminal is asked for, and a console socket is missing"),
        (false, Terminal::Socket(_)) => wrong("a console socket is given, and no terminal is asked for"),
        _ => Ok(()),
    }
}

/// HOME as the container itself would say, where the environment does not.
pub(super) fn home(procfs: &Procfs, process: &Process<'_>, init: HostPid, pidfd: BorrowedFd<'_>) -> Option<String> {
    if crate::plan::gives_home(&process.env) {
        return None;
    }
    let root = procfs.open_root(init, pidfd).ok()?;
    passwd::home_in(procfs, root.as_fd(), process.user.uid)
}

/// The cgroup of the container's init, or the one that `--cgroup` names below the container's, per controller on v1.
pub(super) fn cgroup_to_join(procfs: &Procfs, record: &Record, below: &[SubCgroup]) -> Result<Option<Cgroup>> {
    let recorded = record.cgroup.as_ref().filter(|_| !below.is_empty());
    let keeps_recorded =
        recorded.map_or(Ok(false), orlop_cgroups::Record::is_there).map_err(|error| Error::cgroup(&error))?;
    let cgroup = if keeps_recorded { cgroup::open(record) } else { cgroup::of_init(procfs, record)? };
    let Some(mut cgroup) = cgroup else { return Ok(None) };
    if below.is_empty() && cgroup.record().payload.is_some() {
        return cgroup.payload().map(Some).map_err(|error| Error::cgroup(&error));
    }
    for below in below {
        let controllers: Vec<&str> = below.controllers.iter().map(String::as_str).collect();
        let path = below.path.as_str();
        cgroup = cgroup.sub(&controllers, path).map_err(|error| match error.kind() {
            orlop_cgroups::Kind::InvalidPath => {
                Error::cgroup(&error).with_reason(format!("bad sub cgroup path {path:?}"))
            }
            _ => Error::cgroup(&error),
        })?;
    }
    Ok(Some(cgroup))
}

/// A cgroup that was asked for has controllers enabled for those below it, and so can have no process itself.
fn not_for_processes(cgroup: &Cgroup) -> Error {
    let path = cgroup.record().paths.unified.as_deref().unwrap_or_default();
    Error::os(Step::Cgroup, libc::EBUSY)
        .with_object(format!("adding pid of the new process to cgroups {path}"))
        .with_reason("its controllers are enabled for the cgroups below it, so processes can only be in those")
        .with_hint("name one of them with --cgroup")
}

pub(super) struct Exec<'e> {
    pub(super) record: &'e Record,
    pub(super) options: &'e ExecOptions,
    pub(super) plan: &'e Plan,
    pub(super) host: crate::plan::Host,
    /// The init's program, where it is there already.
    pub(super) program: Option<&'e Program>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) paused: bool,
    /// The process is moved into the cgroup at last, instead of being born there.
    pub(super) attach: bool,
    pub(super) init_pidfd: BorrowedFd<'e>,
    /// See [`Launch::beside`].
    pub(super) beside: bool,
}

/// Whether a process executes its command as soon as it is ready, instead of waiting for this one to wake up: nobody is to be told of it
/// before, and nothing is left to be done for it.
pub(super) fn goes_on(plan: &Plan, options: &ExecOptions) -> bool {
    plan.may_go_on() && options.pidfd_socket.is_none() && options.pid_file.is_none()
}

pub(super) fn out_of_turn() -> Error {
    Error::new(Kind::System, Step::Wait).with_object("the process").with_reason("it went on out of turn")
}

/// Waits until all of a process is set up, and says which one it is to whom the options name.
pub(super) fn wait_ready(child: &mut Init, plan: &Plan, options: &ExecOptions) -> Result<()> {
    let Event::Waits(Sync::Ready) = child.next(plan)? else {
        return Err(out_of_turn());
    };
    if let Some(socket) = &options.pidfd_socket {
        send_pidfd(socket, child.pidfd())?;
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, child.pid())?;
    }
    Ok(())
}

impl Exec<'_> {
    pub(super) fn launch(&mut self, terminal: bool) -> Result<Init> {
        let console = if terminal { terminal_socket(&self.options.terminal)? } else { None };
        let given = Given {
            console: console.as_ref().map(AsFd::as_fd),
            init_pidfd: Some(self.init_pidfd),
            init_pid: self.record.init.map(|init| init.pid),
            ..Given::default()
        };
        let launch = |clone_into, cgroup: Option<&Cgroup>, attach: bool| {
            let tasks = || cgroup.map_or(Ok(Vec::new()), Cgroup::tasks).map_err(|error| Error::cgroup(&error));
            Launch {
                program: self.program,
                goes_on: !attach && !self.paused && goes_on(self.plan, self.options),
                beside: self.beside,
                clone_into,
                tasks: cgroup.map_or(0, |cgroup| cgroup.record().paths.v1.len()),
                cancel: self.options.cancel.as_ref().map(AsFd::as_fd),
                die_with_parent: true,
                ..Launch::entering(self.plan, self.host, self.options.stdio.as_ref())
            }
            .start_with(&given, tasks)
        };
        // A frozen cgroup would hold the new process, and this one with it, before it could be set up: it is entered last.
        let Some(cgroup) = self.cgroup.as_ref().filter(|_| !self.paused) else {
            return launch(None, None, self.attach);
        };
        let birth = cgroup.birth().map_err(|error| Error::cgroup(&error))?;
        self.attach |= birth.attach;
        let attach = self.attach;
        match launch(birth.clone_into, Some(cgroup).filter(|_| !birth.attach), attach) {
            // Who may not clone into a cgroup may still be allowed to move a process there: their common ancestor decides.
            Err(error)
                if error.errno() == Some(libc::EACCES) && error.step() == Step::Clone && birth.clone_into.is_some() =>
            {
                self.attach = true;
                launch(None, None, true)
            }
            // A container that has made cgroups of its own inside has no processes in its topmost one (cgroups(7), "no internal
            // processes"): the new one goes where its init is.
            Err(error) if error.errno() == Some(libc::EBUSY) && self.options.sub_cgroups.is_empty() => {
                let own = cgroup::beside_init(self.record, cgroup)?;
                let birth = own.birth().map_err(|error| Error::cgroup(&error))?;
                launch(birth.clone_into, Some(&own).filter(|_| !birth.attach), attach)
            }
            Err(error) if error.errno() == Some(libc::EBUSY) && error.step() == Step::Clone => {
                Err(not_for_processes(cgroup))
            }
            result => result,
        }
    }

    /// Waits until all is set up, and lets the process go on to its command.
    pub(super) fn make_ready(&mut self, child: &mut Init) -> Result<()> {
        wait_ready(child, self.plan, self.options)?;
        if self.attach
            && let Some(cgroup) = &mut self.cgroup
        {
            child.by_number(|pid| cgroup.attach(pid.as_pid()).map_err(|error| Error::cgroup(&error)))?;
        }
        child.answer()
    }

    fn carry_out(&mut self, child: &mut Init, config: &Config<'_>) -> Result<()> {
        if !child.goes_on() {
            self.make_ready(child)?;
        }
        if self.plan.seccomp_listener {
            let listener = child.take_listener()?;
            let profile = config.linux.as_ref().and_then(|linux| linux.seccomp.as_deref());
            send_listener(&listener, profile, self.record, Status::Running, child.pid())?;
        }
        if self.paused { child.wait_resumed(self.plan) } else { child.next(self.plan).map(drop) }
    }
}
