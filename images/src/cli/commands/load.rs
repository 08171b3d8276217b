//! `orlop image load`.

use std::path::Path;

use orlop_images::archive;
use orlop_images::store::Entry;
use orlop_images::{Reference, Source};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "load: [SOURCE]
load images from an archive or a directory

-i, --input FILE | the archive, as for Docker; - is standard input
--json | print the images as JSON

SOURCE is a FILE that docker save, podman save or skopeo wrote, compressed or not; docker-archive:FILE[:NAME],
oci-archive:FILE[:NAME] or oci:DIR[:NAME] for one image of several; without any, standard input.

$ orlop image load app.tar
$ docker save app | orlop image load
$ orlop image load oci:build/layout:latest
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (input, as_json) = (args.text("input")?, args.switch("json"));
    let words = args.words_as_text()?;
    let source = match (words.first().copied(), input) {
        (Some(_), Some(_)) => return Err(Failure::usage("SOURCE and --input exclude each other")),
        (Some(source), None) | (None, Some(source)) => source,
        (None, None) => "-",
    };
    session.cancellable()?;
    let store = session.store()?;
    let entries = if source == "-" {
        archive::load(&store, &mut std::io::stdin().lock(), None)?
    } else if ["docker-archive:", "oci-archive:", "oci:"].iter().any(|prefix| source.starts_with(prefix)) {
        archive::load_source(&store, &source.parse()?)?
    } else {
        archive::load_source(&store, &Source::DockerArchive(Path::new(source).to_owned(), None))?
    };
    show(&entries, as_json)?;
    Ok(0)
}

/// Tells which images there are now.
pub(super) fn show(entries: &[Entry], as_json: bool) -> Result<(), Failure> {
    let name = |entry: &Entry| entry.reference.as_ref().map(Reference::to_string);
    if as_json {
        let values = entries.iter().map(|entry| json!({ "reference": name(entry), "digest": entry.descriptor.digest }));
        return output::json(&Value::Array(values.collect()));
    }
    let lines = entries.iter().map(|entry| match name(entry) {
        Some(name) => format!("{name}@{}\n", entry.descriptor.digest),
        None => format!("{}\n", entry.descriptor.digest),
    });
    output::print(&lines.collect::<String>())
}
