//! `validate`: checks a bundle without running it.

use std::fmt;
use std::path::PathBuf;

use crate::base::{CgroupDriver, ContainerId, Error, Kind, Result, Runtime, Step, options};
use crate::config::{self, CheckOptions, Config};
use crate::parent::options::CreateOptions;

options! {
    /// What `validate` is told.
    #[derive(Debug, Clone, Default)]
    pub struct ValidateOptions {
        /// The bundle directory.
        pub bundle: PathBuf,
        /// Another file than `config.json` in the bundle (relative to it) or anywhere (absolute).
        pub config: Option<PathBuf>,
        /// Take fields that runtime-spec does not have for errors, what has no effect as well, and what this host cannot do.
        pub strict: bool,
        /// For a container that is run without root's rights.
        pub rootless: bool,
        /// Who would make the control groups; decides what `cgroupsPath` may be.
        pub cgroup_driver: CgroupDriver,
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The container would be made, but not quite as the config says.
    Warning,
    /// The container would be refused (or, with `strict`, should be).
    Error,
}

/// Something `validate` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The config field as a JSON pointer, when it is about one.
    pub pointer: Option<String>,
    /// The whole message on one line.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        })?;
        f.write_str(&self.message)
    }
}

/// Checks a bundle's config and its root file system; finds all that is wrong, not only the first.
///
/// An empty list means that nothing is; findings that are all warnings, that the container would be made.
///
/// # Errors
/// [`Kind::System`] when the config cannot be read at all.
pub fn validate(options: &ValidateOptions) -> Result<Vec<Finding>> {
    let path = options.bundle.join(options.config.as_deref().unwrap_or("config.json".as_ref()));
    let bytes = std::fs::read(&path)
        .map_err(|error| Error::io(Step::LoadConfig, &error).with_object(path.display().to_string()))?;
    let mut findings = validate_config(&bytes, options);
    if let Ok(config) = config::load(&bytes) {
        check_rootfs(&config, options, &mut findings);
    }
    if options.strict && findings.is_empty() {
        check_host(options, &mut findings)?;
    }
    Ok(findings)
}

/// Plans the container as create would, which finds what this host cannot do. Nothing is made.
fn check_host(options: &ValidateOptions, findings: &mut Vec<Finding>) -> Result<()> {
    let rootless = options.rootless.then_some(true);
    let runtime = Runtime::from_environment().cgroup_driver(options.cgroup_driver).rootless(rootless);
    let create =
        CreateOptions { bundle: options.bundle.clone(), config: options.config.clone(), ..CreateOptions::default() };
    match super::plan::plan(&runtime, &ContainerId::new("validated")?, &create) {
        Ok(planned) => findings.extend(planned.warnings.into_iter().map(|message| Finding {
            severity: Severity::Error,
            pointer: None,
            message,
        })),
        Err(refused) => findings.push(error(&refused)),
    }
    Ok(())
}

/// Checks the bytes of a config.json alone.
#[must_use]
pub fn validate_config(bytes: &[u8], options: &ValidateOptions) -> Vec<Finding> {
    let config = match config::load(bytes) {
        Ok(config) => config,
        Err(_) => return config::faults(bytes).iter().map(error).collect(),
    };
    let doubtful = if options.strict { Severity::Error } else { Severity::Warning };
    let check = CheckOptions { rootless: options.rootless, no_pivot: false };
    let checked = config::check_all(&config, check);
    let mut findings: Vec<Finding> = checked.errors.iter().map(error).collect();
    findings.extend(checked.warnings.into_iter().map(|warning| Finding {
        severity: doubtful,
        message: warning.to_string(),
        pointer: Some(warning.pointer),
    }));
    if config.has_unknown_fields {
        findings.extend(config::unknown_fields(bytes).into_iter().map(|field| Finding {
            severity: doubtful,
            message: field.to_string(),
            pointer: Some(field.pointer),
        }));
    }
    check_seccomp(&config, options.strict, &mut findings);
    findings
}

fn error(error: &Error) -> Finding {
    Finding { severity: Severity::Error, pointer: error.field().map(str::to_owned), message: error.to_string() }
}

fn check_seccomp(config: &Config<'_>, strict: bool, findings: &mut Vec<Finding>) {
    let Some(profile) = config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else { return };
    if profile.is_disabled() {
        return;
    }
    if let Err(wrong) = orlop_seccomp::compile(profile, &orlop_seccomp::Options::default()) {
        let fault = Error::new(Kind::InvalidConfig, Step::CompileSeccomp)
            .with_field(format!("/linux/seccomp{}", wrong.field().unwrap_or_default()))
            .with_reason(wrong.reason().unwrap_or_default());
        findings.push(error(&fault));
    }
    let advised = if strict { orlop_seccomp::advise(profile) } else { Vec::new() };
    findings.extend(advised.iter().map(|advice| {
        let fault = Error::new(Kind::InvalidConfig, Step::CompileSeccomp)
            .with_field(format!("/linux/seccomp{}", advice.field()))
            .with_reason(advice.reason())
            .with_hint(advice.hint());
        // The profile does what it says, as with libseccomp.
        Finding { severity: Severity::Warning, ..error(&fault) }
    }));
}

fn check_rootfs(config: &Config<'_>, options: &ValidateOptions, findings: &mut Vec<Finding>) {
    let path = options.bundle.join(config.root.path.as_str());
    let fault = match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => return,
        Ok(_) => Error::os(Step::OpenRootfs, libc::ENOTDIR),
        Err(wrong) => Error::io(Step::OpenRootfs, &wrong),
    };
    findings.push(error(&fault.with_object(path.display().to_string()).with_field("/root/path")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DefaultConfig, default_config};

    fn lines(text: &str, strict: bool) -> Vec<String> {
        let options = ValidateOptions { strict, ..ValidateOptions::default() };
        validate_config(text.as_bytes(), &options).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn strict_turns_warnings_into_errors() {
        let text = default_config(DefaultConfig::default()).replace("\"hostname\"", "\"hostnam\"");
        assert_eq!(lines(&text, false), ["warning: unknown field /hostnam (did you mean \"hostname\"?)"]);
        assert_eq!(lines(&text, true), ["error: unknown field /hostnam (did you mean \"hostname\"?)"]);
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let text = default_config(DefaultConfig::default());
        assert_eq!(lines(&text, true), [""; 0]);
        let wrong_types =
            text.replace("\"uid\": 0", "\"uid\": \"zero\"").replace("\"readonly\": true", "\"readonly\": 1");
        assert_eq!(
            lines(&wrong_types, false),
            [
                "error: load config (config /process/user/uid): expected an unsigned 32-bit number, found string \"zero\"",
                "error: load config (config /root/readonly): expected true or false, found 1",
            ]
        );
        let wrong_values =
            text.replace("\"cwd\": \"/\"", "\"cwd\": \"tmp\"").replace("\"soft\": 1024", "\"soft\": 1025");
        assert_eq!(
            lines(&wrong_values, false),
            [
                "error: check config (config /process/cwd): cwd must be an absolute path, not \"tmp\"",
                "error: check config (config /process/rlimits/0/soft): soft limit 1025 is above the hard limit 1024",
            ]
        );
    }

    #[test]
    fn a_seccomp_rule_is_checked_too() {
        let seccomp = r#""linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "NO"}]},"#;
        let text = default_config(DefaultConfig::default()).replace("\"linux\": {", seccomp);
        let found = lines(&text, false);
        assert!(
            found[0].starts_with("error: compile seccomp profile (config /linux/seccomp/syscalls/0/action): "),
            "{found:?}"
        );
    }

    #[test]
    fn strict_warns_of_comparisons_that_can_be_got_around() {
        let text = r#"{"ociVersion":"1.0.0","root":{"path":"/"},"process":{"args":["x"],"cwd":"/","user":{"uid":0,"gid":0}},
            "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":0,"value":40,"op":"SCMP_CMP_NE"}]}]}}}"#;
        assert!(lines(text, false).is_empty());
        let found = lines(text, true);
        assert_eq!(found.len(), 1, "{found:?}");
        let start =
            "warning: compile seccomp profile (config /linux/seccomp/syscalls/0/args/0): compares all 64 bits, ";
        assert!(found[0].starts_with(start), "{found:?}");
    }

    #[test]
    fn strict_asks_the_host_too() {
        let bundle = std::env::temp_dir().join(format!("orlop-validate-host-{}", std::process::id()));
        std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
        // No machine mounts resctrl where it is not looked for, and no test machine has the hardware.
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let rootless = (!user.is_root()).then_some((user.as_raw(), group.as_raw()));
        let text = default_config(DefaultConfig { rootless, ..DefaultConfig::default() });
        let text = text.replace("\"linux\": {", "\"linux\": {\"intelRdt\": {},");
        std::fs::write(bundle.join("config.json"), text).unwrap();
        let options = |strict| ValidateOptions { bundle: bundle.clone(), strict, ..ValidateOptions::default() };
        let lenient = validate(&options(false));
        let strict = validate(&options(true));
        std::fs::remove_dir_all(&bundle).unwrap();
        assert_eq!(lenient.unwrap(), []);
        if std::path::Path::new("/sys/fs/resctrl/schemata").try_exists().unwrap() {
            println!("SKIP strict_asks_the_host_too: this machine has resctrl mounted");
            return;
        }
        let strict = strict.unwrap();
        assert_eq!(strict.len(), 1, "{strict:?}");
        assert_eq!(strict[0].pointer.as_deref(), Some("/linux/intelRdt"));
    }

    #[test]
    fn the_root_file_system_must_be_a_directory() {
        let bundle = std::env::temp_dir().join(format!("orlop-validate-{}", std::process::id()));
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), default_config(DefaultConfig::default())).unwrap();
        let options = ValidateOptions { bundle: bundle.clone(), ..ValidateOptions::default() };
        let without = validate(&options);
        std::fs::create_dir(bundle.join("rootfs")).unwrap();
        let with = validate(&options);
        std::fs::remove_dir_all(&bundle).unwrap();
        assert_eq!(with.unwrap(), []);
        let without = without.unwrap();
        assert_eq!(without.len(), 1);
        assert!(without[0].message.ends_with("(config /root/path): no such file or directory"), "{without:?}");
    }
}
