//! What an init reported by number, turned back into an error with step, object, config field and cause.

use orlop_init::wire::{Op, Phase, ProcFile, Record, SchedAttr, detail};

use super::block::InitBlock;
use crate::base::sys;
use crate::base::{Error, Exit, Kind, Step};
use crate::config::SchedulerPolicy;
use crate::parent::facts;
use crate::plan::describe;

/// The step an init is at, and its object.
pub(crate) fn progress(block: &InitBlock) -> (Step, String) {
    match block.operation() {
        Some(record) => (describe::step(&record.op), describe::object(&record.op, block.view())),
        None => (Step::Clone, String::new()),
    }
}

/// The error of an init whose own seccomp profile killed it at the one call that is made under it.
pub(crate) fn killed_at_execve(block: &InitBlock) -> Error {
    Error::new(Kind::Command, Step::Execute)
        .with_object(block.command())
        .with_field("/linux/seccomp")
        .with_reason("the seccomp profile kills the process that executes the command: it must allow execve")
}

/// The error of an init that ended; `None`: it had executed the command, which ended by itself.
pub(crate) fn death(block: &InitBlock, exit: Exit) -> Option<Error> {
    if block.failed() {
        return Some(failure(block));
    }
    let record = block.operation()?;
    let executing = matches!(record.op, Op::Execute | Op::Seccomp { .. });
    let (step, object) = progress(block);
    match exit {
        // The profile's own verdict on the one call that is made under it.
        Exit::Signal(libc::SIGSYS) if executing => Some(killed_at_execve(block)),
        _ if matches!(record.op, Op::Execute) => None,
        Exit::Signal(signal) => {
            let error = Error::new(Kind::System, step)
                .with_object(object)
                .with_reason(format!("the container's init was killed by signal {signal}"));
            Some(if signal == libc::SIGKILL {
                error.with_hint("by another process, or by the OOM killer: the memory limit may be too low to start")
            } else {
                error
            })
        }
        Exit::Code(code) => Some(
            Error::new(Kind::System, step)
                .with_object(object)
                .with_reason(format!("the container's init exited with status {code}")),
        ),
    }
}

/// Why an exec server could not make the process that it was asked for.
pub(super) fn not_made(errno: i32) -> Error {
    Error::os(Step::Clone, errno).with_object("a process for the command")
}

/// It could say nothing.
pub(super) fn server_has_ended() -> Error {
    Error::new(Kind::System, Step::Clone)
        .with_object("a process for the command")
        .with_reason("the exec server has ended")
        .with_hint("it ends with the container's init; start another")
}

/// The error that an init reported.
pub(crate) fn failure(block: &InitBlock) -> Error {
    let (errno, reason) = block.report();
    match block.operation() {
        Some(record) => failed(block, &record, errno, reason, &block.detail()),
        None => Error::os(Step::Clone, errno).with_object("the container's init"),
    }
}

fn failed(block: &InitBlock, record: &Record, errno: i32, reason: u32, said: &[u8]) -> Error {
    let view = block.view();
    let field = view.text(record.field);
    let with_field = |error: Error| if field.is_empty() { error } else { error.with_field(field) };
    if matches!(record.op, Op::FindProgram | Op::Execute) {
        let error = command(block, errno, reason);
        // What is wrong there is in the image, not in the config.
        return if reason == detail::INTERPRETER { error } else { with_field(error) };
    }
    let object = describe::object(&record.op, view);
    if matches!(record.op, Op::Fork { .. } | Op::OpenForeignProcfs { .. }) && errno == libc::ENOMEM {
        // The kernel's word for a namespace whose first process has ended (pid_namespaces(7)).
        let error = Error::new(Kind::System, describe::step(&record.op)).with_object(object);
        return with_field(
            error.with_reason("the first process of the pid namespace has ended, or there is no memory"),
        );
    }
    let error = Error::os(describe::step(&record.op), errno);
    let error = with_field(if object.is_empty() { error } else { error.with_object(object) });
    explain(error, said, &record.op, errno, reason)
}

fn explain(error: Error, said: &[u8], op: &Op, errno: i32, reason: u32) -> Error {
    match (op, reason) {
        (Op::Chdir { .. }, detail::OUTSIDE) => error.with_reason("the directory is outside of the container's root"),
        (Op::Mount { .. }, detail::SYMLINK) => {
            error.with_reason("the target is a symbolic link, and it must be mounted on ordinary directory")
        }
        (_, detail::ON_PROCFS) => error.with_reason(
            "the target is inside a procfs by a link of the image, and nothing but a few monitoring files can be mounted there",
        ),
        (Op::Mask { .. }, detail::ON_ROOT) => error.with_reason("it is the container's whole root"),
        (_, detail::ON_ROOT) => error.with_reason("the target is the container's root by a link of the image").with_hint("name it /"),
        (_, detail::PINNED) => error
            .with_reason("a mount namespace is pinned below the source (a mount of nsfs)")
            .with_hint("bind it without what is mounted below it, or unmount that file"),
        (op, _) if is_mounting(op) && sys::filtered_mount_call(errno).is_some() => filtered(error, errno),
        (op, _) if is_mounting(op) && errno == libc::ENOSPC => error.with_hint("fs.mount-max limits the mounts of a namespace"),
        (_, detail::SYMLINK) => error.with_reason("the target is a symbolic link, which is not allowed here"),
        (_, detail::TARGET) => error.with_reason("target"),
        (_, detail::SOURCE) => error.with_reason("source"),
        (_, detail::NOT_DEVPTS) => error.with_reason("/dev/pts is not a devpts of the container"),
        (_, detail::NOT_PROCFS) => error.with_reason("the file is not on procfs"),
        (_, detail::COPY) => error.with_reason("copying what the target directory holds"),
        (_, detail::SEND) => error.with_reason("sending the terminal to the console socket"),
        (_, detail::PARAMETER) => with_kernels_words(error, said),
        (Op::Bind { .. } | Op::Mount { .. } | Op::SetAttr { .. }, detail::ATTRIBUTES) => attributes(error, op, errno),
        (Op::Mount { .. }, _) if errno == libc::EPERM => error.with_hint(
            "a user namespace may mount proc or sysfs only where the caller's own is fully visible, and sysfs and mqueue only with a new network or ipc namespace",
        ),
        (Op::Mount { .. }, _) if errno == libc::ENODEV => error.with_reason("this kernel does not know the file system"),
        (Op::Sync { phase: Phase::Ready, .. }, _) => error.with_reason("the runtime gave up"),
        (Op::WriteProc { what: ProcFile::Label, .. }, _) => error.with_hint(match errno {
            libc::ENOENT => "such a profile is not loaded: apparmor_parser(8) loads one",
            libc::EINVAL => "the policy that is loaded has no such label",
            _ => "the policy that is loaded must let the runtime give this label",
        }),
        (Op::WriteProc { what: ProcFile::OomScoreAdj, .. }, _) => oom_score_hint(error, errno),
        (Op::WriteProc { what: ProcFile::Sysctl, .. }, _) if errno == libc::EACCES => {
            denied_sysctl(error, facts::apparmor_profile().as_deref())
        }
        (Op::WriteProc { .. }, _) if errno == libc::ENOENT => error.with_reason("this kernel does not have it"),
        (Op::Unshare { .. } | Op::Network, _) => namespace_hint(error, errno),
        (Op::Pivot, _) if errno == libc::EINVAL => error.with_hint("on an initramfs use --no-pivot"),
        (Op::User { .. }, _) if errno == libc::EINVAL => error.with_reason("an id is not mapped in the user namespace"),
        (Op::Scheduler { attr }, _) => scheduler_hint(error, attr, errno),
        (Op::Rlimits { .. }, _) if errno == libc::EPERM => error.with_hint("raising a hard limit needs CAP_SYS_RESOURCE"),
        (Op::Seccomp { .. }, _) if errno == libc::EINVAL => error.with_reason("the kernel refuses the filter or a flag"),
        _ => error,
    }
}

pub(super) fn oom_score_hint(error: Error, errno: i32) -> Error {
    match errno {
        libc::EACCES | libc::EPERM => {
            error.with_hint("a value below the caller's own (/proc/self/oom_score_adj) needs CAP_SYS_RESOURCE")
        }
        _ => error,
    }
}

/// What an AppArmor profile around the runtime has to do with a sysctl that the caller has the right to set: the path of a file on a
/// procfs that is mounted nowhere yet begins at that procfs.
fn denied_sysctl(error: Error, profile: Option<&str>) -> Error {
    match profile {
        None | Some("unconfined") => error,
        Some(profile) => error.with_hint(format!(
            "AppArmor's {profile} around this process takes /proc/sys for /sys here: let it allow that (LXC: a profile without rules for /sys, or lxc.apparmor.profile = unconfined), or leave the sysctl out"
        )),
    }
}

/// What the kernel asks for where a process is to be scheduled by deadlines.
pub(super) fn scheduler_hint(error: Error, attr: &SchedAttr, errno: i32) -> Error {
    if errno != libc::EPERM || u64::from(attr.policy) != SchedulerPolicy::Deadline.number() {
        return error;
    }
    error.with_hint(
        "SCHED_DEADLINE needs CAP_SYS_NICE and all CPUs of the system: this process scheduler can't be used together with AllowedCPUs (/linux/resources/cpu/cpus)",
    )
}

fn is_mounting(op: &Op) -> bool {
    matches!(
        op,
        Op::Rootfs { .. }
            | Op::Mount { .. }
            | Op::Bind { .. }
            | Op::SetAttr { .. }
            | Op::Mask { .. }
            | Op::Readonly { .. }
            | Op::Console { .. }
    )
}

/// Names the call that a sandbox around this process does not let through, since the errno alone points elsewhere.
pub(super) fn filtered(error: Error, errno: i32) -> Error {
    let Some(call) = sys::filtered_mount_call(errno) else { return error };
    error.with_reason(format!("a seccomp filter around this process refuses {call}(2)")).with_hint(format!(
        "let the outer sandbox allow open_tree, move_mount, fsopen, fsconfig, fsmount and mount_setattr; a kernel before Linux 5.2 lacks {call}"
    ))
}

/// What to do about namespaces that cannot be made.
pub(crate) fn namespace_hint(error: Error, errno: i32) -> Error {
    match errno {
        libc::ENOSPC | libc::EUSERS => error.with_hint("a limit below /proc/sys/user is reached"),
        libc::EPERM => {
            error.with_hint("this needs root, or a user namespace in the config (see `orlop spec --rootless`)")
        }
        _ => error,
    }
}

/// The kernel's own words on a file system parameter: `e tmpfs: Bad value for 'size'`.
fn with_kernels_words(error: Error, text: &[u8]) -> Error {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().next().unwrap_or("").trim();
    let line = line.strip_prefix("e ").or_else(|| line.strip_prefix("w ")).unwrap_or(line);
    if line.is_empty() { error } else { error.with_reason(line.to_owned()) }
}

fn attributes(error: Error, op: &Op, errno: i32) -> Error {
    match errno {
        libc::EPERM => error.with_reason("setting mount attributes").with_hint(
            "flags of a mount that belongs to a more privileged user namespace are locked, and not every file system can be idmapped by everyone",
        ),
        libc::EINVAL if matches!(op, Op::SetAttr { .. }) => error.with_reason("setting mount attributes"),
        libc::EINVAL => error.with_reason("setting mount attributes").with_hint("this file system or kernel does not support idmapped mounts"),
        _ => error.with_reason("setting mount attributes"),
    }
}

/// A command that cannot be executed, in words that engines look for.
fn command(block: &InitBlock, errno: i32, reason: u32) -> Error {
    let command = block.command();
    let error = Error::new(Kind::Command, Step::Execute);
    match reason {
        detail::NOT_FOUND if !command.contains('/') => {
            error.with_object(format!("{command:?}")).with_reason("executable file not found in $PATH")
        }
        detail::INTERPRETER => {
            let os = Error::os(Step::Execute, errno).with_kind(Kind::Command).with_object(command);
            match interpreter(&block.detail()) {
                Some(interpreter) => os.with_hint(format!("its interpreter {interpreter} is missing in the container")),
                None => os.with_hint("its interpreter or dynamic loader is missing in the container"),
            }
        }
        // execve itself says EACCES; engines look for either.
        _ if errno == libc::EISDIR => Error::os(Step::Execute, libc::EACCES)
            .with_kind(Kind::Command)
            .with_object(command)
            .with_reason("is a directory"),
        _ => Error::os(Step::Execute, errno).with_kind(Kind::Command).with_object(command),
    }
}

/// The interpreter that a script names, or the dynamic loader that an ELF file names in its first bytes.
fn interpreter(start: &[u8]) -> Option<String> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_that_apparmor_denies_names_the_profile() {
        let told = |profile| denied_sysctl(Error::os(Step::WriteSysctl, libc::EACCES), profile).to_string();
        assert!(
            told(Some("lxc-container-default-cgns (enforce)"))
                .contains("AppArmor's lxc-container-default-cgns (enforce)")
        );
        assert_eq!(told(Some("unconfined")), told(None));
        assert!(!told(None).contains("AppArmor"), "{}", told(None));
    }

    #[test]
    fn a_script_names_its_interpreter() {
        assert_eq!(interpreter(b"#! /bin/nope -x\nrest").as_deref(), Some("/bin/nope"));
        assert_eq!(interpreter(b"#!/bin/nope").as_deref(), Some("/bin/nope"));
        assert_eq!(interpreter(b"\x7fELF"), None);
    }
}
