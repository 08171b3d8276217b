//! Carries images between registries and the store.

mod crew;
mod pull;
mod push;

pub use pull::{PullOptions, pull};
pub use push::{PushOptions, push};
