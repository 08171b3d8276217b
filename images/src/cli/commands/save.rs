//! `orlop image save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;

use orlop_images::archive;

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "save: IMAGE...
write images into an archive that Docker, Podman and Skopeo load

-o, --output FILE | where to (default: standard output)

The archive is an OCI layout with Docker's manifest.json beside, so it is docker-archive:FILE and
oci-archive:FILE at once. The same images make the same archive, byte for byte.

$ orlop image save -o app.tar app:1 nginx
$ orlop image save app | ssh host docker load
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let path = args.path("output");
    let words = args.words_as_text()?;
    let store = session.store()?;
    let mut entries = Vec::new();
    for word in words {
        entries.push(store.lookup(word)?);
    }
    let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
        let out = std::io::stdout();
        if out.is_terminal() {
            return Err(Failure::usage("an archive does not go to a terminal: --output FILE, or a pipe"));
        }
        archive::save(&store, &entries, &mut BufWriter::with_capacity(256 << 10, out.lock()))?;
        return Ok(0);
    };
    // Nobody finds half an archive under this name: it gets it when it is whole.
    let mut part = path.clone().into_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let failed = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
    let file = File::options().write(true).create_new(true).mode(0o644).open(&part).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(256 << 10, file);
    let written = archive::save(&store, &entries, &mut writer).map_err(Failure::from).and_then(|()| {
        writer.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
        std::fs::rename(&part, &path).map_err(failed)
    });
    if written.is_err() {
        // The first failure is the one that is told.
        std::fs::remove_file(&part).ok();
    }
    written.map(|()| 0)
}
