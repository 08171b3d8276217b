//! A test case, and the marks that say where it holds.

use std::time::Duration;

use crate::{Flavor, Need, Sandbox, World};

inventory::collect!(Case);

/// One case, as `#[case]` registers it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    module: &'static str,
    line: usize,
    name: &'static str,
    body: fn(&Sandbox),
    extension: bool,
    known_gap: Option<&'static str>,
    not_runc: Option<&'static str>,
    not_crun: Option<&'static str>,
    needs: u8,
    seconds: u64,
}

/// What `#[case]` writes.
impl Case {
    /// A case without marks: every runtime must pass it, in a minute.
    #[must_use]
    pub const fn new(module: &'static str, line: usize, name: &'static str, body: fn(&Sandbox)) -> Self {
        let (known_gap, not_runc, not_crun) = (None, None, None);
        Self { module, line, name, body, extension: false, known_gap, not_runc, not_crun, needs: 0, seconds: 60 }
    }

    /// Only our runtime has this; the others skip it.
    #[must_use]
    pub const fn extension(mut self) -> Self {
        self.extension = true;
        self
    }

    /// Our runtime does not do this yet: the case counts as ignored while it fails, and as failed when it passes.
    #[must_use]
    pub const fn known_gap(mut self, reason: &'static str) -> Self {
        self.known_gap = Some(reason);
        self
    }

    /// Debian's runc cannot do this; the reason says since when runc can.
    #[must_use]
    pub const fn not_runc(mut self, reason: &'static str) -> Self {
        self.not_runc = Some(reason);
        self
    }

    /// Debian's crun cannot do this.
    #[must_use]
    pub const fn not_crun(mut self, reason: &'static str) -> Self {
        self.not_crun = Some(reason);
        self
    }

    /// It holds only where the runtime's caller has this.
    #[must_use]
    pub const fn needs(mut self, need: Need) -> Self {
        self.needs |= need as u8;
        self
    }

    /// Another time limit than a minute.
    #[must_use]
    pub const fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }
}

/// What the runner asks.
impl Case {
    /// All cases of this program, by module and line.
    pub(crate) fn all() -> Vec<&'static Self> {
        let mut all: Vec<_> = inventory::iter::<Self>().collect();
        all.sort_by_key(|case| (case.module, case.line));
        assert!(!all.is_empty(), "this program has no case: the linker has left out what `#[case]` registers");
        all
    }

    /// The test program: the crate that the case is in.
    pub(crate) fn program(&self) -> &'static str {
        self.module.split("::").next().unwrap_or_default()
    }

    /// `module::function`, without the modules above.
    pub(crate) fn full_name(&self) -> String {
        format!("{}::{}", self.module.rsplit("::").next().unwrap_or_default(), self.name)
    }

    pub(crate) fn run(&self, sandbox: &Sandbox) {
        (self.body)(sandbox);
    }

    pub(crate) fn time_limit(&self) -> Duration {
        crate::command::limit(self.seconds)
    }

    /// Why the case may fail on such a runtime, as yet.
    pub(crate) fn gap_of(&self, flavor: Flavor) -> Option<&'static str> {
        self.known_gap.filter(|_| flavor == Flavor::Orlop)
    }

    /// Why this case is not run on such a runtime; `ORLOP_TEST_MARKED=1` runs what peers are said to lack, to check the marks.
    pub(crate) fn ignored_on(&self, flavor: Flavor, world: World) -> Option<String> {
        if std::env::var_os("ORLOP_TEST_MARKED").is_some() {
            return None;
        }
        if self.extension && flavor != Flavor::Orlop {
            return Some("an extension of ours".into());
        }
        if let Some(reason) = world.lacks(self.needs) {
            return Some(reason);
        }
        let reason = match flavor {
            Flavor::Runc => self.not_runc?,
            Flavor::Crun => self.not_crun?,
            Flavor::Orlop | Flavor::Youki => return None,
        };
        Some(format!("{flavor:?} lacks it: {reason}"))
    }
}
