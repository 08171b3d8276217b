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
    ("run.oci.delegate-cgroup", Refused("it is not supported")),
    ("run.oci.handler", Refused("there is no handler but the kernel's own containers")),
    ("run.oci.hooks.stderr", Refused("it is not supported")),
    ("run.oci.hooks.stdout", Refused("it is not supported")),
    ("run.oci.keep_original_groups", Refused("it is not supported")),
    ("run.oci.mount_context_type", Refused("it is not supported")),
    ("run.oci.pidfd_receiver", Refused("use --pidfd-socket")),
    ("run.oci.seccomp.plugins", Refused("nothing is loaded into the runtime; use listenerPath of the seccomp section")),
    ("run.oci.seccomp.receiver", Refused("use listenerPath of the seccomp section")),
    ("run.oci.seccomp_bpf_data", Refused("a filter is compiled from the seccomp section only")),
    ("run.oci.seccomp_fail_unknown_syscall", Refused("it is not supported")),
    ("run.oci.systemd.force_cgroup_v1", Refused("it is not supported")),
    ("run.oci.systemd.subgroup", Refused("it is not supported")),
    ("run.oci.timens_offset", Refused("use timeOffsets")),
];

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
