//! The life of a container through every verb, option and config field.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::let_underscore_must_use,
    clippy::too_many_lines,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "the cases are named after what they check")]

mod cli;
mod exec;
mod fields;
mod hooks;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod seccomp;
mod sockets;
mod verbs;

fn main() -> std::process::ExitCode {
    let groups = [
        ("verbs", verbs::CASES),
        ("exec", exec::CASES),
        ("process", process::CASES),
        ("sockets", sockets::CASES),
        ("hooks", hooks::CASES),
        ("namespaces", namespaces::CASES),
        ("mounts", mounts::CASES),
        ("resources", resources::CASES),
        ("fields", fields::CASES),
        ("seccomp", seccomp::CASES),
        ("cli", cli::CASES),
    ];
    orlop_integration::run("lifecycle", &groups)
}
