//! `orlop plan`.

use orlop::CreateOptions;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;

command! {
    "plan: [ID]
show what create would do, without doing it
",
    [
        BUNDLE = "-b, --bundle DIR | the bundle directory (default: the current directory)",
        CONFIG = "-f, --config FILE | another file than config.json, relative to the bundle",
        FORMAT = "--format text|json | how (default: text)",
        NO_PIVOT = "--no-pivot | as create would with this flag",
        NO_NEW_KEYRING = "--no-new-keyring | as create would with this flag",
    ],
    "
Lists the operations in their order, and what this host cannot do.

$ orlop plan -b /srv/web
$ orlop plan -b /srv/web --format json web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = CreateOptions::new(args.path(BUNDLE).unwrap_or_else(|| ".".into()))
        .config(args.path(CONFIG))
        .no_pivot(args.switch(NO_PIVOT))
        .no_new_keyring(args.switch(NO_NEW_KEYRING));
    let format = args.choice(FORMAT)?.unwrap_or("text");
    let id = args.operands()?.first().copied().unwrap_or("container".as_ref());
    let planned = orlop::plan(&session.runtime, &container_id(id)?, &options)?;
    if format == "text" {
        return super::print(&planned.to_string());
    }
    let text = serde_json::to_string_pretty(&planned).map_err(|error| Failure::new(error.to_string()))?;
    super::print(&(text + "\n"))
}
