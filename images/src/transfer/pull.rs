//! From a registry into the store.

use std::io::Read;

use crate::base::{Cancel, Digest, Error, Event, Kind, Progress, Result, Step};
use crate::model::{Descriptor, Image, Manifest, Parsed, Platform};
use crate::reference::Reference;
use crate::registry::{Attempt, Attempts, Found, Registry, Repository};
use crate::store::{Begun, Entry, Partial, Store};
use crate::transfer::crew::{self, Stop};

/// The bytes that are read, hashed and written at once.
const PIECE: usize = 256 << 10;

/// How many bytes an attempt must bring to count as progress: less is no faster than a connection that counts as stalled.
const PROGRESS: u64 = 16 << 10;

/// How an image is pulled.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Which of an index's images; this machine's if not said.
    pub platform: Option<Platform>,
    /// How many layers at once.
    pub jobs: usize,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { platform: None, jobs: 4 }
    }
}

/// Fetches the image called `reference` into the store and gives it that name. What is there is not fetched again, what an
/// earlier attempt has left is gone on with.
pub fn pull(
    store: &Store,
    registry: &Registry,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    let named = |error: Error| error.reference_is(reference);
    let _adding = store.adding()?;
    let sources = registry.sources(reference)?;
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let (chosen, sources) = choose(registry, &sources, reference, &wanted, progress).map_err(named)?;
    let limits = registry.options().limits;
    let from = sources.first().ok_or_else(|| named(Error::new(Kind::NotFound, Step::FetchManifest)))?;
    let config = fetch_config(store, from, &chosen.manifest.config, limits.config, progress).map_err(named)?;
    let descriptor = chosen.found.descriptor.clone();
    let image = Image::new(Some(reference.clone()), descriptor.clone(), &chosen.manifest, &config).map_err(named)?;
    if chosen.index.is_some() && image.platform != wanted && !image.platform.fits(&wanted) {
        progress.event(Event::Note(&format!("{reference} says it is for {}, not {wanted}", image.platform)));
    }
    let mut layers: Vec<&Descriptor> = Vec::new();
    for layer in &chosen.manifest.layers {
        if layers.iter().all(|other| other.digest != layer.digest) {
            layers.push(layer);
        }
    }
    crew::each(&layers, options.jobs.max(1), |layer, stop| fetch(store, sources, layer, stop, progress))
        .map_err(named)?;
    // The documents come last, so that a manifest in the store has all that it names.
    store.add_as(chosen.manifest.config.clone(), &config)?;
    store.add_as(descriptor.clone(), &chosen.found.bytes)?;
    store.name(Entry { reference: Some(reference.clone()), descriptor, index: chosen.index })?;
    Ok(image)
}

/// One image of one registry.
struct Chosen {
    found: Found,
    manifest: Manifest,
    index: Option<Digest>,
}

/// Finds the manifest for `wanted` in the first source that has it; returns that source and those after it.
fn choose<'a, 'r>(
    registry: &Registry,
    sources: &'a [Repository<'r>],
    reference: &Reference,
    wanted: &Platform,
    progress: &dyn Progress,
) -> Result<(Chosen, &'a [Repository<'r>])> {
    let mut failure = None;
    for (at, source) in sources.iter().enumerate() {
        match choose_from(registry, source, reference, wanted, progress) {
            Ok(chosen) => return Ok((chosen, sources.get(at..).unwrap_or_default())),
            Err(error) if error.kind() == Kind::Cancelled => return Err(error),
            Err(error) => {
                if at + 1 < sources.len() {
                    progress.event(Event::Note(&format!("the mirror {} is passed over: {error}", source.name())));
                }
                failure = Some(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(Kind::NotFound, Step::FetchManifest)))
}

fn choose_from(
    registry: &Registry,
    source: &Repository<'_>,
    reference: &Reference,
    wanted: &Platform,
    progress: &dyn Progress,
) -> Result<Chosen> {
    let digest = reference.digest().map(ToString::to_string);
    let mut name = digest.unwrap_or_else(|| reference.tag().unwrap_or("latest").to_owned());
    let (mut index, mut size) = (None, None);
    for _ in 0..=registry.options().limits.depth {
        let found = source.manifest(&name, progress)?;
        if size.is_some_and(|size| size != found.descriptor.size) {
            let (told, size) = (size.unwrap_or_default(), found.descriptor.size);
            let error = Error::new(Kind::InvalidContent, Step::FetchManifest).object_is(name);
            return Err(error.reason_is(format!("it has {size} bytes, where the index says {told}")));
        }
        match &found.parsed {
            Parsed::Manifest(manifest) => return Ok(Chosen { manifest: manifest.clone(), found, index }),
            Parsed::Index(parsed) => {
                index.get_or_insert(found.descriptor.digest);
                let Some(entry) = parsed.choose(wanted) else {
                    return Err(Error::new(Kind::NotFound, Step::FetchManifest)
                        .reason_is(format!("there is no image for {wanted}; there is: {}", parsed.platforms()))
                        .hint_is("--platform chooses another"));
                };
                (name, size) = (entry.digest.to_string(), Some(entry.size));
            }
        }
    }
    let depth = registry.options().limits.depth;
    Err(Error::new(Kind::Limit, Step::FetchManifest).reason_is(format!("indexes nested deeper than {depth}")))
}

fn fetch_config(
    store: &Store,
    source: &Repository<'_>,
    config: &Descriptor,
    limit: u64,
    progress: &dyn Progress,
) -> Result<Vec<u8>> {
    if store.has(config)? {
        match store.small_blob(config, limit) {
            Err(error) if error.kind() == Kind::Damaged => store.discard(&config.digest)?,
            done => return done,
        }
    }
    source.small_blob(config, limit, progress)
}

/// Fetches one blob from the first source that has it.
fn fetch(
    store: &Store,
    sources: &[Repository<'_>],
    blob: &Descriptor,
    stop: &Stop,
    progress: &dyn Progress,
) -> Result<()> {
    let digest = &blob.digest;
    let mut partial = match store.begin(blob)? {
        Begun::There => {
            progress.event(Event::Begin { what: "pulling", digest, size: blob.size, done: blob.size });
            progress.event(Event::End { digest, how: "already there" });
            return Ok(());
        }
        Begun::Partial(partial) => partial,
    };
    let done = partial.length();
    progress.event(Event::Begin { what: "pulling", digest, size: blob.size, done });
    let mut failure = None;
    for source in sources {
        match download(source, blob, &mut partial, stop, progress) {
            Ok(()) => {
                partial.commit()?;
                progress.event(Event::End {
                    digest,
                    how: if done > 0 { "pulled, the beginning was there" } else { "pulled" },
                });
                return Ok(());
            }
            Err(error) if error.kind() == Kind::Cancelled => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(Kind::NotFound, Step::Download)).digest_is(digest))
}

/// Fills `partial` from one source. A connection that breaks is made again and goes on; only attempts without progress count.
fn download(
    source: &Repository<'_>,
    blob: &Descriptor,
    partial: &mut Partial<'_>,
    stop: &Stop,
    progress: &dyn Progress,
) -> Result<()> {
    let mut attempts = Attempts::new(source.patience());
    // A registry that sends something else every time makes progress in between, and no end.
    let mut wrong = Attempts::new(source.patience());
    let cancel = source.cancel().clone();
    loop {
        let before = partial.length();
        match download_once(source, blob, partial, &Ends { stop, cancel: &cancel }, progress) {
            Ok(()) if partial.is_right() => return Ok(()),
            Ok(()) => {
                // What an earlier process left, or what came, is wrong; which of them cannot be told.
                let reason = format!("the {} bytes that came have another digest", blob.size);
                let error = Error::new(Kind::InvalidContent, Step::Download).digest_is(&blob.digest).reason_is(reason);
                partial.restart()?;
                let attempt = Attempt { error: error.reference_is(source.name()), again: true, after: None };
                wrong.wait(attempt, &cancel, progress)?;
            }
            Err(attempt) => {
                if partial.length() >= before + PROGRESS {
                    attempts.progressed();
                }
                attempts.wait(attempt, &cancel, progress).map_err(|error| error.digest_is(&blob.digest))?;
            }
        }
    }
}

struct Ends<'a> {
    stop: &'a Stop,
    cancel: &'a Cancel,
}

fn download_once(
    source: &Repository<'_>,
    blob: &Descriptor,
    partial: &mut Partial<'_>,
    ends: &Ends<'_>,
    progress: &dyn Progress,
) -> std::result::Result<(), Attempt> {
    if partial.length() == blob.size {
        return Ok(());
    }
    let mut incoming = source.blob(blob, partial.length())?;
    if incoming.start() != partial.length() {
        partial.restart().map_err(Attempt::last)?;
    }
    let mut buffer = vec![0; PIECE];
    loop {
        ends.cancel.check(Step::Download).map_err(Attempt::last)?;
        if ends.stop.asked() {
            return Err(Attempt::last(Error::new(Kind::Cancelled, Step::Download).reason_is("another layer failed")));
        }
        let count = incoming.read(&mut buffer).map_err(|error| source.read_error(Step::Download, &error))?;
        if count == 0 {
            return Ok(());
        }
        partial.append(buffer.get(..count).unwrap_or_default()).map_err(Attempt::last)?;
        progress.event(Event::Advance { digest: &blob.digest, done: partial.length() });
    }
}
