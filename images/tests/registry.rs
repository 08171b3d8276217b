//! Pulling and pushing against a real registry on loopback, directly and through a proxy that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints why it is skipped"
)]

#[path = "registry/auth.rs"]
mod auth;
#[path = "registry/broken.rs"]
mod broken;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/image.rs"]
mod image;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "registry/resume.rs"]
mod resume;
#[path = "registry/server.rs"]
mod server;
#[path = "registry/whole.rs"]
mod whole;
