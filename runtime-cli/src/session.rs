//! What the global flags say: where state is, who makes cgroups, where messages go.

use std::path::{Component, Path, PathBuf};

use orlop::{CgroupDriver, ContainerId, Runtime};

use crate::failure::Failure;
use crate::log::{Format, Level, Log};
use crate::parse::Args;

/// What every verb gets besides its own flags.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    /// Where containers are kept and how they are made.
    pub(crate) runtime: Runtime,
    /// Where messages go.
    pub(crate) log: &'a Log,
    /// Whether a root was given.
    pub(crate) root_given: bool,
}

impl<'a> Session<'a> {
    /// The log alone, so that failures in the other global flags reach it.
    pub(crate) fn open_log(args: &Args<'_>) -> Result<Log, Failure> {
        let format = match args.text("log-format")? {
            None | Some("" | "text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(Failure::usage(format!("invalid log-format: {other}"))),
        };
        let named = args.text("log-level")?.map(|name| {
            Level::named(name)
                .ok_or_else(|| Failure::usage(format!("--log-level {name:?}: not error, warning, info, debug")))
        });
        let level = named.transpose()?.unwrap_or(Level::Warning);
        let level = if args.switch("debug") { Level::Debug } else { level };
        Log::open(args.value("log"), format, level)
    }

    /// All that the global flags say.
    pub(crate) fn new(args: &Args<'_>, log: &'a Log) -> Result<Self, Failure> {
        // An empty one counts as not given, as with runc.
        let root = args.path("root").map(|root| absolute(&root)).transpose()?;
        let root_given = root.is_some();
        let cgroup_driver = cgroup_driver(args)?;
        let rootless = args.text("rootless")?.map_or(Ok(None), rootless)?;
        let defaults = match root {
            // Not `..Runtime::default()`, which would look at the environment only to throw the result away.
            Some(root) => Runtime { root, cgroup_driver, rootless },
            None => Runtime { cgroup_driver, rootless, ..Runtime::default() },
        };
        Ok(Self { runtime: defaults, log, root_given })
    }

    /// Says something that the user should know although the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        self.log.write(Level::Warning, message);
    }

    /// Says all that the library wants the user to know.
    pub(crate) fn warn_all(&self, messages: &[String]) {
        for message in messages {
            self.warn(message);
        }
    }

    /// Says what the library says of a process that it has started.
    pub(crate) fn tell(&self, container: &orlop::Container) {
        for note in container.notes() {
            self.debug(|| note.clone());
        }
        self.warn_all(container.warnings());
    }

    /// Says what happens, for `--debug`.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.log.debugs() {
            self.log.write(Level::Debug, &message());
        }
    }
}

/// The id that an operand names.
pub(crate) fn container_id(operand: &std::ffi::OsStr) -> Result<ContainerId, Failure> {
    Ok(ContainerId::new(operand.to_string_lossy())?)
}

fn cgroup_driver(args: &Args<'_>) -> Result<CgroupDriver, Failure> {
    let named = match args.text("cgroup-manager")? {
        None => None,
        Some("cgroupfs") => Some(CgroupDriver::Cgroupfs),
        Some("systemd") => Some(CgroupDriver::Systemd),
        Some("disabled") => Some(CgroupDriver::Disabled),
        Some(other) => {
            return Err(Failure::usage(format!("--cgroup-manager {other:?}: not cgroupfs, systemd or disabled")));
        }
    };
    match (named, args.setting("systemd-cgroup")) {
        (None, Some(true)) => Ok(CgroupDriver::Systemd),
        (None, _) => Ok(CgroupDriver::default()),
        (Some(named), None) => Ok(named),
        (Some(named), Some(systemd)) if systemd == (named == CgroupDriver::Systemd) => Ok(named),
        (Some(_), Some(_)) => Err(Failure::usage("--cgroup-manager and --systemd-cgroup contradict each other")),
    }
}

/// `--rootless`: like Go's ParseBool, plus `auto`.
fn rootless(text: &str) -> Result<Option<bool>, Failure> {
    match text {
        "" | "auto" | "AUTO" | "Auto" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(Failure::usage(format!("--rootless {other:?}: not true, false or auto"))),
    }
}

/// `path` from the root, without `.` and `..`: by text alone, as runc does it.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let mut clean = PathBuf::from("/");
    if !path.is_absolute() {
        clean = std::env::current_dir().map_err(|error| Failure::io("find the current directory", &error))?;
    }
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Failure::usage("--root must not be /"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_cleaned_by_text_and_never_the_root_directory() {
        for (given, clean) in [("/a/../b/./c/", "/b/c"), ("/run//orlop", "/run/orlop"), ("/../x", "/x")] {
            assert_eq!(absolute(Path::new(given)).unwrap(), Path::new(clean));
        }
        for refused in ["/", "/..", "/a/.."] {
            assert!(absolute(Path::new(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn rootless_takes_the_words_that_engines_send() {
        assert_eq!(rootless("true").unwrap(), Some(true));
        assert_eq!(rootless("false").unwrap(), Some(false));
        assert_eq!(rootless("auto").unwrap(), None);
        assert!(rootless("maybe").is_err());
    }
}
