//! What is done when a process has ended: who is told, and in which order.

use std::os::fd::AsFd;
use std::time::SystemTime;

use crate::proto::event::{Event, TaskExit};
use crate::shim::Shim;
use crate::stdio::Channel;
use crate::task::{Exit, Phase};

/// What a process that was ended by SIGKILL has as its status.
const KILLED: u32 = 137;

impl Shim {
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
}
