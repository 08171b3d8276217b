//! Media types: Docker's and OCI's names for the same few things.

use std::fmt;

use serde::Deserialize;

/// How the tar archive of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// The media type of a descriptor or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

impl MediaType {
    /// OCI's image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI's image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI's image config.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// OCI's layer, as a plain tar archive; `+gzip` and `+zstd` are appended to it.
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image config.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";

    /// The media type written as `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names an image manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        [Self::OCI_MANIFEST, Self::DOCKER_MANIFEST].contains(&self.0.as_str())
    }

    /// Whether it names an index of manifests.
    #[must_use]
    pub fn is_index(&self) -> bool {
        [Self::OCI_INDEX, Self::DOCKER_LIST].contains(&self.0.as_str())
    }

    /// Whether it names the config of an image that can run.
    #[must_use]
    pub fn is_image_config(&self) -> bool {
        [Self::OCI_CONFIG, Self::DOCKER_CONFIG].contains(&self.0.as_str())
    }

    /// Whether it names a layer that registries need not hold, and that Orlop refuses.
    #[must_use]
    pub fn is_foreign_layer(&self) -> bool {
        self.0.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
            || self.0.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
    }

    /// How the layer with this type is compressed; `None` if it names no layer that Orlop can unpack.
    #[must_use]
    pub fn layer(&self) -> Option<Compression> {
        if let Some(rest) = self.0.strip_prefix(Self::OCI_LAYER) {
            return match rest {
                "" => Some(Compression::None),
                "+gzip" => Some(Compression::Gzip),
                "+zstd" => Some(Compression::Zstd),
                _ => None,
            };
        }
        match self.0.strip_prefix("application/vnd.docker.image.rootfs.diff.tar")? {
            "" => Some(Compression::None),
            ".gzip" => Some(Compression::Gzip),
            ".zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_known_by_both_names() {
        for (text, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+bzip2", None),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None),
            ("text/html", None),
        ] {
            assert_eq!(MediaType::new(text).layer(), compression, "{text}");
        }
        assert!(MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_foreign_layer());
    }
}
