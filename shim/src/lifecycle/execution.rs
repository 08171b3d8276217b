//! `Start` and `Exec`: the first process of a container goes on to its command, or is restored; others are added and executed.

use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::poller::{Interest, Token};
use crate::proto::Empty;
use crate::proto::event::{Event, TaskExecAdded, TaskExecStarted, TaskStart};
use crate::proto::task::{ExecProcessRequest, PidResponse, ProcessRequest};
use crate::runtime::{self, Container, Create, Images};
use crate::shim::Shim;
use crate::stdio::{Asked, Owner, Stdio};
use crate::task::{Caller, Phase, Process};
use crate::ttrpc::{Code, Failure};

impl Shim {
    // The first process.

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

    // Others.

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
