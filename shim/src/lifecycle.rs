//! The calls that make, start and delete processes, and what is done when they end. Here is what these have in common: a process is
//! taken over, and forgotten.

mod creation;
mod deletion;
mod ending;
mod execution;

use std::os::fd::AsFd;

use crate::bundle::{self, PID_FILE};
use crate::options::Options;
use crate::poller::{Interest, Token};
use crate::runtime;
use crate::shim::Shim;
use crate::stdio::{Channel, Owner, Stdio};
use crate::ttrpc::{Code, Failure};

impl Shim {
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
        if let Err(error) = bundle::write_file(&task.bundle.join(PID_FILE), pid.to_string().as_bytes()) {
            self.log.warn(error);
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
