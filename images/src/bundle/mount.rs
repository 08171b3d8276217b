//! `-v`, `--mount` and `--tmpfs`.

use std::path::PathBuf;

use crate::base::Result;
use crate::bundle::options::wrong;
use crate::bundle::value;

/// Something to be mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub what: What,
    /// Where in the container.
    pub target: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
        /// How mounts below it spread: `rprivate` unless said otherwise.
        propagation: String,
        /// Whether it is made as a directory if it is missing, as `-v` does it and `--mount` does not.
        create: bool,
    },
    /// A volume; one without a name belongs to the container.
    Volume {
        /// Its name.
        name: Option<String>,
        /// Whether a new one begins with what the image has there.
        copy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Mount options.
        options: Vec<String>,
    },
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `[SOURCE:]TARGET[:OPTIONS]`.
pub(super) fn from_volume(text: &str) -> Result<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(wrong(format!("{text:?} is not SOURCE:TARGET:OPTIONS"))),
    };
    let (mut read_only, mut copy, mut propagation) = (false, true, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => copy = false,
            option if PROPAGATIONS.contains(&option) => propagation = Some(option.to_owned()),
            "z" | "Z" => return Err(wrong(format!("{option:?}: SELinux labels are not set here"))),
            option => return Err(wrong(format!("{option:?} is no option of a volume"))),
        }
    }
    let what = match source {
        Some(source)
            if source.starts_with('/') || source.starts_with("./") || source.starts_with("../") || source == "." =>
        {
            if !copy {
                return Err(wrong("nocopy is for volumes, not for directories of the host"));
            }
            let propagation = propagation.unwrap_or_else(|| "rprivate".to_owned());
            What::Bind { source: PathBuf::from(source), propagation, create: true }
        }
        _ if propagation.is_some() => return Err(wrong("propagation is for directories of the host, not for volumes")),
        source => What::Volume { name: source.map(volume_name).transpose()?, copy },
    };
    Ok(Mount { what, target: target_of(target)?, read_only })
}

/// `type=…,source=…,target=…,…`.
pub(super) fn from_mount(text: &str) -> Result<Mount> {
    let mut fields = Fields::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        fields.take(key, value)?;
    }
    fields.finish()
}

/// The fields of `--mount`.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    no_copy: bool,
    tmpfs: Vec<String>,
}

impl Fields {
    fn take(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let text = || value.map(str::to_owned).ok_or_else(|| wrong(format!("{key} needs a value")));
        let switch = || value.map_or(Ok(true), value::boolean);
        match key {
            "type" => self.kind = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "target" | "destination" | "dst" => self.target = Some(text()?),
            "readonly" | "ro" => self.read_only = switch()?,
            "bind-propagation" => self.propagation = Some(text()?),
            "volume-nocopy" => self.no_copy = switch()?,
            "tmpfs-size" => self.tmpfs.push(format!("size={}", value::bytes(&text()?)?)),
            "tmpfs-mode" => {
                let mode = text()?;
                let right = u32::from_str_radix(&mode, 8).is_ok_and(|mode| mode <= 0o7777);
                if !right {
                    return Err(wrong(format!("tmpfs-mode {mode:?} is no mode")));
                }
                self.tmpfs.push(format!("mode={mode}"));
            }
            _ => return Err(wrong(format!("{key:?} is no field of a mount here"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Mount> {
        let target = target_of(&self.target.ok_or_else(|| wrong("a mount without target="))?)?;
        let kind = self.kind.as_deref().unwrap_or("volume");
        if (kind != "bind" && self.propagation.is_some())
            || (kind != "volume" && self.no_copy)
            || (kind != "tmpfs" && !self.tmpfs.is_empty())
        {
            return Err(wrong(format!("a field that a mount of type {kind} has not")));
        }
        let what = match (kind, self.source) {
            ("bind", Some(source)) if source.starts_with('/') => {
                let propagation = self.propagation.unwrap_or_else(|| "rprivate".to_owned());
                if !PROPAGATIONS.contains(&propagation.as_str()) {
                    return Err(wrong(format!(
                        "bind-propagation {propagation:?}: known are {}",
                        PROPAGATIONS.join(", ")
                    )));
                }
                What::Bind { source: PathBuf::from(source), propagation, create: false }
            }
            ("bind", _) => return Err(wrong("a bind needs an absolute source=")),
            ("volume", source) => {
                What::Volume { name: source.as_deref().map(volume_name).transpose()?, copy: !self.no_copy }
            }
            ("tmpfs", None) => What::Tmpfs { options: defaults_of_tmpfs(self.tmpfs) },
            ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no source")),
            _ => return Err(wrong(format!("type {kind:?}: known are bind, volume and tmpfs"))),
        };
        Ok(Mount { what, target, read_only: self.read_only })
    }
}

/// `TARGET[:OPTIONS]`.
pub(super) fn from_tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let key = option.split('=').next().unwrap_or_default();
        match key {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" if option.contains('=') => {
                kept.push(option.to_owned());
            }
            "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "sync" | "async" | "dirsync" | "atime"
            | "noatime" | "diratime" | "nodiratime" | "relatime" | "strictatime" => kept.push(option.to_owned()),
            _ => return Err(wrong(format!("{option:?} is no option of a tmpfs"))),
        }
    }
    Ok(Mount { what: What::Tmpfs { options: defaults_of_tmpfs(kept) }, target: target_of(target)?, read_only })
}

/// Docker's options for a tmpfs, as far as they are not contradicted.
fn defaults_of_tmpfs(options: Vec<String>) -> Vec<String> {
    let contradicted = |pair: &(&str, &str)| !options.iter().any(|option| option == pair.1);
    let defaults = [("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
    defaults.iter().filter(|pair| contradicted(pair)).map(|pair| pair.0.to_owned()).chain(options.clone()).collect()
}

fn target_of(text: &str) -> Result<String> {
    match value::directory(text)? {
        root if root == "/" => Err(wrong("nothing can be mounted on / here")),
        target => Ok(target),
    }
}

fn volume_name(text: &str) -> Result<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && text.len() <= 200 && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(wrong(format!("{text:?} is neither an absolute path nor a name of a volume")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, create: bool) -> What {
        What::Bind { source: source.into(), propagation: "rprivate".to_owned(), create }
    }

    #[test]
    fn volumes() {
        let mount = from_volume("/a:/b:ro").unwrap();
        assert_eq!(mount, Mount { what: bind("/a", true), target: "/b".to_owned(), read_only: true });
        let named = What::Volume { name: Some("data".to_owned()), copy: false };
        assert_eq!(
            from_volume("data:/b/:nocopy").unwrap(),
            Mount { what: named, target: "/b".to_owned(), read_only: false }
        );
        assert_eq!(from_volume("/b").unwrap().what, What::Volume { name: None, copy: true });
        assert!(
            matches!(from_volume("/a:/b:rshared").unwrap().what, What::Bind { propagation, .. } if propagation == "rshared")
        );
        for text in [
            "",
            "a",
            "/a:",
            "/a:b",
            "/a:/",
            "/a:/b:x",
            "/a:/b:Z",
            "/a:/b:nocopy",
            "x:/b:rshared",
            "a/b:/c",
            "/a:/b:ro:x",
        ] {
            assert!(from_volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts() {
        let mount = from_mount("type=bind,source=/a,target=/b,readonly").unwrap();
        assert_eq!(mount, Mount { what: bind("/a", false), target: "/b".to_owned(), read_only: true });
        let mount = from_mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        let options = ["nosuid", "nodev", "noexec", "size=1048576", "mode=1770"].map(str::to_owned).to_vec();
        assert_eq!(mount.what, What::Tmpfs { options });
        assert_eq!(
            from_mount("src=data,dst=/b").unwrap().what,
            What::Volume { name: Some("data".to_owned()), copy: true }
        );
        for text in [
            "",
            "type=bind,target=/b",
            "type=bind,source=a,target=/b",
            "type=npipe,target=/b",
            "type=tmpfs,src=x,dst=/b",
            "dst=/b,tmpfs-size=1",
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "type=bind,src=/a,dst=/b,readonly=maybe",
            "type=bind,src=/a,dst=/b,other=1",
            "type=bind,src=/a",
        ] {
            assert!(from_mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tmpfs() {
        let mount = from_tmpfs("/run:size=64k,exec,ro").unwrap();
        assert_eq!(
            mount.what,
            What::Tmpfs { options: ["nosuid", "nodev", "size=64k", "exec"].map(str::to_owned).to_vec() }
        );
        assert!(mount.read_only);
        for text in ["", "run", "/", "/run:bind", "/run:size"] {
            assert!(from_tmpfs(text).is_err(), "{text}");
        }
    }
}
