//! The protocol's messages: their fields and numbers, and how they are written in the protocol buffers' binary form.

#[macro_use]
pub(crate) mod wire;
pub(crate) mod bootstrap;
pub(crate) mod event;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod task;

pub(crate) use wire::{Malformed, Message, decode, encode};

messages! {
    /// `google.protobuf.Any`: a message with the name of its type.
    Any {
        1 type_url: String,
        2 value: Vec<u8>,
    }
    /// `google.protobuf.Timestamp`: time since 1970.
    Timestamp {
        1 seconds: i64,
        2 nanos: i32,
    }
    /// `containerd.types.Mount`.
    Mount {
        1 kind: String,
        2 source: String,
        3 target: String,
        4 options: Vec<String>,
    }
    /// `google.protobuf.Empty`.
    Empty {}
}

impl Any {
    /// A message under the name of its type.
    pub(crate) fn of(type_url: &str, message: &impl Message) -> Self {
        Self { type_url: type_url.to_owned(), value: encode(message) }
    }

    /// The name of the type, without the host that may stand before it.
    pub(crate) fn type_name(&self) -> &str {
        self.type_url.strip_prefix("type.googleapis.com/").unwrap_or(&self.type_url)
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos().cast_signed() }
    }
}
