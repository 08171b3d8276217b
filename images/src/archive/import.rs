//! A bare root file system as an image of one layer.

use std::io::{BufRead, Read};

use crate::archive::stream;
use crate::base::{Algorithm, Digest, Error, Hasher, Kind, Result, Step};
use crate::layer;
use crate::layer::tar;
use crate::model::{Compression, Descriptor, History, ImageConfig, Manifest, MediaType, Platform, Process, RootFs};
use crate::reference::Reference;
use crate::store::{Entry, Store};

/// What an imported root file system becomes.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name.
    pub reference: Option<Reference>,
    /// The platform that it is for; this machine's if not said.
    pub platform: Option<Platform>,
    /// What its containers run.
    pub process: Process,
    /// A remark in its history.
    pub message: String,
    /// When it was made, as RFC 3339 has it.
    pub created: Option<String>,
}

/// Makes an image of the tar archive `input`, compressed or not.
pub fn import(store: &Store, input: &mut dyn Read, options: &ImportOptions) -> Result<Entry> {
    let _adding = store.adding()?;
    let mut writer = store.writer(Algorithm::Sha256)?;
    std::io::copy(input, &mut writer).map_err(|error| Error::io(Step::ReadArchive, &error))?;
    let (digest, size) = writer.commit(None)?;
    let (diff_id, compression) = diff_id(store, &digest)?;
    let ending = match compression {
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
        Compression::None => "",
    };
    let layer = Descriptor::new(&format!("{}{ending}", MediaType::OCI_LAYER), digest, size);
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let config = ImageConfig {
        created: options.created.clone(),
        architecture: platform.architecture,
        variant: Some(platform.variant).filter(|variant| !variant.is_empty()),
        os: platform.os,
        config: options.process.clone(),
        rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
        history: vec![History {
            created: options.created.clone(),
            comment: options.message.clone(),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let text = serde_json::to_vec(&config)
        .map_err(|error| Error::new(Kind::InvalidArgument, Step::ReadImageConfig).reason_is(error.to_string()))?;
    let manifest = Manifest {
        media_type: MediaType::new(MediaType::OCI_MANIFEST),
        config: store.add(MediaType::OCI_CONFIG, &text)?,
        layers: vec![layer],
    };
    let descriptor = store.add(MediaType::OCI_MANIFEST, &manifest.to_json())?;
    let entry = Entry { reference: options.reference.clone(), descriptor, index: None };
    store.name(entry.clone())?;
    Ok(entry)
}

/// The digest of the uncompressed archive, which is read whole to see that it is one.
fn diff_id(store: &Store, digest: &Digest) -> Result<(Digest, Compression)> {
    let mut file = store.blob(digest)?;
    let (plain, compression) = stream::plain(&mut file)?;
    let hashed = Hashed { input: plain, hasher: Hasher::new(Algorithm::Sha256) };
    let mut reader = tar::Reader::new(hashed, layer::Limits::default());
    let mut entries = 0_u64;
    let told = |error: Error| {
        let reason = error.reason().map_or_else(|| error.to_string(), str::to_owned);
        Error::new(Kind::InvalidContent, Step::ReadArchive).reason_is(format!("not a tar archive: {reason}"))
    };
    while reader.entry().map_err(told)?.is_some() {
        entries += 1;
    }
    if entries == 0 {
        return Err(Error::new(Kind::InvalidContent, Step::ReadArchive).reason_is("an archive without any file"));
    }
    let hashed = reader.finish().map_err(told)?;
    Ok((hashed.hasher.finish(), compression))
}

/// Hashes what is consumed of a stream.
struct Hashed<'a> {
    input: Box<dyn BufRead + 'a>,
    hasher: Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl BufRead for Hashed<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        // What is consumed was shown by fill_buf just before, so it is still there.
        if let Ok(bytes) = self.input.fill_buf() {
            self.hasher.update(bytes.get(..length).unwrap_or_default());
        }
        self.input.consume(length);
    }
}
