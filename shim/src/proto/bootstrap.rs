//! How containerd starts a shim: `containerd.runtime.bootstrap.v1` (from 2.3 on), and what `-info` answers.

use std::collections::BTreeMap;

use super::Any;

messages! {
    BootstrapParams {
        1 instance_id: String,
        2 namespace: String,
        3 log_level: i32,
        4 containerd_version: String,
        5 containerd_ttrpc_address: String,
        6 containerd_grpc_address: String,
        7 containerd_binary: String,
        8 extensions: Vec<Extension>,
        9 socket_dir: String,
    }
    Extension {
        1 value: Option<Any>,
    }
    BootstrapResult {
        1 version: i32,
        2 address: String,
        3 protocol: String,
    }
    RuntimeVersion {
        1 version: String,
        2 revision: String,
    }
    RuntimeInfo {
        1 name: String,
        2 version: Option<RuntimeVersion>,
        3 options: Option<Any>,
        4 features: Option<Any>,
        5 annotations: BTreeMap<String, String>,
    }
}
