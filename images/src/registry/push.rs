//! Writing to a repository: blobs in pieces that can be taken up again, manifests whole.

use std::io::Read;

use crate::base::{Digest, Error, Kind, Progress, Result, Step};
use crate::model::{Descriptor, MediaType};
use crate::registry::http::{Answer, Outgoing};
use crate::registry::repository::{Access, Repository, Request};
use crate::registry::retry::{Attempt, Attempts};
use crate::registry::url::Url;

/// An upload under way: where its next bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    url: Url,
}

impl Upload {
    /// The upload as text, to be taken up by another process.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}{}", self.url.origin, self.url.target)
    }
}

impl Repository<'_> {
    /// Whether the repository has the blob.
    pub fn has_blob(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool> {
        self.retried(progress, || {
            let url = self.url(&format!("blobs/{}", blob.digest))?;
            let answer = self.send(Request::new(Step::Upload, "HEAD", &url, Access::Push))?;
            match answer.status {
                // A registry that has a part of it only would say another length.
                200 => Ok(answer.length().is_none_or(|length| length == blob.size)),
                404 => Ok(false),
                _ => Err(self.refused(Step::Upload, &blob.digest.to_string(), answer)),
            }
        })
    }

    /// Whether the repository has a manifest with this digest.
    pub fn has_manifest(&self, digest: &Digest, progress: &dyn Progress) -> Result<bool> {
        self.retried(progress, || {
            let url = self.url(&format!("manifests/{digest}"))?;
            let answer = self.send(Request::new(Step::PushManifest, "HEAD", &url, Access::Push))?;
            match answer.status {
                200 => Ok(true),
                404 => Ok(false),
                _ => Err(self.refused(Step::PushManifest, &digest.to_string(), answer)),
            }
        })
    }

    fn retried<T>(
        &self,
        progress: &dyn Progress,
        mut once: impl FnMut() -> std::result::Result<T, Attempt>,
    ) -> Result<T> {
        let mut attempts = Attempts::new(self.registry.options.patience);
        loop {
            match once() {
                Ok(done) => return Ok(done),
                Err(attempt) => attempts.wait(attempt, self.registry.client.cancel(), progress)?,
            }
        }
    }

    /// Begins an upload; with `from`, the registry may take the blob from that repository of its own instead, and then
    /// there is nothing to upload.
    pub(crate) fn begin(&self, digest: &Digest, from: Option<&str>) -> std::result::Result<Option<Upload>, Attempt> {
        let mut url = self.url("blobs/uploads/")?;
        if let Some(from) = from {
            url = url.with_query("mount", &digest.to_string()).with_query("from", from);
        }
        let mut request = Request::new(Step::Upload, "POST", &url, Access::Push);
        request.from = from;
        let answer = self.send(request)?;
        match answer.status {
            201 if from.is_some() => Ok(None),
            202 => self.next(&url, answer).map(Some),
            _ => Err(self.refused(Step::Upload, &digest.to_string(), answer)),
        }
    }

    /// An upload that another process began, if it is one of this registry.
    pub(crate) fn taken_up(&self, text: &str) -> Option<Upload> {
        let url = Url::parse(text)?;
        let origin = self.origin().ok()?;
        (url.origin == origin).then_some(Upload { url })
    }

    /// How many bytes of an upload the registry has, and where the next go; `None` if it knows nothing of it.
    pub(crate) fn status(&self, upload: &Upload) -> std::result::Result<Option<(Upload, u64)>, Attempt> {
        let mut answer = self.send(Request::new(Step::Upload, "GET", &upload.url, Access::Push))?;
        if answer.status == 204 || answer.status == 202 {
            let received = received(&answer);
            return Ok(Some((self.next(&upload.url, answer)?, received)));
        }
        if answer.status < 500 && answer.status != 429 {
            answer.drain();
            return Ok(None);
        }
        Err(self.refused(Step::Upload, "the state of an upload", answer))
    }

    /// Sends the next `length` bytes, which begin at `offset` of the blob.
    pub(crate) fn send_piece(
        &self,
        upload: &Upload,
        bytes: &mut dyn Read,
        offset: u64,
        length: u64,
    ) -> std::result::Result<Upload, Attempt> {
        let mut request = Request::new(Step::Upload, "PATCH", &upload.url, Access::Push);
        request.headers.push(("Content-Type", "application/octet-stream".to_owned()));
        request.headers.push(("Content-Range", format!("{offset}-{}", offset + length.saturating_sub(1))));
        request.outgoing = Outgoing::Stream(bytes, length);
        let answer = self.send(request)?;
        match answer.status {
            202 | 204 => self.next(&upload.url, answer),
            // It knows nothing of the upload, or of another state of it: what a process that was killed had sent may arrive only now.
            404 | 416 => Err(Attempt { again: true, ..self.refused(Step::Upload, "a piece of a blob", answer) }),
            _ => Err(self.refused(Step::Upload, "a piece of a blob", answer)),
        }
    }

    /// Ends an upload: the registry compares the digest.
    pub(crate) fn finish(&self, upload: &Upload, digest: &Digest) -> std::result::Result<(), Attempt> {
        let url = upload.url.with_query("digest", &digest.to_string());
        let mut request = Request::new(Step::Upload, "PUT", &url, Access::Push);
        request.headers.push(("Content-Type", "application/octet-stream".to_owned()));
        let mut answer = self.send(request)?;
        if [201, 202, 204].contains(&answer.status) {
            answer.drain();
            return Ok(());
        }
        Err(self.refused(Step::Upload, &digest.to_string(), answer))
    }

    /// Where the next bytes of an upload go. Another host gets none: they would go with our authorization.
    fn next(&self, url: &Url, mut answer: Answer<'_>) -> std::result::Result<Upload, Attempt> {
        let location = answer.headers.get("location").map(str::to_owned);
        answer.drain();
        let wrong = |reason: String| {
            let error = Error::new(Kind::InvalidContent, Step::Upload).reference_is(self.name());
            Attempt::last(error.reason_is(reason))
        };
        let Some(next) = location.as_deref().and_then(|location| url.join(location)) else {
            return Err(wrong("the registry does not say where the bytes go".to_owned()));
        };
        // Behind a proxy that ends TLS, a registry may call itself http; it is the same host all the same.
        let own = &url.origin;
        if next.origin.host == own.host && own.secure && !next.origin.secure {
            return Ok(Upload { url: own.url(next.target) });
        }
        if next.origin != *own {
            return Err(wrong(format!("the registry wants the bytes sent to another host, {}", next.origin)));
        }
        Ok(Upload { url: next })
    }

    /// Puts a manifest or an index under `name`: a tag or its digest.
    pub fn put_manifest(
        &self,
        name: &str,
        media_type: &MediaType,
        bytes: &[u8],
        progress: &dyn Progress,
    ) -> Result<()> {
        self.retried(progress, || {
            let url = self.url(&format!("manifests/{name}"))?;
            let mut request = Request::new(Step::PushManifest, "PUT", &url, Access::Push);
            request.headers.push(("Content-Type", media_type.as_str().to_owned()));
            request.outgoing = Outgoing::Bytes(bytes);
            let mut answer = self.send(request)?;
            if answer.status == 201 || answer.status == 202 {
                answer.drain();
                return Ok(());
            }
            Err(self.refused(Step::PushManifest, name, answer))
        })
    }
}

/// How many bytes the registry has: `Range: 0-41` is 42.
fn received(answer: &Answer<'_>) -> u64 {
    let last =
        answer.headers.get("range").and_then(|range| range.rsplit_once('-')).and_then(|(_, last)| last.parse().ok());
    // `0-0` is said for nothing as well as for one byte; sending that byte again is refused, so nothing is assumed.
    last.filter(|&last: &u64| last > 0).map_or(0, |last| last + 1)
}
