//! Names of images, as Docker writes them, and the other places an image can come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::{Digest, Error, Kind, Result, Step};

/// The registry that a name without one means.
const DOCKER_HUB: &str = "docker.io";
/// The longest name that Docker's own parser takes, registry included.
const LONGEST_NAME: usize = 255;
/// The longest tag of the distribution specification.
const LONGEST_TAG: usize = 128;

/// The name of an image in a registry: host, repository, and a tag or a digest or both.
///
/// Parsed by Docker's rules: `nginx` is `docker.io/library/nginx:latest`; the first part is a host if it holds a dot or a
/// colon or is `localhost`. Displayed in full, in the one form that all ways of writing it share.
///
/// ```
/// use orlop_images::Reference;
/// let reference: Reference = "localhost:5000/a/b:1".parse()?;
/// assert_eq!((reference.host(), reference.repository(), reference.tag()), ("localhost:5000", "a/b", Some("1")));
/// assert_eq!("nginx".parse::<Reference>()?.to_string(), "docker.io/library/nginx:latest");
/// # Ok::<(), orlop_images::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port where one was given.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in the registry, such as `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one. A reference by digest may have none.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference has one. It decides; a tag beside it is for people.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Host and repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The same repository with `digest` and no tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The shortest way to write it, as Docker shows it: without `docker.io/library/`, unless it would then be another name.
    #[must_use]
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let shorter = ["docker.io/library/", "docker.io/"].iter().filter_map(|prefix| text.strip_prefix(prefix));
        let same = |short: &&str| short.parse().ok().as_ref() == Some(self);
        shorter.into_iter().find(same).map_or_else(|| text.clone(), str::to_owned)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| {
            Error::new(Kind::InvalidArgument, Step::ParseReference).object_is(shown(text)).reason_is(reason)
        })
    }
}

/// A name for messages: quoted and not endless, since it may come from anywhere.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_NAME).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

fn parse(text: &str) -> std::result::Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (text, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse().map_err(
                |_| "the part after @ is no digest: sha256: and 64 lower case hexadecimal digits are expected",
            )?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon after the last slash begins a tag; before it, a port.
    let last = text.rfind('/').map_or(0, |at| at + 1);
    let colon = text.get(last..).and_then(|name| name.find(':')).map(|at| last + at);
    let (name, tag) = match colon.and_then(|at| text.split_at_checked(at)) {
        Some((name, tag)) => (name, tag.get(1..)),
        None => (text, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("the tag is wrong: up to 128 letters, digits, _, . and -, not beginning with . or -");
    }
    if digest.is_none() && tag.is_none() && name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image's id, not a name");
    }
    let (host, repository) = split_host(name);
    if !is_host(&host) {
        return Err("the registry's host is wrong: a DNS name or an address, and a port from 1 to 65535");
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository is written in lower case");
    }
    if !repository.split('/').all(is_component) {
        return Err("the repository is wrong: lower case letters and digits, divided by one . or _, by __, or by -");
    }
    if host.len() + 1 + repository.len() > LONGEST_NAME {
        return Err("the name is longer than 255 characters");
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    Ok(Reference { host, repository, tag: tag.map(str::to_owned), digest })
}

/// Divides a name into host and repository, with Docker's defaults for both.
fn split_host(name: &str) -> (String, String) {
    let (host, rest) = match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    };
    let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
    let implied = if host == DOCKER_HUB && !rest.contains('/') { "library/" } else { "" };
    (host.to_owned(), format!("{implied}{rest}"))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or("wrong"))),
            None => return false,
        },
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let named = if host.starts_with('[') {
        name.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        name.split('.').all(|label| {
            let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
        })
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    named && port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// One part of a repository: runs of letters and digits with a single separator between two.
fn is_component(part: &str) -> bool {
    let mut separator = String::new();
    let mut seen = false;
    for c in part.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let fits = match separator.as_str() {
                    "" | "." | "_" | "__" => true,
                    other => other.chars().all(|c| c == '-'),
                };
                if !fits || (!seen && !separator.is_empty()) {
                    return false;
                }
                separator.clear();
                seen = true;
            }
            '.' | '_' | '-' => separator.push(c),
            _ => return false,
        }
    }
    seen && separator.is_empty()
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
        && tag.bytes().next().is_some_and(word)
}

/// Where an image comes from, as a command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The store, and if it is not there, a registry.
    Registry(Reference),
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
    /// `oci-archive:FILE[:NAME]`: an OCI layout as a tar archive.
    OciArchive(PathBuf, Option<String>),
    /// `oci:DIR[:NAME]`: an OCI layout.
    OciDir(PathBuf, Option<String>),
    /// A root file system as a tar archive: `./NAME`, `/NAME`, or any name that ends in `.tar`, `.tar.gz`, `.tgz` or
    /// `.tar.zst`.
    RootFs(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Err(Error::new(Kind::InvalidArgument, Step::ParseReference).object_is(shown(text)).reason_is(reason))
        };
        if text.contains('\0') {
            return wrong("it holds a NUL byte");
        }
        let prefixes = ["docker-archive:", "oci-archive:", "oci:"];
        for (prefix, make) in prefixes.into_iter().zip([Self::DockerArchive, Self::OciArchive, Self::OciDir]) {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name)));
                if path.is_empty() || name == Some("") {
                    return wrong("a path is missing after the first colon, or a name after the second");
                }
                return Ok(make(PathBuf::from(path), name.map(str::to_owned)));
            }
        }
        let archive = [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| text.ends_with(ending));
        if archive || text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return Ok(Self::RootFs(PathBuf::from(text)));
        }
        text.parse().map(Self::Registry)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, name) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::RootFs(path) => return path.display().fmt(f),
            Self::DockerArchive(path, name) => ("docker-archive", path, name),
            Self::OciArchive(path, name) => ("oci-archive", path, name),
            Self::OciDir(path, name) => ("oci", path, name),
        };
        write!(f, "{prefix}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_mean_what_they_mean_to_docker() {
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
            ("host:5000/a", "host:5000/a:latest", "host:5000/a:latest"),
            ("ghcr.io/a/b/c:v1.2_3-x", "ghcr.io/a/b/c:v1.2_3-x", "ghcr.io/a/b/c:v1.2_3-x"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000/a:b"),
            ("UPPER/a", "UPPER/a:latest", "UPPER/a:latest"),
            ("a--b/c__d.e_f:T", "docker.io/a--b/c__d.e_f:T", "a--b/c__d.e_f:T"),
            ("library/x/y", "docker.io/library/x/y:latest", "library/x/y:latest"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(full.parse::<Reference>().unwrap(), reference, "{text}");
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference, "{text}");
        }
        let both: Reference = format!("nginx:1@sha256:{HEX}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().hex()), (Some("1"), HEX.to_owned()));
        let only: Reference = format!("h:1/a@sha256:{HEX}").parse().unwrap();
        assert_eq!((only.host(), only.tag()), ("h:1", None));
    }

    #[test]
    fn what_docker_refuses_is_refused_with_the_reason() {
        let long = format!("a/{}", "b".repeat(250));
        let id = HEX.to_owned();
        let tag = format!("a:{}", "t".repeat(129));
        for (text, reason) in [
            ("", "it is empty"),
            ("nginx:", "the tag is wrong"),
            ("nginx:-a", "the tag is wrong"),
            ("nginx:ä", "the tag is wrong"),
            (tag.as_str(), "the tag is wrong"),
            ("Nginx", "a repository is written in lower case"),
            ("a/B", "a repository is written in lower case"),
            ("a..b", "the repository is wrong"),
            ("a/", "the repository is wrong"),
            ("/a", "the repository is wrong"),
            ("a//b", "the repository is wrong"),
            ("_a", "the repository is wrong"),
            ("a_", "the repository is wrong"),
            ("a___b", "the repository is wrong"),
            ("../a", "the registry's host is wrong"),
            ("h.com/../a", "the repository is wrong"),
            ("https://h.com/a", "the registry's host is wrong"),
            ("h.com:70000/a", "the registry's host is wrong"),
            ("h.com:/a", "the registry's host is wrong"),
            ("h.com:+1/a", "the registry's host is wrong"),
            ("-h.com/a", "the registry's host is wrong"),
            ("[::1/a", "the registry's host is wrong"),
            ("[::1]x/a", "the registry's host is wrong"),
            ("a b", "the repository is wrong"),
            ("a@sha256:12", "the part after @ is no digest"),
            ("a@sha256:12@sha256:12", "the part after @ is no digest"),
            (id.as_str(), "64 hexadecimal digits"),
            (long.as_str(), "longer than 255"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.reason().unwrap().contains(reason), "{text}: {error}");
            assert!(error.to_string().starts_with("read reference \""), "{error}");
        }
    }

    #[test]
    fn other_sources_are_told_apart_by_their_prefix() {
        let path = PathBuf::from;
        for (text, source) in [
            ("docker-archive:/a/b.tar", Source::DockerArchive(path("/a/b.tar"), None)),
            ("docker-archive:b.tar:x:1", Source::DockerArchive(path("b.tar"), Some("x:1".to_owned()))),
            ("oci-archive:b", Source::OciArchive(path("b"), None)),
            ("oci:dir:name", Source::OciDir(path("dir"), Some("name".to_owned()))),
            ("rootfs.tar", Source::RootFs(path("rootfs.tar"))),
            ("./x", Source::RootFs(path("./x"))),
            ("a/rootfs.tar.zst", Source::RootFs(path("a/rootfs.tar.zst"))),
            ("nginx", Source::Registry("nginx".parse().unwrap())),
        ] {
            let parsed: Source = text.parse().unwrap();
            assert_eq!(parsed, source);
            if text != "nginx" {
                assert_eq!(parsed.to_string(), text);
            }
        }
        assert!("oci:".parse::<Source>().is_err());
        assert!("oci:dir:".parse::<Source>().is_err());
    }
}
