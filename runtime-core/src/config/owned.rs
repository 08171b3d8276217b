//! A process that outlives the config's bytes.

use super::capabilities::CapabilitySet;
use super::model::{Capabilities, CpuAffinity, Process};
use super::text::Text;

impl Process<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Process<'static> {
        let texts = |all: Vec<Text<'_>>| all.into_iter().map(Text::into_owned).collect();
        Process {
            terminal: self.terminal,
            console_size: self.console_size,
            user: self.user,
            args: texts(self.args),
            command_line: self.command_line.map(Text::into_owned),
            env: texts(self.env),
            cwd: self.cwd.into_owned(),
            capabilities: self.capabilities.map(Capabilities::into_owned),
            rlimits: self.rlimits,
            no_new_privileges: self.no_new_privileges,
            apparmor_profile: self.apparmor_profile.map(Text::into_owned),
            oom_score_adj: self.oom_score_adj,
            scheduler: self.scheduler,
            selinux_label: self.selinux_label.map(Text::into_owned),
            io_priority: self.io_priority,
            exec_cpu_affinity: self.exec_cpu_affinity.map(CpuAffinity::into_owned),
        }
    }
}

impl Capabilities<'_> {
    fn into_owned(self) -> Capabilities<'static> {
        Capabilities {
            bounding: self.bounding.into_owned(),
            effective: self.effective.into_owned(),
            inheritable: self.inheritable.into_owned(),
            permitted: self.permitted.into_owned(),
            ambient: self.ambient.into_owned(),
        }
    }
}

impl CapabilitySet<'_> {
    fn into_owned(self) -> CapabilitySet<'static> {
        let unknown = self.unknown.into_iter().map(|(at, name)| (at, name.into_owned())).collect();
        CapabilitySet { mask: self.mask, unknown }
    }
}

impl CpuAffinity<'_> {
    fn into_owned(self) -> CpuAffinity<'static> {
        CpuAffinity { initial: self.initial.map(Text::into_owned), last: self.last.map(Text::into_owned) }
    }
}
