//! A bundle: what the shim itself needs of its config.json, all else being the runtime's business, and the files that the shim keeps
//! there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The annotations that name the group of containers which share a shim: containerd's own, and CRI's for a pod.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The file by which `delete` knows, when the shim is gone, how the container was made.
pub(crate) const OPTIONS_FILE: &str = "options.json";
/// The file that has the pid of the first process.
pub(crate) const PID_FILE: &str = "init.pid";

/// Writes a small file of the bundle, whose directory is containerd's and this shim's alone.
///
/// # Errors
/// In one line, with the file's path.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| format!("write {}: {error}", path.display()))
}

/// The parts of a config that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Summary {
    annotations: BTreeMap<String, String>,
    hooks: BTreeMap<String, Option<Vec<IgnoredAny>>>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    namespaces: Vec<Namespace>,
    cgroups_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Summary {
    /// Reads the config of a bundle.
    ///
    /// # Errors
    /// When there is none, or it is no JSON of this form.
    pub(crate) fn read(bundle: &Path) -> io::Result<Self> {
        let path = bundle.join("config.json");
        let named = |error: io::Error| io::Error::new(error.kind(), format!("read {}: {error}", path.display()));
        let bytes = std::fs::read(&path).map_err(named)?;
        Self::parse(&bytes).map_err(|error| named(error.into()))
    }

    fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The group whose shim takes this container, when it is not its own.
    pub(crate) fn group(&self) -> Option<&str> {
        GROUPS.iter().find_map(|name| self.annotations.get(*name)).map(String::as_str)
    }

    /// Whether programs of the config's choice run while the container is made, started or deleted, for as long as they like.
    pub(crate) fn has_hooks(&self) -> bool {
        self.hooks.values().flatten().any(|hooks| !hooks.is_empty())
    }

    /// Whether the kernel ends all processes with the first one.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        self.linux.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }

    /// Whether the cgroup is written as systemd's `slice:prefix:name`.
    pub(crate) fn names_a_scope(&self) -> bool {
        let mut parts = self.linux.cgroups_path.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(slice), Some(_), Some(_), None) => slice.is_empty() || slice.ends_with(".slice"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_says_its_group_hooks_and_namespaces() {
        let config = r#"{"ociVersion":"1.2.1","process":{"args":["a"]},"annotations":{"io.kubernetes.cri.sandbox-id":"pod"},
            "hooks":{"prestart":[],"poststop":[{"path":"/x"}]},
            "linux":{"cgroupsPath":"kubepods.slice:cri-containerd:a","namespaces":[{"type":"pid"},{"type":"network","path":"/n"}]}}"#;
        let summary = Summary::parse(config.as_bytes()).unwrap();
        assert_eq!(summary.group(), Some("pod"));
        assert!(summary.has_hooks() && summary.has_own_pid_namespace() && summary.names_a_scope());

        let config =
            r#"{"hooks":{"poststart":[]},"linux":{"cgroupsPath":"/a:b/c","namespaces":[{"type":"pid","path":"/p"}]}}"#;
        let summary = Summary::parse(config.as_bytes()).unwrap();
        assert_eq!(summary.group(), None);
        assert!(!summary.has_hooks() && !summary.has_own_pid_namespace() && !summary.names_a_scope());
    }
}
