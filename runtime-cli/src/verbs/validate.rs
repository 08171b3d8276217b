//! `orlop validate`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "validate: [BUNDLE]
check the configuration of a bundle without running it

-f, --config FILE | another file than config.json, relative to the bundle
--strict | also refuse unknown fields, and what this host cannot honour

$ orlop validate /srv/web
$ orlop validate --strict /srv/web
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
