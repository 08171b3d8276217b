//! config.json: loading it, checking it, and the tables of names that it uses.

mod annotations;
pub(crate) mod base64;
mod capabilities;
mod check;
mod default;
pub(crate) mod devices;
mod lists;
mod load;
mod model;
pub mod mount_options;
mod names;
#[cfg(feature = "oci-spec")]
mod oci_spec;
mod owned;
pub(crate) mod paths;
mod schema;
mod text;
mod watch;

#[cfg(feature = "criu")]
pub(crate) use annotations::CRIU_CONFIG;
pub use annotations::{ANNOTATIONS, AnnotationSupport, annotation};
pub(crate) use annotations::{
    DELEGATE_CGROUP, KEEP_ORIGINAL_GROUPS, MOUNT_CONTEXT_TYPE, PIDFD_RECEIVER, SECCOMP_BPF_DATA, SECCOMP_FAIL_UNKNOWN,
    SYSTEMD_SUBGROUP, TIMENS_OFFSET, VERIFY, time_offsets,
};
pub use capabilities::{CAPABILITIES, Capability, CapabilitySet, capability_number};
pub(crate) use check::check_all;
pub use check::{CheckOptions, Warning, check, check_process, granted, mapped, sysctl_file};
pub use default::{DefaultConfig, default_config};
pub use lists::parse_list;
pub(crate) use load::faults;
pub(crate) use load::unknown_process_fields;
pub use load::{load, load_process, load_resources, unknown_fields};
pub use model::{
    Capabilities, Config, ConsoleSize, CpuAffinity, Device, Hook, Hooks, IdMapping, IntelRdt, IoPriority, Linux,
    MemoryPolicy, Mount, NEWEST_SPEC, Namespace, NetDevice, OLDEST_SPEC, Personality, Process, ResourceLimit, Root,
    Scheduler, TimeOffset, User,
};
pub use names::{
    Clock, DeviceType, IoPriorityClass, MemoryPolicyFlag, MemoryPolicyMode, Named, NamespaceType, PersonalityDomain,
    Propagation, Rlimit, SchedulerFlag, SchedulerPolicy,
};
#[cfg(feature = "oci-spec")]
pub use oci_spec::config_json;
pub(crate) use schema::push_token;
pub use schema::{UnknownField, field_patterns};
pub use text::{Pairs, Text};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_config() {
        let text = r#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"],
            "capabilities":{"bounding":["CAP_KILL","CAP_X"],"ambient":null}},"hooks":null,"mounts":null,
            "linux":{"namespaces":[{"type":"pid"},{"type":"time","path":""}],"sysctl":{"a":"b"},"rootfsPropagation":""}}"#;
        let config = load(text.as_bytes()).unwrap();
        let process = config.process.unwrap();
        assert_eq!(process.capabilities.as_ref().unwrap().bounding.mask, 1 << 5);
        assert_eq!(process.capabilities.unwrap().bounding.unknown.len(), 1);
        let linux = config.linux.unwrap();
        assert_eq!(linux.namespaces[1], Namespace { kind: NamespaceType::Time, path: None });
        assert_eq!(linux.sysctl.get("a").unwrap(), "b");
    }
}
