//! Device access rules: what a list of rules means, as files on v1 and as a BPF program on v2.

pub(crate) mod attach;
pub(crate) mod program;
mod ruleset;

pub use attach::DeviceFilter;
pub(crate) use ruleset::{Access, DeviceKind, Match, RuleSet};
