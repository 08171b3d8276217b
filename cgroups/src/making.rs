//! Making a container's cgroup, and bringing processes into it.

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::layout::Layout;
use crate::members::Pid;
use crate::part::Part;
use crate::plan::Spec;
use crate::record::{Driver, Record};

impl Cgroup {
    /// Works out where the cgroup of `spec` will be, and makes nothing. Write the record to disk before [`create`](Self::create),
    /// and a crash in between leaves nothing that cannot be cleaned up.
    ///
    /// It reads `/proc/self/cgroup` when the path is relative, and asks the user's systemd for its cgroup when rootless under
    /// systemd; otherwise it makes no system call.
    ///
    /// # Errors
    /// [`Kind::InvalidPath`](crate::Kind::InvalidPath) for a malformed path, [`Kind::Bus`](crate::Kind::Bus) when the user's manager does not answer.
    pub fn plan(layout: &Layout, spec: &Spec<'_>) -> Result<Record> {
        crate::plan::plan(layout, spec)
    }

    /// Makes the cgroup of a planned record. Under systemd nothing is made before [`attach`](Self::attach).
    ///
    /// On failure what was made is removed again.
    ///
    /// # Errors
    /// [`Kind::Busy`](crate::Kind::Busy) when there is such a cgroup with processes in it, [`Kind::Frozen`](crate::Kind::Frozen) and [`Kind::Threaded`](crate::Kind::Threaded) when it could not
    /// be joined, [`Kind::NotDelegated`](crate::Kind::NotDelegated) when it must not be made.
    pub fn create(record: Record, spec: &Spec<'_>) -> Result<Self> {
        let mut cgroup = Self::create_unified(record, spec)?;
        match cgroup.create_v1().and_then(|()| cgroup.fill_cpuset()) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                crate::create::undo(&cgroup.record.made);
                Err(error)
            }
        }
    }

    /// The first part of [`create`](Self::create): the cgroup of v2, into which a process is cloned. [`create_v1`](Self::create_v1)
    /// and [`fill_cpuset`](Self::fill_cpuset) make the rest while that process is at work already.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unified(record: Record, spec: &Spec<'_>) -> Result<Self> {
        let mut cgroup = Self::open(record);
        cgroup.fresh = true;
        cgroup.owner = spec.owner;
        match cgroup.record.driver {
            Driver::Cgroupfs => crate::create::make(&mut cgroup, Part::is_unified)?,
            Driver::Systemd => {
                cgroup.properties.clone_from(&spec.properties);
                crate::systemd::check_vacant(&cgroup)?;
            }
        }
        Ok(cgroup)
    }

    /// The second part of [`create`](Self::create): the directories in the hierarchies of v1, where there are any. On failure those
    /// that it made are removed again; what [`create_unified`](Self::create_unified) made stays for [`remove`](Self::remove).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_v1(&mut self) -> Result<()> {
        match self.record.driver {
            Driver::Cgroupfs if self.parts.iter().any(|part| !part.is_unified()) => {
                let made = crate::create::make(self, |part| !part.is_unified());
                if made.is_err() {
                    // What is there may be another's: who cleans up must neither kill in it nor remove it.
                    self.parts.retain(Part::is_unified);
                    self.record.paths.v1.clear();
                }
                made
            }
            Driver::Cgroupfs | Driver::Systemd => Ok(()),
        }
    }

    /// The last part of [`create`](Self::create): gives a new cpuset of v1 the CPUs and memory nodes of its parent, without which no
    /// process can enter it. The kernel compares them with those of every cpuset beside it, and checks the bandwidth of all deadline
    /// tasks: beside a thousand others this takes longer than all directories together.
    ///
    /// # Errors
    /// [`Kind::System`](crate::Kind::System).
    pub fn fill_cpuset(&mut self) -> Result<()> {
        match (self.unfilled.take(), self.parts.iter_mut().find(|part| part.has("cpuset"))) {
            (Some((first, new)), Some(part)) => crate::create::fill_cpuset(&first, &part.path, new, &mut part.opened),
            _ => Ok(()),
        }
    }

    /// Moves a process (all its threads) into the cgroup. Under systemd, a new cgroup is made around it.
    ///
    /// This is the slow way in; see [`Join`](crate::Join).
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) when the process or the cgroup is gone; under systemd also [`Kind::Bus`](crate::Kind::Bus) and [`Kind::Timeout`](crate::Kind::Timeout).
    pub fn attach(&mut self, pid: Pid) -> Result<()> {
        if self.record.unit.is_some() {
            crate::systemd::attach(self, pid)?;
        } else {
            self.move_into(pid, |_| true)?;
        }
        Ok(())
    }

    /// Makes the payload cgroup of the record below this one, and moves a process of this one into it; without one, nothing. What
    /// the cgroup has of controllers is handed down, and the payload belongs to the owner that the spec named.
    ///
    /// To be called once the process has its cgroup namespace, which then begins at this cgroup.
    ///
    /// # Errors
    /// [`Kind::System`](crate::Kind::System) when it cannot be made or entered.
    pub fn enter_payload(&self, pid: Pid) -> Result<()> {
        let (Some(_), Some(mount)) = (&self.record.payload, &self.record.unified_mount) else { return Ok(()) };
        let payload = self.payload()?;
        crate::create::make_path(payload.main_path(), &mut Vec::new())?;
        payload.move_into(pid, Part::is_unified)?;
        crate::create::enable(mount, payload.main_path(), |_| true)?;
        crate::create::delegate(&payload)
    }
}
