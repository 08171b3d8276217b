//! `orlop image tag`.

use orlop_images::Reference;
use orlop_images::store::Entry;

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "tag: IMAGE REFERENCE
give an image another name

The image keeps the names that it has. A name that another image had goes to this one.

$ orlop image tag nginx localhost:5000/web:1
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let words = args.words_as_text()?;
    let [image, name] = words.as_slice() else { return Ok(0) };
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Failure::usage(format!("{name}: a digest is not given, it belongs to an image")));
    }
    let store = session.store()?;
    let entry = store.lookup(image)?;
    store.name(Entry { reference: Some(reference), ..entry })?;
    Ok(0)
}
