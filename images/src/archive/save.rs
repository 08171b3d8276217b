//! Writing images as one archive that Docker, Podman, Skopeo and we load: an OCI layout with Docker's manifest.json beside.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::json;

use crate::base::{Digest, Error, Result, Step};
use crate::layer::tar;
use crate::model::{Descriptor, MediaType};
use crate::reference::Reference;
use crate::store::{Entry, REF_NAME, Store};

/// Writes the images of `entries` to `output`.
pub fn save(store: &Store, entries: &[Entry], output: &mut dyn Write) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(Step::WriteArchive, &error);
    let mut writer = tar::Writer::new(output);
    let documents = [
        ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        ("index.json", index(entries)),
        ("manifest.json", docker(store, entries)?),
    ];
    for (name, value) in documents {
        let text = value.to_string();
        writer.entry(&file(name, text.len() as u64), &mut text.as_bytes()).map_err(failed)?;
    }
    for name in ["blobs", "blobs/sha256", "blobs/sha512"] {
        let directory = tar::Entry { kind: tar::Kind::Directory, mode: 0o755, ..file(name, 0) };
        writer.entry(&directory, &mut std::io::empty()).map_err(failed)?;
    }
    let mut written = BTreeSet::new();
    for entry in entries {
        let manifest = store.manifest(&entry.descriptor)?;
        for blob in [&entry.descriptor, &manifest.config].into_iter().chain(&manifest.layers) {
            if written.insert(blob.digest) {
                let mut bytes = store.blob(&blob.digest)?;
                let entry = file(&path(&blob.digest), blob.size);
                writer.entry(&entry, &mut bytes).map_err(|error| failed(error).digest_is(&blob.digest))?;
            }
        }
    }
    writer.finish().map_err(failed)?.flush().map_err(failed)
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// A file of root's from 1970: the same images make the same archive.
fn file(name: &str, size: u64) -> tar::Entry {
    tar::Entry {
        path: name.as_bytes().to_vec(),
        kind: tar::Kind::File { size, pieces: None },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: tar::Time::default(),
        atime: None,
        xattrs: Vec::new(),
    }
}

fn index(entries: &[Entry]) -> serde_json::Value {
    let manifests: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut descriptor: Descriptor = entry.descriptor.clone();
            if let Some(reference) = &entry.reference {
                let name = reference.to_string();
                descriptor.annotations.insert(REF_NAME.to_owned(), name.clone());
                // Docker and containerd look here.
                descriptor.annotations.insert("io.containerd.image.name".to_owned(), name);
            }
            descriptor.to_json()
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests })
}

/// Docker's list of images: each once, with all of its names.
fn docker(store: &Store, entries: &[Entry]) -> Result<serde_json::Value> {
    let mut images: Vec<(Digest, Vec<String>, serde_json::Value)> = Vec::new();
    for entry in entries {
        let tag = entry.reference.as_ref().filter(|reference| reference.tag().is_some()).map(Reference::familiar);
        if let Some((_, tags, _)) = images.iter_mut().find(|(digest, ..)| *digest == entry.descriptor.digest) {
            tags.extend(tag);
            continue;
        }
        let manifest = store.manifest(&entry.descriptor)?;
        let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
        let value = json!({ "Config": path(&manifest.config.digest), "Layers": layers });
        images.push((entry.descriptor.digest, tag.into_iter().collect(), value));
    }
    let images = images.into_iter().map(|(_, tags, mut value)| {
        if let Some(object) = value.as_object_mut() {
            object.insert("RepoTags".to_owned(), json!(tags));
        }
        value
    });
    Ok(serde_json::Value::Array(images.collect()))
}
