//! What a finding is.

use std::fmt;

use nix::errno::Errno;
use serde::Serialize;

/// How much a finding stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is lost by it.
    Note,
    /// Something that some configs ask for does not work.
    Limit,
    /// A container such as `orlop spec` describes (`orlop spec --rootless` for who is not root of the host) cannot be run.
    Broken,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Limit => "limit",
            Self::Broken => "broken",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HostFinding {
    /// What was looked at, always by the same name.
    pub name: &'static str,
    /// How much it stands in the way.
    pub level: Level,
    /// What is.
    pub found: String,
    /// What does not work because of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consequence: String,
    /// What would help: a command or a setting.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl HostFinding {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), consequence: String::new(), remedy: String::new() }
    }

    pub(super) fn note(name: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::ok(name, found) }
    }

    pub(super) fn new(
        level: Level,
        name: &'static str,
        found: impl Into<String>,
        consequence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level, consequence: consequence.into(), remedy: remedy.into(), ..Self::ok(name, found) }
    }
}

/// All that `doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Examination {
    /// What was looked at, in a fixed order.
    pub findings: Vec<HostFinding>,
}

impl Examination {
    /// Whether anything is [`Level::Broken`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Broken)
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{:<6}  {}: {}", finding.level.word(), finding.name, finding.found)?;
            if !finding.consequence.is_empty() {
                writeln!(f, "        so: {}", finding.consequence)?;
            }
            if !finding.remedy.is_empty() {
                writeln!(f, "        remedy: {}", finding.remedy)?;
            }
        }
        Ok(())
    }
}

/// An errno in words.
pub(super) fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}
