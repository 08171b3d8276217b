//! The task service: what each call does. Those that make and end processes are in `lifecycle`.

use std::path::PathBuf;
use std::time::Duration;

use crate::proto::event::{Event, TaskCheckpointed, TaskOnly};
use crate::proto::options::{CheckpointOptions, ProcessDetails};
use crate::proto::task::{
    CheckpointTaskRequest, CloseIORequest, ConnectResponse, KillRequest, PidsResponse, ProcessInfo, ProcessRequest,
    ResizePtyRequest, ShutdownRequest, StateResponse, StatsResponse, UpdateTaskRequest,
};
use crate::proto::{Any, Empty, decode};
use crate::runtime::{Checkpoint, Images};
use crate::shim::{Due, Shim};
use crate::stdio::Channel;
use crate::sys;
use crate::task::{Caller, Exit, Phase, Process, Task};
use crate::ttrpc::{Code, Failure, Request};

/// Both versions have the same calls and messages.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
/// Calls that only look, or concern streams: they need not wait for work on the container.
const LIGHT: [&str; 6] = ["State", "Wait", "Connect", "ResizePty", "CloseIO", "Shutdown"];
/// How many calls may wait for one process, or for work on one container.
const MOST_WAITING: usize = 4096;

impl Shim {
    /// Does what a request asks, and answers now or when it is done.
    pub(crate) fn call(&mut self, caller: Caller, request: Request) {
        if !SERVICES.contains(&request.service.as_str()) {
            let text = format!("service {} is not served: the task service is", request.service);
            return self.answer(caller, Err(Failure::new(Code::Unimplemented, text)));
        }
        self.log.debug(format_args!("call {}", request.method));
        if !LIGHT.contains(&request.method.as_str()) {
            // The container's id is the first field of all these requests.
            let asked = decode::<ProcessRequest>(&request.payload).unwrap_or_default();
            let id = asked.id;
            // What hangs is ended by a signal to the container, which waits for nothing once there is one.
            let init = self.tasks.get(&id).and_then(|task| self.processes.get(&task.init));
            let signals_init = request.method == "Kill" && asked.exec_id.is_empty();
            let ends_it = signals_init && init.is_some_and(|init| init.running.is_some());
            if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.is_busy && !ends_it) {
                if task.queue.len() < MOST_WAITING {
                    return task.queue.push_back((caller, request));
                }
                let text = format!("too many calls wait for the container {id}");
                return self.answer(caller, Err(Failure::new(Code::ResourceExhausted, text)));
            }
        }
        self.dispatch(caller, &request);
    }

    fn dispatch(&mut self, caller: Caller, request: &Request) {
        /// Decodes the message that a method takes, and calls the method.
        macro_rules! served {
            ($($name:literal => $method:ident,)*) => {
                match request.method.as_str() {
                    $($name => match decode(&request.payload) {
                        Ok(message) => self.$method(caller, message),
                        Err(_) => {
                            let text = concat!("the message of the call ", $name, " cannot be read");
                            self.answer(caller, Err(Failure::new(Code::InvalidArgument, text)));
                        }
                    },)*
                    "Wait" => self.wait(caller, request),
                    other => {
                        let text = format!("the task service has no call {other}");
                        self.answer(caller, Err(Failure::new(Code::Unimplemented, text)));
                    }
                }
            };
        }
        served! {
            "Create" => create,
            "Start" => start,
            "Exec" => exec,
            "Delete" => delete,
            "State" => state,
            "Pids" => pids,
            "Pause" => pause,
            "Resume" => resume,
            "Checkpoint" => checkpoint,
            "Kill" => kill,
            "ResizePty" => resize,
            "CloseIO" => close_io,
            "Update" => update,
            "Stats" => stats,
            "Connect" => connect,
            "Shutdown" => shutdown,
        }
    }

    /// A container by its id.
    pub(crate) fn task(&self, id: &str) -> Result<&Task, Failure> {
        self.tasks.get(id).ok_or_else(|| Failure::new(Code::NotFound, format!("container {id} not created: not found")))
    }

    /// The key of a process by its container and its own id, which is empty for the first one.
    pub(crate) fn process_key(&self, id: &str, exec_id: &str) -> Result<u64, Failure> {
        let task = self.task(id)?;
        if exec_id.is_empty() {
            return Ok(task.init);
        }
        let missing = || Failure::new(Code::NotFound, format!("process does not exist {exec_id}: not found"));
        task.execs.get(exec_id).copied().ok_or_else(missing)
    }

    fn process(&self, id: &str, exec_id: &str) -> Result<&Process, Failure> {
        let gone = || Failure::new(Code::NotFound, format!("process does not exist {exec_id}: not found"));
        self.processes.get(&self.process_key(id, exec_id)?).ok_or_else(gone)
    }

    fn process_mut(&mut self, id: &str, exec_id: &str) -> Result<&mut Process, Failure> {
        let gone = || Failure::new(Code::NotFound, format!("process does not exist {exec_id}: not found"));
        let key = self.process_key(id, exec_id)?;
        self.processes.get_mut(&key).ok_or_else(gone)
    }

    fn state(&mut self, caller: Caller, asked: ProcessRequest) {
        let reply = self.describe(&asked);
        self.reply(caller, reply);
    }

    fn describe(&self, asked: &ProcessRequest) -> Result<StateResponse, Failure> {
        let (task, process) = (self.task(&asked.id)?, self.process(&asked.id, &asked.exec_id)?);
        let exit = process.exit();
        Ok(StateResponse {
            id: process.event_id().to_owned(),
            bundle: task.bundle.display().to_string(),
            pid: process.pid,
            status: process.status(task.paused) as u32,
            stdin: process.asked.stdin.clone(),
            stdout: process.asked.stdout.clone(),
            stderr: process.asked.stderr.clone(),
            terminal: process.asked.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.and_then(Exit::at),
            exec_id: asked.exec_id.clone(),
        })
    }

    fn wait(&mut self, caller: Caller, request: &Request) {
        let process = decode::<ProcessRequest>(&request.payload)
            .map_err(|_| Failure::new(Code::InvalidArgument, "the message of the call Wait cannot be read"))
            .and_then(|asked| self.process_mut(&asked.id, &asked.exec_id));
        match process {
            Err(failure) => self.answer(caller, Err(failure)),
            Ok(process) => match process.exit() {
                Some(exit) => self.reply(caller, Ok(exit.wait_response())),
                None if process.waiters.len() >= MOST_WAITING => {
                    let failure = Failure::new(Code::ResourceExhausted, "too many calls wait for the process");
                    self.answer(caller, Err(failure));
                }
                None => {
                    process.waiters.push(caller);
                    if let Ok(nanos @ 1..) = u64::try_from(request.timeout_nano) {
                        self.later(Duration::from_nanos(nanos), Due::Wait(caller));
                    }
                }
            },
        }
    }

    fn pids(&mut self, caller: Caller, asked: ProcessRequest) {
        let reply = self.task(&asked.id).and_then(|task| Ok((task, task.container.pids()?))).map(|(task, pids)| {
            let info = |pid: u32| {
                let exec =
                    task.execs.values().filter_map(|key| self.processes.get(key)).find(|exec| exec.pid == pid)?;
                let details = ProcessDetails { exec_id: exec.exec_id.clone() };
                Some(Any::of("containerd.runc.v1.ProcessDetails", &details))
            };
            PidsResponse { processes: pids.into_iter().map(|pid| ProcessInfo { pid, info: info(pid) }).collect() }
        });
        self.reply(caller, reply);
    }

    fn kill(&mut self, caller: Caller, asked: KillRequest) {
        let reply = self.send_signal(&asked).map(|()| Empty {});
        self.reply(caller, reply);
    }

    fn send_signal(&self, asked: &KillRequest) -> Result<(), Failure> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        if asked.exec_id.is_empty() {
            return self.task(&asked.id)?.container.kill(asked.signal, asked.all);
        }
        let finished = || Failure::new(Code::NotFound, "process already finished: not found");
        match (process.phase, &process.running) {
            (Phase::Stopped(_), _) => Err(finished()),
            (Phase::Running, Some(running)) => {
                let signal = i32::try_from(asked.signal).unwrap_or(i32::MAX);
                sys::pidfd_send_signal(std::os::fd::AsFd::as_fd(running), signal).map_err(|errno| match errno {
                    nix::errno::Errno::ESRCH => finished(),
                    _ => Failure::new(
                        Code::Unknown,
                        format!("signal {signal} to the process {}: {errno}", asked.exec_id),
                    ),
                })
            }
            _ => Err(Failure::new(Code::FailedPrecondition, "process not created: failed precondition")),
        }
    }

    fn pause(&mut self, caller: Caller, asked: ProcessRequest) {
        self.freeze(caller, asked.id, true);
    }

    fn resume(&mut self, caller: Caller, asked: ProcessRequest) {
        self.freeze(caller, asked.id, false);
    }

    /// The kernel freezes a process when it can, and one that waits for a disk cannot be: nobody else waits for that.
    fn freeze(&mut self, caller: Caller, id: String, pause: bool) {
        let container = match self.task(&id) {
            Ok(task) => task.container.clone(),
            Err(failure) => return self.answer(caller, Err(failure)),
        };
        self.work(&id.clone(), true, move || {
            let done = if pause { container.pause() } else { container.resume() };
            Box::new(move |shim: &mut Self| shim.paused(caller, &id, pause, done))
        });
    }

    fn paused(&mut self, caller: Caller, id: &str, paused: bool, reply: Result<(), Failure>) {
        if reply.is_ok() {
            if let Some(task) = self.tasks.get_mut(id) {
                task.paused = paused;
            }
            let event = TaskOnly { container_id: id.to_owned() };
            self.publish(&if paused { Event::Paused(event) } else { Event::Resumed(event) });
        }
        self.reply(caller, reply.map(|()| Empty {}));
    }

    fn update(&mut self, caller: Caller, asked: UpdateTaskRequest) {
        let id = asked.id;
        let given = self.task(&id).and_then(|task| {
            let resources =
                asked.resources.ok_or_else(|| Failure::new(Code::InvalidArgument, "resources are missing"))?;
            let name = resources.type_name();
            if !name.ends_with("/LinuxResources") {
                let text = format!("resources of the type {name:?} are not LinuxResources");
                return Err(Failure::new(Code::InvalidArgument, text));
            }
            Ok((task.container.clone(), resources.value))
        });
        let (container, resources) = match given {
            Ok(given) => given,
            Err(failure) => return self.answer(caller, Err(failure)),
        };
        // A lower limit of memory is there when the kernel has taken back what is above it.
        self.work(&id.clone(), true, move || {
            let updated = container.update(resources);
            Box::new(move |shim: &mut Self| {
                if let Ok(warnings) = &updated {
                    warnings.iter().for_each(|warning| shim.log.warn(format_args!("{id}: {warning}")));
                }
                shim.reply(caller, updated.map(|_| Empty {}));
            })
        });
    }

    fn stats(&mut self, caller: Caller, asked: ProcessRequest) {
        let reply = self.task(&asked.id).and_then(|task| task.container.statistics());
        self.reply(caller, reply.map(|stats| StatsResponse { stats: Some(stats) }));
    }

    fn connect(&mut self, caller: Caller, asked: ProcessRequest) {
        let task_pid = self.process(&asked.id, "").map_or(0, |process| process.pid);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.reply(caller, Ok(ConnectResponse { shim_pid: std::process::id(), task_pid, version }));
    }

    fn resize(&mut self, caller: Caller, asked: ResizePtyRequest) {
        let size = |number: u32| {
            let wrong = || Failure::new(Code::InvalidArgument, format!("{number} is no size of a terminal"));
            u16::try_from(number).map_err(|_| wrong())
        };
        let reply = self.process(&asked.id, &asked.exec_id).and_then(|process| {
            let failed = |errno| Failure::new(Code::Unknown, format!("resize the terminal: {errno}"));
            process.stdio.resize(size(asked.height)?, size(asked.width)?).map_err(failed)
        });
        self.reply(caller, reply.map(|()| Empty {}));
    }

    fn close_io(&mut self, caller: Caller, asked: CloseIORequest) {
        let reply = self.process_key(&asked.id, &asked.exec_id);
        if let Ok(key) = reply
            && asked.stdin
        {
            if let Some(process) = self.processes.get_mut(&key) {
                process.stdio.close_input();
            }
            // With the client's end closed as well, this is the end of the input.
            self.copy(key, Channel::Input);
        }
        self.reply(caller, reply.map(|_| Empty {}));
    }

    fn shutdown(&mut self, caller: Caller, asked: ShutdownRequest) {
        self.reply(caller, Ok(Empty {}));
        // A shim that still has containers of its pod goes on; `now` asks for the contrary.
        if self.tasks.is_empty() || asked.now {
            self.stop();
        }
    }

    fn checkpoint(&mut self, caller: Caller, asked: CheckpointTaskRequest) {
        let given = self.task(&asked.id).and_then(|task| {
            let given = checkpoint_of(task, &asked)?;
            Ok((task.container.clone(), given, task.bundle.join("criu-work")))
        });
        let (container, mut given, scratch) = match given {
            Ok(given) => given,
            Err(failure) => return self.answer(caller, Err(failure)),
        };
        let path = given.images.path.display().to_string();
        let id = asked.id;
        let own_work = given.images.work.is_none();
        if own_work {
            given.images.work = Some(scratch.clone());
        }
        self.work(&id.clone(), true, move || {
            let result = match std::fs::DirBuilder::new().recursive(true).create(&scratch) {
                Ok(()) => container.checkpoint(given),
                Err(error) => {
                    Err(Failure::new(Code::Unknown, format!("make the directory {}: {error}", scratch.display())))
                }
            };
            if own_work && result.is_ok() {
                // The log of a failure stays; what stays besides goes with the bundle.
                let _goes_with_the_bundle = std::fs::remove_dir_all(&scratch);
            }
            Box::new(move |shim: &mut Shim| {
                if let Ok(warnings) = &result {
                    warnings.iter().for_each(|warning| shim.log.warn(format_args!("{id}: {warning}")));
                    shim.publish(&Event::Checkpointed(TaskCheckpointed { container_id: id, checkpoint: path }));
                }
                shim.reply(caller, result.map(|_| Empty {}));
            })
        });
    }
}

fn checkpoint_of(task: &Task, asked: &CheckpointTaskRequest) -> Result<Checkpoint, Failure> {
    let invalid = |text: String| Failure::new(Code::InvalidArgument, text);
    let options: CheckpointOptions = match &asked.options {
        None => CheckpointOptions::default(),
        Some(any) if any.type_name() == "containerd.runc.v1.CheckpointOptions" => {
            decode(&any.value).map_err(|_| invalid("the options are no CheckpointOptions".to_owned()))?
        }
        Some(any) => return Err(invalid(format!("options of the type {:?} are not known", any.type_name()))),
    };
    if !options.empty_namespaces.is_empty() {
        return Err(invalid(format!("empty_namespaces {:?}: not supported", options.empty_namespaces)));
    }
    let first = |places: [&str; 3]| places.into_iter().find(|place| !place.is_empty()).map(PathBuf::from);
    let path = first([&asked.path, &options.image_path, &task.options.criu_image_path])
        .ok_or_else(|| invalid("the checkpoint has no path".to_owned()))?;
    Ok(Checkpoint {
        images: Images { path, work: first([&options.work_path, &task.options.criu_work_path, ""]) },
        parent: first([&options.parent_path, "", ""]),
        leave_running: !options.exit,
        open_tcp: options.open_tcp,
        external_sockets: options.external_unix_sockets,
        terminal: options.terminal,
        file_locks: options.file_locks,
        cgroups_mode: options.cgroups_mode,
    })
}
