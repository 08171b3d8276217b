//! Reads manifests and indexes: bounded, and refused where they contradict themselves.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::{Error, Kind, Result, Step};
use crate::model::{Descriptor, Limits, MediaType, Platform};

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// OCI's or Docker's.
    pub media_type: MediaType,
    /// The image's config.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// An index: one image for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// OCI's or Docker's.
    pub media_type: MediaType,
    /// The manifests, and perhaps further indexes.
    pub manifests: Vec<Descriptor>,
}

/// A document that a registry has under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// What both kinds of document have, and what tells them apart. A key that comes twice is an error of serde's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::new(Kind::InvalidContent, Step::ReadManifest).reason_is(reason)
}

impl Parsed {
    /// Reads a document whose media type was `declared` by the registry or the descriptor that led here.
    ///
    /// A document that is manifest and index at once, or of another type than it was declared to be, is refused: two
    /// readers could take it for two different images.
    pub fn read(bytes: &[u8], declared: Option<&MediaType>, limits: &Limits) -> Result<Self> {
        if bytes.len() as u64 > limits.manifest {
            return Err(
                wrong(format!("{} bytes, more than the {} allowed", bytes.len(), limits.manifest)).kind_is(Kind::Limit)
            );
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| wrong(not_json(bytes, &error)))?;
        if document.schema_version == Some(1) {
            return Err(wrong("a manifest of schema version 1, which Docker gave up in 2019")
                .kind_is(Kind::Unsupported)
                .hint_is("push the image again with a tool of today"));
        }
        if document.schema_version != Some(2) {
            return Err(wrong("schemaVersion is not 2"));
        }
        let inner = document.media_type;
        if let (Some(inner), Some(declared)) = (&inner, declared)
            && known(declared)
            && inner != declared
        {
            return Err(wrong(format!("its mediaType is {inner}, but {declared} was declared")));
        }
        let media_type = inner.or_else(|| declared.filter(|declared| known(declared)).cloned());
        match (document.manifests, document.config, document.layers) {
            (Some(manifests), None, None) => Index::checked(manifests, media_type, limits).map(Self::Index),
            (None, Some(config), Some(layers)) => {
                Manifest::checked(config, layers, media_type, limits).map(Self::Manifest)
            }
            (Some(_), ..) => Err(wrong("it has manifests beside layers or config: manifest and index at once")),
            _ => Err(wrong("it has neither config and layers nor manifests")),
        }
    }
}

fn known(media_type: &MediaType) -> bool {
    media_type.is_manifest() || media_type.is_index()
}

/// A page for people instead of a manifest is what proxies and login portals send.
fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    let start = bytes.trim_ascii_start();
    if start.first() == Some(&b'<') {
        return "it is HTML, not JSON: a proxy or a login page answers in the registry's place".to_owned();
    }
    format!("not valid: {error}")
}

impl Manifest {
    fn checked(
        config: Descriptor,
        layers: Vec<Descriptor>,
        media_type: Option<MediaType>,
        limits: &Limits,
    ) -> Result<Self> {
        let media_type = media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_MANIFEST));
        if !media_type.is_manifest() {
            return Err(wrong(format!("an image manifest that calls itself {media_type}")));
        }
        if layers.len() > limits.layers {
            let count = layers.len();
            return Err(wrong(format!("{count} layers, more than the {} allowed", limits.layers)).kind_is(Kind::Limit));
        }
        if config.size > limits.config {
            return Err(wrong(format!("a config of {} bytes, more than the {} allowed", config.size, limits.config))
                .kind_is(Kind::Limit));
        }
        if let Some(layer) = layers.iter().find(|layer| layer.size > limits.layer) {
            return Err(wrong(format!("a layer of {} bytes, more than the {} allowed", layer.size, limits.layer))
                .digest_is(&layer.digest)
                .kind_is(Kind::Limit));
        }
        let mut sizes = BTreeMap::new();
        for blob in layers.iter().chain([&config]) {
            if *sizes.entry(blob.digest).or_insert(blob.size) != blob.size {
                return Err(wrong("it names one blob with two sizes").digest_is(&blob.digest));
            }
        }
        Ok(Self { media_type, config, layers })
    }

    /// The same manifest as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let layers: Vec<_> = self.layers.iter().map(Descriptor::to_json).collect();
        let value = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": self.media_type.as_str(),
            "config": self.config.to_json(),
            "layers": layers,
        });
        value.to_string().into_bytes()
    }
}

impl Index {
    fn checked(manifests: Vec<Descriptor>, media_type: Option<MediaType>, limits: &Limits) -> Result<Self> {
        let media_type = media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_INDEX));
        if !media_type.is_index() {
            return Err(wrong(format!("an index that calls itself {media_type}")));
        }
        let count = manifests.len();
        if count > limits.entries {
            return Err(
                wrong(format!("{count} entries, more than the {} allowed", limits.entries)).kind_is(Kind::Limit)
            );
        }
        Ok(Self { media_type, manifests })
    }

    /// The entry for `wanted`: the first that fits, and of several variants of 32-bit ARM the newest.
    ///
    /// Entries for `unknown/unknown` are attestations of build tools, not images. An entry without a platform is taken
    /// only where no other fits.
    #[must_use]
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let usable = |each: &&Descriptor| known(&each.media_type);
        let fitting = self
            .manifests
            .iter()
            .filter(usable)
            .filter(|each| each.platform.as_ref().is_some_and(|platform| platform.fits(wanted)));
        let best = fitting.reduce(|best, next| {
            let variant = |each: &Descriptor| each.platform.as_ref().map(|platform| platform.variant.clone());
            if variant(next) > variant(best) { next } else { best }
        });
        best.or_else(|| self.manifests.iter().filter(usable).find(|each| each.platform.is_none()))
    }

    /// The platforms that it has, for messages.
    #[must_use]
    pub fn platforms(&self) -> String {
        let names = self.manifests.iter().filter_map(|each| each.platform.as_ref());
        let names: Vec<_> = names.filter(|each| each.os != "unknown").take(32).map(ToString::to_string).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
