//! Proxies, by the environment variables that Go programs such as Docker read.

use std::net::IpAddr;

use crate::base::{Error, Kind, Result, Step};
use crate::registry::base64;
use crate::registry::url::{Origin, Url};

/// The proxies of the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    https: Option<String>,
    http: Option<String>,
    none: Vec<String>,
}

/// A proxy to go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) origin: Origin,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

impl Proxies {
    /// Reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case.
    pub(super) fn of_environment() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            variable(name).or_else(|| variable(&name.to_ascii_lowercase())).filter(|value| !value.is_empty())
        };
        let none = either("NO_PROXY").unwrap_or_default();
        let none = none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty());
        Self { https: either("HTTPS_PROXY"), http: either("HTTP_PROXY"), none: none.collect() }
    }

    /// The proxy for requests to `origin`. This machine itself is never reached through one.
    pub(super) fn of(&self, origin: &Origin) -> Result<Option<Proxy>> {
        let (name, text) = match origin.secure {
            true => ("HTTPS_PROXY", &self.https),
            false => ("HTTP_PROXY", &self.http),
        };
        match text {
            Some(text) if !origin.is_loopback() && !self.none.iter().any(|entry| excepts(entry, origin)) => {
                Proxy::parse(name, text).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Whether an entry of NO_PROXY names `origin`: a host with its subdomains, `.suffix`, an address, a network, `host:port`.
fn excepts(entry: &str, origin: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(address) = origin.host.parse::<IpAddr>() {
        return entry.trim_matches(['[', ']']) == origin.host || in_network(entry, address);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (entry, None),
    };
    if port.is_some_and(|port| port != origin.port) {
        return false;
    }
    let name = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).map_or((name, true), |name| (name, false));
    let (name, itself) = name;
    (itself && origin.host == name) || origin.host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(entry: &str, address: IpAddr) -> bool {
    let Some((network, length)) = entry.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (mine, theirs, width) = match (address, network) {
        (IpAddr::V4(mine), IpAddr::V4(theirs)) => (u128::from(mine.to_bits()), u128::from(theirs.to_bits()), 32),
        (IpAddr::V6(mine), IpAddr::V6(theirs)) => (mine.to_bits(), theirs.to_bits(), 128),
        _ => return false,
    };
    length <= width && (length == 0 || (mine ^ theirs) >> (width - length) == 0)
}

impl Proxy {
    fn parse(name: &str, text: &str) -> Result<Self> {
        let wrong =
            |reason: &str| Error::new(Kind::InvalidArgument, Step::ReadConfig).object_is(name).reason_is(reason);
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !["http", "https"].contains(&scheme) {
            return Err(wrong("only http:// and https:// proxies are supported").kind_is(Kind::Unsupported));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let url = Url::parse(&format!("{scheme}://{host}")).ok_or_else(|| wrong("not the URL of a proxy"))?;
        let authorization = match user.map(decoded) {
            Some(Some(user)) => Some(format!("Basic {}", base64::encode(user.as_bytes()))),
            Some(None) => return Err(wrong("its user or password is not percent-encoded UTF-8")),
            None => None,
        };
        Ok(Self { origin: url.origin, authorization })
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(https: &'static str, none: &'static str) -> Proxies {
        Proxies::new(move |name| match name {
            "HTTPS_PROXY" => Some(https.to_owned()),
            "no_proxy" => Some(none.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        let none = "example.com, .inner.net,*.star.org,10.0.0.0/8,2001:db8::/32,1.2.3.4,port.com:8443";
        let proxies = proxies("proxy:3128", none);
        for (host, through) in [
            ("example.com", false),
            ("a.example.com", false),
            ("notexample.com", true),
            ("inner.net", true),
            ("a.inner.net", false),
            ("a.star.org", false),
            ("10.1.2.3", false),
            ("11.1.2.3", true),
            ("[2001:db8::1]", false),
            ("1.2.3.4", false),
            ("port.com", true),
            ("port.com:8443", false),
            ("localhost:5000", false),
            ("127.0.0.1", false),
        ] {
            let origin = Origin::new(true, host).unwrap();
            assert_eq!(proxies.of(&origin).unwrap().is_some(), through, "{host}");
        }
        assert!(proxies.of(&Origin::new(false, "h").unwrap()).unwrap().is_none());
    }

    #[test]
    fn users_of_proxies_are_decoded_and_other_kinds_refused() {
        let origin = Origin::new(true, "h").unwrap();
        let proxy = proxies("https://us%40er:pa:ss@p:1/", "").of(&origin).unwrap().unwrap();
        assert_eq!(proxy.origin, Origin::new(true, "p:1").unwrap());
        assert_eq!(proxy.authorization.unwrap(), format!("Basic {}", base64::encode(b"us@er:pa:ss")));
        let error = proxies("socks5://p:1", "").of(&origin).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
    }
}
