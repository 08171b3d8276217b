//! The task service: containerd's `containerd.task.v2` and `v3`, which have the same messages.

use super::{Any, Mount, Timestamp};

/// `containerd.v1.types.Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created = 1,
    Running = 2,
    Stopped = 3,
    Paused = 4,
}

messages! {
    /// What a container is made of.
    CreateTaskRequest {
        1 id: String,
        2 bundle: String,
        3 rootfs: Vec<Mount>,
        4 terminal: bool,
        5 stdin: String,
        6 stdout: String,
        7 stderr: String,
        8 checkpoint: String,
        9 parent_checkpoint: String,
        10 options: Option<Any>,
    }
    /// The pid of what was created or started.
    PidResponse {
        1 pid: u32,
    }
    /// A process by its container and, unless it is the first one, its own id: DeleteRequest, StateRequest, StartRequest,
    /// WaitRequest; without the second field PidsRequest, PauseRequest, ResumeRequest, StatsRequest, ConnectRequest.
    ProcessRequest {
        1 id: String,
        2 exec_id: String,
    }
    DeleteResponse {
        1 pid: u32,
        2 exit_status: u32,
        3 exited_at: Option<Timestamp>,
    }
    ExecProcessRequest {
        1 id: String,
        2 exec_id: String,
        3 terminal: bool,
        4 stdin: String,
        5 stdout: String,
        6 stderr: String,
        7 spec: Option<Any>,
    }
    ResizePtyRequest {
        1 id: String,
        2 exec_id: String,
        3 width: u32,
        4 height: u32,
    }
    StateResponse {
        1 id: String,
        2 bundle: String,
        3 pid: u32,
        4 status: u32,
        5 stdin: String,
        6 stdout: String,
        7 stderr: String,
        8 terminal: bool,
        9 exit_status: u32,
        10 exited_at: Option<Timestamp>,
        11 exec_id: String,
    }
    KillRequest {
        1 id: String,
        2 exec_id: String,
        3 signal: u32,
        4 all: bool,
    }
    CloseIORequest {
        1 id: String,
        2 exec_id: String,
        3 stdin: bool,
    }
    ProcessInfo {
        1 pid: u32,
        2 info: Option<Any>,
    }
    PidsResponse {
        1 processes: Vec<ProcessInfo>,
    }
    CheckpointTaskRequest {
        1 id: String,
        2 path: String,
        3 options: Option<Any>,
    }
    UpdateTaskRequest {
        1 id: String,
        2 resources: Option<Any>,
    }
    WaitResponse {
        1 exit_status: u32,
        2 exited_at: Option<Timestamp>,
    }
    StatsResponse {
        1 stats: Option<Any>,
    }
    ConnectResponse {
        1 shim_pid: u32,
        2 task_pid: u32,
        3 version: String,
    }
    ShutdownRequest {
        1 id: String,
        2 now: bool,
    }
}
