//! `Delete`: the rest of the output is waited for, then the process or the container is taken away.

use std::time::Duration;

use crate::proto::event::{Event, TaskDelete};
use crate::proto::task::ProcessRequest;
use crate::rootfs;
use crate::shim::{Due, Shim};
use crate::stdio::Channel;
use crate::task::{Caller, Phase};
use crate::ttrpc::{Code, Failure};

/// How long the output of a deleted process may take to be handed on.
const DRAIN: Duration = Duration::from_secs(10);

impl Shim {
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
}
