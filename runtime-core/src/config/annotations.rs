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

/// Annotations that change what a runtime does, by name; one that ends with a dot is a prefix.
pub const ANNOTATIONS: &[(&str, AnnotationSupport)] = &[
    ("krun.", Refused("there is no libkrun handler")),
    ("module.wasm.image/variant", Refused("there is no WebAssembly handler")),
    ("org.criu.config", Refused("there is no checkpoint and restore")),
    ("org.systemd.property.", Honoured),
    ("run.oci.delegate-cgroup", Refused("no further cgroup is made below the container's")),
    ("run.oci.handler", Refused("there is no handler but the kernel's own containers")),
    ("run.oci.hooks.stderr", Honoured),
    ("run.oci.hooks.stdout", Honoured),
    ("run.oci.keep_original_groups", Honoured),
    ("run.oci.mount_context_type", Honoured),
    ("run.oci.pidfd_receiver", Honoured),
    ("run.oci.seccomp.plugins", Refused("nothing is loaded into the runtime; use listenerPath of the seccomp section")),
    ("run.oci.seccomp.receiver", Honoured),
    ("run.oci.seccomp_bpf_data", Refused("a filter is compiled from the seccomp section only")),
    ("run.oci.seccomp_fail_unknown_syscall", Honoured),
    ("run.oci.systemd.force_cgroup_v1", Refused("no hierarchy is mounted for systemd alone")),
    ("run.oci.systemd.subgroup", Refused("no further cgroup is made below the container's")),
    ("run.oci.timens_offset", Refused("use timeOffsets")),
];

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

/// What is wrong with the value of an honoured annotation.
pub(super) fn value_fault(name: &str, value: &str) -> Option<String> {
    const CONTEXTS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
    match name {
        PIDFD_RECEIVER | SECCOMP_RECEIVER | "run.oci.hooks.stdout" | "run.oci.hooks.stderr"
            if !value.starts_with('/') =>
        {
            Some(format!("must be an absolute path, not {value:?}"))
        }
        MOUNT_CONTEXT_TYPE if !CONTEXTS.contains(&value) => {
            Some(format!("{value:?} is none of {}", CONTEXTS.join(", ")))
        }
        _ => None,
    }
}

/// What becomes of the annotation called `name`; `None` for one that means nothing to a runtime.
#[must_use]
pub fn annotation(name: &str) -> Option<AnnotationSupport> {
    // Most annotations are an engine's own: they are told apart by their first bytes.
    if !name.starts_with(['r', 'o', 'k', 'm']) {
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
}
