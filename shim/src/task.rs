//! The containers and processes that the shim knows, and what it knows of them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::options::Options;
use crate::proto::Timestamp;
use crate::proto::task::{DeleteResponse, Status, WaitResponse};
use crate::runtime::{self, Container, Images, OomWatch};
use crate::stdio::{Asked, Stdio};
use crate::ttrpc::Request;

/// Who made a call: where the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) connection: u64,
    pub(crate) stream: u32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Exit {
    pub(crate) fn at(self) -> Option<Timestamp> {
        Some(self.at.into())
    }

    pub(crate) fn wait_response(self) -> WaitResponse {
        WaitResponse { exit_status: self.status, exited_at: self.at() }
    }
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Stopped(Exit),
}

/// A process: the first one of a container, or one that was executed in it.
#[derive(Debug)]
pub(crate) struct Process {
    /// The id of its container.
    pub(crate) task: String,
    /// Its own id; empty for the first one.
    pub(crate) exec_id: String,
    pub(crate) asked: Asked,
    pub(crate) stdio: Stdio,
    pub(crate) phase: Phase,
    pub(crate) pid: u32,
    /// Until it has ended.
    pub(crate) running: Option<runtime::Process>,
    /// What is to be executed, until it is.
    pub(crate) spec: Vec<u8>,
    pub(crate) waiters: Vec<Caller>,
    /// Who waits for its deletion, until its output is handed on.
    pub(crate) deleter: Option<Caller>,
}

impl Process {
    pub(crate) fn new(task: &str, exec_id: &str, asked: Asked) -> Self {
        Self {
            task: task.to_owned(),
            exec_id: exec_id.to_owned(),
            asked,
            stdio: Stdio::default(),
            phase: Phase::Created,
            pid: 0,
            running: None,
            spec: Vec::new(),
            waiters: Vec::new(),
            deleter: None,
        }
    }

    /// The id under which events tell of it.
    pub(crate) fn event_id(&self) -> &str {
        if self.exec_id.is_empty() { &self.task } else { &self.exec_id }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Stopped(exit) => Some(exit),
            _ => None,
        }
    }

    pub(crate) fn delete_response(&self) -> DeleteResponse {
        let exit = self.exit();
        DeleteResponse {
            pid: self.pid,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.and_then(Exit::at),
        }
    }

    pub(crate) fn status(&self, paused: bool) -> Status {
        match self.phase {
            Phase::Stopped(_) => Status::Stopped,
            _ if paused => Status::Paused,
            Phase::Created => Status::Created,
            Phase::Running => Status::Running,
        }
    }
}

/// A container.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) container: Container,
    pub(crate) bundle: PathBuf,
    pub(crate) options: Options,
    /// Its first process.
    pub(crate) init: u64,
    /// The others by their ids.
    pub(crate) execs: BTreeMap<String, u64>,
    pub(crate) oom: Option<OomWatch>,
    pub(crate) paused: bool,
    /// Programs of the config's choice run with each operation.
    pub(crate) has_hooks: bool,
    /// The kernel ends the others with the first process.
    pub(crate) has_own_pid_namespace: bool,
    /// What it is to be restored from when it is started.
    pub(crate) saved: Option<Images>,
    /// The first process has ended, and what ended with it is not told yet.
    pub(crate) ending: Option<Exit>,
    /// A job is at work on it; calls wait until it is done.
    pub(crate) is_busy: bool,
    pub(crate) queue: VecDeque<(Caller, Request)>,
}
