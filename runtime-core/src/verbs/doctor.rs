//! `doctor`: what this host and this caller can do, and what would help where they cannot.
//!
//! Each file knows one part: it asks the kernel for facts, and judges them by a pure function.

mod cgroups;
mod confinement;
mod finding;
mod kernel;
mod labels;
mod places;
mod users;
mod visibility;

use crate::base::{Rights, Runtime};

pub use finding::{Examination, HostFinding, Level};

/// Finds out what this host and this caller can do. Nothing is changed: what has to be tried is tried in a child that ends at once.
///
/// ```
/// let examined = orlop::doctor(&orlop::Runtime::from_environment());
/// for finding in examined.findings.iter().filter(|finding| finding.level > orlop::Level::Note) {
///     println!("{}: {}", finding.name, finding.found);
/// }
/// ```
#[must_use]
pub fn doctor(runtime: &Runtime) -> Examination {
    let rights = Rights::of_this_process();
    let mut findings = kernel::Calls::probe().judge();
    findings.extend(kernel::Features::probe().judge());
    findings.push(confinement::rights(rights));
    findings.extend(confinement::Confinement::probe().judge(rights));
    findings.extend(users::UserNamespaces::probe().judge(rights));
    findings.extend(users::Helpers::probe().judge(rights));
    findings.extend(visibility::Visible::probe(rights).judge());
    findings.extend(cgroups::Cgroups::probe(runtime, rights).judge());
    findings.extend(labels::Labels::probe(rights).judge());
    findings.extend(places::Places::probe(runtime).judge());
    Examination { findings }
}
