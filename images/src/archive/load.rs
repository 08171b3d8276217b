//! Archives of `docker save`, `podman save` and OCI layouts.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::Deserialize;

use crate::archive::{named, stream, wanted};
use crate::base::{Algorithm, Digest, Error, Kind, Result, Step};
use crate::layer;
use crate::layer::tar;
use crate::model::{Compression, Descriptor, Image, Index, Limits, Manifest, MediaType, Parsed, Platform};
use crate::reference::Reference;
use crate::store::{Entry, Store};

/// The most files that an archive may have, far above any image.
const FILES: usize = 20_000;
/// The longest name of one.
const NAME: usize = 4095;
/// How many links one name may lead through.
const LINKS: usize = 8;

/// A file of the archive, now a blob of the store.
#[derive(Debug, Clone)]
struct Member {
    digest: Digest,
    size: u64,
    compression: Option<Compression>,
}

/// All that an archive holds, by name.
#[derive(Debug, Default)]
struct Contents {
    members: BTreeMap<String, Member>,
    links: BTreeMap<String, String>,
}

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::new(Kind::InvalidContent, Step::ReadArchive).reason_is(reason)
}

/// Brings the images of an archive into the store, compressed or not; only the one called `name` if there is a name.
pub fn load(store: &Store, input: &mut dyn Read, name: Option<&str>) -> Result<Vec<Entry>> {
    let _adding = store.adding()?;
    let (plain, _) = stream::plain(input)?;
    let contents = Contents::read(store, plain)?;
    let entries = match (contents.find("index.json"), contents.find("manifest.json")) {
        (Some(index), _) => of_layout(store, index, name)?,
        (None, Some(manifest)) => of_docker(store, &contents, manifest, name)?,
        (None, None) => {
            return Err(wrong("it has neither index.json nor manifest.json, so it is no archive of images")
                .hint_is("orlop image import takes a root file system"));
        }
    };
    if entries.is_empty() {
        let what =
            name.map_or_else(|| "it holds no image".to_owned(), |name| format!("it holds no image called {name}"));
        return Err(Error::new(Kind::NotFound, Step::ReadArchive).reason_is(what));
    }
    for entry in &entries {
        store.name(entry.clone())?;
    }
    Ok(entries)
}

impl Contents {
    fn read(store: &Store, input: impl std::io::BufRead) -> Result<Self> {
        let archive = |error: Error| {
            let told = Error::new(error.kind(), Step::ReadArchive);
            told.reason_is(error.reason().map_or_else(|| error.to_string(), str::to_owned))
        };
        let mut reader = tar::Reader::new(input, layer::Limits::default());
        let mut contents = Self::default();
        while let Some(entry) = reader.entry().map_err(archive)? {
            if entry.path.len() > NAME {
                return Err(
                    wrong(format!("a name of {} bytes; {NAME} are allowed", entry.path.len())).kind_is(Kind::Limit)
                );
            }
            let name = tidy(&String::from_utf8_lossy(&entry.path));
            if contents.members.len() + contents.links.len() >= FILES {
                return Err(wrong(format!("more than {FILES} files")).kind_is(Kind::Limit));
            }
            match entry.kind {
                tar::Kind::File { .. } => {
                    let member = member(store, &name, &mut reader)?;
                    if contents.members.insert(name.clone(), member).is_some() {
                        return Err(wrong(format!("{name:?} is in it twice")));
                    }
                }
                tar::Kind::Symlink(target) => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let target = tidy(&format!("{folder}/{}", String::from_utf8_lossy(&target)));
                    contents.links.insert(name, target);
                }
                tar::Kind::HardLink(target) => {
                    contents.links.insert(name, tidy(&String::from_utf8_lossy(&target)));
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    /// The file called `name`, through links of the archive.
    fn find(&self, name: &str) -> Option<&Member> {
        let mut name = tidy(name);
        for _ in 0..=LINKS {
            if let Some(member) = self.members.get(&name) {
                return Some(member);
            }
            name.clone_from(self.links.get(&name)?);
        }
        None
    }
}

/// A name in one form: without `.`, `..` and double slashes.
fn tidy(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Writes the present file of the archive into the store. One that is called by a digest must have it.
fn member<R: std::io::BufRead>(store: &Store, name: &str, reader: &mut tar::Reader<R>) -> Result<Member> {
    let called: Option<Digest> = name.strip_prefix("blobs/").and_then(|rest| rest.replacen('/', ":", 1).parse().ok());
    let mut writer = store.writer(called.map_or(Algorithm::Sha256, |digest| digest.algorithm()))?;
    let mut begin = Vec::new();
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        begin.extend_from_slice(chunk.get(..length.min(6 - begin.len().min(6))).unwrap_or_default());
        writer.write_all(chunk).map_err(|error| Error::io(Step::WriteBlob, &error).object_is(name))?;
        reader.consume(length);
    }
    let (digest, size) = writer.commit(called.as_ref())?;
    // What cannot be decompressed may still be something else than a layer.
    Ok(Member { digest, size, compression: stream::compression(&begin).ok() })
}

fn read(store: &Store, member: &Member, limit: u64) -> Result<Vec<u8>> {
    store.small_blob(&Descriptor::new("", member.digest, member.size), limit)
}

/// The images of an index.json; of an index for several platforms, the one for this machine.
fn of_layout(store: &Store, index: &Member, name: Option<&str>) -> Result<Vec<Entry>> {
    let limits = Limits::default();
    let bytes = read(store, index, limits.manifest)?;
    let Parsed::Index(index) = Parsed::read(&bytes, Some(&MediaType::new(MediaType::OCI_INDEX)), &limits)? else {
        return Err(wrong("its index.json is no index"));
    };
    let mut entries = Vec::new();
    for descriptor in index.manifests {
        let reference = named(&descriptor);
        if name.is_none_or(|name| wanted(&descriptor, reference.as_ref(), name)) {
            let asked = name.and_then(|name| name.contains([':', '/']).then(|| name.parse().ok())?);
            entries.push(entry(store, &descriptor, reference.or(asked))?);
        }
    }
    Ok(entries)
}

/// Follows indexes to the image for this machine, and checks that all of it is in the store.
pub(super) fn entry(store: &Store, descriptor: &Descriptor, reference: Option<Reference>) -> Result<Entry> {
    let mut descriptor = Descriptor::new(descriptor.media_type.as_str(), descriptor.digest, descriptor.size);
    let mut index = None;
    for _ in 0..=Limits::default().depth {
        match store.document(&descriptor)? {
            Parsed::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if !store.has(blob)? {
                        return Err(wrong("a blob of the image is missing").digest_is(&blob.digest));
                    }
                }
                descriptor.media_type = manifest.media_type;
                let entry = Entry { reference, descriptor, index };
                store.image(&entry)?;
                return Ok(entry);
            }
            Parsed::Index(Index { manifests, .. }) => {
                index.get_or_insert(descriptor.digest);
                let parsed = Index { media_type: descriptor.media_type.clone(), manifests };
                let host = Platform::host();
                let chosen = parsed.choose(&host).ok_or_else(|| {
                    Error::new(Kind::NotFound, Step::ReadArchive)
                        .reason_is(format!("it has no image for {host}; it has: {}", parsed.platforms()))
                })?;
                descriptor = Descriptor::new(chosen.media_type.as_str(), chosen.digest, chosen.size);
            }
        }
    }
    Err(wrong("indexes are nested too deep").kind_is(Kind::Limit))
}

/// The images of a manifest.json, which get a manifest of their own.
fn of_docker(store: &Store, contents: &Contents, manifest: &Member, name: Option<&str>) -> Result<Vec<Entry>> {
    let bytes = read(store, manifest, Limits::default().manifest)?;
    let saved: Vec<Saved> =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("its manifest.json is not valid: {error}")))?;
    let mut entries = Vec::new();
    for image in saved {
        let tags = image.repo_tags.iter().flatten().map(|tag| tag.parse());
        let mut tags: Vec<Reference> = tags.collect::<Result<_>>()?;
        if let Some(name) = name {
            let wanted: Reference = name.parse()?;
            tags.retain(|tag| *tag == wanted);
            if tags.is_empty() {
                continue;
            }
        }
        let descriptor = convert(store, contents, &image)?;
        let names: Vec<Option<Reference>> =
            if tags.is_empty() { vec![None] } else { tags.into_iter().map(Some).collect() };
        entries.extend(names.into_iter().map(|reference| Entry {
            reference,
            descriptor: descriptor.clone(),
            index: None,
        }));
    }
    Ok(entries)
}

/// Makes an OCI manifest for an image of `docker save`.
fn convert(store: &Store, contents: &Contents, image: &Saved) -> Result<Descriptor> {
    let limits = Limits::default();
    let missing = |name: &str| wrong(format!("{name:?}, which its manifest.json names, is not in it"));
    let config = contents.find(&image.config).ok_or_else(|| missing(&image.config))?;
    let bytes = read(store, config, limits.config)?;
    if image.layers.len() > limits.layers {
        return Err(wrong(format!("{} layers, more than the {} allowed", image.layers.len(), limits.layers)));
    }
    let mut layers = Vec::new();
    for name in &image.layers {
        let member = contents.find(name).ok_or_else(|| missing(name))?;
        let ending = match member.compression {
            Some(Compression::Gzip) => "+gzip",
            Some(Compression::Zstd) => "+zstd",
            Some(Compression::None) => "",
            None => return Err(wrong(format!("the layer {name:?} is compressed in a way that is not supported"))),
        };
        layers.push(Descriptor::new(&format!("{}{ending}", MediaType::OCI_LAYER), member.digest, member.size));
    }
    let manifest = Manifest {
        media_type: MediaType::new(MediaType::OCI_MANIFEST),
        config: Descriptor::new(MediaType::OCI_CONFIG, config.digest, config.size),
        layers,
    };
    let json = manifest.to_json();
    let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &json);
    let checked = Image::new(None, descriptor.clone(), &manifest, &bytes)?;
    let differs = checked
        .layers
        .iter()
        .find(|layer| layer.compression == Compression::None && layer.diff_id != layer.blob.digest);
    if let Some(layer) = differs {
        return Err(wrong(format!("the config says {} of a layer that has another digest", layer.diff_id))
            .digest_is(&layer.blob.digest));
    }
    store.add_as(descriptor, &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_archive_are_tidied() {
        for (name, tidied) in
            [("./a//b", "a/b"), ("../../etc/passwd", "etc/passwd"), ("/a/../b", "b"), ("a/b/../../..", "")]
        {
            assert_eq!(tidy(name), tidied);
        }
    }
}
