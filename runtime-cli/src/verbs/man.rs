//! `orlop man`.

use std::path::Path;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "man: DIR
write the manual pages into a directory
",
    "
$ orlop man /usr/local/share/man/man8
$ man orlop-run
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let dir = Path::new(args.operand()?);
    for (name, text) in crate::man::pages(&(session.catalogue)()) {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))?;
    }
    Ok(0)
}
