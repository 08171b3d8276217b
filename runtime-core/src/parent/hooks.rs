//! Hooks: programs that an engine has run at points of a container's life (runtime-spec, `config.md`, "POSIX-platform Hooks").
//!
//! A hook gets the container's state as JSON on its standard input. What it prints is kept, up to a bound, for the message in
//! case it fails, or goes to the files that the annotations `run.oci.hooks.stdout` and `run.oci.hooks.stderr` name. When its
//! time is over, it is killed with the process group it leads.

mod in_runtime;
mod run;

pub(crate) use in_runtime::InRuntime;
pub(crate) use run::{HookKind, HookState, Spawn, run, run_all};

#[cfg(test)]
mod tests;
