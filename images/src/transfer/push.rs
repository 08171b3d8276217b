//! From the store into a registry.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::base::{Digest, Error, Event, Kind, Progress, Result, Step};
use crate::model::Descriptor;
use crate::reference::Reference;
use crate::registry::{Attempt, Attempts, Registry, Repository, Upload};
use crate::store::{Entry, Store};
use crate::transfer::crew;

/// The bytes of one PATCH: what is lost at most when a connection breaks.
const PIECE: u64 = 16 << 20;

/// How often an upload of which the registry has forgotten everything is begun anew.
const ANEW: u32 = 3;

/// How an image is pushed.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// How many blobs at once.
    pub jobs: usize,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { jobs: 4 }
    }
}

/// Sends the image of `entry` to the registry as `reference`. Blobs that the registry has are not sent; those that it has in
/// another repository, it is asked to take from there; an upload that broke off goes on.
pub fn push(
    store: &Store,
    registry: &Registry,
    entry: &Entry,
    reference: &Reference,
    options: &PushOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let named = |error: Error| error.reference_is(reference);
    let destination = registry.destination(reference)?;
    let manifest = store.manifest(&entry.descriptor).map_err(named)?;
    if let Some(foreign) = manifest.layers.iter().find(|layer| layer.media_type.is_foreign_layer()) {
        return Err(named(Error::new(Kind::Unsupported, Step::Upload).digest_is(&foreign.digest))
            .reason_is(format!("a layer of type {} lies outside registries", foreign.media_type)));
    }
    let mut blobs: Vec<&Descriptor> = Vec::new();
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if blobs.iter().all(|other| other.digest != blob.digest) {
            blobs.push(blob);
        }
    }
    let others = neighbours(store, reference)?;
    let job = Job { store, destination: &destination, others: &others, progress };
    crew::each(&blobs, options.jobs.max(1), |blob, _| job.send(blob)).map_err(named)?;
    let bytes = store.small_blob(&entry.descriptor, registry.options().limits.manifest)?;
    let digest = entry.descriptor.digest.to_string();
    let name = reference.tag().unwrap_or(&digest);
    if reference.tag().is_none() && reference.digest() != Some(&entry.descriptor.digest) {
        return Err(named(Error::new(Kind::InvalidArgument, Step::PushManifest))
            .reason_is(format!("the image has the digest {digest}, so it cannot be pushed as another")));
    }
    destination.put_manifest(name, &entry.descriptor.media_type, &bytes, progress).map_err(named)
}

/// The blobs of images of the same registry, and the repository that has them.
fn neighbours(store: &Store, reference: &Reference) -> Result<Vec<(Digest, String)>> {
    let mut found = Vec::new();
    for entry in store.entries()? {
        let Some(other) = &entry.reference else { continue };
        if other.host() != reference.host() || other.repository() == reference.repository() {
            continue;
        }
        // An image that cannot be read only means that its blobs are sent.
        if let Ok(manifest) = store.manifest(&entry.descriptor) {
            let blobs = manifest.layers.iter().chain([&manifest.config]);
            found.extend(blobs.map(|blob| (blob.digest, other.repository().to_owned())));
        }
    }
    Ok(found)
}

struct Job<'a> {
    store: &'a Store,
    destination: &'a Repository<'a>,
    others: &'a [(Digest, String)],
    progress: &'a dyn Progress,
}

/// Where an upload is.
struct State {
    upload: Option<Upload>,
    sent: u64,
}

impl Job<'_> {
    fn send(&self, blob: &Descriptor) -> Result<()> {
        let digest = &blob.digest;
        self.progress.event(Event::Begin { what: "pushing", digest, size: blob.size, done: 0 });
        if self.destination.has_blob(blob, self.progress)? {
            self.progress.event(Event::End { digest, how: "already there" });
            return Ok(());
        }
        let mut file = self.store.blob(digest)?;
        let journal = self.journal(digest);
        let mut state = self.take_up(&journal)?;
        let mut attempts = Attempts::new(self.destination.patience());
        let mut begun_anew = 0;
        loop {
            let before = state.sent;
            match self.step(blob, &mut file, &mut state, &journal) {
                Ok(None) => {}
                Ok(Some(how)) => {
                    self.store.forget_upload(&journal)?;
                    self.progress.event(Event::End { digest, how });
                    return Ok(());
                }
                Err(attempt) => {
                    if state.sent > before {
                        attempts.progressed();
                    }
                    let last = begun_anew == ANEW;
                    attempts.wait(
                        Attempt { again: attempt.again && !last, ..attempt },
                        self.destination.cancel(),
                        self.progress,
                    )?;
                    self.resume(&mut state)?;
                    if state.upload.is_none() && before > 0 {
                        begun_anew += 1;
                    }
                }
            }
            if state.sent > before {
                attempts.progressed();
            }
        }
    }

    /// One step of an upload: begin it, send a piece, or end it. Tells how it ended.
    fn step(
        &self,
        blob: &Descriptor,
        file: &mut File,
        state: &mut State,
        journal: &str,
    ) -> std::result::Result<Option<&'static str>, Attempt> {
        let Some(upload) = state.upload.clone() else {
            let from = self.others.iter().find(|(digest, _)| *digest == blob.digest).map(|(_, from)| from.as_str());
            state.sent = 0;
            state.upload = self.destination.begin(&blob.digest, from)?;
            return Ok(match &state.upload {
                Some(upload) => {
                    self.store.note_upload(journal, &upload.to_text()).map_err(Attempt::last)?;
                    None
                }
                None => Some("mounted from another repository"),
            });
        };
        if state.sent >= blob.size {
            self.destination.finish(&upload, &blob.digest).inspect_err(|_| state.upload = None)?;
            return Ok(Some("pushed"));
        }
        let length = (blob.size - state.sent).min(PIECE);
        let failed = |error: &io::Error| Attempt::last(Error::io(Step::ReadBlob, error).digest_is(&blob.digest));
        file.seek(SeekFrom::Start(state.sent)).map_err(|error| failed(&error))?;
        let mut told = Told { file, digest: &blob.digest, done: state.sent, progress: self.progress };
        let next = self.destination.send_piece(&upload, &mut told, state.sent, length)?;
        state.sent += length;
        self.store.note_upload(journal, &next.to_text()).map_err(Attempt::last)?;
        state.upload = Some(next);
        Ok(None)
    }

    /// Asks the registry how far an upload came that failed; begins anew if it knows nothing of it.
    fn resume(&self, state: &mut State) -> Result<()> {
        let Some(upload) = state.upload.take() else { return Ok(()) };
        match self.destination.status(&upload) {
            Ok(Some((upload, sent))) => (state.upload, state.sent) = (Some(upload), sent),
            Ok(None) => state.sent = 0,
            // The next attempt asks again.
            Err(attempt) if attempt.again => state.upload = Some(upload),
            Err(attempt) => return Err(attempt.error),
        }
        Ok(())
    }

    fn take_up(&self, journal: &str) -> Result<State> {
        let mut state = State { upload: None, sent: 0 };
        if let Some(text) = self.store.noted_upload(journal)? {
            state.upload = self.destination.taken_up(&text);
            self.resume(&mut state)?;
        }
        Ok(state)
    }

    /// The name under which the state of this upload is kept for a process that comes after us.
    fn journal(&self, digest: &Digest) -> String {
        let place = Digest::of(self.destination.name().as_bytes());
        format!("{}-{}.upload", digest.hex(), place.short())
    }
}

/// A blob that tells how far it was read.
struct Told<'a> {
    file: &'a mut File,
    digest: &'a Digest,
    done: u64,
    progress: &'a dyn Progress,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        self.progress.event(Event::Advance { digest: self.digest, done: self.done });
        Ok(count)
    }
}
