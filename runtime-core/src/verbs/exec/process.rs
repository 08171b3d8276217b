//! The process of an exec: the container's own, or one from a file, as the options change it.

use std::borrow::Cow;

use super::options::{ExecOptions, ExecProcess};
use crate::base::{Error, Result, Step};
use crate::config::{self, Capabilities, CapabilitySet, Process};

/// The bytes of the process's file, if there is one.
pub(super) fn file(options: &ExecOptions) -> Result<Option<Cow<'_, [u8]>>> {
    match &options.process {
        ExecProcess::File(path) => {
            let failed = |error| Error::io(Step::LoadConfig, &error).with_object(path.display().to_string());
            std::fs::read(path).map(|bytes| Some(Cow::Owned(bytes))).map_err(failed)
        }
        ExecProcess::Json(bytes) => Ok(Some(Cow::Borrowed(bytes))),
        ExecProcess::Args(_) => Ok(None),
    }
}

/// The process of `file`, or the container's `own`, changed by the options and checked.
pub(super) fn of<'p, 'o: 'p>(
    file: Option<&'p [u8]>,
    options: &'p ExecOptions,
    own: impl FnOnce() -> Option<Process<'o>>,
    warnings: &mut Vec<String>,
) -> Result<Process<'p>> {
    let mut process = match file {
        Some(bytes) => config::load_process(bytes)?,
        None => own().ok_or_else(|| Error::config("/process", "is missing"))?,
    };
    apply(&mut process, options);
    if let Some(bytes) = file {
        warnings.extend(config::unknown_process_fields(bytes).iter().map(ToString::to_string));
    }
    warnings.extend(config::check_process(&process)?.iter().map(ToString::to_string));
    Ok(process)
}

/// Changes `process` by `options`.
fn apply<'p>(process: &mut Process<'p>, options: &'p ExecOptions) {
    if let ExecProcess::Args(args) = &options.process {
        process.args = args.iter().map(|argument| argument.as_str().into()).collect();
        process.terminal = false;
    }
    process.terminal |= options.tty;
    process.console_size = options.terminal_size.or(process.console_size);
    if let Some(cwd) = &options.cwd {
        process.cwd = cwd.as_str().into();
    }
    process.env.extend(options.env.iter().map(|(name, value)| format!("{name}={value}").into()));
    if let Some(user) = &options.user {
        process.user.uid = user.uid;
        if let Some(gid) = user.gid {
            process.user.gid = gid;
        }
    }
    process.user.additional_gids.extend_from_slice(&options.additional_gids);
    if options.no_new_privs {
        process.no_new_privileges = true;
    }
    if let Some(label) = &options.process_label {
        process.selinux_label = Some(label.as_str().into());
    }
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile = Some(profile.as_str().into());
    }
    options.capabilities.iter().for_each(|capability| add_capability(process, capability.number()));
}

/// Adds to what the process may use, never to what it hands on (CVE-2022-29162).
fn add_capability(process: &mut Process<'_>, number: u8) {
    let capabilities = process.capabilities.get_or_insert_with(Capabilities::default);
    let add = |set: &mut CapabilitySet<'_>| set.mask |= 1 << number;
    add(&mut capabilities.bounding);
    add(&mut capabilities.effective);
    add(&mut capabilities.permitted);
    // For a user other than root, only an ambient capability outlives execve; it needs the inheritable set to hold it already.
    if capabilities.inheritable.contains(number) {
        add(&mut capabilities.ambient);
    }
}
