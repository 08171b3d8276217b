//! `create`: from the bundle to an init that is ready to execute the container's command. `run` goes the same way.

use std::os::fd::{AsFd, OwnedFd};

use orlop_init::wire::Phase as Sync;

use crate::base::procfs::Procfs;
use crate::base::{ContainerId, Error, Kind, Process, Report, Result, Runtime, Status, Step, Warning};
use crate::config::Config;
use crate::parent::agent::send_listener;
use crate::parent::cgroup::{self, ContainerCgroup};
use crate::parent::handover::{self, InContainer};
use crate::parent::hooks::{self, HookKind, HookState, InRuntime};
use crate::parent::launch::{Event, Given, Init, Launch, Program};
use crate::parent::network::Network;
use crate::parent::options::CreateOptions;
use crate::parent::prepare::{self, Bundle, Common, Prepared, Wanted};
use crate::parent::processors::another_is_idle;
use crate::parent::resctrl;
use crate::parent::sockets::{self, send_pidfd, stdio, write_pid_file};
use crate::parent::verify::{self, Subject};
use crate::plan::{HostWrite, Plan};
use crate::state::{Claim, InitProcess, Locked, Phase, Record, Store};

/// Makes the container `id` from a bundle and leaves it waiting for [`crate::start`].
///
/// # Errors
/// Any step may fail; nothing is left behind then.
pub fn create(runtime: &Runtime, id: &ContainerId, options: CreateOptions) -> Result<Process> {
    let bundle = prepare::read_bundle(&options)?;
    let config = bundle.config()?;
    // While all that follows is found out and made.
    let network = Network::begin(&config);
    let common = Common::decide(runtime, &bundle, config, options.no_pivot)?;
    make(&Wanted::new(runtime, id, &bundle, &common, &options), network)
}

/// Makes the container and leaves its init waiting for `start`, where that is wanted, or executing the command.
pub(super) fn make(wanted: &Wanted<'_>, network: Network) -> Result<Process> {
    let Wanted { bundle, options, waits_for_start: waits, .. } = *wanted;
    let config = &wanted.common.config;
    let prepared = Prepared::new(wanted)?;
    let store = Store::create(wanted.runtime)?;
    let claim = store.claim(wanted.id, &prepared.record)?;
    // Clean-up after a crash needs the config only for these hooks; without them it is written later, off the critical path.
    if prepared.record.poststop_hooks {
        claim.locked()?.keep_config(&bundle.bytes)?;
    }
    let to_verify = limits_to_verify(&prepared, config, options)?;
    let mut create = Create {
        config,
        options,
        bundle,
        program: wanted.program,
        prepared,
        claim,
        network,
        cgroup: None,
        init: None,
        written: None,
        to_verify,
    };
    match create.carry_out(waits) {
        Ok(()) => create.finish(waits),
        Err(error) => Err(create.undo(error)),
    }
}

/// A container in the making: what exists of it so far.
struct Create<'m> {
    config: &'m Config<'m>,
    options: &'m CreateOptions,
    bundle: &'m Bundle,
    program: Option<&'m Program>,
    prepared: Prepared,
    claim: Claim,
    network: Network,
    cgroup: Option<ContainerCgroup>,
    init: Option<Init>,
    /// What lies beside the state file, to take its place.
    written: Option<Record>,
    /// The values of limits, where the container is to be verified.
    to_verify: Option<Vec<HostWrite>>,
}

impl Create<'_> {
    fn plan(&self) -> &Plan {
        &self.prepared.plan
    }

    /// The runtime's side of the order. The init's is the plan, and the two run beside each other: the init waits only for what it is
    /// handed, and at the words that are answered here.
    fn carry_out(&mut self, waits: bool) -> Result<()> {
        // Early, before there is a process: what it is born into.
        self.make_cgroup()?;
        self.make_notify_directory()?;
        let beside = self.settles_beside();
        let idle = beside && Procfs::open().is_ok_and(|procfs| another_is_idle(&procfs, self.network.tasks()));
        self.start_init(waits)?;
        // The init gets ready to work. Meanwhile: what it is to be handed.
        self.complete_cgroup()?;
        if !beside {
            self.settle_cgroup()?;
        }
        self.attach_to_scope()?;
        self.hand_over(waits, idle)?;
        // The init joins and mounts. Meanwhile: what must be there by the time it is ready.
        if beside {
            self.settle_cgroup()?;
            self.hand_over_late_tasks()?;
        }
        self.write_ahead()?;
        if self.may_go_on(waits) {
            self.ready()?;
            self.init.as_mut().ok_or_else(no_init)?.go_on()?;
        } else {
            // Late, at the init's words: hooks, then tight limits, pid file and state.
            self.serve_until_ready()?;
        }
        self.pass_on_listener(waits)?;
        // For one that waits nothing is left that could fail before `start`; any other lets go when the command has taken over.
        if waits { Ok(()) } else { self.next().map(drop) }
    }

    /// Whether the limits can be set while the init is at work: nothing that it does depends on them, and no hierarchy of v1 is still to be
    /// entered before its first step.
    fn settles_beside(&self) -> bool {
        let born_in = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.hierarchies() == 0 && !cgroup.is_systemds());
        self.plan().joins_late || born_in
    }

    /// Whether the container can be recorded before the init is ready, which then goes on to the command without waiting: nobody has to
    /// look at it first, and nothing comes only at its end.
    fn may_go_on(&self, waits: bool) -> bool {
        let stays = |cgroup: &ContainerCgroup| cgroup.is_limited() && cgroup.record().payload.is_none();
        !waits
            && self.cgroup.as_ref().is_none_or(stays)
            && self.plan().may_go_on()
            && self.plan().forks() == 0
            && self.to_verify.is_none()
    }

    fn serve_until_ready(&mut self) -> Result<()> {
        loop {
            match self.next()? {
                Event::Waits(Sync::Namespaces) => self.run_early_hooks()?,
                Event::Waits(Sync::Ready) => {
                    self.ready()?;
                    return self.init()?.answer();
                }
                // Answered by the launch itself, or said only before or after this loop.
                Event::Waits(Sync::MapIds | Sync::MapMount | Sync::Attach) | Event::Disconnected => {
                    return Err(out_of_turn());
                }
            }
            self.init()?.answer()?;
        }
    }

    fn next(&mut self) -> Result<Event> {
        let plan = &self.prepared.plan;
        self.init.as_mut().ok_or_else(no_init)?.next(plan)
    }

    fn init(&self) -> Result<&Init> {
        self.init.as_ref().ok_or_else(no_init)
    }

    fn make_cgroup(&mut self) -> Result<()> {
        if let Some(planned) = self.prepared.cgroup.take() {
            self.cgroup = Some(ContainerCgroup::create(planned)?);
        }
        Ok(())
    }

    fn make_notify_directory(&self) -> Result<()> {
        match self.prepared.notify_dir {
            Some(_) => sockets::make_notify_directory(self.claim.locked()?.dir()),
            None => Ok(()),
        }
    }

    fn start_init(&mut self, waits: bool) -> Result<()> {
        let dir = self.claim.locked()?.dir();
        let cgroup = self.cgroup.as_ref();
        let launch = Launch {
            plan: self.plan(),
            host: self.prepared.host,
            program: self.program,
            block_dir: waits.then_some(dir),
            clone_into: cgroup.map(ContainerCgroup::clone_target).transpose()?.flatten(),
            tasks: cgroup.map_or(0, ContainerCgroup::hierarchies),
            stdio: self.options.stdio.as_ref(),
            cancel: self.options.cancel.as_ref().map(AsFd::as_fd),
            die_with_parent: true,
            goes_on: false,
            beside: true,
        };
        self.init = Some(launch.start()?);
        Ok(())
    }

    fn complete_cgroup(&mut self) -> Result<()> {
        self.cgroup.as_mut().map_or(Ok(()), ContainerCgroup::complete)
    }

    /// Sets what must be set before a process enters, and the limits that cannot get in the way of the init.
    fn settle_cgroup(&mut self) -> Result<()> {
        match &mut self.cgroup {
            Some(cgroup) => cgroup.settle(self.config, self.prepared.host.cgroups_optional),
            None => Ok(()),
        }
    }

    /// Opens what the plan names and hands it to the init, with the `tasks` files that it is to write now.
    fn hand_over(&mut self, waits: bool, beside: bool) -> Result<()> {
        let console = sockets::console(self.config, self.options)?;
        let fifo = if waits { Some(sockets::make_start_fifo(self.claim.locked()?.dir())?) } else { None };
        let given = Given {
            network: Some(&self.network),
            beside,
            console: console.as_ref().map(AsFd::as_fd),
            fifo: fifo.as_ref().map(AsFd::as_fd),
            ..Given::default()
        };
        let (mut tasks, limited) = self.cgroup.as_ref().map(ContainerCgroup::tasks).transpose()?.unwrap_or_default();
        if !self.plan().joins_late {
            tasks.extend(limited);
        }
        let init = self.init.as_mut().ok_or_else(no_init)?;
        init.hand_over(&self.prepared.plan, &given, &tasks)
    }

    fn hand_over_late_tasks(&self) -> Result<()> {
        match &self.cgroup {
            Some(cgroup) if self.plan().joins_late => self.init()?.send(&cgroup.tasks()?.1),
            _ => Ok(()),
        }
    }

    /// What needs to be done only by the time the container is there: the init has mounts to make now, and this process nothing else
    /// to do.
    fn write_ahead(&mut self) -> Result<()> {
        let locked = self.claim.locked()?;
        if !self.prepared.record.poststop_hooks {
            locked.keep_config(&self.bundle.bytes)?;
        }
        let record = self.created()?;
        locked.prepare(&record)?;
        self.written = Some(record);
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.release();
        }
        Ok(())
    }

    /// Has systemd make the cgroup around the init, which waits for that.
    fn attach_to_scope(&mut self) -> Result<()> {
        if !self.cgroup.as_ref().is_some_and(ContainerCgroup::is_systemds) {
            return Ok(());
        }
        let Event::Waits(Sync::Attach) = self.next()? else { return Err(out_of_turn()) };
        let init = self.init.as_ref().ok_or_else(no_init)?;
        if let Some(cgroup) = &mut self.cgroup {
            init.by_number(|pid| cgroup.attach(pid))?;
        }
        self.init()?.answer()
    }

    /// The record of the container as it will be.
    fn created(&self) -> Result<Record> {
        let init = self.init()?;
        Ok(Record {
            init: Some(InitProcess::of(init.pid(), init.pidfd())?),
            phase: Phase::Created,
            cgroup: self.cgroup.as_ref().map(|cgroup| cgroup.record().clone()),
            stdio: stdio(self.config, self.options),
            ..self.prepared.record.clone()
        })
    }

    fn apply_limits(&mut self) -> Result<()> {
        match &mut self.cgroup {
            Some(cgroup) => cgroup.apply(self.config, self.prepared.host.cgroups_optional),
            None => Ok(()),
        }
    }

    fn run_early_hooks(&mut self) -> Result<()> {
        handover::move_net_devices(self.config, self.init()?)?;
        let Some(all) = &self.config.hooks else { return Ok(()) };
        let init = self.init()?;
        let state = self.hook_state(Status::Creating)?;
        let bundle = std::path::Path::new(&self.prepared.record.bundle);
        let here = InRuntime { cwd: bundle, open_files: self.prepared.host.open_files };
        let cancel = self.options.cancel.as_ref().map(AsFd::as_fd);
        hooks::run(HookKind::Prestart, &all.prestart, &state, &here, cancel)?;
        hooks::run(HookKind::CreateRuntime, &all.create_runtime, &state, &here, cancel)?;
        let inside = InContainer::new(init.pidfd(), Some(init.pid()), self.config, self.prepared.host)
            .with_cwd(&self.prepared.record.rootfs);
        hooks::run(HookKind::CreateContainer, &all.create_container, &state, &inside, cancel)
    }

    fn hook_state(&self, status: Status) -> Result<HookState<'_>> {
        Ok(HookState::of(&self.prepared.record, status, Some(self.init()?.pid())))
    }

    /// The init is ready to execute: limits, state, pid file. After this the container exists.
    fn ready(&mut self) -> Result<()> {
        self.apply_limits()?;
        let pid = self.init()?.pid();
        if let Some(cgroup) = &self.cgroup {
            self.init()?.by_number(|pid| cgroup.enter_payload(pid))?;
        }
        self.verify()?;
        self.set_up_intel_rdt()?;
        if let Some(socket) = &self.options.pidfd_socket {
            send_pidfd(socket, self.init()?.pidfd())?;
        }
        if let Some(receiver) = self.config.annotations.get(crate::config::PIDFD_RECEIVER) {
            send_pidfd(receiver.as_ref(), self.init()?.pidfd())?;
        }
        if let Some(path) = &self.options.pid_file {
            write_pid_file(path, pid)?;
        }
        // An init that joined a pid namespace goes on under another number, and a scope is known only now.
        let cgroup = self.cgroup.as_ref().map(ContainerCgroup::record);
        let holds = |written: &mut Record| {
            written.init.is_some_and(|init| init.pid == pid) && written.cgroup.as_ref() == cgroup
        };
        if let Some(written) = self.written.take_if(holds) {
            self.prepared.record = written;
            self.claim.locked()?.commit()
        } else {
            self.prepared.record = self.created()?;
            self.claim.locked()?.save(&self.prepared.record)
        }
    }

    /// Compares what the kernel says of the init with the config, where that is asked for.
    fn verify(&self) -> Result<()> {
        let Some(writes) = &self.to_verify else { return Ok(()) };
        let init = self.init()?;
        let must_have = self.cgroup.as_ref().filter(|_| !self.prepared.host.cgroups_optional);
        verify::check(&Subject {
            config: self.config,
            host: self.prepared.host,
            pid: init.pid(),
            pidfd: init.pidfd(),
            rootfs: &self.prepared.record.rootfs,
            sets_groups: prepare::may_set_groups(self.config, self.prepared.host),
            filter_is_loaded: self.plan().loads_filter_before_ready(),
            cgroup: must_have.map(|cgroup| (cgroup.record(), writes.as_slice())),
        })
    }

    fn set_up_intel_rdt(&self) -> Result<()> {
        let config = self.config.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
        match (&self.prepared.record.intel_rdt, config) {
            (Some(record), Some(config)) => self.init()?.by_number(|pid| resctrl::create(record, config, pid)),
            _ => Ok(()),
        }
    }

    /// Where the listener is there before `start` is called, its agent gets it now.
    fn pass_on_listener(&self, waits: bool) -> Result<()> {
        if !self.plan().seccomp_listener || (waits && !self.plan().listener_before_start) {
            return Ok(());
        }
        let listener = self.init()?.take_listener()?;
        self.send_listener(&listener, if waits { Status::Creating } else { Status::Running })
    }

    fn send_listener(&self, listener: &OwnedFd, status: Status) -> Result<()> {
        let linux = self.config.linux.as_ref();
        let profile = linux.and_then(|linux| linux.seccomp.as_deref());
        send_listener(listener, profile, &self.prepared.record, status, self.init()?.pid())
    }

    /// Runs the poststart hooks of `run`, and hands the container over.
    fn finish(mut self, waits: bool) -> Result<Process> {
        if !waits && let Some(all) = self.config.hooks.as_ref().filter(|all| !all.poststart.is_empty()) {
            let state = self.hook_state(Status::Running)?;
            let bundle = std::path::PathBuf::from(&self.prepared.record.bundle);
            let run = hooks::run(
                HookKind::Poststart,
                &all.poststart,
                &state,
                &InRuntime { cwd: &bundle, open_files: self.prepared.host.open_files },
                None,
            );
            if let Err(error) = run {
                return Err(self.undo(error));
            }
        }
        let init = self.init.take().ok_or_else(no_init)?;
        let (pid, pidfd) = init.into_parts();
        // The lock is released with it: from here on only `delete` takes the container away.
        let kept: Locked = self.claim.keep()?;
        drop(kept);
        let warnings = self.prepared.warnings.into_iter().map(Warning::from).collect();
        Ok(Process::new(pid, pidfd).with_report(Report::new(warnings, self.prepared.plan.notes)))
    }

    /// Takes away all that was made, and adds what could not be to the error.
    fn undo(mut self, error: Error) -> Error {
        let mut error = error.after(std::mem::take(&mut self.prepared.warnings));
        if let Some(init) = &mut self.init {
            init.kill();
        }
        if let Some(cgroup) = self.cgroup.take()
            && let Err(further) = cgroup.destroy()
        {
            error = error.and(further);
        }
        if let Some(rdt) = &self.prepared.record.intel_rdt
            && let Err(further) = resctrl::remove(rdt)
        {
            error = error.and(further);
        }
        if let Some(all) = self.config.hooks.as_ref().filter(|all| self.init.is_some() && !all.poststop.is_empty()) {
            let state = HookState::of(&self.prepared.record, Status::Stopped, None);
            let bundle = std::path::Path::new(&self.prepared.record.bundle);
            for further in hooks::run_all(
                HookKind::Poststop,
                &all.poststop,
                &state,
                &InRuntime { cwd: bundle, open_files: self.prepared.host.open_files },
            ) {
                error = error.and(further);
            }
        }
        if let Some(path) = self.options.pid_file.as_ref().filter(|_| self.prepared.record.phase == Phase::Created) {
            // It names a process that is gone.
            drop(std::fs::remove_file(path));
        }
        match self.claim.give_up() {
            Ok(()) => error,
            Err(further) => error.and(further),
        }
    }
}

/// The values of a container's limits, where it is to be verified.
fn limits_to_verify(
    prepared: &Prepared,
    config: &Config<'_>,
    options: &CreateOptions,
) -> Result<Option<Vec<HostWrite>>> {
    if !prepare::is_verified(config, options) {
        return Ok(None);
    }
    match &prepared.cgroup {
        Some(planned) => cgroup::writes(planned, config, prepared.host.cgroups_optional).map(Some),
        None => Ok(Some(Vec::new())),
    }
}

fn out_of_turn() -> Error {
    Error::new(Kind::System, Step::Wait).with_object("the init").with_reason("it went on out of turn")
}

fn no_init() -> Error {
    Error::new(Kind::System, Step::Clone).with_reason("the container's init has not been started")
}
