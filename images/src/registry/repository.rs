//! One repository of one registry: requests with authorization and redirects, and what answers mean.

use serde::Deserialize;

use crate::base::{Cancel, Error, Kind, Result, Step};
use crate::registry::Registry;
use crate::registry::auth::Wanted;
use crate::registry::challenge::Challenge;
use crate::registry::credentials::Credentials;
use crate::registry::hosts::Endpoint;
use crate::registry::http::{Answer, Call, Outgoing, Trust, transport_error};
use crate::registry::retry::{Attempt, Patience, retry_after};
use crate::registry::url::{Origin, Url};

/// How often a request is redirected before that counts as a loop.
const REDIRECTS: usize = 5;

/// A repository that an image is pulled from or pushed to.
#[derive(Debug)]
pub struct Repository<'r> {
    pub(super) registry: &'r Registry,
    pub(super) endpoint: Endpoint,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// One request of a repository.
pub(super) struct Request<'a> {
    pub(super) step: Step,
    pub(super) method: &'static str,
    pub(super) url: &'a Url,
    pub(super) access: Access,
    /// A further repository to read from, for mounts.
    pub(super) from: Option<&'a str>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) outgoing: Outgoing<'a>,
}

impl<'a> Request<'a> {
    pub(super) fn new(step: Step, method: &'static str, url: &'a Url, access: Access) -> Self {
        Self { step, method, url, access, from: None, headers: Vec::new(), outgoing: Outgoing::Nothing }
    }
}

#[derive(Deserialize)]
struct Faults {
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl<'r> Repository<'r> {
    pub(super) fn new(registry: &'r Registry, endpoint: Endpoint) -> Self {
        Self { registry, endpoint }
    }

    /// Its name: host and repository.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.endpoint.host, self.endpoint.repository)
    }

    /// The repository's name in its registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.endpoint.repository
    }

    pub(crate) fn patience(&self) -> Patience {
        self.registry.options.patience
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        self.registry.client.cancel()
    }

    /// How the host is reached: by TLS, unless it is this machine itself or was called insecure, and does not speak it.
    pub(super) fn origin(&self) -> std::result::Result<Origin, Attempt> {
        let endpoint = &self.endpoint;
        let key = (endpoint.host.clone(), endpoint.insecure);
        if let Some(known) = self.registry.origins.lock().ok().and_then(|origins| origins.get(&key).cloned()) {
            return Ok(known);
        }
        let origin = |secure| {
            Origin::new(secure, &endpoint.host).ok_or_else(|| {
                let error = Error::new(Kind::InvalidArgument, Step::Connect).object_is(&endpoint.host);
                Attempt::last(error.reason_is("not a host"))
            })
        };
        // Without a port, plain HTTP is on port 80, where no registry speaks TLS.
        let mut found = origin(true)?;
        let plain_allowed = found.is_loopback() || endpoint.insecure;
        if self.registry.options.hosts.is_plain(&endpoint.host) {
            found = origin(false)?;
        } else if plain_allowed {
            let speaks = self.registry.client.speaks_tls(&found, &self.trust(&found));
            if !speaks.map_err(Attempt::network)? {
                found = origin(false)?;
            }
        }
        if let Ok(mut origins) = self.registry.origins.lock() {
            origins.insert(key, found.clone());
        }
        Ok(found)
    }

    /// The URL of `path` below this repository.
    pub(super) fn url(&self, path: &str) -> std::result::Result<Url, Attempt> {
        Ok(self.origin()?.url(format!("/v2/{}/{path}", self.endpoint.repository)))
    }

    fn trust(&self, origin: &Origin) -> Trust {
        // certs.d names hosts as the user writes them: with the port where it is not the usual one.
        let own = Origin::new(origin.secure, &self.endpoint.host).is_some_and(|own| own == *origin);
        let host = if own { self.endpoint.host.clone() } else { origin.authority() };
        let directories = self.registry.options.hosts.certificates(&host);
        Trust { directories, verify: !(own && self.endpoint.insecure) }
    }

    fn credentials(&self) -> Result<Option<Credentials>> {
        let host = if self.endpoint.host == "registry-1.docker.io" { "docker.io" } else { &self.endpoint.host };
        self.registry.options.keyring.find(host, &self.endpoint.repository)
    }

    fn scope(&self, access: Access, from: Option<&str>) -> String {
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let own = format!("repository:{}:{actions}", self.endpoint.repository);
        from.map_or(own.clone(), |from| format!("{own} repository:{from}:pull"))
    }

    /// Sends a request; a 401 is answered once, redirects of GET and HEAD are followed.
    pub(super) fn send(&self, mut request: Request<'_>) -> std::result::Result<Answer<'r>, Attempt> {
        let origin = self.origin()?;
        let scope = self.scope(request.access, request.from);
        let mut url = request.url.clone();
        let mut redirects = 0;
        let mut answered = false;
        loop {
            let own = url.origin == origin;
            let known = if own { self.registry.auth.known(&origin, &scope) } else { None };
            let answer = self.once(&mut request, &url, known)?;
            match answer.status {
                401 if own && !answered => {
                    answered = true;
                    self.authenticate(answer, &origin, &scope)?;
                    if matches!(request.outgoing, Outgoing::Stream(..)) {
                        // What was sent is gone; the caller begins anew, now with authorization.
                        let error =
                            Error::new(Kind::Network, request.step).reason_is("authorization had to be renewed");
                        return Err(Attempt { error, again: true, after: Some(std::time::Duration::ZERO) });
                    }
                }
                301 | 302 | 303 | 307 | 308 if request.method == "GET" || request.method == "HEAD" => {
                    redirects += 1;
                    url = redirected(&url, answer, redirects)
                        .map_err(|error| Attempt::last(error.object_is(url.shown())))?;
                }
                _ => return Ok(answer),
            }
        }
    }

    fn once(
        &self,
        request: &mut Request<'_>,
        url: &Url,
        authorization: Option<String>,
    ) -> std::result::Result<Answer<'r>, Attempt> {
        let mut headers = request.headers.clone();
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let trust = self.trust(&url.origin);
        let outgoing = match &mut request.outgoing {
            Outgoing::Nothing => Outgoing::Nothing,
            Outgoing::Bytes(bytes) => Outgoing::Bytes(bytes),
            Outgoing::Stream(reader, length) => Outgoing::Stream(&mut **reader, *length),
        };
        let mut call = Call { method: request.method, url, trust: &trust, headers, outgoing };
        self.registry.client.send(&mut call).map_err(|broken| Attempt::network(broken.error))
    }

    fn authenticate(&self, mut answer: Answer<'_>, origin: &Origin, scope: &str) -> std::result::Result<(), Attempt> {
        let challenges: Vec<_> = answer.headers.all("www-authenticate").flat_map(Challenge::parse).collect();
        answer.drain();
        self.registry.auth.forget(origin, scope);
        let credentials = self.credentials().map_err(Attempt::last)?;
        let trust = self.trust(origin);
        let wanted = Wanted { origin, scope, credentials: credentials.as_ref(), trust: &trust };
        self.registry.auth.answer(&self.registry.client, &wanted, &challenges)
    }

    /// What an answer means that is not the one wanted.
    pub(super) fn refused(&self, step: Step, what: &str, mut answer: Answer<'_>) -> Attempt {
        let after = answer.headers.get("retry-after").and_then(retry_after);
        let html = is_html(&answer);
        let status = answer.status;
        // The text explains; that it cannot be read changes nothing.
        let body = answer.whole(64 << 10).unwrap_or_default();
        let said = said(&body, html);
        let (kind, meaning, again) = match status {
            401 => (Kind::Denied, "the credentials are refused, or the repository does not exist", false),
            403 => (Kind::Denied, "not allowed", false),
            404 => (Kind::NotFound, "there is no such thing", false),
            408 | 425 | 429 => (Kind::Network, "the registry asks to come back later", true),
            500.. => (Kind::Network, "the registry failed", true),
            _ => (Kind::InvalidContent, "an answer that makes no sense here", false),
        };
        let error = Error::new(kind, step).object_is(what).reason_is(match said {
            Some(said) => format!("{meaning} ({status}: {said})"),
            None => format!("{meaning} ({status})"),
        });
        Attempt { error: error.reference_is(self.name()), again, after }
    }

    /// What a failed read of a body means.
    pub(crate) fn read_error(&self, step: Step, error: &std::io::Error) -> Attempt {
        let told = transport_error(error);
        let mut whole = Error::new(told.kind(), step).reference_is(self.name());
        if let Some(reason) = told.reason() {
            whole = whole.reason_is(reason);
        } else {
            whole = whole.caused_by(told);
        }
        // A body that contradicts itself comes out right, perhaps, the next time.
        let again = whole.kind() != Kind::Cancelled;
        Attempt { error: whole, again, after: None }
    }
}

pub(super) fn is_html(answer: &Answer<'_>) -> bool {
    answer
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// The errors that a registry sends, in one line.
fn said(body: &[u8], html: bool) -> Option<String> {
    if html || body.trim_ascii_start().first() == Some(&b'<') {
        return Some("it sends HTML: a proxy or a login page answers in the registry's place".to_owned());
    }
    let faults: Faults = serde_json::from_slice(body).ok()?;
    let fault = faults.errors.first()?;
    let text: String =
        format!("{}: {}", fault.code, fault.message).chars().filter(|c| !c.is_control()).take(300).collect();
    Some(text.trim_matches([':', ' ']).to_owned()).filter(|text| !text.is_empty())
}

/// Where a redirect leads. Never from TLS to none; what belongs to the registry stays behind, as the origin differs.
fn redirected(url: &Url, mut answer: Answer<'_>, count: usize) -> Result<Url> {
    let wrong = |kind, reason: String| Err(Error::new(kind, Step::Request).reason_is(reason));
    let location = answer.headers.get("location").map(str::to_owned);
    answer.drain();
    if count > REDIRECTS {
        return wrong(Kind::InvalidContent, format!("redirected more than {REDIRECTS} times"));
    }
    let Some(next) = location.as_deref().and_then(|location| url.join(location)) else {
        return wrong(Kind::InvalidContent, "a redirect without a usable Location".to_owned());
    };
    if url.origin.secure && !next.origin.secure {
        return wrong(Kind::Denied, format!("redirected from TLS to {}", next.origin));
    }
    Ok(next)
}
