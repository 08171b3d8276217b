//! What is known of a container.

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Error, Kind, Result, Step};
use crate::network::Port;

/// What is on disk of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its image, as it was called.
    pub image: String,
    /// The manifest of its image.
    pub manifest: Digest,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made, as RFC 3339 has it.
    pub created: String,
    /// Its network.
    pub network: Mode,
    /// Its ports, as they are shown.
    pub ports: Vec<String>,
    /// The ports that pasta leads to it.
    #[serde(default)]
    pub led: Vec<Port>,
    /// Whether it goes with its end.
    pub remove: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its standard input stays open.
    pub interactive: bool,
    /// Whether it runs in the background, with a log.
    pub background: bool,
    /// The pipes of its output, by their inodes, if it has a supervisor.
    #[serde(default)]
    pub pipes: Option<[u64; 2]>,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// How far it has come.
    pub state: Progress,
}

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An address on the bridge.
    Bridge,
    /// Its own, connected by pasta: that of an ordinary user.
    Pasta,
    /// That of the host.
    Host,
    /// None but `lo`.
    None,
    /// That of another container.
    Container(String),
}

/// How far a container has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It is being made.
    Creating,
    /// It was started.
    Running,
    /// It has ended.
    Exited {
        /// With which status, as a shell shows it; none if nobody was there to see.
        code: Option<u8>,
        /// When, as RFC 3339 has it.
        finished: String,
    },
}

impl Record {
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::new(Kind::System, Step::Supervise).reason_is(error.to_string()))
    }
}

impl Progress {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Exited { .. })
    }
}

impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bridge" | "default" => Ok(Self::Bridge),
            "pasta" => Ok(Self::Pasta),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("container:") {
                Some(name) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
                _ => {
                    let error = Error::new(Kind::InvalidArgument, Step::Run).object_is(format!("--network {text}"));
                    Err(error.reason_is("known are bridge, pasta, host, none and container:NAME"))
                }
            },
        }
    }
}
