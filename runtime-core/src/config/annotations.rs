//! Annotations that runtimes act on: which of them this one honours, and which it refuses rather than pass over.

/// What becomes of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationSupport {
    /// It acts as its inventor documents.
    Honoured,
    /// A container with it is refused, for this reason.
    Refused(&'static str),
}

use AnnotationSupport::{Honoured, Refused};

use super::base64;
use super::names::{Clock, Named};

/// Annotations that change what a runtime does, by name; one that ends with a dot is a prefix.
pub const ANNOTATIONS: &[(&str, AnnotationSupport)] = &[
    (VERIFY, Honoured),
    ("krun.", Refused("there is no libkrun handler")),
    ("module.wasm.image/variant", Refused("there is no WebAssembly handler")),
    ("org.criu.config", Honoured),
    ("org.systemd.property.", Honoured),
    (DELEGATE_CGROUP, Honoured),
    ("run.oci.handler", Refused("there is no handler but the kernel's own containers")),
    ("run.oci.hooks.stderr", Honoured),
    ("run.oci.hooks.stdout", Honoured),
    ("run.oci.keep_original_groups", Honoured),
    ("run.oci.mount_context_type", Honoured),
    ("run.oci.pidfd_receiver", Honoured),
    ("run.oci.seccomp.plugins", Refused("nothing is loaded into the runtime; use listenerPath of the seccomp section")),
    ("run.oci.seccomp.receiver", Honoured),
    (SECCOMP_BPF_DATA, Honoured),
    ("run.oci.seccomp_fail_unknown_syscall", Honoured),
    ("run.oci.systemd.force_cgroup_v1", Refused("no hierarchy is mounted for systemd alone")),
    (SYSTEMD_SUBGROUP, Honoured),
    (TIMENS_OFFSET, Honoured),
];

/// The annotation that has a container verified before it starts, like `create --verify`.
pub(crate) const VERIFY: &str = "io.github.orlop.verify";
/// crun's annotation for a further cgroup below the container's, which the container manages itself.
pub(crate) const DELEGATE_CGROUP: &str = "run.oci.delegate-cgroup";
/// crun's annotation for the container's cgroup below its systemd scope.
pub(crate) const SYSTEMD_SUBGROUP: &str = "run.oci.systemd.subgroup";
/// crun's annotation for a seccomp filter as the kernel takes it, in base64; the seccomp section does not count then.
pub(crate) const SECCOMP_BPF_DATA: &str = "run.oci.seccomp_bpf_data";
/// crun's annotation from before `timeOffsets`: lines for /proc/self/timens_offsets.
pub(crate) const TIMENS_OFFSET: &str = "run.oci.timens_offset";
/// runc's annotation for a configuration file of CRIU's; an empty one stands for none at all.
pub(crate) const CRIU_CONFIG: &str = "org.criu.config";
/// crun's annotation for a socket that gets the container's pidfd.
pub(crate) const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// crun's annotation for the socket of the seccomp agent; it counts before `listenerPath`.
pub(crate) const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
/// crun's annotation that leaves the supplementary groups as they are.
pub(crate) const KEEP_ORIGINAL_GROUPS: &str = "run.oci.keep_original_groups";
/// crun's annotation that makes an unknown system call in a seccomp profile an error.
pub(crate) const SECCOMP_FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";
/// crun's annotation for the mount option that `mountLabel` becomes.
pub(crate) const MOUNT_CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// What is wrong with the value of an honoured annotation, without the value.
pub(super) fn value_fault(name: &str, value: &str) -> Option<String> {
    const CONTEXTS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
    match name {
        VERIFY if !matches!(value, "true" | "false") => Some("is neither true nor false".to_owned()),
        CRIU_CONFIG if !value.is_empty() && !value.starts_with('/') => Some("must be an absolute path".to_owned()),
        PIDFD_RECEIVER | SECCOMP_RECEIVER | "run.oci.hooks.stdout" | "run.oci.hooks.stderr"
            if !value.starts_with('/') =>
        {
            Some("must be an absolute path".to_owned())
        }
        DELEGATE_CGROUP | SYSTEMD_SUBGROUP if value.split('/').any(|part| part == "..") => {
            Some("must be below the container's cgroup, without ..".to_owned())
        }
        SECCOMP_BPF_DATA if base64::decode(value).is_none() => Some("is not base64".to_owned()),
        TIMENS_OFFSET if time_offsets(value).is_none() => {
            Some("is not \"CLOCK SECONDS NANOSECONDS\" for the clock monotonic or boottime".to_owned())
        }
        MOUNT_CONTEXT_TYPE if !CONTEXTS.contains(&value) => Some(format!("is none of {}", CONTEXTS.join(", "))),
        _ => None,
    }
}

/// The lines of [`TIMENS_OFFSET`] as the kernel reads them from /proc/self/timens_offsets.
pub(crate) fn time_offsets(value: &str) -> Option<String> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let clock = match words.next()? {
            "1" => Clock::Monotonic,
            "7" => Clock::Boottime,
            name => Clock::from_name(name)?,
        };
        let (secs, nanosecs) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<u32>().ok()?);
        (nanosecs < 1_000_000_000 && words.next().is_none()).then(|| format!("{} {secs} {nanosecs}\n", clock.name()))
    };
    let lines = value.lines().filter(|line| !line.trim().is_empty()).map(line).collect::<Option<String>>()?;
    (!lines.is_empty()).then_some(lines)
}

/// What becomes of the annotation called `name`; `None` for one that means nothing to a runtime.
#[must_use]
pub fn annotation(name: &str) -> Option<AnnotationSupport> {
    // Most annotations are an engine's own: they are told apart by their first bytes.
    if !name.starts_with(['i', 'r', 'o', 'k', 'm']) {
        return None;
    }
    let matches = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    let support = ANNOTATIONS.iter().find(|(known, _)| matches(known)).map(|(_, support)| *support);
    support.or_else(|| name.starts_with("run.oci.").then_some(Refused("it is not known")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_annotation_of_the_table_is_found() {
        for (name, support) in ANNOTATIONS {
            assert_eq!(annotation(name), Some(*support), "{name}");
        }
        assert_eq!(annotation("org.systemd.property.TimeoutStopUSec"), Some(Honoured));
        assert_eq!(annotation("run.oci.future"), Some(Refused("it is not known")));
        assert_eq!(annotation("org.opencontainers.image.stopSignal"), None);
        assert_eq!(annotation(""), None);
    }

    #[test]
    fn values_of_honoured_annotations_are_checked() {
        let table = [
            (TIMENS_OFFSET, "monotonic 86400 0", true),
            (TIMENS_OFFSET, "7 -5 999999999\nmonotonic 1 2\n", true),
            (TIMENS_OFFSET, "realtime 1 0", false),
            (TIMENS_OFFSET, "monotonic 1", false),
            (TIMENS_OFFSET, "monotonic 1 1000000000", false),
            (TIMENS_OFFSET, "monotonic 1 0 0", false),
            (TIMENS_OFFSET, "", false),
            (DELEGATE_CGROUP, "payload", true),
            (DELEGATE_CGROUP, "../victim", false),
            (SYSTEMD_SUBGROUP, "", true),
            (SYSTEMD_SUBGROUP, "a/../b", false),
            (SECCOMP_BPF_DATA, "BgAAAAAA/38=", true),
            (SECCOMP_BPF_DATA, "BgAAAAAA/38", false),
            (PIDFD_RECEIVER, "socket", false),
            (VERIFY, "true", true),
            (VERIFY, "yes", false),
        ];
        for (name, value, good) in table {
            assert_eq!(value_fault(name, value).is_none(), good, "{name} {value:?}");
        }
        assert_eq!(time_offsets("1 3 4").unwrap(), "monotonic 3 4\n");
    }
}
