//! Reading from a repository: manifests whole, blobs as streams.

use std::io::{self, Read};

use crate::base::{Algorithm, Digest, Error, Hasher, Kind, Progress, Result, Step};
use crate::model::{Descriptor, MediaType, Parsed};
use crate::registry::http::Answer;
use crate::registry::repository::{Access, Repository, Request, is_html};
use crate::registry::retry::{Attempt, Attempts};

/// The documents that are asked for.
const ACCEPT: [&str; 4] =
    [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST];

/// A manifest or an index, as a registry has it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Type, digest and size; the digest was computed here.
    pub descriptor: Descriptor,
    /// The document, byte for byte.
    pub bytes: Vec<u8>,
    /// What it says.
    pub parsed: Parsed,
}

/// A blob on its way. Reading gives its bytes from [`Incoming::start`] on.
#[derive(Debug)]
pub struct Incoming<'r> {
    answer: Answer<'r>,
    start: u64,
    left: u64,
}

impl Repository<'_> {
    /// Fetches the manifest or index called `name`: a tag or a digest. Tried again while that makes sense.
    pub fn manifest(&self, name: &str, progress: &dyn Progress) -> Result<Found> {
        let mut attempts = Attempts::new(self.registry.options.patience);
        loop {
            match self.manifest_once(name) {
                Ok(found) => return Ok(found),
                Err(attempt) => attempts.wait(attempt, self.registry.client.cancel(), progress)?,
            }
        }
    }

    fn manifest_once(&self, name: &str) -> std::result::Result<Found, Attempt> {
        let url = self.url(&format!("manifests/{name}"))?;
        let mut request = Request::new(Step::FetchManifest, "GET", &url, Access::Pull);
        request.headers.push(("Accept", ACCEPT.join(", ")));
        let mut answer = self.send(request)?;
        if answer.status != 200 {
            return Err(self.refused(Step::FetchManifest, name, answer));
        }
        let wrong = |reason: String| {
            let error = Error::new(Kind::InvalidContent, Step::FetchManifest).object_is(name);
            Attempt::last(error.reference_is(self.name()).reason_is(reason))
        };
        if is_html(&answer) {
            return Err(wrong("it is HTML: a proxy or a login page answers in the registry's place".to_owned()));
        }
        let limits = self.registry.options.limits;
        if answer.length().is_some_and(|length| length > limits.manifest) {
            let attempt = wrong(format!("longer than the {} bytes allowed", limits.manifest));
            return Err(Attempt::last(attempt.error.kind_is(Kind::Limit)));
        }
        let bytes = answer.whole(limits.manifest).map_err(|error| self.read_error(Step::FetchManifest, &error))?;
        let asked: Option<Digest> = name.parse().ok();
        let mut hasher = Hasher::new(asked.map_or(Algorithm::Sha256, |digest| digest.algorithm()));
        hasher.update(&bytes);
        let digest = hasher.finish();
        // What the registry says of itself is only compared; what counts is the digest that was asked for.
        let told = answer.headers.get("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let told = told.filter(|told| told.algorithm() == digest.algorithm());
        for expected in [asked, told].into_iter().flatten() {
            if expected != digest {
                return Err(wrong(format!("what came has the digest {digest}, not {expected}")));
            }
        }
        let kind = answer.headers.get("content-type").map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let declared = kind.map(MediaType::new);
        let parsed = Parsed::read(&bytes, declared.as_ref(), &limits)
            .map_err(|error| Attempt::last(error.object_is(name).reference_is(self.name())))?;
        let media_type = match &parsed {
            Parsed::Manifest(manifest) => &manifest.media_type,
            Parsed::Index(index) => &index.media_type,
        };
        let descriptor = Descriptor::new(media_type.as_str(), digest, bytes.len() as u64);
        Ok(Found { descriptor, bytes, parsed })
    }

    /// Begins to fetch a blob at `offset`. A registry that knows no ranges begins at zero; see [`Incoming::start`].
    pub(crate) fn blob(&self, blob: &Descriptor, offset: u64) -> std::result::Result<Incoming<'_>, Attempt> {
        self.blob_range(blob, offset, blob.size)
    }

    /// Begins to fetch the bytes of a blob from `offset` up to `end`.
    pub(crate) fn blob_range(
        &self,
        blob: &Descriptor,
        offset: u64,
        end: u64,
    ) -> std::result::Result<Incoming<'_>, Attempt> {
        let digest = blob.digest.to_string();
        let url = self.url(&format!("blobs/{digest}"))?;
        let mut request = Request::new(Step::Download, "GET", &url, Access::Pull);
        if offset > 0 || end < blob.size {
            request.headers.push(("Range", format!("bytes={offset}-{}", end.saturating_sub(1))));
        }
        let answer = self.send(request)?;
        let wrong = |reason: String| {
            let error = Error::new(Kind::InvalidContent, Step::Download).digest_is(&blob.digest);
            Attempt { error: error.reference_is(self.name()).reason_is(reason), again: true, after: None }
        };
        let (start, length) = match answer.status {
            200 => (0, blob.size),
            206 => {
                let range = answer.headers.get("content-range").and_then(content_range);
                let fits = range.is_some_and(|(first, last, whole)| {
                    first == offset && last.checked_add(1) == Some(end) && whole.is_none_or(|whole| whole == blob.size)
                });
                if !fits {
                    return Err(wrong("the registry sends another range than was asked for".to_owned()));
                }
                (offset, end - offset)
            }
            _ => return Err(self.refused(Step::Download, &digest, answer)),
        };
        if is_html(&answer) {
            let attempt = wrong("it is HTML: a proxy or a login page answers in the registry's place".to_owned());
            return Err(Attempt::last(attempt.error));
        }
        match answer.length() {
            Some(told) if told != length => {
                Err(wrong(format!("the registry says it has {told} bytes, the manifest says {length}")))
            }
            _ => Ok(Incoming { answer, start, left: length }),
        }
    }

    /// Fetches a small blob whole and checks it.
    pub fn small_blob(&self, blob: &Descriptor, limit: u64, progress: &dyn Progress) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(Error::new(Kind::Limit, Step::Download)
                .digest_is(&blob.digest)
                .reference_is(self.name())
                .reason_is(format!("{} bytes, more than the {limit} allowed", blob.size)));
        }
        let mut attempts = Attempts::new(self.registry.options.patience);
        loop {
            match self.small_blob_once(blob) {
                Ok(bytes) => return Ok(bytes),
                Err(attempt) => attempts.wait(attempt, self.registry.client.cancel(), progress)?,
            }
        }
    }

    fn small_blob_once(&self, blob: &Descriptor) -> std::result::Result<Vec<u8>, Attempt> {
        let mut incoming = self.blob(blob, 0)?;
        let mut bytes = Vec::new();
        incoming.read_to_end(&mut bytes).map_err(|error| self.read_error(Step::Download, &error))?;
        let mut hasher = Hasher::new(blob.digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() == blob.digest {
            return Ok(bytes);
        }
        let error = Error::new(Kind::InvalidContent, Step::Download).digest_is(&blob.digest).reference_is(self.name());
        Err(Attempt { error: error.reason_is("what came has another digest"), again: true, after: None })
    }
}

impl Incoming<'_> {
    /// The offset of the first byte: what was asked for, or zero if the registry sends the whole blob instead.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            // The size is the manifest's; a body that goes on is not read any further, and its connection not used again.
            if self.left == 0 {
                self.answer.drain_if_ended();
            }
            return Ok(0);
        }
        let count = self.answer.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// `bytes 5-9/100` as first, last and whole.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, 9, Some(100))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in ["5-9/100", "bytes 5/100", "bytes 5-9", "bytes */100", "bytes a-b/c"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
