//! A config, or its process, that outlives the bytes that it was read from.

use orlop_cgroups::Resources;
use orlop_seccomp::Profile;

use super::capabilities::CapabilitySet;
use super::model::{
    Capabilities, Config, CpuAffinity, Device, Hook, Hooks, IntelRdt, Linux, MemoryPolicy, Mount, Namespace, NetDevice,
    Personality, Process, Root,
};
use super::text::{Pairs, Text};

fn texts(all: Vec<Text<'_>>) -> Vec<Text<'static>> {
    all.into_iter().map(Text::into_owned).collect()
}

fn pairs(all: Pairs<Text<'_>, Text<'_>>) -> Pairs<Text<'static>, Text<'static>> {
    all.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

impl Config<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Config<'static> {
        Config {
            oci_version: self.oci_version.into_owned(),
            root: Root { path: self.root.path.into_owned(), readonly: self.root.readonly },
            mounts: self.mounts.into_iter().map(Mount::into_owned).collect(),
            process: self.process.map(Process::into_owned),
            hostname: self.hostname.map(Text::into_owned),
            domainname: self.domainname.map(Text::into_owned),
            hooks: self.hooks.map(|hooks| Box::new(hooks.into_owned())),
            annotations: pairs(self.annotations),
            linux: self.linux.map(|linux| Box::new(linux.into_owned())),
            has_unknown_fields: self.has_unknown_fields,
        }
    }
}

impl Mount<'_> {
    fn into_owned(self) -> Mount<'static> {
        Mount {
            destination: self.destination.into_owned(),
            kind: self.kind.map(Text::into_owned),
            source: self.source.map(Text::into_owned),
            options: texts(self.options),
            uid_mappings: self.uid_mappings,
            gid_mappings: self.gid_mappings,
        }
    }
}

impl Hooks<'_> {
    fn into_owned(self) -> Hooks<'static> {
        let hooks = |all: Vec<Hook<'_>>| all.into_iter().map(Hook::into_owned).collect();
        Hooks {
            prestart: hooks(self.prestart),
            create_runtime: hooks(self.create_runtime),
            create_container: hooks(self.create_container),
            start_container: hooks(self.start_container),
            poststart: hooks(self.poststart),
            poststop: hooks(self.poststop),
        }
    }
}

impl Hook<'_> {
    fn into_owned(self) -> Hook<'static> {
        Hook { path: self.path.into_owned(), args: texts(self.args), env: texts(self.env), timeout: self.timeout }
    }
}

impl Linux<'_> {
    fn into_owned(self) -> Linux<'static> {
        let own = |(name, device): (Text<'_>, NetDevice<'_>)| {
            (name.into_owned(), NetDevice { name: device.name.map(Text::into_owned) })
        };
        Linux {
            namespaces: self.namespaces.into_iter().map(Namespace::into_owned).collect(),
            uid_mappings: self.uid_mappings,
            gid_mappings: self.gid_mappings,
            time_offsets: self.time_offsets,
            devices: self.devices.into_iter().map(Device::into_owned).collect(),
            net_devices: self.net_devices.into_iter().map(own).collect(),
            cgroups_path: self.cgroups_path.map(Text::into_owned),
            resources: self.resources.map(|resources| Box::new(Resources::into_owned(*resources))),
            rootfs_propagation: self.rootfs_propagation,
            sysctl: pairs(self.sysctl),
            seccomp: self.seccomp.map(|profile| Box::new(Profile::into_owned(*profile))),
            masked_paths: texts(self.masked_paths),
            readonly_paths: texts(self.readonly_paths),
            mount_label: self.mount_label.map(Text::into_owned),
            intel_rdt: self.intel_rdt.map(|rdt| Box::new(rdt.into_owned())),
            personality: self
                .personality
                .map(|Personality { domain, flags }| Personality { domain, flags: texts(flags) }),
            memory_policy: self.memory_policy.map(|MemoryPolicy { mode, nodes, flags }| MemoryPolicy {
                mode,
                nodes: nodes.map(Text::into_owned),
                flags,
            }),
        }
    }
}

impl Namespace<'_> {
    fn into_owned(self) -> Namespace<'static> {
        Namespace { kind: self.kind, path: self.path.map(Text::into_owned) }
    }
}

impl Device<'_> {
    fn into_owned(self) -> Device<'static> {
        Device {
            path: self.path.into_owned(),
            kind: self.kind,
            major: self.major,
            minor: self.minor,
            file_mode: self.file_mode,
            uid: self.uid,
            gid: self.gid,
        }
    }
}

impl IntelRdt<'_> {
    fn into_owned(self) -> IntelRdt<'static> {
        IntelRdt {
            clos_id: self.clos_id.map(Text::into_owned),
            schemata: texts(self.schemata),
            l3_cache_schema: self.l3_cache_schema.map(Text::into_owned),
            mem_bw_schema: self.mem_bw_schema.map(Text::into_owned),
            enable_monitoring: self.enable_monitoring,
        }
    }
}

impl Process<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Process<'static> {
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

#[cfg(test)]
mod tests {
    use crate::config::{DefaultConfig, default_config, load};

    /// Every field has its place in an owned config: a copy shows what the borrowed one does.
    #[test]
    fn an_owned_config_says_what_the_borrowed_one_does() {
        for text in [default_config(DefaultConfig::default()), FULL.to_owned()] {
            let shown = format!("{:?}", load(text.as_bytes()).unwrap());
            let owned = load(text.as_bytes()).unwrap().into_owned();
            drop(text);
            assert_eq!(format!("{owned:?}"), shown);
        }
    }

    const FULL: &str = r#"{"ociVersion":"1.3.0","root":{"path":"r","readonly":true},"hostname":"h","domainname":"d",
        "mounts":[{"destination":"/d","type":"bind","source":"/s","options":["rbind","ro"],
            "uidMappings":[{"containerID":0,"hostID":1,"size":2}],"gidMappings":[{"containerID":3,"hostID":4,"size":5}]}],
        "process":{"terminal":true,"cwd":"/w","args":["a","b"],"env":["A=b"],"user":{"uid":1,"gid":2,"additionalGids":[3]}},
        "hooks":{"prestart":[{"path":"/p","args":["p"],"env":["E=p"],"timeout":1}],"createRuntime":[{"path":"/r"}],
            "createContainer":[{"path":"/c"}],"startContainer":[{"path":"/s"}],"poststart":[{"path":"/t"}],
            "poststop":[{"path":"/o"}]},
        "annotations":{"n":"v","w":"x"},"unknown":1,
        "linux":{"namespaces":[{"type":"network","path":"/n"},{"type":"pid"}],
            "uidMappings":[{"containerID":0,"hostID":1,"size":2}],"gidMappings":[{"containerID":0,"hostID":1,"size":2}],
            "timeOffsets":{"monotonic":{"secs":1,"nanosecs":2}},
            "devices":[{"path":"/dev/x","type":"c","major":1,"minor":3,"fileMode":438,"uid":1,"gid":2}],
            "netDevices":{"eth0":{"name":"e"}},"cgroupsPath":"/c","resources":{"pids":{"limit":7},"unified":{"a.b":"c"}},
            "rootfsPropagation":"slave","sysctl":{"a.b":"c"},
            "seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86_64"],
                "flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/l","listenerMetadata":"m",
                "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":2,
                    "args":[{"index":1,"value":2,"valueTwo":3,"op":"SCMP_CMP_EQ"}]}]},
            "maskedPaths":["/m"],"readonlyPaths":["/o"],"mountLabel":"l",
            "intelRdt":{"closID":"c","schemata":["s"],"l3CacheSchema":"l","memBwSchema":"m","enableMonitoring":true},
            "personality":{"domain":"LINUX","flags":["f"]},
            "memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES"]}}}"#;
}
