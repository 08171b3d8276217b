//! OCI layouts in directories.

use std::io::Read;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::archive::{load, named, wanted};
use crate::base::{Digest, Dir, Error, Kind, Result, Step};
use crate::model::{Descriptor, Index, Limits, Manifest, MediaType, Parsed, Platform};
use crate::store::{Entry, Store};

/// Brings the images of the layout in `path` into the store; only the one called `name` if there is a name.
pub fn load_layout(store: &Store, path: &Path, name: Option<&str>) -> Result<Vec<Entry>> {
    let _adding = store.adding()?;
    let shown = path.display().to_string();
    let wrong = |kind, reason: String| Error::new(kind, Step::ReadArchive).object_is(&shown).reason_is(reason);
    let layout = Layout { dir: Dir::open(Step::ReadArchive, path)? };
    let limits = Limits::default();
    let bytes = layout.dir.read(Step::ReadArchive, "index.json", limits.manifest)?;
    let bytes = bytes.ok_or_else(|| wrong(Kind::NotFound, "it has no index.json: no OCI layout".to_owned()))?;
    let Parsed::Index(index) = Parsed::read(&bytes, Some(&MediaType::new(MediaType::OCI_INDEX)), &limits)? else {
        return Err(wrong(Kind::InvalidContent, "its index.json is no index".to_owned()));
    };
    let mut entries = Vec::new();
    for descriptor in &index.manifests {
        let reference = named(descriptor);
        if name.is_none_or(|name| wanted(descriptor, reference.as_ref(), name)) {
            layout.copy(store, descriptor, 0)?;
            let asked = name.and_then(|name| name.contains([':', '/']).then(|| name.parse().ok())?);
            entries.push(load::entry(store, descriptor, reference.or(asked))?);
        }
    }
    if entries.is_empty() {
        let what = name.map_or_else(String::new, |name| format!(" called {name}"));
        return Err(wrong(Kind::NotFound, format!("it holds no image{what}")));
    }
    for entry in &entries {
        store.name(entry.clone())?;
    }
    Ok(entries)
}

struct Layout {
    dir: Dir,
}

impl Layout {
    /// Copies a document and what it leads to; of an index, the image for this machine.
    fn copy(&self, store: &Store, descriptor: &Descriptor, depth: usize) -> Result<()> {
        let limits = Limits::default();
        if depth > limits.depth {
            return Err(Error::new(Kind::Limit, Step::ReadArchive).reason_is("indexes are nested too deep"));
        }
        self.blob(store, descriptor)?;
        match store.document(descriptor)? {
            Parsed::Manifest(Manifest { config, layers, .. }) => {
                layers.iter().chain([&config]).try_for_each(|blob| self.blob(store, blob))
            }
            Parsed::Index(index) => match Index::choose(&index, &Platform::host()) {
                Some(chosen) => self.copy(store, chosen, depth + 1),
                None => Ok(()),
            },
        }
    }

    /// Copies one blob, and checks it on the way.
    fn blob(&self, store: &Store, blob: &Descriptor) -> Result<()> {
        if store.has(blob)? {
            return Ok(());
        }
        let name = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        let file = self.dir.file(Step::ReadArchive, &name(&blob.digest), OFlag::O_RDONLY)?;
        let file = file.ok_or_else(|| {
            let error = Error::new(Kind::NotFound, Step::ReadArchive).digest_is(&blob.digest);
            error.reason_is(format!("it is not in the layout {}", self.dir.path().display()))
        })?;
        let mut writer = store.writer(blob.digest.algorithm())?;
        // One byte more than it should have is enough to see that it is another blob.
        std::io::copy(&mut file.take(blob.size.saturating_add(1)), &mut writer)
            .map_err(|error| Error::io(Step::ReadArchive, &error).digest_is(&blob.digest))?;
        writer.commit(Some(&blob.digest)).map(|_| ())
    }
}
