//! From the bundle to a plan: all that can be wrong is found here, before anything exists.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use crate::base::{ContainerId, Error, Kind, Result, Runtime, Step, sys};
use crate::config::{self, CheckOptions, Config, NamespaceType};
use crate::parent::cgroup::{Cgroups, PlannedCgroup};
use crate::parent::launch::Program;
use crate::parent::options::{CreateOptions, Terminal};
use crate::parent::resctrl::Resctrl;
use crate::parent::{facts, passwd, proc_mounts, verify};
use crate::plan::{self, Host, Plan, PlanOptions};
use crate::state::{NamespaceRecord, Record};

/// A bundle's config as bytes.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The bundle's directory, absolute.
    pub(crate) directory: PathBuf,
    /// The config file.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Bundle {
    /// The config, borrowed from the bytes.
    pub(crate) fn config(&self) -> Result<Config<'_>> {
        config::load(&self.bytes).map_err(|error| error.with_object(self.path.display().to_string()))
    }
}

/// Reads the config of the bundle that `options` name.
pub(crate) fn read_bundle(options: &CreateOptions) -> Result<Bundle> {
    let bundle = if options.bundle.as_os_str().is_empty() { Path::new(".") } else { &options.bundle };
    let directory = std::path::absolute(bundle)
        .map_err(|error| Error::io(Step::LoadConfig, &error).with_object(options.bundle.display().to_string()))?;
    let name = options.config.as_deref().unwrap_or(Path::new("config.json"));
    let path = directory.join(name);
    // A file that the caller names may be a pipe that somebody writes to.
    let read = if options.config.is_some() { std::fs::read(&path) } else { read_regular(&path) };
    let bytes = read.map_err(|error| {
        Error::io(Step::LoadConfig, &error)
            .with_object(path.display().to_string())
            .with_hint("a bundle is a directory with a config.json; `orlop spec` writes one")
    })?;
    Ok(Bundle { directory, path, bytes })
}

/// Reads a file without waiting for the other end of a FIFO, during which no signal would be heard.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0) + 1);
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What all containers of a bundle have in common: all that can be decided before there is an id.
#[derive(Debug)]
pub(crate) struct Common<'b> {
    pub(crate) config: Config<'b>,
    pub(crate) host: Host,
    pub(crate) filter: Option<orlop_seccomp::Filter>,
    cgroups: Cgroups,
    warnings: Vec<String>,
}

impl<'b> Common<'b> {
    /// Checks the config, compiles its profile, and looks at what the host and the caller can do.
    ///
    /// # Errors
    /// What is wrong with the config, and what cannot be done here.
    pub(crate) fn decide(runtime: &Runtime, bundle: &Bundle, config: Config<'b>, no_pivot: bool) -> Result<Self> {
        let host = facts::host(runtime, &config);
        let warnings = check(&config, bundle, host, no_pivot)?;
        let further = || Ok((compile_seccomp(&config)?, Cgroups::find(runtime, &config, host.cgroups_optional)?));
        match further() {
            Ok((filter, cgroups)) => Ok(Self { config, host, filter, cgroups, warnings }),
            Err(error) => Err(Error::after(error, warnings)),
        }
    }

    /// The same, without the config's bytes.
    pub(crate) fn into_owned(self) -> Common<'static> {
        let Self { config, host, filter, cgroups, warnings } = self;
        Common { config: config.into_owned(), host, filter, cgroups, warnings }
    }
}

/// A container that is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) runtime: &'w Runtime,
    pub(crate) id: &'w ContainerId,
    pub(crate) bundle: &'w Bundle,
    pub(crate) common: &'w Common<'w>,
    pub(crate) options: &'w CreateOptions,
    /// The root file system, absolute or relative to the bundle, in place of the config's.
    pub(crate) root: Option<&'w Path>,
    /// The command, in place of the config's.
    pub(crate) args: Option<&'w [String]>,
    /// Whether its command waits for `start`.
    pub(crate) waits_for_start: bool,
    /// The init's program, where it is kept.
    pub(crate) program: Option<&'w Program>,
}

impl<'w> Wanted<'w> {
    /// As the config says, to be left waiting for `start`.
    pub(crate) fn new(
        runtime: &'w Runtime,
        id: &'w ContainerId,
        bundle: &'w Bundle,
        common: &'w Common<'w>,
        options: &'w CreateOptions,
    ) -> Self {
        Self { runtime, id, bundle, common, options, root: None, args: None, waits_for_start: true, program: None }
    }

    /// The absolute path of its root file system.
    fn rootfs(&self) -> PathBuf {
        self.bundle.directory.join(self.root.unwrap_or(Path::new(self.common.config.root.path.as_str())))
    }
}

/// All that is decided before anything is made.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) host: Host,
    pub(crate) record: Record,
    pub(crate) cgroup: Option<PlannedCgroup>,
    pub(crate) notify_dir: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl Prepared {
    pub(crate) fn new(wanted: &Wanted<'_>) -> Result<Self> {
        check_terminal(&wanted.common.config, wanted.options)?;
        check_descriptors(wanted.options)?;
        Self::decide(wanted)
    }

    /// As [`Self::new`], whatever descriptors and sockets the caller brings.
    pub(crate) fn decide(wanted: &Wanted<'_>) -> Result<Self> {
        let warnings = &wanted.common.warnings;
        match Self::of_checked(wanted) {
            Ok(mut prepared) => {
                prepared.warnings.splice(0..0, warnings.iter().cloned());
                Ok(prepared)
            }
            Err(error) => Err(error.after(warnings.clone())),
        }
    }

    fn of_checked(wanted: &Wanted<'_>) -> Result<Self> {
        let Wanted { runtime, id, bundle, common, options, .. } = *wanted;
        let (config, host, filter) = (&common.config, common.host, common.filter.as_ref());
        proc_mounts::check(config, &bundle.directory)?;
        let rootfs = wanted.rootfs();
        let cgroup = common.cgroups.plan(id, config)?;
        let uid = config.process.as_ref().map_or(0, |process| process.user.uid);
        let has_home = config.process.as_ref().is_some_and(|process| plan::gives_home(&process.env));
        let home = if has_home { None } else { passwd::home_of(config, &bundle.directory, &rootfs, uid) };
        let notify_dir =
            options.notify_socket.then(|| runtime.container_dir(id).join("notify").to_string_lossy().into_owned());
        let revealing = if options.no_pivot { proc_mounts::revealing()? } else { Vec::new() };
        let plan_options = PlanOptions {
            bundle: &bundle.directory,
            root: wanted.root,
            args: wanted.args,
            no_pivot: options.no_pivot,
            revealing: &revealing,
            no_new_keyring: options.no_new_keyring,
            terminal_size: options.terminal_size,
            plain_lines: options.terminal.has_plain_lines(),
            listen_fds: options.listen_fds,
            preserve_fds: options.preserve_fds,
            notify_dir: notify_dir.as_deref(),
            waits_for_start: wanted.waits_for_start,
            join: cgroup.as_ref().map(PlannedCgroup::join).unwrap_or_default(),
            cgroups: common.cgroups.mounts(cgroup.as_ref(), config),
            host,
            home: home.as_deref(),
            set_groups: may_set_groups(config, host),
        };
        let mut plan = plan::plan(config, &plan_options, filter)?;
        let warnings = std::mem::take(&mut plan.warnings);
        let mut record = intent(wanted, &rootfs, cgroup.as_ref());
        record.at_once = !wanted.waits_for_start;
        if filter.is_some() && is_verified(config, options) {
            record.inherited_filters = Some(verify::own_filters()?);
        }
        if let Some(rdt) = config.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref()) {
            record.intel_rdt = Some(Resctrl::find()?.plan(id, rdt)?);
        }
        Ok(Self { plan, host, record, cgroup, notify_dir, warnings })
    }
}

fn check(config: &Config<'_>, bundle: &Bundle, host: Host, no_pivot: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if config.has_unknown_fields {
        warnings.extend(config::unknown_fields(&bundle.bytes).iter().map(ToString::to_string));
    }
    let checks = CheckOptions { rootless: host.rootless, no_pivot };
    match config::check(config, checks) {
        Ok(further) => warnings.extend(further.iter().map(ToString::to_string)),
        Err(error) => return Err(error.after(warnings)),
    }
    if config.process.is_none() {
        return Err(Error::config("/process", "is missing: there is nothing to execute").after(warnings));
    }
    Ok(warnings)
}

fn check_terminal(config: &Config<'_>, options: &CreateOptions) -> Result<()> {
    let wrong = |detail: &str| Err(Error::new(Kind::InvalidArgument, Step::SetUpTerminal).with_reason(detail));
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    match (terminal, &options.terminal) {
        (true, Terminal::None) => Err(Error::new(Kind::InvalidArgument, Step::SetUpTerminal)
            .with_field("/process/terminal")
            .with_reason("cannot allocate tty without setting console socket: --console-socket is needed")),
        (false, Terminal::Socket(_)) => {
            wrong("cannot use console socket if no terminal is allocated (config /process/terminal is false)")
        }
        _ => Ok(()),
    }
}

/// Descriptors passed by number must be there: otherwise the command would inherit whatever gets the number next.
fn check_descriptors(options: &CreateOptions) -> Result<()> {
    check_preserved(options.listen_fds.saturating_add(options.preserve_fds))
}

/// Checks that `count` descriptors from 3 on are open and inheritable.
pub(crate) fn check_preserved(count: u32) -> Result<()> {
    for number in 3..3u32.saturating_add(count) {
        if !RawFd::try_from(number).is_ok_and(sys::is_inheritable) {
            return Err(Error::os(Step::CheckArguments, libc::EBADF)
                .with_object(format!("descriptor {number}"))
                .with_reason(format!("{count} descriptors from 3 on are to be preserved, and this one is not open")));
        }
    }
    Ok(())
}

/// Whether what the kernel says of the container is to be compared with the config.
pub(crate) fn is_verified(config: &Config<'_>, options: &CreateOptions) -> bool {
    options.verify || config.annotations.get(config::VERIFY).is_some_and(|value| value.as_str() == "true")
}

/// Compiles the config's profile.
pub(crate) fn compile_seccomp(config: &Config<'_>) -> Result<Option<orlop_seccomp::Filter>> {
    let Some(profile) = config.linux.as_ref().and_then(|linux| linux.seccomp.as_deref()) else { return Ok(None) };
    let mut options = orlop_seccomp::Options::default();
    if let Some(text) = config.annotations.get(config::SECCOMP_BPF_DATA) {
        return read_seccomp(text, profile, &options).map(Some);
    }
    if profile.is_disabled() {
        return Ok(None);
    }
    options.fail_unknown_syscalls =
        config.annotations.get(config::SECCOMP_FAIL_UNKNOWN).is_some_and(|value| value.as_str() != "0");
    let filter = orlop_seccomp::compile(profile, &options).map_err(|error| {
        Error::new(Kind::InvalidConfig, Step::CompileSeccomp)
            .with_field(format!("/linux/seccomp{}", error.field().unwrap_or_default()))
            .with_reason(error.reason().unwrap_or_default())
    })?;
    if filter.notify && filter.listener_path.is_none() {
        return Err(Error::new(Kind::InvalidConfig, Step::CompileSeccomp)
            .with_field("/linux/seccomp/listenerPath")
            .with_reason("a rule notifies an agent, and listenerPath, which names its socket, is missing"));
    }
    Ok(Some(filter))
}

/// The filter that an annotation brings ready-made.
fn read_seccomp(
    text: &str,
    profile: &orlop_seccomp::Profile<'_>,
    options: &orlop_seccomp::Options,
) -> Result<orlop_seccomp::Filter> {
    let refuse = |field: String, detail: String| {
        Error::new(Kind::InvalidConfig, Step::CompileSeccomp).with_field(field).with_reason(detail)
    };
    let annotation = || format!("/annotations/{}", config::SECCOMP_BPF_DATA);
    let bytes = config::base64::decode(text).ok_or_else(|| refuse(annotation(), "is not base64".into()))?;
    orlop_seccomp::from_bytes(&bytes, profile, options).map_err(|error| {
        let own = error.kind() == orlop_seccomp::Kind::InvalidProgram;
        let field = if own { annotation() } else { format!("/linux/seccomp{}", error.field().unwrap_or_default()) };
        refuse(field, error.reason().unwrap_or_default().to_owned())
    })
}

/// setgroups(2) is denied in a user namespace that an unprivileged user maps only itself into, and in all below it; and left out on request.
pub(crate) fn may_set_groups(config: &Config<'_>, host: Host) -> bool {
    if config.annotations.get(crate::config::KEEP_ORIGINAL_GROUPS).is_some() {
        return false;
    }
    let single = config.linux.as_ref().is_some_and(|linux| {
        linux.makes(NamespaceType::User) && matches!(linux.gid_mappings.as_slice(), [one] if one.size == 1)
    });
    host.sets_groups && (host.maps_ids || !single)
}

fn intent(wanted: &Wanted<'_>, rootfs: &Path, cgroup: Option<&PlannedCgroup>) -> Record {
    let config = &wanted.common.config;
    let mut record = Record::intent(wanted.id);
    config.oci_version.as_str().clone_into(&mut record.oci_version);
    record.bundle = wanted.bundle.directory.to_string_lossy().into_owned();
    record.rootfs = rootfs.to_string_lossy().into_owned();
    record.annotations =
        config.annotations.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect();
    record.namespaces = config.linux.as_ref().map_or_else(Vec::new, |linux| {
        let of = |namespace: &config::Namespace<'_>| NamespaceRecord {
            kind: namespace.kind.name().to_owned(),
            path: namespace.path.as_ref().map(|path| path.as_str().to_owned()),
        };
        linux.namespaces.iter().map(of).collect()
    });
    record.cgroup = cgroup.map(|planned| planned.record.clone());
    record.rootless = wanted.common.host.cgroups_optional;
    record.no_new_keyring = wanted.options.no_new_keyring;
    record.poststop_hooks = config.hooks.as_ref().is_some_and(|hooks| !hooks.poststop.is_empty());
    record
}
