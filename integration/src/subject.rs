//! The runtime under test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Which family a runtime belongs to, judged by the first word of `--version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// This workspace's.
    Orlop,
    /// The reference.
    Runc,
    /// The C runtime; works only where no unified hierarchy is mounted beside v1.
    Crun,
    /// The other one in Rust.
    Youki,
}

/// A runtime program and what is known of it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The program.
    pub path: PathBuf,
    /// Its family.
    pub flavor: Flavor,
    /// The first line of `--version`.
    pub version: String,
}

impl Subject {
    /// The runtime that `ORLOP_RUNTIME` names, else this workspace's, built first.
    ///
    /// # Panics
    /// When there is no such program or it does not tell its version.
    #[must_use]
    pub fn from_environment() -> Self {
        let path =
            std::env::var_os("ORLOP_RUNTIME").filter(|value| !value.is_empty()).map_or_else(build, PathBuf::from);
        Self::new(&path)
    }

    /// The runtime at `path`.
    ///
    /// # Panics
    /// As [`Self::from_environment`].
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .unwrap_or_else(|error| panic!("cannot run {} --version: {error}", path.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or_default().to_owned();
        let flavor = match version.split_whitespace().next() {
            Some("runc") => Flavor::Runc,
            Some("crun") => Flavor::Crun,
            Some("youki") => Flavor::Youki,
            _ => Flavor::Orlop,
        };
        Self { path: path.to_owned(), flavor, version }
    }
}

/// Builds the program that ships, and tells where it is.
fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "--package", "orlop-cli", "--target", &target])
        .status()
        .expect("cargo");
    assert!(status.success(), "cargo build of orlop-cli failed");
    let root = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    root.join(target).join("release/orlop")
}
