//! What happens to tasks, as it is published: `containerd.events` and the service that takes them.

use super::{Any, Mount, Timestamp};

messages! {
    TaskIo {
        1 stdin: String,
        2 stdout: String,
        3 stderr: String,
        4 terminal: bool,
    }
    TaskCreate {
        1 container_id: String,
        2 bundle: String,
        3 rootfs: Vec<Mount>,
        4 io: Option<TaskIo>,
        5 checkpoint: String,
        6 pid: u32,
    }
    TaskStart {
        1 container_id: String,
        2 pid: u32,
    }
    TaskDelete {
        1 container_id: String,
        2 pid: u32,
        3 exit_status: u32,
        4 exited_at: Option<Timestamp>,
        5 id: String,
    }
    TaskExit {
        1 container_id: String,
        2 id: String,
        3 pid: u32,
        4 exit_status: u32,
        5 exited_at: Option<Timestamp>,
    }
    /// TaskOOM, TaskPaused, TaskResumed.
    TaskOnly {
        1 container_id: String,
    }
    TaskExecAdded {
        1 container_id: String,
        2 exec_id: String,
    }
    TaskExecStarted {
        1 container_id: String,
        2 exec_id: String,
        3 pid: u32,
    }
    TaskCheckpointed {
        1 container_id: String,
        2 checkpoint: String,
    }
    /// `containerd.types.Envelope`.
    Envelope {
        1 timestamp: Option<Timestamp>,
        2 namespace: String,
        3 topic: String,
        4 event: Option<Any>,
    }
    /// `containerd.services.events.ttrpc.v1.ForwardRequest`.
    ForwardRequest {
        1 envelope: Option<Envelope>,
    }
}

/// What is published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Create(TaskCreate),
    Start(TaskStart),
    Delete(TaskDelete),
    Exit(TaskExit),
    Oom(TaskOnly),
    ExecAdded(TaskExecAdded),
    ExecStarted(TaskExecStarted),
    Paused(TaskOnly),
    Resumed(TaskOnly),
    Checkpointed(TaskCheckpointed),
}

impl Event {
    /// The topic, and the event under the name of its type.
    pub(crate) fn named(&self) -> (&'static str, Any) {
        let any = |name: &str, message: &dyn Fn() -> Vec<u8>| Any {
            type_url: format!("containerd.events.{name}"),
            value: message(),
        };
        match self {
            Self::Create(event) => ("/tasks/create", any("TaskCreate", &|| super::encode(event))),
            Self::Start(event) => ("/tasks/start", any("TaskStart", &|| super::encode(event))),
            Self::Delete(event) => ("/tasks/delete", any("TaskDelete", &|| super::encode(event))),
            Self::Exit(event) => ("/tasks/exit", any("TaskExit", &|| super::encode(event))),
            Self::Oom(event) => ("/tasks/oom", any("TaskOOM", &|| super::encode(event))),
            Self::ExecAdded(event) => ("/tasks/exec-added", any("TaskExecAdded", &|| super::encode(event))),
            Self::ExecStarted(event) => ("/tasks/exec-started", any("TaskExecStarted", &|| super::encode(event))),
            Self::Paused(event) => ("/tasks/paused", any("TaskPaused", &|| super::encode(event))),
            Self::Resumed(event) => ("/tasks/resumed", any("TaskResumed", &|| super::encode(event))),
            Self::Checkpointed(event) => ("/tasks/checkpointed", any("TaskCheckpointed", &|| super::encode(event))),
        }
    }
}
