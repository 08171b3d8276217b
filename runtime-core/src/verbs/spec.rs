//! `spec`: writes a config.json to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::base::{Error, Kind, Result, Step, options};
use crate::config::{DefaultConfig, default_config};

options! {
    /// What `spec` is told.
    #[derive(Debug, Clone, Default)]
    pub struct SpecOptions {
        /// The directory to write into; empty: the current one.
        pub bundle: PathBuf,
        /// Another name than `config.json`, relative to the bundle, or an absolute path.
        pub file: Option<PathBuf>,
        /// For a container that the caller runs without root's rights.
        pub rootless: bool,
    }
}

/// Writes the default config (see [`crate::config::default_config`]) to a new file.
///
/// It has a cgroup namespace on a host with pure cgroup v2, as runc's has: tools that edit the file count on it.
///
/// # Errors
/// [`Kind::AlreadyExists`] when the file is there; [`Kind::System`] when it cannot be written.
pub fn spec(options: &SpecOptions) -> Result<()> {
    let path = options.bundle.join(options.file.as_deref().unwrap_or("config.json".as_ref()));
    let name = path.display().to_string();
    let ids = || (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let cgroup_namespace = statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let text = default_config(DefaultConfig { rootless: options.rootless.then(ids), cgroup_namespace });
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new(Kind::AlreadyExists, Step::WriteConfig)
                .with_object(&name)
                .with_reason("file exists")
                .with_hint("remove it first"));
        }
        Err(error) => return Err(Error::io(Step::WriteConfig, &error).with_object(&name)),
    };
    file.write_all(text.as_bytes()).map_err(|error| Error::io(Step::WriteConfig, &error).with_object(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let bundle = std::env::temp_dir().join(format!("orlop-spec-{}", std::process::id()));
        std::fs::create_dir(&bundle).unwrap();
        let options = SpecOptions { bundle: bundle.clone(), ..SpecOptions::default() };
        let first = spec(&options);
        let second = spec(&options);
        let text = std::fs::read(bundle.join("config.json"));
        std::fs::remove_dir_all(&bundle).unwrap();
        first.unwrap();
        assert_eq!(second.unwrap_err().kind(), Kind::AlreadyExists);
        assert!(crate::config::load(&text.unwrap()).is_ok());
    }
}
