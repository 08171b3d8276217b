//! Images as files: archives of `docker save` and of OCI layouts, layouts in directories, bare root file systems.
//!
//! An archive is read once, front to back, so it may come through a pipe: every file in it goes into the store under the
//! digest of its bytes, and what it was called is looked at only when all has been read. No name in an archive ever becomes a
//! path.

mod import;
mod layout;
mod load;
mod save;
mod stream;

pub use import::{ImportOptions, import};
pub use layout::load_layout;
pub use load::load;
pub use save::save;

use std::fs::File;
use std::path::Path;

use crate::base::{Error, Result, Step};
use crate::model::Descriptor;
use crate::reference::{Reference, Source};
use crate::store::{Entry, Store};

/// Brings the images of a file or directory into the store; those of a registry are pulled by [`crate::transfer::pull`].
pub fn load_source(store: &Store, source: &Source) -> Result<Vec<Entry>> {
    match source {
        Source::Registry(reference) => Ok(store.find(reference)?.into_iter().collect()),
        Source::DockerArchive(path, name) | Source::OciArchive(path, name) => {
            load(store, &mut open(path)?, name.as_deref()).map_err(|error| error.object_is(path.display().to_string()))
        }
        Source::OciDir(path, name) => load_layout(store, path, name.as_deref()),
        Source::RootFs(path) => {
            let entry = import(store, &mut open(path)?, &ImportOptions::default());
            Ok(vec![entry.map_err(|error| error.object_is(path.display().to_string()))?])
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::io(Step::ReadArchive, &error).object_is(path.display().to_string()))
}

/// The name that an index of a layout gives an image. A tag alone, as Docker and some tools write it, is no name.
fn named(descriptor: &Descriptor) -> Option<Reference> {
    let containerd = descriptor.annotations.get("io.containerd.image.name").and_then(|name| name.parse().ok());
    containerd.or_else(|| {
        let name = descriptor.annotations.get(crate::store::REF_NAME)?;
        name.contains([':', '/']).then(|| name.parse().ok())?
    })
}

/// Whether an image with these annotations and this name is the one that was asked for.
fn wanted(descriptor: &Descriptor, reference: Option<&Reference>, name: &str) -> bool {
    let annotated = descriptor.annotations.get(crate::store::REF_NAME).is_some_and(|mine| mine == name);
    annotated || (reference.is_some() && name.parse().ok().as_ref() == reference)
}
