//! Descriptors: what kind of blob, how long, with which digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::base::Digest;
use crate::model::{MediaType, Platform};

/// Describes a blob: the digest and the size are what it must have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The platform that a manifest is for, where an index says it.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Annotations, sorted by key.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A descriptor without platform and annotations.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: MediaType::new(media_type), digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// As JSON, in one order of fields.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "mediaType": self.media_type.as_str(),
            "digest": self.digest.to_string(),
            "size": self.size,
        });
        if let Some(object) = value.as_object_mut() {
            if let Some(platform) = &self.platform {
                object.insert("platform".to_owned(), platform.to_json());
            }
            if !self.annotations.is_empty() {
                object.insert("annotations".to_owned(), serde_json::json!(self.annotations));
            }
        }
        value
    }
}

/// Programs in Go write an empty map as null.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
