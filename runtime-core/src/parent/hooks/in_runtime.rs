//! Starts a hook in the runtime's own namespaces.
//!
//! `std::process::Command` leaves the caller's signal mask to the child, and a caller that waits for signals by a signalfd has all of
//! them blocked: a hook must not start so.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::run::Spawn;
use crate::base::sys::{self, Before, Program};
use crate::base::{Error, HostPid, Kind, Process, Result, Step};
use crate::config::Hook;

/// The runtime's own namespaces, with this working directory.
#[derive(Debug)]
pub(crate) struct InRuntime<'a> {
    /// The working directory; runc's is the bundle.
    pub(crate) cwd: &'a Path,
    /// The limit of open files, where the runtime's own is for itself alone.
    pub(crate) open_files: Option<(u64, u64)>,
}

impl Spawn for InRuntime<'_> {
    fn spawn(&self, hook: &Hook<'_>, stdio: [OwnedFd; 3]) -> Result<Process> {
        let (path, argv, environment) = c_strings(hook)?;
        let cwd = CString::new(self.cwd.as_os_str().as_bytes())
            .map_err(|_| Error::new(Kind::Hook, Step::RunHook).with_reason("a NUL byte in the bundle's path"))?;
        let stdio = above_the_standard_streams(stdio)?;
        let mut before = vec![
            Before::DefaultSignals,
            Before::UnblockSignals,
            Before::LeadProcessGroup,
            Before::ChangeDirectory(&cwd),
        ];
        before.extend(self.open_files.map(|(soft, hard)| Before::LimitOpenFiles { soft, hard }));
        let spawned = sys::spawn(&sys::Spawn {
            namespaces: 0,
            cgroup: None,
            program: Program::Path(&path),
            argv: &argv.iter().map(CString::as_c_str).collect::<Vec<&CStr>>(),
            environment: &environment.iter().map(CString::as_c_str).collect::<Vec<&CStr>>(),
            before: &before,
            inherit: &[],
            stdio: Some(stdio.each_ref().map(AsFd::as_fd)),
        });
        let failed = |errno: nix::errno::Errno| Error::os(Step::RunHook, errno as i32);
        let (pid, pidfd) = spawned.map_err(|problem| match problem.before {
            Some(3) => failed(problem.errno).with_reason(format!("enter {}", self.cwd.display())),
            _ => failed(problem.errno),
        })?;
        Ok(Process::new(HostPid::new(pid).ok_or_else(|| failed(nix::errno::Errno::ESRCH))?, pidfd))
    }
}

/// The hook's strings as `execve` takes them.
fn c_strings(hook: &Hook<'_>) -> Result<(CString, Vec<CString>, Vec<CString>)> {
    let convert = |text: &str| {
        CString::new(text)
            .map_err(|_| Error::new(Kind::Hook, Step::RunHook).with_reason("a NUL byte in a string of the hook"))
    };
    let path = convert(hook.path.as_str())?;
    let mut argv: Vec<CString> = hook.args.iter().map(|text| convert(text.as_str())).collect::<Result<_>>()?;
    if argv.is_empty() {
        argv.push(path.clone());
    }
    let envp = match hook.env.as_slice() {
        // Such hooks are installed for many runtimes, and look things up in PATH: they get the runtime's environment, as with runc.
        [] => std::env::vars_os().filter_map(|(name, value)| variable(&name, &value)).collect(),
        env => env.iter().map(|text| convert(text.as_str())).collect::<Result<_>>()?,
    };
    Ok((path, argv, envp))
}

fn variable(name: &OsStr, value: &OsStr) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

/// Descriptors that putting them in the place of 0, 1 and 2 cannot overwrite.
fn above_the_standard_streams(stdio: [OwnedFd; 3]) -> Result<[OwnedFd; 3]> {
    // A clone is never one of them.
    let raise = |fd: OwnedFd| {
        if fd.as_raw_fd() > 2 { Ok(fd) } else { fd.try_clone().map_err(|error| Error::io(Step::RunHook, &error)) }
    };
    let [stdin, stdout, stderr] = stdio;
    Ok([raise(stdin)?, raise(stdout)?, raise(stderr)?])
}
