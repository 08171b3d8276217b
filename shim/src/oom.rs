//! Want of memory: watched from the creation of a container to its end.

use std::os::fd::AsFd;

use crate::poller::{Interest, Token};
use crate::proto::event::{Event, TaskOnly};
use crate::shim::Shim;
use crate::ttrpc::{Code, Failure};

impl Shim {
    pub(crate) fn watch_oom(&mut self, id: &str, key: u64) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let watched = task.container.watch_oom().and_then(|oom| {
            let failed = |errno| Failure::new(Code::Unknown, format!("wait for want of memory: {errno}"));
            self.poller.add(oom.as_fd(), Token::Oom(key), Interest::Read).map_err(failed)?;
            Ok(oom)
        });
        match watched {
            Ok(oom) => task.oom = Some(oom),
            // Without a memory controller there is nothing to tell of.
            Err(failure) => self.log.info(format_args!("{id}: no events of want of memory: {}", failure.message)),
        }
    }

    pub(crate) fn out_of_memory(&mut self, key: u64) {
        let Some(id) = self.processes.get(&key).map(|process| process.task.clone()) else { return };
        let Some(oom) = self.tasks.get_mut(&id).and_then(|task| task.oom.as_mut()) else { return };
        match oom.take() {
            Ok(count) => {
                for _ in 0..count {
                    self.publish(&Event::Oom(TaskOnly { container_id: id.clone() }));
                }
            }
            Err(failure) => {
                self.log.warn(format_args!("{id}: {}", failure.message));
                self.unwatch_oom(&id);
            }
        }
    }

    pub(crate) fn unwatch_oom(&mut self, id: &str) {
        if let Some(oom) = self.tasks.get_mut(id).and_then(|task| task.oom.take()) {
            self.poller.remove(oom.as_fd());
        }
    }
}
