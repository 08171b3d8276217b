//! The calls that make, start and delete processes, and what is done when they end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::bundle::Summary;
use crate::options::{self, Options};
use crate::poller::{Interest, Token};
use crate::proto::Empty;
use crate::proto::event::{Event, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIo, TaskStart};
use crate::proto::task::{CreateTaskRequest, ExecProcessRequest, PidResponse, ProcessRequest};
use crate::rootfs;
use crate::runtime::{self, Container, Create, Images};
use crate::shim::{Due, Shim};
use crate::stdio::{self, Asked, Channel, Owner, Stdio};
use crate::task::{Caller, Exit, Phase, Process, Task};
use crate::ttrpc::{Code, Failure};

/// How long the output of a deleted process may take to be handed on.
const DRAIN: Duration = Duration::from_secs(10);
/// What a process that was ended by SIGKILL has as its status.
const KILLED: u32 = 137;

/// The file in the bundle by which `delete` knows, when the shim is gone, how the container was made.
pub(crate) const OPTIONS_FILE: &str = "options.json";
/// The file in the bundle that has the pid of the first process.
pub(crate) const PID_FILE: &str = "init.pid";

impl Shim {
    // Create.

    pub(crate) fn create(&mut self, caller: Caller, asked: CreateTaskRequest) {
        if self.stopping() {
            return self.answer(caller, Err(Failure::new(Code::Unavailable, "the shim is ending")));
        }
        if self.tasks.contains_key(&asked.id) {
            let text = format!("container {}: already exists", asked.id);
            return self.answer(caller, Err(Failure::new(Code::AlreadyExists, text)));
        }
        match self.prepare(&asked) {
            Ok(task) => self.make(caller, asked, task),
            Err(failure) => self.answer(caller, Err(failure)),
        }
    }

    /// All that needs no process: options, the bundle's files.
    fn prepare(&mut self, asked: &CreateTaskRequest) -> Result<Task, Failure> {
        let options = options::read(asked.options.as_ref())?;
        let bundle = PathBuf::from(&asked.bundle);
        let unreadable = |error: std::io::Error| Failure::new(Code::InvalidArgument, error.to_string());
        let summary = Summary::read(&bundle).map_err(unreadable)?;
        let systemd = options.systemd_cgroup || summary.names_a_scope();
        let container = Container::new(runtime::root(&options.root, &self.namespace), systemd, &asked.id)?;
        let container = container.with_open_files(self.open_files);
        if !asked.parent_checkpoint.is_empty() {
            return Err(Failure::new(Code::InvalidArgument, "parent_checkpoint: images name their parents themselves"));
        }
        write_options(&bundle, &options.root, systemd)?;
        let work = Some(&options.criu_work_path).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = Some(&asked.checkpoint).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Task {
            container,
            bundle,
            options,
            init: self.key(),
            execs: BTreeMap::new(),
            oom: None,
            paused: false,
            has_hooks: summary.has_hooks(),
            has_own_pid_namespace: summary.has_own_pid_namespace(),
            saved: path.map(|path| Images { path, work }),
            ending: None,
            is_busy: false,
            queue: VecDeque::new(),
        })
    }

    fn make(&mut self, caller: Caller, asked: CreateTaskRequest, task: Task) {
        let streams = Asked {
            stdin: asked.stdin.clone(),
            stdout: asked.stdout.clone(),
            stderr: asked.stderr.clone(),
            terminal: asked.terminal,
        };
        let key = task.init;
        let owner = self.owner(&asked.id, &task.options);
        // Mounting waits for what is mounted: a server that is gone, a file system in user space.
        let may_take_long = task.has_hooks || stdio::starts_a_program(&streams) || !asked.rootfs.is_empty();
        let mounts = asked.rootfs.clone();
        let (container, is_saved) = (task.container.clone(), task.saved.is_some());
        let (no_pivot, no_new_keyring) = (task.options.no_pivot_root, task.options.no_new_keyring);
        let bundle = task.bundle.clone();
        self.processes.insert(key, Process::new(&asked.id, "", streams.clone()));
        self.tasks.insert(asked.id.clone(), task);
        let id = asked.id.clone();
        self.work(&id, may_take_long, move || {
            // Saved processes are restored by `start`, which is when their streams are needed.
            let made = rootfs::mount_all(&mounts, &bundle.join("rootfs")).and_then(|()| {
                if is_saved {
                    return Ok((None, Stdio::default()));
                }
                let (streams, mut stdio) = Stdio::open(&streams, &owner)?;
                match container.create(Create { bundle, streams, no_pivot, no_new_keyring }) {
                    Ok(process) => Ok((Some(process), stdio)),
                    Err(failure) => {
                        stdio.abandon();
                        Err(failure)
                    }
                }
            });
            Box::new(move |shim: &mut Self| shim.created(caller, &asked, key, made))
        });
    }

    fn created(
        &mut self,
        caller: Caller,
        asked: &CreateTaskRequest,
        key: u64,
        made: Result<(Option<runtime::Process>, Stdio), Failure>,
    ) {
        let adopted = made.and_then(|(process, stdio)| match process {
            Some(process) => self.adopt(key, process, stdio),
            None => Ok(0),
        });
        let pid = match adopted {
            Ok(pid) => pid,
            Err(failure) => return self.creation_failed(caller, asked, key, failure),
        };
        if pid != 0 {
            self.write_pid(&asked.id, pid);
            self.watch_oom(&asked.id, key);
        }
        self.publish(&Event::Create(TaskCreate {
            container_id: asked.id.clone(),
            bundle: asked.bundle.clone(),
            rootfs: asked.rootfs.clone(),
            io: Some(TaskIo {
                stdin: asked.stdin.clone(),
                stdout: asked.stdout.clone(),
                stderr: asked.stderr.clone(),
                terminal: asked.terminal,
            }),
            checkpoint: asked.checkpoint.clone(),
            pid,
        }));
        self.reply(caller, Ok(PidResponse { pid }));
    }

    fn creation_failed(&mut self, caller: Caller, asked: &CreateTaskRequest, key: u64, failure: Failure) {
        let task = self.tasks.remove(&asked.id);
        let left_made = self.processes.get(&key).is_some_and(|process| process.running.is_some());
        if let Some(task) = task {
            if left_made && let Err(second) = task.container.delete(true) {
                self.log.warn(format_args!("{}: {}", asked.id, second.message));
            }
            for (caller, _) in task.queue {
                self.answer(
                    caller,
                    Err(Failure::new(Code::NotFound, format!("container {} not created: not found", asked.id))),
                );
            }
        }
        self.discard(key, &Failure::new(Code::NotFound, "the container was not created: not found"));
        if !asked.rootfs.is_empty()
            && let Err(second) = rootfs::unmount_all(&Path::new(&asked.bundle).join("rootfs"))
        {
            self.log.warn(second.message);
        }
        self.answer(caller, Err(failure));
    }

    /// Takes a process that was made over: it is waited for, and its streams are copied.
    fn adopt(&mut self, key: u64, made: runtime::Process, stdio: Stdio) -> Result<u32, Failure> {
        for warning in made.warnings() {
            self.log.warn(warning);
        }
        let pid = made.pid();
        let gone = || Failure::new(Code::NotFound, "the process is gone: not found");
        let process = self.processes.get_mut(&key).ok_or_else(gone)?;
        process.pid = pid;
        process.stdio = stdio;
        let running = process.running.insert(made);
        let unwatched = |errno| Failure::new(Code::Unknown, format!("wait for the process {pid}: {errno}"));
        self.poller.add(running.as_fd(), Token::Process(key), Interest::Read).map_err(unwatched)?;
        let driver = process.stdio.take_driver();
        let received = process.stdio.receive_terminal();
        if let Some(driver) = driver {
            self.keep_driver(key, driver);
        }
        received?;
        for channel in Channel::ALL {
            self.copy(key, channel);
        }
        Ok(pid)
    }

    fn owner(&self, id: &str, options: &Options) -> Owner {
        Owner {
            id: id.to_owned(),
            namespace: self.namespace.clone(),
            uid: options.io_uid,
            gid: options.io_gid,
            open_files: self.open_files,
        }
    }

    fn write_pid(&self, id: &str, pid: u32) {
        let Some(task) = self.tasks.get(id) else { return };
        if let Err(error) = write_file(&task.bundle.join(PID_FILE), pid.to_string().as_bytes()) {
            self.log.warn(error);
        }
    }

    // Start.

    pub(crate) fn start(&mut self, caller: Caller, asked: ProcessRequest) {
        let started =
            if asked.exec_id.is_empty() { self.start_init(caller, &asked.id) } else { self.start_exec(caller, &asked) };
        if let Err(failure) = started {
            self.answer(caller, Err(failure));
        }
    }

    fn start_init(&mut self, caller: Caller, id: &str) -> Result<(), Failure> {
        let (key, process) = self.created_process(id, "")?;
        let streams = process.asked.clone();
        let has_process = process.running.is_some();
        // With hooks the end of the process may be seen before the start is told: it is looked at when that is done.
        if let Some(running) = &process.running {
            self.poller.remove(running.as_fd());
        }
        let owner = self.owner(id, &self.task(id)?.options);
        let task =
            self.tasks.get_mut(id).ok_or_else(|| Failure::new(Code::NotFound, "container not created: not found"))?;
        let (container, bundle, saved) = (task.container.clone(), task.bundle.clone(), task.saved.take());
        if saved.is_none() && !has_process {
            return Err(Failure::new(Code::FailedPrecondition, format!("container {id} has no process to start")));
        }
        let id = id.to_owned();
        // Executing the command waits for the file system that it is on.
        self.work(&id.clone(), true, move || {
            let started = match saved {
                None => container.start().map(|()| None),
                Some(images) => restore(&container, bundle, images, &streams, &owner).map(Some),
            };
            Box::new(move |shim: &mut Self| shim.started_init(caller, &id, key, started))
        });
        Ok(())
    }

    fn started_init(
        &mut self,
        caller: Caller,
        id: &str,
        key: u64,
        started: Result<Option<(runtime::Process, Stdio)>, Failure>,
    ) {
        let adopted = started.and_then(|restored| match restored {
            None => Ok(()),
            Some((process, stdio)) => self.adopt(key, process, stdio).map(|pid| {
                self.write_pid(id, pid);
                self.watch_oom(id, key);
            }),
        });
        if adopted.is_ok()
            && let Some(process) = self.processes.get_mut(&key)
        {
            process.phase = Phase::Running;
        }
        let pid = self.processes.get(&key).map_or(0, |process| process.pid);
        match adopted {
            Ok(()) => {
                self.publish(&Event::Start(TaskStart { container_id: id.to_owned(), pid }));
                self.reply(caller, Ok(PidResponse { pid }));
            }
            Err(failure) => self.answer(caller, Err(failure)),
        }
        // From now on its end may be told; one that was restored is watched already.
        if let Some(running) = self.processes.get(&key).and_then(|process| process.running.as_ref()) {
            let _is_watched_already = self.poller.add(running.as_fd(), Token::Process(key), Interest::Read);
        }
    }

    /// A process that waits to be started.
    fn created_process(&self, id: &str, exec_id: &str) -> Result<(u64, &Process), Failure> {
        let key = self.process_key(id, exec_id)?;
        let refused = |text: String| Failure::new(Code::FailedPrecondition, text);
        match self.processes.get(&key) {
            Some(process) if process.phase == Phase::Created => Ok((key, process)),
            Some(Process { phase: Phase::Running, .. }) => Err(refused("cannot start a running process".to_owned())),
            Some(_) => Err(refused("cannot start a stopped process".to_owned())),
            None => Err(Failure::new(Code::NotFound, "process does not exist: not found")),
        }
    }

    // Exec.

    pub(crate) fn exec(&mut self, caller: Caller, asked: ExecProcessRequest) {
        let reply = self.add_exec(&asked);
        if reply.is_ok() {
            self.publish(&Event::ExecAdded(TaskExecAdded {
                container_id: asked.id.clone(),
                exec_id: asked.exec_id.clone(),
            }));
        }
        self.reply(caller, reply.map(|()| Empty {}));
    }

    fn add_exec(&mut self, asked: &ExecProcessRequest) -> Result<(), Failure> {
        let invalid = |text: String| Failure::new(Code::InvalidArgument, text);
        let task = self.task(&asked.id)?;
        if asked.exec_id.is_empty() {
            return Err(invalid("exec_id is missing".to_owned()));
        }
        if task.execs.contains_key(&asked.exec_id) {
            return Err(Failure::new(Code::AlreadyExists, format!("id {}: already exists", asked.exec_id)));
        }
        let spec = asked.spec.as_ref().ok_or_else(|| invalid("spec is missing".to_owned()))?;
        if !spec.type_name().ends_with("/Process") {
            return Err(invalid(format!("spec of the type {:?} is not a Process", spec.type_name())));
        }
        let streams = Asked {
            stdin: asked.stdin.clone(),
            stdout: asked.stdout.clone(),
            stderr: asked.stderr.clone(),
            terminal: asked.terminal,
        };
        let spec = with_terminal(&spec.value, asked.terminal).map_err(|error| invalid(format!("spec: {error}")))?;
        let key = self.key();
        let mut process = Process::new(&asked.id, &asked.exec_id, streams);
        process.spec = spec;
        self.processes.insert(key, process);
        if let Some(task) = self.tasks.get_mut(&asked.id) {
            task.execs.insert(asked.exec_id.clone(), key);
        }
        Ok(())
    }

    fn start_exec(&mut self, caller: Caller, asked: &ProcessRequest) -> Result<(), Failure> {
        let (key, process) = self.created_process(&asked.id, &asked.exec_id)?;
        let (streams, spec) = (process.asked.clone(), process.spec.clone());
        let task = self.task(&asked.id)?;
        if task.ending.is_some() || self.processes.get(&task.init).is_none_or(|init| init.exit().is_some()) {
            let text = format!("container {} init process is not running", asked.id);
            return Err(Failure::new(Code::FailedPrecondition, text));
        }
        let owner = self.owner(&asked.id, &task.options);
        let container = task.container.clone();
        // As for `start`.
        self.work(&asked.id.clone(), true, move || {
            let made =
                Stdio::open(&streams, &owner).and_then(|(streams, mut stdio)| match container.exec(spec, streams) {
                    Ok(process) => Ok((process, stdio)),
                    Err(failure) => {
                        stdio.abandon();
                        Err(failure)
                    }
                });
            Box::new(move |shim: &mut Self| shim.started_exec(caller, key, made))
        });
        Ok(())
    }

    fn started_exec(&mut self, caller: Caller, key: u64, made: Result<(runtime::Process, Stdio), Failure>) {
        let adopted = made.and_then(|(process, stdio)| self.adopt(key, process, stdio));
        let Some(process) = self.processes.get_mut(&key) else { return };
        match adopted {
            Ok(pid) => {
                process.phase = Phase::Running;
                process.spec = Vec::new();
                let event =
                    TaskExecStarted { container_id: process.task.clone(), exec_id: process.exec_id.clone(), pid };
                self.publish(&Event::ExecStarted(event));
                self.reply(caller, Ok(PidResponse { pid }));
            }
            Err(failure) => {
                for waiter in std::mem::take(&mut process.waiters) {
                    self.answer(waiter, Err(Failure::new(Code::FailedPrecondition, failure.message.clone())));
                }
                self.answer(caller, Err(failure));
            }
        }
    }

    // The end.

    /// A process has ended.
    pub(crate) fn process_ended(&mut self, key: u64) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let Some(running) = process.running.take() else { return };
        self.poller.remove(running.as_fd());
        let status = running.reap().unwrap_or_else(|failure| {
            self.log.error(format_args!("reap the process {}: {}", process.pid, failure.message));
            KILLED
        });
        let exit = Exit { status, at: SystemTime::now() };
        let (id, is_init) = (process.task.clone(), process.exec_id.is_empty());
        if is_init {
            self.init_ended(&id, exit);
        } else {
            self.tell_exit(key, exit);
        }
        self.tell_last_exit(&id);
    }

    fn init_ended(&mut self, id: &str, exit: Exit) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.ending = Some(exit);
        let failed = if task.has_own_pid_namespace {
            Ok(())
        } else {
            // The others of the container are not ended by the kernel.
            task.container.kill(libc::SIGKILL.cast_unsigned(), true)
        };
        if task.paused {
            task.paused = false;
            // What was frozen thaws with its death; this is for what shares its cgroup.
            let _thawed_already = task.container.resume();
        }
        if let Err(failure) = failed {
            self.log.error(format_args!("{id}: kill what the first process has left: {}", failure.message));
        }
    }

    /// The end of the first process is told last, when all that was executed in the container has ended.
    fn tell_last_exit(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id) else { return };
        let is_running = |key: &u64| self.processes.get(key).is_some_and(|process| process.phase == Phase::Running);
        let Some(exit) = task.ending.filter(|_| !task.execs.values().any(is_running)) else { return };
        let key = task.init;
        if let Some(task) = self.tasks.get_mut(id) {
            task.ending = None;
        }
        // What it died of comes before its death.
        self.out_of_memory(key);
        self.unwatch_oom(id);
        self.tell_exit(key, exit);
    }

    fn tell_exit(&mut self, key: u64, exit: Exit) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.phase = Phase::Stopped(exit);
        process.stdio.process_ended();
        let event = TaskExit {
            container_id: process.task.clone(),
            id: process.event_id().to_owned(),
            pid: process.pid,
            exit_status: exit.status,
            exited_at: exit.at(),
        };
        let waiters = std::mem::take(&mut process.waiters);
        self.end_copy(key, Channel::Input);
        self.copy(key, Channel::Output);
        self.publish(&Event::Exit(event));
        for waiter in waiters {
            self.reply(waiter, Ok(exit.wait_response()));
        }
    }

    // Delete.

    pub(crate) fn delete(&mut self, caller: Caller, asked: ProcessRequest) {
        let key = self.process_key(&asked.id, &asked.exec_id);
        let process = key.and_then(|key| {
            let gone = || Failure::new(Code::NotFound, "process does not exist: not found");
            self.processes.get_mut(&key).map(|process| (key, process)).ok_or_else(gone)
        });
        let (key, process) = match process {
            Ok(found) => found,
            Err(failure) => return self.answer(caller, Err(failure)),
        };
        if process.phase == Phase::Running || process.deleter.is_some() {
            let text = "cannot delete a running process, or one that is being deleted";
            return self.answer(caller, Err(Failure::new(Code::FailedPrecondition, text)));
        }
        process.stdio.stop_keeping_output();
        // Where nobody reads, this ends the copies.
        self.copy(key, Channel::Output);
        self.copy(key, Channel::Errors);
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.deleter = Some(caller);
        if matches!(process.phase, Phase::Stopped(_)) && !process.stdio.is_drained() {
            return self.later(DRAIN, Due::Drain(key));
        }
        self.delete_now(key);
    }

    pub(crate) fn give_up_drain(&mut self, key: u64) {
        let Some(process) = self.processes.get(&key).filter(|process| process.deleter.is_some()) else { return };
        self.log.warn(format_args!(
            "{}: nobody takes the rest of the output of {}, or something still writes",
            process.task,
            process.event_id()
        ));
        self.end_copy(key, Channel::Output);
        self.end_copy(key, Channel::Errors);
        self.delete_now(key);
    }

    pub(crate) fn delete_now(&mut self, key: u64) {
        let Some(process) = self.processes.get(&key) else { return };
        let id = process.task.clone();
        if !process.exec_id.is_empty() {
            return self.exec_deleted(key);
        }
        let Some(task) = self.tasks.get(&id) else { return };
        // Without a pid namespace, what was killed may take its time to go.
        let may_take_long = task.has_hooks || !task.has_own_pid_namespace;
        let (container, root) = (task.container.clone(), task.bundle.join("rootfs"));
        self.work(&id.clone(), may_take_long, move || {
            let deleted = container.delete(false);
            let unmounted = match &deleted {
                Ok(_) => rootfs::unmount_all(&root),
                Err(_) => Ok(()),
            };
            Box::new(move |shim: &mut Self| shim.init_deleted(&id, key, deleted, unmounted))
        });
    }

    fn exec_deleted(&mut self, key: u64) {
        let Some(mut process) = self.processes.remove(&key) else { return };
        if let Some(task) = self.tasks.get_mut(&process.task) {
            task.execs.remove(&process.exec_id);
        }
        self.dismiss_driver(key);
        if let Some(caller) = process.deleter.take() {
            self.reply(caller, Ok(process.delete_response()));
        }
    }

    fn init_deleted(
        &mut self,
        id: &str,
        key: u64,
        deleted: Result<Vec<String>, Failure>,
        unmounted: Result<(), Failure>,
    ) {
        let caller = self.processes.get_mut(&key).and_then(|process| process.deleter.take());
        let warnings = match deleted {
            Ok(warnings) => warnings,
            Err(failure) => {
                if let Some(caller) = caller {
                    self.answer(caller, Err(failure));
                }
                return;
            }
        };
        let further = unmounted.err().map(|failure| failure.message);
        for warning in warnings.into_iter().chain(further) {
            self.log.warn(format_args!("{id}: {warning}"));
        }
        // One that was never started has been ended by its deletion.
        self.process_ended(key);
        if let Some(task) = self.tasks.remove(id) {
            for key in task.execs.into_values() {
                self.discard(key, &Failure::new(Code::NotFound, "the container is deleted: not found"));
            }
        }
        let Some(process) = self.processes.get(&key) else { return };
        let response = process.delete_response();
        self.publish(&Event::Delete(TaskDelete {
            container_id: id.to_owned(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at.clone(),
            id: String::new(),
        }));
        self.discard(key, &Failure::new(Code::NotFound, "the container is deleted: not found"));
        if let Some(caller) = caller {
            self.reply(caller, Ok(response));
        }
    }

    /// Forgets a process; whoever still waits for it is told why.
    fn discard(&mut self, key: u64, reason: &Failure) {
        for channel in Channel::ALL {
            self.end_copy(key, channel);
        }
        let Some(process) = self.processes.remove(&key) else { return };
        if let Some(running) = process.running {
            self.poller.remove(running.as_fd());
            // It was killed with its container, and only its owner can reap it.
            let _status_of_the_killed = running.reap();
        }
        self.dismiss_driver(key);
        for waiter in process.waiters {
            self.answer(waiter, Err(reason.clone()));
        }
    }
}

fn restore(
    container: &Container,
    bundle: PathBuf,
    images: Images,
    streams: &Asked,
    owner: &Owner,
) -> Result<(runtime::Process, Stdio), Failure> {
    let (streams, mut stdio) = Stdio::open(streams, owner)?;
    let create = Create { bundle, streams, no_pivot: false, no_new_keyring: false };
    match container.restore(create, images) {
        Ok(process) => Ok((process, stdio)),
        Err(failure) => {
            stdio.abandon();
            Err(failure)
        }
    }
}

/// The process as it is to be executed: with a terminal or without, as the call says.
fn with_terminal(spec: &[u8], terminal: bool) -> serde_json::Result<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Process {
        #[serde(default)]
        terminal: bool,
    }
    let process: Process = serde_json::from_slice(spec)?;
    if process.terminal == terminal {
        return Ok(spec.to_vec());
    }
    let mut process: serde_json::Value = serde_json::from_slice(spec)?;
    if let Some(process) = process.as_object_mut() {
        process.insert("terminal".to_owned(), terminal.into());
    }
    serde_json::to_vec(&process)
}

fn write_options(bundle: &Path, root: &str, systemd: bool) -> Result<(), Failure> {
    let text = serde_json::json!({ "root": root, "systemd_cgroup": systemd }).to_string();
    write_file(&bundle.join(OPTIONS_FILE), text.as_bytes()).map_err(|error| Failure::new(Code::Unknown, error))
}

/// Writes a small file of the bundle, whose directory is containerd's and this shim's alone.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| format!("write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::with_terminal;

    #[test]
    fn the_call_says_whether_there_is_a_terminal() {
        let plain = br#"{"args":["sh"],"cwd":"/"}"#;
        assert_eq!(with_terminal(plain, false).unwrap(), plain);
        let with: serde_json::Value = serde_json::from_slice(&with_terminal(plain, true).unwrap()).unwrap();
        assert_eq!(with["terminal"], true);
        let without = with_terminal(br#"{"terminal":true,"args":["sh"]}"#, false).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&without).unwrap()["terminal"], false);
        assert!(with_terminal(b"3", false).is_err());
    }
}
