//! The steps an operation consists of, as errors and `orlop plan` name them.

/// A step of an operation: the verb phrase an error begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reading config.json, a process file or a resources file.
    LoadConfig,
    /// Checking values against runtime-spec, the kernel and each other.
    CheckConfig,
    /// Writing a config.json.
    WriteConfig,
    /// Checking the arguments of the call.
    CheckArguments,
    /// Finding the container's state.
    FindContainer,
    /// Claiming the container's id and its state directory.
    ClaimId,
    /// Reading the state file.
    ReadState,
    /// Writing the state file.
    WriteState,
    /// Removing the state directory.
    RemoveState,
    /// Finding out what this host can do.
    ProbeHost,
    /// Opening the root filesystem.
    OpenRootfs,
    /// Create, joining, limiting, freezing or removing control groups.
    Cgroup,
    /// Compiling the seccomp profile.
    CompileSeccomp,
    /// Creating the container's first process with its namespaces.
    Clone,
    /// Joining an existing namespace.
    JoinNamespace,
    /// Writing the user namespace's id maps.
    MapIds,
    /// Writing the time namespace's offsets.
    SetTimeOffsets,
    /// Bringing up or moving network devices.
    SetUpNetwork,
    /// Setting the propagation of mounts.
    SetPropagation,
    /// Bind mounting.
    BindMount,
    /// Mounting a file system.
    Mount,
    /// Create a mount's target inside the root filesystem.
    MakeMountTarget,
    /// Create a device node.
    MakeDevice,
    /// Create a symbolic link.
    MakeSymlink,
    /// Changing the root directory.
    PivotRoot,
    /// Hiding a path.
    MaskPath,
    /// Create a path read-only.
    ReadonlyPath,
    /// Create the root filesystem read-only.
    ReadonlyRootfs,
    /// Writing a sysctl.
    WriteSysctl,
    /// Setting the host name.
    SetHostname,
    /// Setting the NIS domain name.
    SetDomainname,
    /// Setting up the terminal.
    SetUpTerminal,
    /// Setting a resource limit.
    SetRlimit,
    /// Setting the OOM score adjustment.
    SetOomScoreAdj,
    /// Setting the execution domain.
    SetPersonality,
    /// Setting the scheduling policy.
    SetScheduler,
    /// Setting the I/O priority.
    SetIoPriority,
    /// Setting the CPU affinity.
    SetCpuAffinity,
    /// Setting the NUMA memory policy.
    SetMemoryPolicy,
    /// Joining a new session keyring.
    JoinKeyring,
    /// Setting AppArmor or SELinux labels.
    SetLabel,
    /// Setting user, groups and umask.
    SetUser,
    /// Setting capabilities.
    SetCapabilities,
    /// Entering the working directory.
    EnterCwd,
    /// Setting no_new_privs.
    SetNoNewPrivs,
    /// Loading the seccomp filter.
    LoadSeccomp,
    /// Handing the seccomp listener to its agent.
    SendSeccompListener,
    /// Setting up Intel RDT.
    SetUpIntelRdt,
    /// Finding, starting and asking CRIU.
    Criu,
    /// Saving a container's processes.
    Checkpoint,
    /// Create a container from saved processes.
    Restore,
    /// Comparing a container with its config.
    Verify,
    /// Running a hook.
    RunHook,
    /// Writing the pid file.
    WritePidFile,
    /// Sending the pidfd to its receiver.
    SendPidfd,
    /// Exec the container's command.
    Execute,
    /// Waiting for a process.
    Wait,
    /// Sending a signal.
    Signal,
    /// Deleting the container.
    Delete,
    /// Reading statistics or events.
    ReadEvents,
}

impl Step {
    /// The step in words, as an error begins.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LoadConfig => "load config",
            Self::CheckConfig => "check config",
            Self::WriteConfig => "write config",
            Self::CheckArguments => "check arguments",
            Self::FindContainer => "find container",
            Self::ClaimId => "claim id",
            Self::ReadState => "read state",
            Self::WriteState => "write state",
            Self::RemoveState => "remove state",
            Self::ProbeHost => "probe host",
            Self::OpenRootfs => "open rootfs",
            Self::Cgroup => "cgroup",
            Self::CompileSeccomp => "compile seccomp profile",
            Self::Clone => "create process",
            Self::JoinNamespace => "join namespace",
            Self::MapIds => "map ids",
            Self::SetTimeOffsets => "set time offsets",
            Self::SetUpNetwork => "set up network",
            Self::SetPropagation => "set mount propagation",
            Self::BindMount => "bind mount",
            Self::Mount => "mount",
            Self::MakeMountTarget => "make mount target",
            Self::MakeDevice => "make device",
            Self::MakeSymlink => "make symlink",
            Self::PivotRoot => "change root",
            Self::MaskPath => "mask path",
            Self::ReadonlyPath => "make path read-only",
            Self::ReadonlyRootfs => "make rootfs read-only",
            Self::WriteSysctl => "write sysctl",
            Self::SetHostname => "set hostname",
            Self::SetDomainname => "set domainname",
            Self::SetUpTerminal => "set up terminal",
            Self::SetRlimit => "set rlimit",
            Self::SetOomScoreAdj => "set oom_score_adj",
            Self::SetPersonality => "set personality",
            Self::SetScheduler => "set scheduler",
            Self::SetIoPriority => "set io priority",
            Self::SetCpuAffinity => "set cpu affinity",
            Self::SetMemoryPolicy => "set memory policy",
            Self::JoinKeyring => "join session keyring",
            Self::SetLabel => "set security label",
            Self::SetUser => "set user",
            Self::SetCapabilities => "set capabilities",
            Self::EnterCwd => "enter working directory",
            Self::SetNoNewPrivs => "set no_new_privs",
            Self::LoadSeccomp => "load seccomp filter",
            Self::SendSeccompListener => "send seccomp listener",
            Self::SetUpIntelRdt => "set up Intel RDT",
            Self::Criu => "run criu",
            Self::Checkpoint => "checkpoint",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::RunHook => "run hook",
            Self::WritePidFile => "write pid file",
            Self::SendPidfd => "send pidfd",
            Self::Execute => "exec",
            Self::Wait => "wait for",
            Self::Signal => "signal",
            Self::Delete => "delete",
            Self::ReadEvents => "read events",
        }
    }
}
