//! Control groups on the real kernel, on whatever this host has: v1, hybrid, v2, systemd, as root or rootless.
//!
//! What a test needs and the host has not makes it say `SKIP`, with the reason and a running count, on standard error. A lane
//! promises needs by `ORLOP_TEST_NEEDS`, for example `root cgroup-v2 systemd`; a promised need that is missing is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the helpers of tests are tests too: they end them where something is wrong"
)]

mod bundle;
mod cost;
mod cycles;
mod devices;
mod environment;
mod events;
mod fields;
mod life;
mod limits;
mod present;
mod process;
mod refusals;
mod sandbox;
mod systemd;
mod update;
