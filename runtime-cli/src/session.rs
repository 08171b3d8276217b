//! What the global flags say: where state is, who makes cgroups, where messages go.

use std::path::{Component, Path, PathBuf};

use orlop::{CgroupDriver, ContainerId, Process, Report, Runtime};

use crate::failure::Failure;
use crate::log::{Format, Level, Log};
use crate::parse::Args;
use crate::table::{Catalogue, command};

command! {
    "orlop: [FLAGS] COMMAND [ARGUMENT...]
run OCI containers, with the command line of runc
",
    [
        ROOT = "--root DIR | where containers are kept (default: /run/orlop, or $XDG_RUNTIME_DIR/orlop when not root)",
        LOG = "--log FILE | append messages to this file, or to journald:NAME or syslog:NAME, and not to standard error",
        LOG_FORMAT = "--log-format text|json | how messages are written (default: text)",
        LOG_LEVEL = "--log-level error|warning|info|debug | the least grave messages to write (default: warning)",
        DEBUG = "--debug | the same as --log-level debug",
        SYSTEMD_CGROUP = "--systemd-cgroup | have systemd make the cgroups; cgroupsPath is then SLICE:PREFIX:NAME",
        CGROUP_MANAGER = "--cgroup-manager cgroupfs|systemd|disabled | who makes the cgroups (crun's name for --systemd-cgroup)",
        ROOTLESS = "--rootless true|false|auto | make do without the right to set up cgroups (default: auto)",
        _ = "--criu PATH ! criu is looked up in PATH",
        VERSION = "-v, --version | show the version",
    ],
    "
A container is made from a bundle: a directory with a config.json (OCI runtime specification) and a root
file system. \"orlop spec\" writes a config.json to begin with; \"orlop try\" needs neither.

Exit status: that of the container's command for run and exec in the foreground (128+N when signal N ended
it); 0 for success; 1 for a failure, 255 for one of exec.

$ orlop try
  a shell in a container that sees a copy of this machine's own files
$ orlop run -b /srv/web web1
  run the container web1 from the bundle /srv/web
$ orlop list
$ orlop help run
"
}

/// What every verb gets besides its own flags.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    /// Where containers are kept and how they are made.
    pub(crate) runtime: Runtime,
    /// Where messages go.
    pub(crate) log: &'a Log,
    /// Whether a root was given.
    pub(crate) root_given: bool,
    /// A flag that was given and says how this program makes containers.
    pub(crate) of_containers: Option<&'static str>,
    /// All commands, for those that write about them.
    pub(crate) catalogue: fn() -> Catalogue,
}

impl<'a> Session<'a> {
    /// The log alone, so that failures in the other global flags reach it.
    pub(crate) fn open_log(args: &Args<'_>) -> Result<Log, Failure> {
        let format = match args.text(LOG_FORMAT)? {
            None | Some("" | "text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(Failure::usage(format!("invalid log-format: {other}"))),
        };
        let named = args.text(LOG_LEVEL)?.map(|name| {
            Level::named(name)
                .ok_or_else(|| Failure::usage(format!("--log-level {name:?}: not error, warning, info, debug")))
        });
        let level = named.transpose()?.unwrap_or(Level::Warning);
        let level = if args.switch(DEBUG) { Level::Debug } else { level };
        Log::open(args.value(LOG), format, level)
    }

    /// All that the global flags say.
    pub(crate) fn new(args: &Args<'_>, log: &'a Log, catalogue: fn() -> Catalogue) -> Result<Self, Failure> {
        // An empty one counts as not given, as with runc.
        let root = args.path(ROOT).map(|root| absolute(&root)).transpose()?;
        let root_given = root.is_some();
        let says =
            [(SYSTEMD_CGROUP, "--systemd-cgroup"), (CGROUP_MANAGER, "--cgroup-manager"), (ROOTLESS, "--rootless")];
        let given = says.into_iter().find(|(flag, _)| args.setting(*flag).is_some() || args.value(*flag).is_some());
        let of_containers = root_given.then_some("--root").or(given.map(|(_, name)| name));
        let cgroup_driver = cgroup_driver(args)?;
        let rootless = args.text(ROOTLESS)?.map_or(Ok(None), rootless)?;
        let defaults = match root {
            Some(root) => Runtime::new(root),
            None => Runtime::from_environment(),
        };
        Ok(Self {
            runtime: defaults.cgroup_driver(cgroup_driver).rootless(rootless),
            log,
            root_given,
            of_containers,
            catalogue,
        })
    }

    /// Says something that the user should know although the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        self.log.write(Level::Warning, message);
    }

    /// Says all that the library wants the user to know.
    pub(crate) fn warn_all(&self, report: &Report) {
        for warning in report.warnings() {
            self.warn(&warning.to_string());
        }
    }

    /// Says what the library says of a process that it has started.
    pub(crate) fn tell(&self, process: &Process) {
        for note in process.report().notes() {
            self.debug(|| note.clone());
        }
        self.warn_all(process.report());
    }

    /// Says what happens, for `--debug`.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.log.debugs() {
            self.log.write(Level::Debug, &message());
        }
    }
}

/// Whether only the version is asked for.
pub(crate) fn asks_for_version(args: &Args<'_>) -> bool {
    args.switch(VERSION)
}

/// The id that an operand names.
pub(crate) fn container_id(operand: &std::ffi::OsStr) -> Result<ContainerId, Failure> {
    Ok(ContainerId::new(operand.to_string_lossy())?)
}

fn cgroup_driver(args: &Args<'_>) -> Result<CgroupDriver, Failure> {
    let named = match args.text(CGROUP_MANAGER)? {
        None => None,
        Some("cgroupfs") => Some(CgroupDriver::Cgroupfs),
        Some("systemd") => Some(CgroupDriver::Systemd),
        Some("disabled") => Some(CgroupDriver::Disabled),
        Some(other) => {
            return Err(Failure::usage(format!("--cgroup-manager {other:?}: not cgroupfs, systemd or disabled")));
        }
    };
    match (named, args.setting(SYSTEMD_CGROUP)) {
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
