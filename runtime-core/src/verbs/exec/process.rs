//! The process of an exec: the container's own, or one from a file, as the options change it.

use super::options::{ExecOptions, ExecProcess};
use crate::config::{Capabilities, CapabilitySet, Process};

/// Changes `process` by `options`.
pub(super) fn apply<'p>(process: &mut Process<'p>, options: &'p ExecOptions) {
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
