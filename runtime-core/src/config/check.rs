//! What a config that could be read must hold beyond its types: the rules of runtime-spec, of the kernel, and of runc's validator.
//!
//! Nothing here asks the host: what depends on it is checked where the plan is made. The one exception is whether a joined network
//! namespace is the caller's own, because only then may network sysctls not be set.

mod ids;
mod mounts;
mod namespaces;
mod process;
mod sections;

use std::fmt;

pub use ids::mapped;
pub use process::granted;
pub use sections::sysctl_file;

use super::model::{Config, Linux, Process};
use super::names::NamespaceType;
use super::schema::push_token;
use crate::{Error, Result};

/// What the checks have to know besides the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// The caller is not root, or root of a user namespace only.
    pub rootless: bool,
    /// The root is changed without pivot_root(2).
    pub no_pivot: bool,
}

/// Something that works, but not as the config says, or that works today only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The config field, as a JSON pointer.
    pub pointer: String,
    /// What about it.
    pub detail: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config {}: {}", self.pointer, self.detail)
    }
}

/// Checks a config against runtime-spec and itself.
///
/// # Errors
/// [`crate::Kind::InvalidConfig`] with the JSON pointer of the first field that is wrong.
pub fn check(config: &Config<'_>, options: CheckOptions) -> Result<Vec<Warning>> {
    let findings = check_all(config, options);
    match findings.errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(findings.warnings),
    }
}

/// Checks a process that is to be executed in a running container.
///
/// # Errors
/// As [`check`]; pointers are relative to the process.
pub fn check_process(process: &Process<'_>) -> Result<Vec<Warning>> {
    let mut findings = Findings::default();
    process::check(process, "", &mut findings);
    match findings.errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(findings.warnings),
    }
}

/// Checks a config and goes on after the first fault.
#[must_use]
pub(crate) fn check_all(config: &Config<'_>, options: CheckOptions) -> Findings {
    let mut findings = Findings::default();
    sections::check_top(config, &mut findings);
    match &config.process {
        Some(process) => process::check(process, "/process", &mut findings),
        None => findings.error("/process", "required, but missing: an object"),
    }
    mounts::check(config, options, &mut findings);
    sections::check_hooks(config, &mut findings);
    match &config.linux {
        Some(linux) => check_linux(config, linux, options, &mut findings),
        None => namespaces::check_absent(config, options, &mut findings),
    }
    findings
}

fn check_linux(config: &Config<'_>, linux: &Linux<'_>, options: CheckOptions, findings: &mut Findings) {
    namespaces::check(config, linux, options, findings);
    ids::check_user(config, linux, findings);
    sections::check_sysctl(linux, findings);
    sections::check_devices(linux, findings);
    sections::check_net_devices(linux, options, findings);
    sections::check_paths(linux, findings);
    sections::check_rdt(linux, findings);
    sections::check_memory_policy(linux, findings);
    if let Some(personality) = linux.personality.as_ref().filter(|personality| !personality.flags.is_empty()) {
        let flag = personality.flags.first().map(|flag| flag.as_str()).unwrap_or_default();
        findings.error(
            "/linux/personality/flags/0",
            format!("unknown personality flag {flag:?}: runtime-spec defines none"),
        );
    }
}

/// What the checks found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Error>,
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    #[cold]
    fn error(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(Error::config(pointer, detail));
    }

    #[cold]
    fn error_with_hint(&mut self, pointer: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(Error::config(pointer, detail).hint(hint));
    }

    #[cold]
    fn warn(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.warnings.push(Warning { pointer: pointer.into(), detail: detail.into() });
    }
}

impl Linux<'_> {
    /// Whether the container has a namespace of this kind, new or joined, rather than the caller's.
    #[must_use]
    pub fn has(&self, kind: NamespaceType) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == kind)
    }

    /// The path of the namespace of this kind that is joined.
    #[must_use]
    pub fn joins(&self, kind: NamespaceType) -> Option<&str> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)?.path.as_deref()
    }

    /// Whether a new namespace of this kind is made.
    #[must_use]
    pub fn makes(&self, kind: NamespaceType) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
    }
}

/// The JSON pointer of `key` below `parent`.
fn below(parent: &str, key: &str) -> String {
    let mut pointer = parent.to_owned();
    push_token(&mut pointer, key);
    pointer
}

/// Reports a NUL byte, which no string that goes to the kernel can hold.
fn check_no_nul(text: &str, findings: &mut Findings, pointer: impl FnOnce() -> String) {
    if text.as_bytes().contains(&0) {
        findings.error(pointer(), "contains a NUL byte");
    }
}
