//! `orlop plan`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "plan: [ID]
show what create would do, without doing it

-b, --bundle DIR | the bundle directory (default: the current directory)
-f, --config FILE | another file than config.json, relative to the bundle
--format text|json | how (default: text)
--no-pivot | as create would with this flag
--no-new-keyring | as create would with this flag

Lists the operations in their order, and what this host cannot do.

$ orlop plan -b /srv/web
$ orlop plan -b /srv/web --format json web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
