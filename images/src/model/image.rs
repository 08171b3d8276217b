//! An image: its manifest and config, read together and checked against each other.

use crate::base::{Digest, Error, Kind, Result, Step};
use crate::model::{Compression, Descriptor, ImageConfig, Manifest, Platform};
use crate::reference::Reference;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob, as it is stored and carried.
    pub blob: Descriptor,
    /// The digest of the uncompressed tar archive.
    pub diff_id: Digest,
    /// How the blob is compressed.
    pub compression: Compression,
}

/// An image of the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name under which it was found; none for an image that has only a digest.
    pub reference: Option<Reference>,
    /// Its manifest.
    pub manifest: Descriptor,
    /// The blob of its config.
    pub config_blob: Descriptor,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// The platform it is for.
    pub platform: Platform,
}

impl Image {
    /// Joins a manifest and the bytes of its config.
    ///
    /// The config must name one uncompressed digest per layer; foreign layers and blobs that are no layers are refused.
    pub fn new(
        reference: Option<Reference>,
        descriptor: Descriptor,
        manifest: &Manifest,
        config: &[u8],
    ) -> Result<Self> {
        let wrong = |reason: String| {
            let error = Error::new(Kind::InvalidContent, Step::ReadImageConfig).digest_is(&manifest.config.digest);
            error.reason_is(reason)
        };
        if !manifest.config.media_type.is_image_config() {
            let reason = format!("its type is {}: an artifact, not an image that runs", manifest.config.media_type);
            return Err(wrong(reason).kind_is(Kind::Unsupported));
        }
        let parsed: ImageConfig =
            serde_json::from_slice(config).map_err(|error| wrong(format!("not valid: {error}")))?;
        let diff_ids = &parsed.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(wrong(format!("{} diff_ids for {} layers", diff_ids.len(), manifest.layers.len())));
        }
        let layers = manifest.layers.iter().zip(diff_ids).map(|(blob, diff_id)| {
            Ok(Layer { compression: compression(blob)?, blob: blob.clone(), diff_id: *diff_id })
        });
        let layers = layers.collect::<Result<_>>()?;
        let platform = platform(&parsed);
        Ok(Self {
            reference,
            manifest: descriptor,
            config_blob: manifest.config.clone(),
            config: parsed,
            layers,
            platform,
        })
    }

    /// The sum of its layers as they are stored.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.size).sum()
    }
}

fn platform(config: &ImageConfig) -> Platform {
    let variant = config.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
    let text = format!("{}/{}{variant}", config.os, config.architecture);
    // What no platform is written like cannot be run, but it can still be carried.
    text.parse().unwrap_or(Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: String::new(),
    })
}

fn compression(blob: &Descriptor) -> Result<Compression> {
    let error = |reason: String| {
        Err(Error::new(Kind::Unsupported, Step::ReadManifest).digest_is(&blob.digest).reason_is(reason))
    };
    if blob.media_type.is_foreign_layer() {
        return error(format!("a layer of type {} lies outside registries, which is not supported", blob.media_type));
    }
    match blob.media_type.layer() {
        Some(compression) => Ok(compression),
        None => error(format!("{} is no layer that can be unpacked", blob.media_type)),
    }
}
