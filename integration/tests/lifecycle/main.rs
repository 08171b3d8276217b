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
    let groups = [
        ("verbs", verbs::CASES),
        ("exec", exec::CASES),
        ("process", process::CASES),
        ("sockets", sockets::CASES),
        ("hooks", hooks::CASES),
        ("namespaces", namespaces::CASES),
        ("mounts", mounts::CASES),
        ("mount_calls", mount_calls::CASES),
        ("mount_rules", mount_rules::CASES),
        ("resources", resources::CASES),
        ("fields", fields::CASES),
        ("seccomp", seccomp::CASES),
        ("verify", verify::CASES),
        ("cli", cli::CASES),
        ("doctor", doctor::CASES),
    ];
    orlop_integration::run("lifecycle", &groups)
}
