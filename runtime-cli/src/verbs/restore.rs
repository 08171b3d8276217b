//! `orlop restore`.

use std::os::unix::net::UnixStream;

use orlop::{CreateOptions, RestoreOptions, Terminal};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::signals::Signals;
use crate::table::command;
use crate::verbs::criu::{self, criu_flags};
use crate::verbs::run;

command! {
    "restore: ID
make a container run again from what checkpoint has saved
",
    ..criu_flags,
    [
        BUNDLE = "-b, --bundle DIR | the bundle directory (default: the current directory)",
        CONSOLE_SOCKET = "--console-socket SOCKET | send the terminal's master to this Unix socket",
        PID_FILE = "--pid-file FILE | write the pid of the container's init to this file",
        DETACH = "-d, --detach | return as soon as the container runs",
        NO_SUBREAPER = "--no-subreaper | do not adopt the container's orphaned processes",
        _ = "--no-pivot ! CRIU changes the root by pivot_root in any case",
        LSM_PROFILE = "--lsm-profile TYPE:NAME | another security label for the processes: apparmor:PROFILE or selinux:LABEL",
        LSM_MOUNT_CONTEXT = "--lsm-mount-context CONTEXT | another SELinux context for mounts that have one",
    ],
    "
The bundle's config says where mounts from outside, the cgroup and joined namespaces are to be had; it
should be the one that the container was made from. In the foreground, signals, terminal and exit status
are as with run, and the container is deleted when it has ended. CRIU's log is restore.log.

$ orlop restore --detach --image-path /var/tmp/web1 --bundle /srv/web web1
$ orlop restore --manage-cgroups-mode ignore --image-path /var/tmp/web1 --bundle /srv/web web2
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let create = CreateOptions::new(args.path(BUNDLE).unwrap_or_else(|| ".".into()))
        .terminal(args.path(CONSOLE_SOCKET).map_or(Terminal::None, Terminal::Socket))
        .pid_file(args.path(PID_FILE));
    let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let mut options = RestoreOptions::default()
        .create(create)
        .criu(criu::options(args)?)
        .lsm_profile(owned(args.text(LSM_PROFILE)?.map(lsm_profile).transpose()?))
        .lsm_mount_context(owned(args.text(LSM_MOUNT_CONTEXT)?));
    let (detach, no_subreaper) = (args.switch(DETACH), args.switch(NO_SUBREAPER));
    let id = container_id(args.operand()?)?;
    if detach {
        let process = orlop::restore(&session.runtime, &id, options)?;
        session.tell(&process);
        return Ok(0);
    }
    if !matches!(options.create.terminal, Terminal::None) {
        return Err(Failure::usage("--console-socket is for --detach: in the foreground the terminal is this one"));
    }
    if !no_subreaper {
        run::become_subreaper()?;
    }
    let (signals, cancel) = Signals::take()?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| Failure::io("make a socket pair", &error))?;
    options.create.cancel = Some(cancel);
    options.create.terminal = Terminal::connected(theirs);
    let process = orlop::restore(&session.runtime, &id, options)?;
    session.tell(&process);
    run::stay(session, &signals, (&id, &process), &ours, None, false)
}

fn lsm_profile(text: &str) -> Result<&str, Failure> {
    match text.split_once(':') {
        None if text.is_empty() => Ok(text),
        Some(("apparmor" | "selinux", name)) if !name.is_empty() => Ok(text),
        _ => Err(Failure::usage(format!("--lsm-profile {text:?}: not apparmor:PROFILE or selinux:LABEL"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_its_security_module() {
        for right in ["", "apparmor:x", "selinux:system_u:system_r:container_t:s0:c82,c137"] {
            assert_eq!(lsm_profile(right).unwrap(), right);
        }
        for wrong in ["x", "smack:x", "apparmor:", ":x"] {
            assert!(lsm_profile(wrong).is_err(), "{wrong}");
        }
    }
}
