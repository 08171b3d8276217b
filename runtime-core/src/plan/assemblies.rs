//! What the runtime mounts for the init, which has enough to do: a new tmpfs of the config with what is made in it (/dev with its nodes,
//! links, terminals and shared memory; the directory around the hierarchies of cgroup v1) depends on nothing in the root filesystem and
//! on no namespace. The runtime puts it together while the init is at work on the mounts before it, and the init only attaches it.

use orlop_init::wire::{Attr, List, MAKE_FIRST, Op, RECURSIVE, Record, Slot, Str, bytes_of};

use super::builder::Builder;
use super::mounts::attr;
use super::program::{Program, View};
use super::resources::{Assembly, Resource};
use crate::config::NamespaceType;

impl Builder<'_> {
    /// Takes out of the init's operations what can be done beside it.
    pub(super) fn plan_assemblies(&mut self) {
        let here = self.options.host.assembles && !self.options.host.rootless;
        // Mounts that the runtime maps are known by the index of their operation.
        let maps = !self.plan.mapped_mounts.is_empty();
        if !here || maps || self.in_userns() || !self.is_new(NamespaceType::Mount) {
            return;
        }
        let mut at = 0;
        while let Some(record) = self.plan.program.ops.get(at) {
            if is_plain(&record.op, "tmpfs", self.plan.program.view()) {
                self.assemble(at);
            }
            at += 1;
        }
    }

    /// Makes an assembly of the mount at index `at`, if anything is made in it.
    fn assemble(&mut self, at: usize) {
        let members = members(&self.plan.program, at);
        let Some(Op::Mount { target, fstype, flags, .. }) = self.plan.program.ops.get(at).map(|record| record.op)
        else {
            return;
        };
        if members.is_empty() {
            return;
        }
        let slot = self.slot(Resource::Assembly);
        let program = &mut self.plan.program;
        let start = program.assembled.len();
        let mut index = 0;
        program.ops.retain_mut(|record| {
            let member = members.binary_search(&index).is_ok();
            if member || index == at {
                program.assembled.push(*record);
            }
            if index == at {
                record.op = Op::Attach { tree: slot, target, fstype, flags };
            }
            index += 1;
            !member
        });
        let operations = start..program.assembled.len();
        let lent = program.assembled.iter().skip(start).filter_map(|record| match record.op {
            Op::Bind { tree, .. } => Some(tree),
            _ => None,
        });
        self.plan.assemblies.push(Assembly { slot, operations, lent: lent.collect() });
    }
}

/// The operations that make an entry of the file system mounted by the operation `at`, and that none before them can disturb: by
/// index, ascending.
fn members(program: &Program, at: usize) -> Vec<usize> {
    let view = program.view();
    let text = |record: &Record| path(&record.op).map(|path| view.text(path));
    let mut members = Vec::new();
    // Names of its entries: of the members, and of what stays with the init.
    let (mut made, mut left): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let Some(root) = program.ops.get(at).and_then(text) else { return members };
    for (index, record) in program.ops.iter().enumerate().skip(at + 1) {
        if matches!(record.op, Op::StdioNull) {
            continue;
        }
        let Some(path) = text(record) else { break };
        match path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) {
            Some(entry)
                if can_be_member(&record.op, view) && !made.contains(&entry) && !left.contains(&first(entry)) =>
            {
                // "." and ".." are never entries, and a deeper path is the init's.
                if entry == first(entry) && !matches!(entry, "" | "." | "..") {
                    made.push(entry);
                    members.push(index);
                } else {
                    left.push(first(entry));
                }
            }
            Some(entry) => left.push(first(entry)),
            None if path == root && left.is_empty() && seals(&record.op, program) => {
                members.push(index);
                break;
            }
            // Something above it, or itself once more: what follows is not in this file system.
            None if path == root || path == "/" || root.starts_with(&format!("{path}/")) => break,
            None => {}
        }
    }
    // Alone, a change of attributes is no content.
    if made.is_empty() { Vec::new() } else { members }
}

/// The first component of a relative path.
fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// The path of an operation that builds the root filesystem; `None` for any other operation.
fn path(op: &Op) -> Option<Str> {
    match *op {
        Op::Mount { target, .. } | Op::Attach { target, .. } | Op::Bind { target, .. } | Op::SetAttr { target, .. } => {
            Some(target)
        }
        Op::MakeDir { path, .. } | Op::Device { path, .. } | Op::Symlink { path, .. } => Some(path),
        _ => None,
    }
}

fn can_be_member(op: &Op, view: View<'_>) -> bool {
    match *op {
        Op::Device { .. } | Op::Symlink { .. } => true,
        Op::Mount { flags, .. } => {
            flags & MAKE_FIRST != 0 && (is_plain(op, "tmpfs", view) || is_plain(op, "devpts", view))
        }
        Op::Bind { tree, flags, .. } => tree != Slot::NONE && flags & !RECURSIVE == MAKE_FIRST,
        _ => false,
    }
}

/// A mount of this type that looks at nothing below its target.
fn is_plain(op: &Op, kind: &str, view: View<'_>) -> bool {
    let Op::Mount { fstype, flags, attr: set, after, .. } = *op else { return false };
    flags & !MAKE_FIRST == 0 && set & attr::RDONLY == 0 && after.len == 0 && view.text(fstype) == kind
}

/// Whether the operation makes the mount read-only and does nothing else.
fn seals(op: &Op, program: &Program) -> bool {
    let Op::SetAttr { attrs: List { at, len: 1, .. }, .. } = *op else { return false };
    let read_only = [Attr { set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 }];
    let read_only = bytes_of(&read_only);
    program.view().bytes(at, read_only.len()) == read_only
}

#[cfg(test)]
mod tests {
    use orlop_init::wire::{COPY_UP, Phase, TAKE_MODE};

    use super::*;

    /// A program of operations written as `what path`.
    fn program(operations: &[&str]) -> Program {
        let mut program = Program::default();
        for operation in operations {
            let (what, path) = operation.split_once(' ').unwrap_or((operation, ""));
            let target = program.str(path);
            let source = Str::NONE;
            let readonly = Attr { set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 };
            let attrs = match what {
                "readonly" => program.list(&[readonly]),
                "change" => program.list(&[Attr { clear: 2, ..readonly }]),
                _ => List::default(),
            };
            let mut mount = |kind: &str, flags| {
                let fstype = program.str(kind);
                let (params, after) = (List::default(), List::default());
                Op::Mount { target, fstype, source, params, attr: 0, flags, after }
            };
            let op = match what {
                "tmpfs" => mount("tmpfs", 0),
                "tmpfs-in-new" => mount("tmpfs", MAKE_FIRST),
                "tmpfs-with-mode-of-target" => mount("tmpfs", TAKE_MODE),
                "tmpfs-copy" => mount("tmpfs", COPY_UP | MAKE_FIRST),
                "devpts" => mount("devpts", MAKE_FIRST),
                "mqueue" => mount("mqueue", MAKE_FIRST),
                "proc" => mount("proc", 0),
                "bind" => Op::Bind { tree: Slot(0), source, target, flags: 0, attrs },
                "bind-in-new" => Op::Bind { tree: Slot(0), source, target, flags: MAKE_FIRST, attrs },
                "device" => Op::Device { path: target, mode: 0, major: 1, minor: 3, uid: 0, gid: 0 },
                "link" => Op::Symlink { path: target, target: source, replace: 0 },
                "dir" => Op::MakeDir { path: target, mode: 0o755 },
                "change" | "readonly" => Op::SetAttr { target, attrs, flags: 0 },
                "null" => Op::StdioNull,
                _ => Op::Sync { phase: Phase::Namespaces },
            };
            program.push(Str::NONE, op);
        }
        program
    }

    fn members_of(operations: &[&'static str]) -> Vec<&'static str> {
        members(&program(operations), 0).into_iter().map(|index| operations[index]).collect()
    }

    #[test]
    fn what_is_made_in_a_new_dev_goes_with_it() {
        let operations = [
            "tmpfs /dev",
            "devpts /dev/pts",
            "tmpfs-in-new /dev/shm",
            "mqueue /dev/mqueue",
            "proc /proc",
            "null",
            "device /dev/null",
            "link /dev/fd",
            "device /device",
            "hooks",
            "device /dev/zero",
        ];
        let expected = ["devpts /dev/pts", "tmpfs-in-new /dev/shm", "device /dev/null", "link /dev/fd"];
        assert_eq!(members_of(&operations), expected);
    }

    #[test]
    fn what_an_operation_of_the_init_was_to_find_stays_behind_it() {
        let cases: [(&[&'static str], &[&'static str]); 8] = [
            // The config's own /dev/null came first, and so does what is below another mount.
            (&["tmpfs /dev", "bind /dev/null", "device /dev/null", "device /dev/zero"], &["device /dev/zero"]),
            (&["tmpfs /dev", "tmpfs-copy /dev/shm", "link /dev/shm", "link /dev/x"], &["link /dev/x"]),
            (&["tmpfs /dev", "dir /dev/net/x", "device /dev/net", "link /dev/fd"], &["link /dev/fd"]),
            // The same name twice: the second one looks at the first.
            (&["tmpfs /dev", "device /dev/ptmx", "link /dev/ptmx"], &["device /dev/ptmx"]),
            // Below a member is a place for the init.
            (&["tmpfs /dev", "tmpfs-in-new /dev/shm", "device /dev/shm/x"], &["tmpfs-in-new /dev/shm"]),
            // Covered: what follows is made elsewhere.
            (&["tmpfs /dev", "link /dev/fd", "tmpfs /dev", "link /dev/core"], &["link /dev/fd"]),
            (&["tmpfs /a/b", "link /a/b/c", "bind /a", "link /a/b/d"], &["link /a/b/c"]),
            (&["tmpfs /dev", "link /dev/fd", "bind /", "link /dev/core"], &["link /dev/fd"]),
        ];
        for (operations, expected) in cases {
            assert_eq!(members_of(operations), expected, "{operations:?}");
        }
    }

    #[test]
    fn it_is_sealed_when_the_init_has_nothing_more_to_make_in_it() {
        let all = ["tmpfs /c", "bind-in-new /c/cpu", "link /c/cpuacct", "readonly /c", "link /c/late"];
        assert_eq!(members_of(&all), all[1..4]);
        let with_inits = ["tmpfs /c", "bind-in-new /c/cpu", "mqueue /c/x", "readonly /c"];
        assert_eq!(members_of(&with_inits), ["bind-in-new /c/cpu"]);
        assert!(members_of(&["tmpfs /c", "readonly /c"]).is_empty());
        assert_eq!(members_of(&["tmpfs /c", "link /c/x", "change /c"]), ["link /c/x"]);
    }

    #[test]
    fn a_file_system_that_looks_at_its_target_is_the_inits() {
        let of = |operation: &str| {
            let program = program(&[operation]);
            is_plain(&program.ops[0].op, "tmpfs", program.view())
        };
        assert!(of("tmpfs /dev") && of("tmpfs-in-new /dev/shm"));
        assert!(
            !of("tmpfs-with-mode-of-target /dev") && !of("tmpfs-copy /dev") && !of("proc /proc") && !of("bind /dev")
        );
    }
}
