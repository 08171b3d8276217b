//! The D-Bus wire format, and nothing of systemd: values, their GVariant text, and messages.

pub(super) mod message;
pub(super) mod text;
pub(super) mod value;
