//! Where a reference is fetched from: mirrors and settings of registries.conf, certificates of certs.d.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::{Error, Kind, Result, Step};
use crate::reference::Reference;

/// The host that Docker's registry really has.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One place that may have the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host, with a port where one was given.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Whether plain HTTP and certificates that are not valid will do.
    pub(crate) insecure: bool,
}

/// registries.conf, version 2, as Podman reads it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Registry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// The settings of registries on this machine.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    registries: Vec<Registry>,
    certificates: Vec<PathBuf>,
    plain: Vec<String>,
}

impl Hosts {
    /// Reads `/etc/containers/registries.conf`, or the user's, and the files of `registries.conf.d`.
    pub fn of_environment() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let mine = config.map(|config| config.join("containers"));
        let system = Path::new("/etc/containers");
        let named = set("CONTAINERS_REGISTRIES_CONF");
        let main = named.clone().or_else(|| {
            let mine = mine.as_ref().map(|mine| mine.join("registries.conf"));
            mine.filter(|path| std::fs::symlink_metadata(path).is_ok())
        });
        let main = main.unwrap_or_else(|| system.join("registries.conf"));
        let mut hosts = Self::default();
        hosts.read(&main, named.is_some())?;
        for folder in [Some(system.to_owned()), mine.clone()].into_iter().flatten() {
            for path in listed(&folder.join("registries.conf.d"))? {
                if path.extension().is_some_and(|ending| ending == "conf") {
                    hosts.read(&path, true)?;
                }
            }
        }
        let places = [mine, Some(system.to_owned()), Some(PathBuf::from("/etc/docker"))];
        hosts.certificates = places.into_iter().flatten().map(|place| place.join("certs.d")).collect();
        Ok(hosts)
    }

    /// Allows plain HTTP to this `host[:port]`.
    #[must_use]
    pub fn with_plain_http(mut self, host: impl Into<String>) -> Self {
        self.plain.push(host.into());
        self
    }

    fn read(&mut self, path: &Path, must: bool) -> Result<()> {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must => return Ok(()),
            Err(error) => return Err(Error::io(Step::ReadConfig, &error).object_is(shown)),
        };
        let added = parse(&text)
            .map_err(|reason| Error::new(Kind::InvalidContent, Step::ReadConfig).object_is(shown).reason_is(reason))?;
        // A later file replaces what an earlier one says of the same prefix.
        self.registries.retain(|old| added.iter().all(|new| new.prefix != old.prefix));
        self.registries.extend(added);
        Ok(())
    }

    /// Whether plain HTTP to `host` was allowed by the caller.
    pub(crate) fn is_plain(&self, host: &str) -> bool {
        self.plain.iter().any(|each| each == host)
    }

    /// The directories of certs.d for `host[:port]`.
    pub(crate) fn certificates(&self, host: &str) -> Vec<PathBuf> {
        // The host was checked when the reference was read: it holds no slash and is not `..`.
        self.certificates.iter().map(|folder| folder.join(host)).collect()
    }

    /// The places to pull `reference` from, in order: mirrors first, the registry itself last.
    pub(crate) fn to_pull(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let Some((rule, own)) = self.rule(reference)? else { return Ok(vec![plain_endpoint(reference)]) };
        let by_digest = reference.digest().is_some();
        let mirrors = rule.mirror.iter().filter(|mirror| match mirror.pull_from_mirror.as_str() {
            "digest-only" => by_digest,
            "tag-only" => !by_digest,
            _ => !rule.mirror_by_digest_only || by_digest,
        });
        let mut endpoints = Vec::new();
        for mirror in mirrors {
            endpoints.push(moved(reference, rule, &mirror.location, mirror.insecure)?);
        }
        endpoints.push(own);
        Ok(endpoints)
    }

    /// The place to push `reference` to: never a mirror.
    pub(crate) fn to_push(&self, reference: &Reference) -> Result<Endpoint> {
        Ok(self.rule(reference)?.map_or_else(|| plain_endpoint(reference), |(_, own)| own))
    }

    /// The rule with the longest prefix that fits, and where it puts the registry itself.
    fn rule(&self, reference: &Reference) -> Result<Option<(&Registry, Endpoint)>> {
        let name = reference.name();
        let fitting = self.registries.iter().filter(|registry| fits(&registry.prefix, &name));
        let Some(rule) = fitting.max_by_key(|registry| registry.prefix.len()) else { return Ok(None) };
        if rule.blocked {
            return Err(Error::new(Kind::Denied, Step::ReadConfig)
                .object_is("registries.conf")
                .reference_is(reference)
                .reason_is(format!("the registry {} is blocked", rule.prefix)));
        }
        let own = moved(reference, rule, &rule.location, rule.insecure)?;
        Ok(Some((rule, own)))
    }
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(Step::ReadConfig, &error).object_is(folder.display().to_string())),
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}

fn parse(text: &str) -> std::result::Result<Vec<Registry>, String> {
    // An error of the parser spans lines and shows the source; one line says enough.
    let file: File = toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut registries = file.registry;
    for registry in &mut registries {
        if registry.prefix.is_empty() {
            registry.prefix.clone_from(&registry.location);
        }
        if registry.location.is_empty() && !registry.prefix.starts_with("*.") {
            registry.location.clone_from(&registry.prefix);
        }
        if registry.prefix.is_empty() {
            return Err("a [[registry]] has neither prefix nor location".to_owned());
        }
    }
    Ok(registries)
}

/// Whether `prefix` (`host`, `host/path`, `*.domain`) covers `name`, at the end of a part.
fn fits(prefix: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split('/').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        return host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    }
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `reference` with its prefix replaced by `location`.
fn moved(reference: &Reference, rule: &Registry, location: &str, insecure: bool) -> Result<Endpoint> {
    let name = reference.name();
    let rest = name.strip_prefix(&rule.prefix).filter(|_| !location.is_empty());
    let name = rest.map_or(name.clone(), |rest| format!("{location}{rest}"));
    let (host, repository) = name.split_once('/').ok_or_else(|| {
        Error::new(Kind::InvalidContent, Step::ReadConfig)
            .object_is("registries.conf")
            .reason_is(format!("the location {location:?} leaves no repository of {name}"))
    })?;
    Ok(Endpoint { host: real(host), repository: repository.to_owned(), insecure })
}

fn plain_endpoint(reference: &Reference) -> Endpoint {
    Endpoint { host: real(reference.host()), repository: reference.repository().to_owned(), insecure: false }
}

fn real(host: &str) -> String {
    if host == "docker.io" { DOCKER_HUB.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io/library"
        location = "docker.io/library"
        [[registry.mirror]]
        location = "mirror.local:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.local"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "blocked.example"
        blocked = true
        [[registry]]
        prefix = "*.corp.example"
        insecure = true
        [[registry]]
        prefix = "old.example/a"
        location = "new.example/b"
    "#;

    fn hosts() -> Hosts {
        Hosts { registries: parse(TEXT).unwrap(), ..Hosts::default() }
    }

    fn places(text: &str) -> Vec<String> {
        let endpoints = hosts().to_pull(&text.parse().unwrap()).unwrap();
        let shown =
            |each: &Endpoint| format!("{}/{}{}", each.host, each.repository, if each.insecure { "!" } else { "" });
        endpoints.iter().map(shown).collect()
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        assert_eq!(places("nginx"), ["mirror.local:5000/hub/nginx!", "registry-1.docker.io/library/nginx"]);
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let pinned = places(&format!("nginx@sha256:{hex}"));
        assert_eq!(pinned.len(), 3);
        assert_eq!(pinned[1], "digests.local/nginx");
        assert_eq!(places("me/x"), ["registry-1.docker.io/me/x"]);
        assert_eq!(places("libraryx/x"), ["registry-1.docker.io/libraryx/x"]);
        assert_eq!(places("a.corp.example:5000/x"), ["a.corp.example:5000/x!"]);
        assert_eq!(places("old.example/a/x"), ["new.example/b/x"]);
        assert_eq!(places("old.example/ab/x"), ["old.example/ab/x"]);
        assert_eq!(hosts().to_push(&"nginx".parse().unwrap()).unwrap().host, "registry-1.docker.io");
    }

    #[test]
    fn blocked_registries_and_broken_files_are_named() {
        let error = hosts().to_pull(&"blocked.example/x".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("the registry blocked.example is blocked"), "{error}");
        assert!(parse("[[registry]]\nblocked = true").unwrap_err().contains("neither prefix nor location"));
        assert!(!parse("[[registry]").unwrap_err().contains('\n'));
    }
}
