//! Reads the profile that the seccomp commands work on.

use std::ffi::OsStr;
use std::io::Read;

use orlop::seccomp::{self, Filter, Profile};
use serde::Deserialize;

use crate::failure::Failure;

/// A config.json, as far as it matters here.
#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow)]
    linux: Option<Linux<'a>>,
}

#[derive(Deserialize)]
struct Linux<'a> {
    #[serde(borrow)]
    seccomp: Option<Profile<'a>>,
}

/// Compiles the profile in the file `name` (`-` is standard input): a seccomp section, or a whole config.json that has one.
pub(super) fn compile(name: &OsStr) -> Result<Filter, Failure> {
    let shown = name.display();
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(name).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::io(format_args!("read {shown}"), &error))?;
    let wrong = |error: serde_json::Error| Failure::new(format!("read {shown}: {error}"));
    let config: Config<'_> = serde_json::from_str(&text).map_err(wrong)?;
    let (profile, prefix) = match config.linux {
        Some(linux) => (linux.seccomp, "/linux/seccomp"),
        None => (Some(serde_json::from_str(&text).map_err(wrong)?), ""),
    };
    let profile = profile.ok_or_else(|| Failure::new(format!("{shown} has no linux.seccomp: no filter is loaded")))?;
    let compiled = seccomp::compile(&profile, &seccomp::Options::default());
    compiled.map_err(|error| Failure::new(format!("{shown} ({prefix}{}): {}", error.pointer(), error.message())))
}
