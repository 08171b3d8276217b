//! `orlop image man`.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "man: DIR
write the manual pages into a directory

$ orlop image man /usr/local/share/man/man8
$ man orlop-image-pull
",
);

pub(super) fn run(_: &Session, args: &Args) -> Result<u8, Failure> {
    let dir = args.operands()?.first().map(Path::new).unwrap_or(Path::new(""));
    for (name, text) in crate::cli::man::pages() {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::new(format!("write {}: {error}", path.display())))?;
    }
    Ok(0)
}
