//! `orlop validate`.

use std::path::PathBuf;

use orlop::{Severity, ValidateOptions};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "validate: [BUNDLE]
check the configuration of a bundle without running it
",
    [
        CONFIG = "-f, --config FILE | another file than config.json, relative to the bundle",
        STRICT = "--strict | also refuse unknown fields, and what cannot be done on this host with the caller's rights",
    ],
    "
Prints what it finds, one line each. Exit status 1 if any of it is an error.

$ orlop validate /srv/web
$ orlop validate --strict /srv/web
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let (config, strict) = (args.path(CONFIG), args.switch(STRICT));
    let bundle = args.operands()?.first().map(PathBuf::from).unwrap_or_default();
    // Not `rootless` for a caller without rights: the config may be for another. What the caller cannot do, `strict` finds.
    let options = ValidateOptions::default().bundle(bundle).config(config).strict(strict);
    let findings = orlop::validate(&options.cgroup_driver(session.runtime.cgroup_driver))?;
    let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    super::print(&text)?;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    match errors {
        0 => Ok(0),
        1 => Err(Failure::new("1 error found")),
        count => Err(Failure::new(format!("{count} errors found"))),
    }
}
