//! OCI seccomp profiles compiled to BPF, in pure Rust.
mod action;
mod arch;
mod arguments;
mod assemble;
mod bpf;
mod compile;
mod condition;
mod emulate;
mod error;
mod filter;
mod flags;
mod profile;
mod rules;
mod sys;
mod tables;
mod tree;

pub use action::{ACTIONS, Action};
pub use arch::{ARCHITECTURES, Arch};
pub use bpf::{MAX_INSTRUCTIONS, SockFilter};
pub use compile::{Options, compile};
pub use condition::OPERATORS;
pub use emulate::Call;
pub use error::{Error, ErrorKind};
pub use filter::{Filter, UnknownSyscall};
pub use flags::{FLAGS, Flags};
pub use profile::{Condition, Profile, Rule};
