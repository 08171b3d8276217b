//! URLs of registries: only what HTTP needs, and strict about it.

use std::fmt;
use std::net::IpAddr;

/// An `http` or `https` URL. It holds no user, no fragment, and no byte that could end a line of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// The path and the query, beginning with a slash.
    pub(crate) target: String,
}

/// Whom a request goes to: what decides whether credentials may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    /// Lower case, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of `host[:port]`.
    pub(crate) fn new(secure: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) || (host.contains(':') && !authority.starts_with('[')) {
            return None;
        }
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|&port| port > 0)?
            }
            Some(_) => return None,
            None => Self::usual_port(secure),
        };
        Some(Self { secure, host: host.to_ascii_lowercase(), port })
    }

    fn usual_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// Whether it is this machine itself, where nobody listens in between.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host[:port]` as the Host header has it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::usual_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// The URL of `target` here; `target` begins with a slash.
    pub(crate) fn url(&self, target: impl Into<String>) -> Url {
        Url { origin: self.clone(), target: target.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl Url {
    /// Reads an absolute URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(at)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if !printable(&target) {
            return None;
        }
        Some(Self { origin: Origin::new(secure, authority)?, target })
    }

    /// Where `location`, absolute or relative, leads from here.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        let location = location.split_once('#').map_or(location, |(before, _)| before);
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", if self.origin.secure { "https" } else { "http" }));
        }
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        let target = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
            format!("{folder}{location}")
        };
        printable(&target).then(|| self.origin.url(target))
    }

    /// The same URL with `name=value` added to its query.
    pub(crate) fn with_query(&self, name: &str, value: &str) -> Self {
        let divider = if self.target.contains('?') { '&' } else { '?' };
        self.origin.url(format!("{}{divider}{name}={}", self.target, encoded(value)))
    }

    /// Without the query, for messages: it may hold a signature or a token.
    pub(crate) fn shown(&self) -> String {
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        format!("{}{path}", self.origin)
    }
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `text` as a part of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        // Colon and slash are allowed in a query; registries' logs are easier to read with them.
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let base = Url::parse("http://h:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, result) in [
            ("/v2/b", "http://h:5000/v2/b"),
            ("uuid?_state=a%3D", "http://h:5000/v2/a/blobs/uploads/uuid?_state=a%3D"),
            ("?y", "http://h:5000/v2/a/blobs/uploads/?y"),
            ("https://Other/x#f", "https://other/x"),
            ("//other:1/x", "http://other:1/x"),
            ("/x?u=http://y", "http://h:5000/x?u=http://y"),
        ] {
            let url = base.join(location).unwrap();
            assert_eq!(format!("{}{}", url.origin, url.target), result);
        }
        for wrong in ["ftp://h/x", "http://", "http://u@h/x", "http://h:0/", "http://h:x/", "/a\r\nb", "http://[::1/x"]
        {
            assert!(base.join(wrong).is_none(), "{wrong}");
        }
        assert_eq!(base.with_query("digest", "sha256:a b").target, "/v2/a/blobs/uploads/?x=1&digest=sha256:a%20b");
        assert_eq!(Url::parse("https://h/x?token=secret").unwrap().shown(), "https://h/x");
    }

    #[test]
    fn loopback_is_told_from_names_that_look_like_it() {
        for (authority, loopback) in [
            ("localhost:1", true),
            ("127.0.0.9", true),
            ("[::1]:5", true),
            ("localhost.example", false),
            ("127.evil", false),
        ] {
            assert_eq!(Origin::new(false, authority).unwrap().is_loopback(), loopback, "{authority}");
        }
    }
}
