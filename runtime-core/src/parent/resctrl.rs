//! Cache and memory bandwidth of a container, through the kernel's resctrl file system (`linux.intelRdt`; AMD's and Arm's
//! counterparts have the same files). See `Documentation/filesystems/resctrl.rst` of the kernel.

mod files;
mod stats;

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::statfs::statfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use files::{MOUNT, make_directory, write};

use crate::base::{ContainerId, Error, HostPid, Kind, Result, Step};
use crate::config::IntelRdt;
use crate::state::{IntelRdtRecord, Record};

pub use stats::IntelRdtStats;
pub(crate) use stats::stats;

/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: i64 = 0x0765_5821;

/// A mounted resctrl file system.
#[derive(Debug)]
pub(crate) struct Resctrl {
    root: PathBuf,
}

impl Resctrl {
    /// The host's, or an error that says what is missing.
    pub(crate) fn find() -> Result<Self> {
        #[allow(clippy::unnecessary_cast, reason = "it is i64 with one C library and u64 with another")]
        let mounted = statfs(MOUNT).is_ok_and(|fs| fs.filesystem_type().0 as i64 == MAGIC);
        if mounted {
            return Ok(Self { root: MOUNT.into() });
        }
        Err(Error::new(Kind::Unsupported, Step::SetUpIntelRdt)
            .with_field("/linux/intelRdt")
            .with_reason(format!("resctrl is not mounted on {MOUNT}"))
            .with_hint("on a machine with cache or bandwidth allocation: mount -t resctrl resctrl /sys/fs/resctrl"))
    }

    /// Where the container's groups will be, for the intent; makes nothing.
    pub(crate) fn plan(&self, id: &ContainerId, config: &IntelRdt<'_>) -> Result<IntelRdtRecord> {
        let class = config.clos_id.as_ref().map_or(id.as_str(), |class| class.as_str());
        // `/` alone is the root, the default class; `info`, `mon_groups` and `mon_data` are the kernel's.
        let class = if class == "/" { "" } else { class };
        if class.contains('/') || [".", "..", "info", "mon_groups", "mon_data"].contains(&class) {
            return Err(Error::config("/linux/intelRdt/closID", format!("{class:?} cannot name a class of service")));
        }
        let path = self.root.join(class);
        let monitoring = config.enable_monitoring.then(|| text(&path.join("mon_groups").join(id.as_str())));
        Ok(IntelRdtRecord { path: text(&path), monitoring_path: monitoring, owned: config.clos_id.is_none() })
    }
}

/// Makes the planned groups and puts the container's first process into them; all it starts later is born there.
///
/// On failure what was made is removed again.
pub(crate) fn create(record: &IntelRdtRecord, config: &IntelRdt<'_>, pid: HostPid) -> Result<()> {
    let made = make_class(record, config)?;
    let outcome = fill(record, config, pid);
    if outcome.is_err() {
        // Teardown after the failure that counts.
        drop(remove(&IntelRdtRecord { owned: record.owned && made, ..record.clone() }));
    }
    outcome
}

/// Makes the class of service; whether it was not there.
fn make_class(record: &IntelRdtRecord, config: &IntelRdt<'_>) -> Result<bool> {
    let named = config.clos_id.is_some();
    if named && schemata(config).is_empty() {
        // Without limits a named class is one that an administrator has made (runtime-spec, config-linux.md).
        return match std::fs::symlink_metadata(&record.path) {
            Ok(_) => Ok(false),
            Err(error) => Err(Error::io(Step::SetUpIntelRdt, &error)
                .with_object(&record.path)
                .with_field("/linux/intelRdt/closID")
                .with_hint("a class of service without schemata must exist before")),
        };
    }
    match make_directory(&record.path) {
        Ok(made) => Ok(made),
        Err(Errno::ENOSPC) => Err(Error::os(Step::SetUpIntelRdt, libc::ENOSPC)
            .with_object(&record.path)
            .with_field("/linux/intelRdt")
            .with_hint("the processor has no class of service left")),
        Err(errno) => {
            Err(Error::os(Step::SetUpIntelRdt, errno as i32).with_object(&record.path).with_field("/linux/intelRdt"))
        }
    }
}

fn fill(record: &IntelRdtRecord, config: &IntelRdt<'_>, pid: HostPid) -> Result<()> {
    let lines = schemata(config);
    if !lines.is_empty() {
        write_schemata(&record.path, &lines)?;
    }
    write(&format!("{}/tasks", record.path), &pid.to_string())?;
    if let Some(path) = &record.monitoring_path {
        make_directory(path).map_err(|errno| {
            Error::os(Step::SetUpIntelRdt, errno as i32)
                .with_object(path)
                .with_field("/linux/intelRdt/enableMonitoring")
        })?;
        write(&format!("{path}/tasks"), &pid.to_string())?;
    }
    Ok(())
}

/// The lines for the schemata file, in the order in which the specification has them applied.
fn schemata(config: &IntelRdt<'_>) -> Vec<(String, String)> {
    let single = [("l3CacheSchema", &config.l3_cache_schema), ("memBwSchema", &config.mem_bw_schema)];
    let single =
        single.into_iter().filter_map(|(field, line)| Some((field.to_owned(), line.as_ref()?.as_str().to_owned())));
    let listed =
        config.schemata.iter().enumerate().map(|(index, line)| (format!("schemata/{index}"), line.as_str().to_owned()));
    single.chain(listed).collect()
}

/// Writes lines to the schemata of a class, all in one call: the kernel takes them together or not at all.
fn write_schemata(class: &str, lines: &[(String, String)]) -> Result<()> {
    let mut content = String::new();
    for (_, line) in lines {
        content.push_str(line);
        content.push('\n');
    }
    write(&format!("{class}/schemata"), &content).map_err(|error| match lines {
        [(field, _)] => error.with_field(format!("/linux/intelRdt/{field}")),
        _ => error.with_field("/linux/intelRdt"),
    })
}

/// Removes the container's groups; those that are gone, and classes that are not its own, are no matter.
pub(crate) fn remove(record: &IntelRdtRecord) -> Result<()> {
    let owned = record.owned.then_some(&record.path);
    for path in record.monitoring_path.iter().chain(owned) {
        match unlinkat(AT_FDCWD, path.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(Error::os(Step::SetUpIntelRdt, errno as i32).with_object(format!("remove {path}")));
            }
        }
    }
    Ok(())
}

/// A change of schemata that has been found possible.
#[derive(Debug)]
pub(crate) struct SchemataUpdate<'a> {
    record: &'a IntelRdtRecord,
    lines: Vec<(String, String)>,
}

impl SchemataUpdate<'_> {
    /// Writes it; the kernel takes all lines or none.
    pub(crate) fn apply(&self) -> Result<()> {
        write_schemata(&self.record.path, &self.lines)
    }
}

/// Checks a change of the L3 and MB lines of a container, as `update` asks for it; `None` when it asks for nothing.
pub(crate) fn check_update<'a>(
    record: &'a Record,
    l3: Option<&str>,
    mb: Option<&str>,
) -> Result<Option<SchemataUpdate<'a>>> {
    let wanted = [
        ("l3CacheSchema", l3, "L3", "Intel RDT/CAT: l3 cache schema"),
        ("memBwSchema", mb, "MB", "Intel RDT/MBA: memory bandwidth schema"),
    ];
    let mut lines = Vec::new();
    for (field, line, resource, name) in wanted {
        let Some(line) = line.filter(|line| !line.is_empty()) else { continue };
        let refused = |kind, detail: String| {
            Err(Error::new(kind, Step::SetUpIntelRdt)
                .with_field(format!("/linux/intelRdt/{field}"))
                .with_reason(detail))
        };
        let Some(intel_rdt) = &record.intel_rdt else {
            return refused(
                Kind::WrongStatus,
                "updating a non-existent Intel RDT configuration is not supported".to_owned(),
            );
        };
        // The class lies directly in the file system's root.
        let info = Path::new(&intel_rdt.path).parent().map(|root| root.join("info").join(resource));
        if !info.is_some_and(|info| info.is_dir()) {
            return refused(Kind::Unsupported, format!("{name} is not enabled"));
        }
        // More lines than one would change resources that were not named.
        if line.contains('\n') || !line.starts_with(&format!("{resource}:")) {
            return refused(
                Kind::InvalidArgument,
                format!("{line:?} does not begin with \"{resource}:\" or has a line break"),
            );
        }
        lines.push((field.to_owned(), line.to_owned()));
    }
    Ok(record.intel_rdt.as_ref().filter(|_| !lines.is_empty()).map(|record| SchemataUpdate { record, lines }))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
