//! The process of an exec: the container's own, or one from a file, as the options change it.

use super::options::{ExecOptions, ExecProcess};
use crate::base::{Error, Kind, Result, Step};
use crate::config::{Capabilities, CapabilitySet, Process, capability_number};

/// Changes `process` by `options`.
pub(super) fn apply<'p>(process: &mut Process<'p>, options: &'p ExecOptions) -> Result<()> {
    if let ExecProcess::Args(args) = &options.process {
        process.args = args.iter().map(|argument| argument.as_str().into()).collect();
        process.terminal = false;
    }
    process.terminal |= options.tty;
    process.console_size = options.terminal_size.or(process.console_size);
    if let Some(cwd) = &options.cwd {
        process.cwd = cwd.as_str().into();
    }
    process.env.extend(options.env.iter().map(|pair| pair.as_str().into()));
    if let Some(user) = &options.user {
        let (uid, gid) = parse_user(user)?;
        process.user.uid = uid;
        if let Some(gid) = gid {
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
    options.capabilities.iter().try_for_each(|name| add_capability(process, name))
}

/// `UID` or `UID:GID`, in decimal and nothing else: a name or a number out of range must never end as user 0 (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // (uid_t) -1 means "no change" to the kernel.
        part.parse::<u32>().ok().filter(|id| plain && *id != u32::MAX).ok_or_else(|| {
            Error::new(Kind::InvalidArgument, Step::CheckArguments)
                .object(format!("user {text:?}"))
                .detail(format!("{part:?} is not a number from 0 to {}", u32::MAX - 1))
        })
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// Adds to what the process may use, never to what it hands on (CVE-2022-29162).
fn add_capability(process: &mut Process<'_>, name: &str) -> Result<()> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let number = capability_number(&full).ok_or_else(|| {
        Error::new(Kind::InvalidArgument, Step::CheckArguments)
            .object(format!("capability {name:?}"))
            .detail("is not known")
    })?;
    let capabilities = process.capabilities.get_or_insert_with(Capabilities::default);
    let add = |set: &mut CapabilitySet<'_>| set.mask |= 1 << number;
    add(&mut capabilities.bounding);
    add(&mut capabilities.effective);
    add(&mut capabilities.permitted);
    // For a user other than root, only an ambient capability outlives execve; it needs the inheritable set to hold it already.
    if capabilities.inheritable.contains(number) {
        add(&mut capabilities.ambient);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, user) in [
            ("0", Some((0, None))),
            ("1", Some((1, None))),
            ("1:2", Some((1, Some(2)))),
            ("4294967294", Some((4_294_967_294, None))),
            ("4294967295", None),
            ("4294967296", None),
            ("", None),
            ("1:", None),
            (":1", None),
            ("-1", None),
            ("+1", None),
            ("0x0", None),
            ("1 ", None),
            (" 1", None),
            ("root", None),
            ("1:2:3", None),
        ] {
            assert_eq!(parse_user(text).ok(), user, "{text:?}");
        }
    }
}
