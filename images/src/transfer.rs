//! Carries images between registries and the store.

mod commit;
mod crew;
mod pull;
mod push;

pub use commit::commit;
pub use pull::{PullOptions, pull};
pub use push::{PushOptions, push};
