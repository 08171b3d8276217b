//! `plan`: what `create` would do, without doing it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::{ContainerId, Result, Rights, Runtime};
use crate::parent::cgroup;
use crate::parent::options::CreateOptions;
use crate::parent::prepare::{Common, Prepared, Wanted, read_bundle};
use crate::plan::{HostWrite, MountMaps, Plan, Resource, describe};
use crate::state::Record;

/// One thing that creating the container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// Who does it: the `runtime` on the host, or the container's `init`.
    pub by: &'static str,
    /// The step, in the words an error about it begins with.
    pub step: &'static str,
    /// What it works on; empty when the step says it all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// The config field behind it, as a JSON pointer; empty for what every container gets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What `create` would do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Planned {
    /// The container's id.
    pub id: ContainerId,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// What the caller may do, which decides how some of it is done.
    pub rights: Rights,
    /// The operations.
    pub operations: Vec<Operation>,
    /// What would be done otherwise than the config says, or left out.
    pub warnings: Vec<String>,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {} from {}", self.id, self.bundle.display())?;
        writeln!(f, "caller: {}", self.rights)?;
        let width = self.operations.len().to_string().len();
        for (number, operation) in self.operations.iter().enumerate() {
            write!(f, "{:>width$}  {:<7}  {}", number + 1, operation.by, operation.step)?;
            if !operation.object.is_empty() {
                write!(f, " {}", operation.object)?;
            }
            if !operation.field.is_empty() {
                write!(f, "  [{}]", operation.field)?;
            }
            writeln!(f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Works out what [`crate::create`] would do; nothing is made, mounted or written.
///
/// # Errors
/// As `create` for all that is found before anything is made: a wrong config, and what this host cannot do.
pub fn plan(runtime: &Runtime, id: &ContainerId, options: &CreateOptions) -> Result<Planned> {
    let decided = decide(runtime, id, options)?;
    let by_runtime =
        |step: &'static str, object: String, field: String| Operation { by: "runtime", step, object, field };
    let mut operations = vec![by_runtime("claim id", runtime.container_dir(id).display().to_string(), String::new())];
    for path in &decided.cgroup_paths {
        operations.push(by_runtime("make cgroup", path.clone(), "/linux/cgroupsPath".into()));
    }
    operations.extend(decided.plan.resources.iter().filter_map(opening));
    operations.push(by_runtime(
        "create process",
        format!("with {}", describe::namespaces(decided.plan.clone_flags)),
        "/linux/namespaces".into(),
    ));
    operations.extend(of_init(&decided.plan));
    let ready = operations
        .iter()
        .position(|operation| operation.object.starts_with("created:"))
        .map_or(operations.len(), |at| at + 1);
    let limits = decided
        .writes
        .iter()
        .map(|write| by_runtime("limit", format!("{} = {}", write.file, write.value), write.field.clone()));
    operations.splice(ready..ready, limits);
    let rights = Rights::of_this_process();
    Ok(Planned { id: id.clone(), bundle: decided.record.bundle.into(), rights, operations, warnings: decided.warnings })
}

fn of_init(plan: &Plan) -> impl Iterator<Item = Operation> {
    let view = plan.program.view();
    plan.program.ops.iter().map(move |record| Operation {
        by: "init",
        step: describe::step(&record.op).words(),
        object: describe::object(&record.op, view),
        field: view.text(record.field).to_owned(),
    })
}

/// What is opened on the host before there is a process.
fn opening(resource: &Resource) -> Option<Operation> {
    let (object, field) = match resource {
        Resource::Tree { path, recursive, field, .. } => {
            (format!("{path}{}", if *recursive { " and the mounts below it" } else { "" }), field.clone())
        }
        Resource::Device(node) => (format!("{} ({}:{})", node.path, node.major, node.minor), node.field.clone()),
        Resource::Namespace { path, kind, field } => (format!("{kind} namespace {path}"), field.clone()),
        Resource::IdMap { maps: MountMaps::Given(maps), field } => (
            format!("a user namespace for an id-mapped mount ({} and {} ranges)", maps.uids.len(), maps.gids.len()),
            field.clone(),
        ),
        Resource::IdMap { maps: MountMaps::Joined { path, .. }, field } => {
            (format!("the user namespace {path} for an id-mapped mount"), field.clone())
        }
        Resource::Proc | Resource::ConsoleSocket | Resource::StartFifo | Resource::InitPidfd | Resource::InitRoot => {
            return None;
        }
    };
    Some(Operation { by: "runtime", step: "open", object, field })
}

/// All that `create` decides before it makes anything.
#[derive(Debug)]
struct Decided {
    plan: Plan,
    record: Record,
    /// The directories of the container's cgroups.
    cgroup_paths: Vec<String>,
    writes: Vec<HostWrite>,
    warnings: Vec<String>,
}

/// Decides what `create` would do.
fn decide(runtime: &Runtime, id: &ContainerId, options: &CreateOptions) -> Result<Decided> {
    let bundle = read_bundle(options)?;
    let common = Common::decide(runtime, &bundle, bundle.config()?, options.no_pivot)?;
    let mut prepared = Prepared::decide(&Wanted::new(runtime, id, &bundle, &common, options))?;
    // Every runtime leaves names out that no architecture has; who plans shall see which. `create` says nothing of them.
    for unknown in common.filter.iter().flat_map(|filter| &filter.unknown_syscalls) {
        let warning = format!("config /linux/seccomp{}: unknown system call {:?}", unknown.field(), unknown.name);
        prepared.warnings.push(warning);
    }
    let (mut cgroup_paths, writes) = match &prepared.cgroup {
        Some(planned) => {
            let paths = planned.record.paths.iter().cloned().collect();
            (paths, cgroup::writes(planned, &common.config, prepared.host.cgroups_optional)?)
        }
        None => (Vec::new(), Vec::new()),
    };
    cgroup_paths.sort();
    cgroup_paths.dedup();
    Ok(Decided { plan: prepared.plan, record: prepared.record, cgroup_paths, writes, warnings: prepared.warnings })
}
