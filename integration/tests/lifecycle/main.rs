//! The life of a container through every verb, option and config field.

mod cli;
mod doctor;
mod exec;
mod fields;
mod hooks;
mod mount_calls;
mod mount_rules;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod seccomp;
mod sockets;
mod verbs;
mod verify;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}
