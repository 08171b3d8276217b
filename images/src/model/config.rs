//! The config of an image: what its container runs, and what its layers are.
//!
//! Own types, as the core has for config.json: the crate `oci-spec` would bring 25 crates, two versions of one of them, and
//! lose every field that it does not know, which `import` and `commit` must keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::base::Digest;

/// An image's config file. Fields that are not named here are kept in `other`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct ImageConfig {
    /// When it was made, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Go's name of the architecture.
    #[serde(default)]
    pub architecture: String,
    /// The variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Go's name of the operating system.
    #[serde(default)]
    pub os: String,
    /// What a container runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: Process,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How the layers came to be, the first first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a container of the image runs, and with what around it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Process {
    /// The user: `name`, `uid`, `user:group`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that it listens on: `80/tcp`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Environment variables, as `NAME=VALUE`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program, before the arguments of `cmd`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the whole command if there is no entry point.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that hold data.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end: `SIGTERM`, `15`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Everything else, health checks and Docker's build triggers among it.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers as uncompressed archives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RootFs {
    /// `layers`, the only kind there is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digest of each uncompressed layer, the lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of how an image was made.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct History {
    /// When, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// A remark.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Programs in Go write what is empty as null.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_read_and_written_without_loss() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":null,"Healthcheck":{"Test":["x"]}},
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
            "history":[{"created_by":"a","empty_layer":true},{"created_by":"b"}],"moby.buildkit.x":1}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.config.env.as_slice(), config.config.cmd.len()), (["A=b".to_owned()].as_slice(), 0));
        assert_eq!(config.rootfs.diff_ids.len(), 1);
        assert!(config.history[0].empty_layer && !config.history[1].empty_layer);
        let again: Value = serde_json::to_value(&config).unwrap();
        assert_eq!(again["config"]["Healthcheck"]["Test"][0], "x");
        assert_eq!(again["moby.buildkit.x"], 1);
        assert_eq!(serde_json::from_value::<ImageConfig>(again).unwrap(), config);
    }

    #[test]
    fn what_go_leaves_out_or_writes_as_null_is_empty() {
        let config: ImageConfig =
            serde_json::from_str(r#"{"os":"linux","config":null,"rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert_eq!(config.rootfs, RootFs::default());
        assert!(serde_json::from_str::<ImageConfig>(r#"{"config":{"Env":"x"}}"#).is_err());
    }
}
