//! What `run` and `bundle` can be told about a container, in Docker's words and syntax.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::{Error, Kind, Result, Step};
use crate::bundle::capability;
use crate::bundle::mount::{self, Mount};
use crate::bundle::value;

/// A container beside what its image says.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ContainerOptions {
    /// The command, in the place of the image's.
    pub command: Vec<String>,
    /// The entrypoint, in the place of the image's; an empty one takes it away.
    pub entrypoint: Option<String>,
    /// Variables as `NAME=VALUE`; `NAME` alone takes that of the image away.
    pub env: Vec<String>,
    /// Mounts: binds, volumes, tmpfs.
    pub mounts: Vec<Mount>,
    /// The working directory.
    pub workdir: Option<String>,
    /// `USER`, `USER:GROUP`, by name or number.
    pub user: Option<String>,
    /// The host name; by default that of the container.
    pub hostname: Option<String>,
    /// Lines of /etc/hosts.
    pub hosts: Vec<(String, IpAddr)>,
    /// Name servers, in the place of the host's.
    pub dns: Vec<IpAddr>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors, in thousandths.
    pub cpus: Option<u64>,
    /// How many processes; −1 for any number.
    pub pids_limit: Option<i64>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Capabilities beside the default ones, `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not get, `ALL` for all.
    pub cap_drop: Vec<String>,
    /// What is switched off or on about security.
    pub security: Security,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Limits of each process: the name, the soft and the hard one.
    pub ulimits: Vec<(String, u64, u64)>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Whether an init reaps orphans in it.
    pub init: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// `--security-opt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Security {
    /// No process gets more rights by executing a file.
    pub no_new_privileges: bool,
    /// The seccomp profile.
    pub seccomp: Seccomp,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// Nothing of /proc and /sys is masked or read-only.
    pub unmasked: bool,
    /// The control groups can be written to.
    pub writable_cgroups: bool,
}

/// Which seccomp profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The default one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// That of a file, in the format of the runtime specification.
    File(PathBuf),
}

/// `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// `r`, `w`, `m`.
    pub access: String,
}

impl ContainerOptions {
    /// Sets the flag `name` (its long name) to `value`; a switch has none.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let named = |error: Error| if error.object().is_none() { error.object_is(format!("--{name}")) } else { error };
        self.take(name, value).map_err(named)
    }

    fn take(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        match (name, value) {
            ("init", None) => self.init = true,
            ("read-only", None) => self.read_only = true,
            ("tty", None) => self.terminal = true,
            ("init" | "read-only" | "tty", Some(value)) => {
                let on = value::boolean(value)?;
                match name {
                    "init" => self.init = on,
                    "read-only" => self.read_only = on,
                    _ => self.terminal = on,
                }
            }
            (_, Some(value)) => return self.take_value(name, value),
            (_, None) => return Err(wrong("it needs a value")),
        }
        Ok(())
    }

    fn take_value(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "add-host" => self.hosts.push(value::host(value)?),
            "cap-add" => self.cap_add.push(capability::named(value)?),
            "cap-drop" => self.cap_drop.push(capability::named(value)?),
            // Nothing means no limit, as for Docker.
            "cpus" => self.cpus = (value != "0").then(|| value::thousandths(value)).transpose()?,
            "device" => self.devices.push(value::device(value)?),
            "dns" => self.dns.push(value.parse().map_err(|_| wrong(format!("{value:?} is no address")))?),
            "entrypoint" => self.entrypoint = Some(value.to_owned()),
            "env" => self.env.push(value::variable(value)?.unwrap_or_else(|| value.to_owned())),
            "env-file" => self.env.extend(value::variables_of(value)?),
            "hostname" => self.hostname = Some(value::hostname(value)?),
            "memory" => self.memory = (value != "0").then(|| value::memory(value)).transpose()?,
            "mount" => self.mounts.push(mount::from_mount(value)?),
            "pids-limit" => self.pids_limit = Some(value::pids(value)?),
            "security-opt" => self.security.take(value)?,
            "sysctl" => self.sysctls.push(value::pair(value)?),
            "tmpfs" => self.mounts.push(mount::from_tmpfs(value)?),
            "ulimit" => self.ulimits.push(value::ulimit(value)?),
            "user" => self.user = Some(value.to_owned()),
            "volume" => self.mounts.push(mount::from_volume(value)?),
            "workdir" => self.workdir = Some(value::directory(value)?),
            _ => return Err(Error::new(Kind::Unsupported, Step::Bundle).reason_is("there is no such flag here")),
        }
        Ok(())
    }
}

impl Security {
    /// Takes one `--security-opt`: `NAME=VALUE`, or with a colon as Docker wrote it once.
    fn take(&mut self, option: &str) -> Result<()> {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "") => self.no_new_privileges = true,
            ("no-new-privileges", value) => self.no_new_privileges = value::boolean(value)?,
            ("seccomp", "unconfined") => self.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => self.seccomp = Seccomp::Default,
            ("seccomp", file) if !file.is_empty() => self.seccomp = Seccomp::File(PathBuf::from(file)),
            ("apparmor", profile) if !profile.is_empty() => self.apparmor = Some(profile.to_owned()),
            ("systempaths", "unconfined") => self.unmasked = true,
            ("writable-cgroups", value) => self.writable_cgroups = value.is_empty() || value::boolean(value)?,
            // Nothing is labelled here, so there is nothing to switch off.
            ("label", "disable") => {}
            _ => {
                let error = Error::new(Kind::Unsupported, Step::Bundle).object_is(format!("--security-opt {option}"));
                let known =
                    "known are no-new-privileges, seccomp=, apparmor=, systempaths=unconfined, writable-cgroups=";
                return Err(error.reason_is(known));
            }
        }
        Ok(())
    }
}

/// A value of a flag is wrong.
pub(super) fn wrong(reason: impl Into<String>) -> Error {
    Error::new(Kind::InvalidArgument, Step::Bundle).reason_is(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_or_refused_by_name() {
        let mut options = ContainerOptions::default();
        for (name, value) in
            [("memory", Some("16m")), ("read-only", None), ("init", Some("false")), ("cpus", Some("1.5"))]
        {
            options.set(name, value).unwrap();
        }
        assert_eq!(
            (options.memory, options.read_only, options.init, options.cpus),
            (Some(16 << 20), true, false, Some(1500))
        );
        for name in ["memory", "cpus"] {
            options.set(name, Some("0")).unwrap();
        }
        assert_eq!((options.memory, options.cpus), (None, None));
        let error = options.set("gpus", Some("all")).unwrap_err().to_string();
        assert_eq!(error, "make bundle --gpus: there is no such flag here");
        let error = options.set("memory", Some("much")).unwrap_err().to_string();
        assert_eq!(error, "make bundle --memory: \"much\" is no size: digits, and b, k, m or g");
        assert!(options.set("memory", None).is_err());
    }

    #[test]
    fn security_options() {
        let mut options = ContainerOptions::default();
        for option in
            ["no-new-privileges:true", "seccomp=unconfined", "apparmor=web", "systempaths=unconfined", "label=disable"]
        {
            options.set("security-opt", Some(option)).unwrap();
        }
        assert!(options.security.no_new_privileges && options.security.unmasked);
        assert_eq!(options.security.seccomp, Seccomp::Unconfined);
        for option in ["label=type:x", "seccomp=", "apparmor=", "no-new-privileges=maybe", "other"] {
            assert!(options.set("security-opt", Some(option)).is_err(), "{option}");
        }
    }
}
