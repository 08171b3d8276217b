//! An image out of a container: that of its root file system, with a layer of what has changed.

use crate::base::{Algorithm, Cancel, Digest, Error, Kind, Result, Step};
use crate::model::{Compression, Descriptor, History, Image, Layer, Manifest, MediaType};
use crate::reference::Reference;
use crate::snapshot::Snapshot;
use crate::store::{Entry, Store};

/// Makes the image `reference`: the image of `snapshot` and a layer of its changes, without `mount_points`.
pub fn commit(
    store: &Store,
    snapshot: &Snapshot,
    mount_points: &[&str],
    reference: &Reference,
    message: &str,
    cancel: &Cancel,
) -> Result<Image> {
    let base = base_of(store, snapshot)?;
    let _adding = store.adding()?;
    let (layer, diff_id) = write_layer(store, snapshot, mount_points, cancel)?;
    let mut config = base.config.clone();
    config.rootfs.diff_ids.push(diff_id);
    config.history.push(History {
        created_by: "orlop image commit".to_owned(),
        comment: message.to_owned(),
        ..History::default()
    });
    let text = serde_json::to_vec(&config);
    let text = text.map_err(|error| Error::new(Kind::System, Step::WriteBlob).reason_is(error.to_string()))?;
    let config = store.add(MediaType::OCI_CONFIG, &text)?;
    let mut layers: Vec<Descriptor> = base.layers.iter().map(renamed).collect();
    layers.push(layer);
    let manifest = Manifest { media_type: MediaType::new(MediaType::OCI_MANIFEST), config, layers };
    let descriptor = store.add(MediaType::OCI_MANIFEST, &manifest.to_json())?;
    let entry = Entry { reference: Some(reference.clone()), descriptor, index: None };
    store.name(entry.clone())?;
    store.image(&entry)
}

/// A layer under OCI's name for its type, whatever Docker calls it: manifests do not mix them.
fn renamed(layer: &Layer) -> Descriptor {
    let ending = match layer.compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    Descriptor::new(&format!("{}{ending}", MediaType::OCI_LAYER), layer.blob.digest, layer.blob.size)
}

fn base_of(store: &Store, snapshot: &Snapshot) -> Result<Image> {
    let digest = snapshot.image();
    let entry = store.entries()?.into_iter().find(|entry| entry.descriptor.digest == *digest);
    let entry = entry.ok_or_else(|| {
        let error = Error::new(Kind::NotFound, Step::ReadManifest).digest_is(digest);
        error.reason_is("the image of the container is no longer in the store").hint_is("pull it again")
    })?;
    store.image(&entry)
}

/// Writes the layer, compressed, into the store.
fn write_layer(
    store: &Store,
    snapshot: &Snapshot,
    mount_points: &[&str],
    cancel: &Cancel,
) -> Result<(Descriptor, Digest)> {
    let failed = |error: std::io::Error| Error::io(Step::WriteBlob, &error);
    let mut writer = store.writer(Algorithm::Sha256)?;
    let mut encoder = flate2::write::GzEncoder::new(&mut writer, flate2::Compression::new(6));
    let diff_id = snapshot.write_layer(mount_points, &mut encoder, cancel)?;
    encoder.finish().map_err(failed)?;
    let (digest, size) = writer.commit(None)?;
    let media_type = format!("{}+gzip", MediaType::OCI_LAYER);
    Ok((Descriptor::new(&media_type, digest, size), diff_id))
}
