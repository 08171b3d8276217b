//! Authentication: credentials with every request, or a token that was got with them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::base::{Error, Kind, Step};
use crate::registry::base64;
use crate::registry::challenge::Challenge;
use crate::registry::credentials::Credentials;
use crate::registry::http::{Call, Client, Outgoing, Trust};
use crate::registry::retry::Attempt;
use crate::registry::url::{Origin, Url, encoded};

/// How long a token lives whose life is not told, and how much earlier than told it is renewed.
const USUAL_LIFE: Duration = Duration::from_secs(60);
const EARLIER: Duration = Duration::from_secs(10);
/// The longest answer of a token service.
const LONGEST: u64 = 1 << 20;

/// The authorization of each (origin, scope), until it ends.
#[derive(Debug, Default)]
pub(super) struct Auth(Mutex<HashMap<(Origin, String), (Secret, Instant)>>);

/// The value of an Authorization header; not for eyes.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// For what authorization is wanted.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) origin: &'a Origin,
    /// `repository:NAME:pull` and the like, divided by spaces.
    pub(super) scope: &'a str,
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) trust: &'a Trust,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Auth {
    /// The header value to send, if one is known.
    pub(super) fn known(&self, origin: &Origin, scope: &str) -> Option<String> {
        let known = self.0.lock().ok()?;
        let (secret, end) = known.get(&(origin.clone(), scope.to_owned()))?;
        (*end > Instant::now()).then(|| secret.0.clone())
    }

    /// Answers the challenges of a 401 and remembers what was got.
    pub(super) fn answer(
        &self,
        client: &Client,
        wanted: &Wanted<'_>,
        challenges: &[Challenge],
    ) -> std::result::Result<(), Attempt> {
        let (value, life) = authorization(client, wanted, challenges)?;
        if let Ok(mut known) = self.0.lock() {
            let end = Instant::now() + life;
            known.insert((wanted.origin.clone(), wanted.scope.to_owned()), (Secret(value), end));
        }
        Ok(())
    }

    /// Forgets what a registry no longer takes.
    pub(super) fn forget(&self, origin: &Origin, scope: &str) {
        if let Ok(mut known) = self.0.lock() {
            known.remove(&(origin.clone(), scope.to_owned()));
        }
    }
}

fn authorization(
    client: &Client,
    wanted: &Wanted<'_>,
    challenges: &[Challenge],
) -> std::result::Result<(String, Duration), Attempt> {
    for challenge in challenges {
        match (challenge, wanted.credentials) {
            (Challenge::Bearer { realm, service, scope }, _) => {
                return token(client, wanted, realm, service.as_deref(), scope.as_deref());
            }
            (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                return Ok((basic(user, password), Duration::from_secs(3600)));
            }
            _ => {}
        }
    }
    let offered = challenges.iter().map(|challenge| match challenge {
        Challenge::Basic => "basic".to_owned(),
        Challenge::Bearer { .. } => "bearer".to_owned(),
        Challenge::Other(name) => name.clone(),
    });
    let offered = offered.collect::<Vec<_>>().join(", ");
    let error = Error::new(Kind::Denied, Step::Authenticate).object_is(wanted.origin.authority());
    Err(Attempt::last(match wanted.credentials {
        None => error
            .reason_is("it wants credentials, and there are none for it")
            .hint_is(format!("log in with docker, podman or skopeo: skopeo login {}", wanted.origin.authority())),
        Some(_) => error.reason_is(format!("none of what it offers ({offered}) fits the credentials")),
    }))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes()))
}

/// Gets a token from `realm`.
fn token(
    client: &Client,
    wanted: &Wanted<'_>,
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
) -> std::result::Result<(String, Duration), Attempt> {
    let failed = |kind, reason: String| {
        Attempt::last(Error::new(kind, Step::Authenticate).object_is(realm.to_owned()).reason_is(reason))
    };
    let url = Url::parse(realm).ok_or_else(|| failed(Kind::InvalidContent, "not a URL".to_owned()))?;
    // Whoever is trusted only by TLS must not send us, and our password, to somebody without.
    if wanted.origin.secure && !url.origin.secure {
        return Err(failed(Kind::Denied, "a token service without TLS for a registry with it".to_owned()));
    }
    let scopes = wanted.scope.split(' ').chain(scope.filter(|scope| *scope != wanted.scope));
    let trust = if url.origin == *wanted.origin {
        wanted.trust.clone()
    } else {
        Trust { directories: Vec::new(), verify: true }
    };
    let mut headers = Vec::new();
    let form;
    let (method, url, outgoing) = match wanted.credentials {
        Some(Credentials::Identity(identity)) => {
            let scope = scopes.collect::<Vec<_>>().join(" ");
            let pairs = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("client_id", "orlop-image"),
                ("scope", &scope),
                ("refresh_token", identity),
            ];
            form = pairs.map(|(name, value)| format!("{name}={}", encoded(value))).join("&");
            headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
            ("POST", url, Outgoing::Bytes(form.as_bytes()))
        }
        other => {
            if let Some(Credentials::Password { user, password }) = other {
                headers.push(("Authorization", basic(user, password)));
            }
            let url = service.map_or_else(|| url.clone(), |service| url.with_query("service", service));
            let url = scopes.fold(url, |url, scope| url.with_query("scope", scope));
            ("GET", url, Outgoing::Nothing)
        }
    };
    let mut call = Call { method, url: &url, trust: &trust, headers, outgoing };
    let mut answer = client.send(&mut call).map_err(|broken| Attempt::network(broken.error))?;
    let refused = match answer.status {
        200 => None,
        401 | 403 => Some(failed(Kind::Denied, "the credentials are refused".to_owned())),
        404 => Some(failed(Kind::NotFound, "there is no token service".to_owned())),
        status => {
            let again = status == 429 || status >= 500;
            let mut attempt = failed(Kind::Network, format!("the token service answers {status}"));
            attempt.again = again;
            attempt.after = answer.headers.get("retry-after").and_then(super::retry::retry_after);
            Some(attempt)
        }
    };
    if let Some(refused) = refused {
        answer.drain();
        return Err(refused);
    }
    let bytes = answer.whole(LONGEST).map_err(|error| Attempt::network(super::http::transport_error(&error)))?;
    let token: Token = serde_json::from_slice(&bytes)
        .map_err(|error| failed(Kind::InvalidContent, format!("what it sends is no token: {error}")))?;
    let life = token.expires_in.map_or(USUAL_LIFE, Duration::from_secs).max(USUAL_LIFE).saturating_sub(EARLIER);
    match token.token.or(token.access_token).filter(|token| !token.is_empty()) {
        Some(token) => Ok((format!("Bearer {token}"), life.min(Duration::from_secs(3600)))),
        None => Err(failed(Kind::InvalidContent, "what it sends holds no token".to_owned())),
    }
}
