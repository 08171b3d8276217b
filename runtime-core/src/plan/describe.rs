//! An operation of the init in words: for `orlop plan`, and for the error when it fails.

use orlop_init::wire::{Op, Phase, ProcFile, Str};

use super::program::View;
use crate::base::Step;

/// The step an operation belongs to, as errors name it.
pub(crate) fn step(op: &Op) -> Step {
    match op {
        Op::JoinCgroups | Op::JoinLate | Op::Sync { phase: Phase::Attach } => Step::Cgroup,
        Op::Setns { .. } | Op::Unshare { .. } | Op::Network | Op::OpenForeignProcfs { .. } | Op::TopmostRoot => {
            Step::JoinNamespace
        }
        Op::Receive
        | Op::NotDumpable
        | Op::CloseReceived { .. }
        | Op::Fork { .. }
        | Op::Setsid
        | Op::Sync { .. }
        | Op::CurrentRoot
        | Op::ListenPid { .. }
        | Op::Serve { .. } => Step::Clone,
        Op::BecomeRoot { .. } => Step::MapIds,
        Op::TimeOffsets { .. } => Step::SetTimeOffsets,
        Op::Loopback => Step::SetUpNetwork,
        Op::NewKeyring => Step::JoinKeyring,
        Op::Propagation { .. } | Op::RootPropagation { .. } => Step::SetPropagation,
        Op::Rootfs { .. } => Step::OpenRootfs,
        Op::Mount { .. } => Step::Mount,
        Op::Bind { .. } => Step::BindMount,
        Op::SetAttr { .. } => Step::ReadonlyRootfs,
        Op::MakeDir { .. } => Step::MakeMountTarget,
        Op::Device { .. } => Step::MakeDevice,
        Op::Symlink { .. } => Step::MakeSymlink,
        Op::Mask { .. } => Step::MaskPath,
        Op::Readonly { .. } => Step::ReadonlyPath,
        Op::Console { .. } | Op::UseConsole | Op::OwnStdio { .. } | Op::StdioNull => Step::SetUpTerminal,
        Op::Pivot | Op::Detach { .. } | Op::MoveRoot { .. } | Op::EnterRoot { .. } => Step::PivotRoot,
        Op::Hostname { .. } => Step::SetHostname,
        Op::Domainname { .. } => Step::SetDomainname,
        Op::WriteProc { what: ProcFile::Sysctl, .. } => Step::WriteSysctl,
        Op::WriteProc { what: ProcFile::Label, .. } => Step::SetLabel,
        Op::WriteProc { what: ProcFile::OomScoreAdj, .. } => Step::SetOomScoreAdj,
        Op::Rlimits { .. } => Step::SetRlimit,
        Op::Personality { .. } => Step::SetPersonality,
        Op::Scheduler { .. } => Step::SetScheduler,
        Op::IoPriority { .. } => Step::SetIoPriority,
        Op::Affinity { .. } | Op::FinalAffinity { .. } => Step::SetCpuAffinity,
        Op::MemoryPolicy { .. } => Step::SetMemoryPolicy,
        Op::CapBounding { .. } | Op::Capabilities { .. } => Step::SetCapabilities,
        Op::User { .. } => Step::SetUser,
        Op::Chdir { .. } => Step::EnterCwd,
        Op::NoNewPrivs => Step::SetNoNewPrivs,
        Op::FindProgram | Op::Execute | Op::WaitStart { .. } => Step::Execute,
        Op::Seccomp { .. } => Step::LoadSeccomp,
    }
}

/// What an operation works on, in words.
pub(crate) fn object(op: &Op, view: View<'_>) -> String {
    let text = |string: Str| view.text(string).to_owned();
    match op {
        Op::Setns { flags, .. } | Op::Unshare { flags } => namespaces(u64::from(*flags)),
        Op::Network => "network namespace".into(),
        Op::Fork { flags } => format!("with {}", namespaces(*flags)),
        Op::TimeOffsets { lines, .. } => text(*lines).trim().replace('\n', ", "),
        Op::Sync { phase } => match phase {
            Phase::MapIds => "wait for the id maps".into(),
            Phase::Attach => "wait for systemd's scope".into(),
            Phase::Namespaces => "wait for network devices and hooks".into(),
            Phase::MapMount => "wait for a mount's id map".into(),
            Phase::Ready => "created: limits, state, pid file".into(),
        },
        Op::JoinCgroups => "enter hierarchies of v1".into(),
        Op::OpenForeignProcfs { .. } => "procfs of the joined pid namespace".into(),
        Op::NotDumpable => "cannot be traced from here on".into(),
        Op::CloseReceived { .. } => "close what leads to the host".into(),
        Op::JoinLate => "enter hierarchies of v1 that are limited by now".into(),
        Op::Serve { .. } => "make a process of each command".into(),
        Op::TopmostRoot => "the root that others would enter".into(),
        Op::Receive => "receive what the runtime opens".into(),
        Op::Rootfs { path, .. } => text(*path),
        Op::Mount { target, fstype, .. } => {
            format!("{} on {}", text(*fstype), text(*target))
        }
        Op::Bind { source, target, .. } => format!("{} on {}", text(*source), text(*target)),
        Op::SetAttr { target, .. } => text(*target),
        Op::MakeDir { path, .. } | Op::Mask { path, .. } | Op::Readonly { path } | Op::Chdir { path } => text(*path),
        Op::Detach { path } => format!("take away {} of the old root", text(*path)),
        Op::Device { path, major, minor, .. } => format!("{} ({major}:{minor})", text(*path)),
        Op::Symlink { path, target, .. } => format!("{} -> {}", text(*path), text(*target)),
        Op::StdioNull => "standard streams that are /dev/null: the container's".into(),
        Op::Console { rows, cols, .. } => format!("{cols}x{rows}"),
        Op::Hostname { name } | Op::Domainname { name } => text(*name),
        Op::WriteProc { path, data, what, .. } => match what {
            // Its value may be a secret (a network's key).
            ProcFile::Sysctl => text(*path).trim_start_matches("sys/").replace('/', "."),
            // AppArmor's file takes a command.
            ProcFile::Label => text(*data).trim_start_matches("exec ").to_owned(),
            ProcFile::OomScoreAdj => text(*data),
        },
        Op::User { uid, gid, .. } => format!("{uid}:{gid}"),
        Op::Capabilities { permitted, .. } => format!("{permitted:#x}"),
        Op::CapBounding { keep, .. } => format!("{keep:#x}"),
        Op::Seccomp { filter, .. } => format!("of {} instructions", filter.len),
        _ => String::new(),
    }
}

/// Namespace flags in words.
pub(crate) fn namespaces(flags: u64) -> String {
    use crate::config::{Named as _, NamespaceType};
    let names: Vec<&str> =
        NamespaceType::ALL.iter().filter(|(_, kind)| flags & kind.number() != 0).map(|(name, _)| *name).collect();
    if names.is_empty() { "no new namespace".into() } else { format!("{} namespace", names.join(", ")) }
}
