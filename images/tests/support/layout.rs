//! OCI image layouts, made of archives.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use orlop_images::model::{Limits, Manifest};
use orlop_images::{Descriptor, Digest, Image};
use serde_json::json;

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image on disk, as `oci:PATH:latest`.
pub struct Layout {
    path: PathBuf,
    manifest: Descriptor,
    config: Vec<u8>,
}

impl Layout {
    /// Makes an image of archives, the lowest first.
    pub fn make(path: &Path, layers: &[Vec<u8>]) -> Self {
        Self::with_config(path, layers, &json!({ "Cmd": ["/bin/true"] }))
    }

    /// The same with what a container of it runs.
    pub fn with_config(path: &Path, layers: &[Vec<u8>], config: &serde_json::Value) -> Self {
        let compressed = layers.iter().map(|layer| (gzip(layer), "+gzip", Digest::of(layer)));
        Self::build(path, "latest", compressed, config)
    }

    /// Adds an image called `name` to those that are there.
    pub fn add(path: &Path, name: &str, layers: &[Vec<u8>], config: &serde_json::Value) -> Self {
        let compressed = layers.iter().map(|layer| (gzip(layer), "+gzip", Digest::of(layer)));
        Self::build(path, name, compressed, config)
    }

    /// Makes an image of blobs with the ends of their media types and the digests of their archives.
    pub fn of_blobs<'a>(path: &Path, blobs: impl Iterator<Item = (Vec<u8>, &'a str, Digest)>) -> Self {
        Self::build(path, "latest", blobs, &json!({ "Cmd": ["/bin/true"] }))
    }

    fn build<'a>(
        path: &Path,
        name: &str,
        blobs: impl Iterator<Item = (Vec<u8>, &'a str, Digest)>,
        process: &serde_json::Value,
    ) -> Self {
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        let mut layout = Self { path: path.to_owned(), manifest: Descriptor::of("x", b""), config: Vec::new() };
        let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
        for (blob, kind, diff_id) in blobs {
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{kind}");
            descriptors.push(layout.write(&media_type, &blob).to_json());
            diff_ids.push(diff_id.to_string());
        }
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": process,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        layout.config = config.to_string().into_bytes();
        let config = layout.write("application/vnd.oci.image.config.v1+json", &layout.config);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config.to_json(), "layers": descriptors });
        layout.manifest = layout.write(media_type, manifest.to_string().as_bytes());
        let mut entry = layout.manifest.to_json();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let there = std::fs::read(path.join("index.json")).ok();
        let mut index: serde_json::Value = there.map_or_else(
            || json!({ "schemaVersion": 2, "manifests": [] }),
            |text| serde_json::from_slice(&text).unwrap(),
        );
        index["manifests"].as_array_mut().unwrap().push(entry);
        std::fs::write(path.join("index.json"), index.to_string()).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout
    }

    /// Opens one that is there.
    pub fn open(path: &Path) -> Self {
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("index.json")).unwrap()).unwrap();
        let entry = &index["manifests"][0];
        let digest: Digest = entry["digest"].as_str().unwrap().parse().unwrap();
        let manifest = Descriptor::new(entry["mediaType"].as_str().unwrap(), digest, entry["size"].as_u64().unwrap());
        let mut layout = Self { path: path.to_owned(), manifest, config: Vec::new() };
        let text = std::fs::read(layout.path_of(&digest)).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let config: Digest = config["config"]["digest"].as_str().unwrap().parse().unwrap();
        layout.config = std::fs::read(layout.path_of(&config)).unwrap();
        layout
    }

    fn write(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        std::fs::write(self.path_of(&descriptor.digest), bytes).unwrap();
        descriptor
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn blob(&self, digest: &Digest) -> File {
        File::open(self.path_of(digest)).unwrap()
    }

    pub fn image(&self) -> Image {
        let bytes = std::fs::read(self.path_of(&self.manifest.digest)).unwrap();
        let parsed = orlop_images::model::Parsed::read(&bytes, None, &Limits::default()).unwrap();
        let orlop_images::model::Parsed::Manifest(manifest) = parsed else { panic!("no manifest") };
        let manifest: Manifest = manifest;
        Image::new(None, self.manifest.clone(), &manifest, &self.config).unwrap()
    }
}
