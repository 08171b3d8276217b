//! Black-box tests and benchmarks of runc-compatible runtimes.
//!
//! The runtime under test is the program that the environment variable `ORLOP_RUNTIME` names; without it, this workspace's
//! `orlop`, which is then built first. The tests prove themselves on Debian's runc:
//!
//! ```text
//! ORLOP_RUNTIME=/usr/sbin/runc cargo test -p orlop-integration
//! ```
//!
//! Each `tests/*/main.rs` is one single-threaded program (`harness = false`) that forks a process for each case: each function with
//! [`#[case]`](macro@case) before it. The case has its own mount namespace, its own directory, state root and container ids, and is
//! failed when a process, control group, mount or state directory of it is left afterwards ([`leak`]).

pub mod case;
pub mod command;
pub mod console;
pub mod container;
pub mod double;
pub mod everywhere;
pub mod figures;
pub mod labels;
pub mod leak;
pub mod neighbour;
pub mod process;
pub mod runner;
pub mod sandbox;
pub mod spec;
pub mod subject;
mod sys;
pub mod tracer;
pub mod world;

pub use case::Case;
pub use command::{Cmd, Output};
pub use container::Container;
#[doc(hidden)]
pub use inventory;
pub use orlop_integration_case::case;
pub use runner::run;
pub use sandbox::Sandbox;
pub use subject::{Flavor, Subject};
pub use world::{Need, World};
