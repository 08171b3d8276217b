//! index.json: which images there are, and under which names.

use serde::Deserialize;

use crate::base::{Digest, Error, Kind, Result, Step};
use crate::model::{Descriptor, MediaType};
use crate::reference::Reference;
use crate::store::{INDEX_PATIENCE, Store};

/// The annotation that holds an image's name, as the image layout specification has it.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that holds the digest of the index from which an image was chosen.
const FROM_INDEX: &str = "io.orlop.image.index";
/// The longest index that is read.
const LONGEST: u64 = 64 << 20;

/// One image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; none for an image that was loaded without one.
    pub reference: Option<Reference>,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// The index from which it was chosen for this platform, if it was.
    pub index: Option<Digest>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Entry {
    fn new(mut descriptor: Descriptor) -> Self {
        let reference = descriptor.annotations.remove(REF_NAME).and_then(|name| name.parse().ok());
        let index = descriptor.annotations.remove(FROM_INDEX).and_then(|digest| digest.parse().ok());
        Self { reference, descriptor, index }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut descriptor = self.descriptor.clone();
        if let Some(reference) = &self.reference {
            descriptor.annotations.insert(REF_NAME.to_owned(), reference.to_string());
        }
        if let Some(index) = &self.index {
            descriptor.annotations.insert(FROM_INDEX.to_owned(), index.to_string());
        }
        descriptor.to_json()
    }

    /// Whether this is the image that `wanted` names: by its name, or by the digest of its manifest or index in the same
    /// repository.
    fn is(&self, wanted: &Reference) -> bool {
        let Some(reference) = &self.reference else { return false };
        match wanted.digest() {
            None => reference == wanted,
            Some(digest) => {
                reference.name() == wanted.name()
                    && (self.descriptor.digest == *digest || self.index.as_ref() == Some(digest))
            }
        }
    }
}

impl Store {
    /// The images of the store, sorted by name.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let Some(text) = self.images.read(Step::ReadIndex, "index.json", LONGEST)? else { return Ok(Vec::new()) };
        let file: File = serde_json::from_slice(&text).map_err(|error| {
            Error::new(Kind::Damaged, Step::ReadIndex)
                .object_is(self.images.path().join("index.json").display().to_string())
                .reason_is(error.to_string())
        })?;
        let mut entries: Vec<_> = file.manifests.into_iter().map(Entry::new).collect();
        entries.sort_by(|a, b| (&a.reference, a.descriptor.digest).cmp(&(&b.reference, b.descriptor.digest)));
        Ok(entries)
    }

    /// Replaces the list of images by what `change` makes of it. Others wait.
    pub fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<T>) -> Result<T> {
        let _lock = self.lock("index.lock", true, INDEX_PATIENCE)?;
        let mut entries = self.entries()?;
        let before = entries.clone();
        let done = change(&mut entries)?;
        if entries != before || self.images.stat(Step::ReadIndex, "index.json")?.is_none() {
            let manifests: Vec<_> = entries.iter().map(Entry::to_json).collect();
            let value = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OCI_INDEX,
                "manifests": manifests,
            });
            self.images.replace(Step::WriteIndex, "index.json", value.to_string().as_bytes())?;
        }
        Ok(done)
    }

    /// Gives an image its name, taking it from the image that had it.
    pub fn name(&self, entry: Entry) -> Result<()> {
        self.change(|entries| {
            // An image without a name stays only as long as none of its names is there.
            entries.retain(|old| match &old.reference {
                Some(reference) => Some(reference) != entry.reference.as_ref(),
                None => old.descriptor.digest != entry.descriptor.digest,
            });
            entries.push(entry);
            Ok(())
        })
    }

    /// The image that `reference` names.
    pub fn find(&self, reference: &Reference) -> Result<Option<Entry>> {
        Ok(self.entries()?.into_iter().find(|entry| entry.is(reference)))
    }

    /// The image that `text` names: a reference, or the beginning of the digest of its config or manifest, which must be
    /// that of one image only.
    pub fn lookup(&self, text: &str) -> Result<Entry> {
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(entry) = self.find(reference)?
        {
            return Ok(entry);
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let id = hex.len() >= 4 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found: Vec<Entry> = Vec::new();
        if id {
            for entry in self.entries()? {
                let config = self.manifest(&entry.descriptor).ok().map(|manifest| manifest.config.digest);
                let begins = |digest: &Digest| digest.hex().starts_with(hex);
                let matches = begins(&entry.descriptor.digest) || config.as_ref().is_some_and(begins);
                if matches && found.iter().all(|other| other.descriptor.digest != entry.descriptor.digest) {
                    found.push(entry);
                }
            }
        }
        let error = |kind, reason: &str| Err(Error::new(kind, Step::ReadIndex).object_is(text).reason_is(reason));
        match (found.pop(), found.is_empty(), reference) {
            (Some(entry), true, _) => Ok(entry),
            (Some(_), false, _) => error(Kind::InvalidArgument, "several images have an id that begins so"),
            (None, _, Err(wrong)) if !id => Err(wrong),
            (None, ..) => error(Kind::NotFound, "there is no such image in the store").map_err(|error| {
                error.hint_is("orlop image list shows what there is, orlop image pull fetches an image")
            }),
        }
    }
}
