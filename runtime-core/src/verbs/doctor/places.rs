//! Where state is kept, and what else is looked for: CRIU, a terminal.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

use super::finding::{HostFinding, Level, words};
use crate::base::Runtime;
#[cfg(feature = "criu")]
use crate::parent::criu::Criu;
use crate::state::Store;

/// What was found there.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
    state: Result<State, String>,
    /// CRIU and its version.
    criu: Result<String, String>,
    terminal: bool,
}

#[derive(Debug, Clone, Copy)]
struct State {
    read_only: bool,
    /// Bytes that this caller may still write.
    free: u64,
    /// Files that may still be made.
    files: u64,
}

/// A container's state with a small config.
const NEEDED: u64 = 256 << 10;

impl Places {
    pub(super) fn probe(runtime: &Runtime) -> Self {
        Self {
            state: state(runtime),
            root: runtime.root.clone(),
            criu: criu(),
            terminal: std::io::IsTerminal::is_terminal(&std::io::stdin()),
        }
    }

    pub(super) fn judge(&self) -> Vec<HostFinding> {
        let terminal = if self.terminal { "standard input is one" } else { "standard input is none" };
        vec![self.state(), self.criu(), HostFinding::ok("terminal", terminal)]
    }

    fn state(&self) -> HostFinding {
        let root = self.root.display();
        let broken = |found: String, remedy: &str| {
            HostFinding::new(Level::Broken, "state directory", found, "no container can be made", remedy)
        };
        match self.state {
            Err(ref error) => broken(
                format!("{root}: {error}"),
                "--root DIR with a directory of this user's own, or set XDG_RUNTIME_DIR",
            ),
            Ok(State { read_only: true, .. }) => {
                broken(format!("{root} is on a read-only mount"), "--root DIR elsewhere")
            }
            Ok(State { free, files, .. }) if free < NEEDED || files < 16 => broken(
                format!("{root}: {free} bytes and {files} files are left"),
                "make room there, or --root DIR elsewhere",
            ),
            Ok(State { free, .. }) => HostFinding::ok("state directory", format!("{root}, {} KiB free", free >> 10)),
        }
    }

    fn criu(&self) -> HostFinding {
        match &self.criu {
            Ok(found) => HostFinding::ok("CRIU", found.clone()),
            Err(error) => HostFinding {
                consequence: "checkpoint and restore are refused".into(),
                remedy: "install criu 3.15 or later".into(),
                ..HostFinding::note("CRIU", error.clone())
            },
        }
    }
}

#[cfg(feature = "criu")]
fn criu() -> Result<String, String> {
    Criu::find(None).map(|criu| criu.describe()).map_err(|error| error.to_string())
}

#[cfg(not(feature = "criu"))]
fn criu() -> Result<String, String> {
    Err("built without the feature criu".to_owned())
}

/// The state directory, or the nearest above it that there is: the rest would be made.
fn state(runtime: &Runtime) -> Result<State, String> {
    // A directory that is there must be ours alone.
    Store::open(runtime).map_err(|error| error.to_string())?;
    let nearest = runtime.root.ancestors().find(|path| is_there(path)).unwrap_or(Path::new("/"));
    match access(nearest, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) | Err(Errno::EROFS) => {}
        Err(errno) => return Err(format!("{}: {}", nearest.display(), words(errno))),
    }
    let found = statvfs(nearest).map_err(|errno| format!("{}: {}", nearest.display(), words(errno)))?;
    // A file system that counts no files says 0 of 0.
    let files = if found.files() == 0 { u64::MAX } else { found.files_available() };
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    // So does one that has no blocks to give.
    let free = if found.blocks() == 0 { u64::MAX } else { free };
    Ok(State { read_only: found.flags().contains(FsFlags::ST_RDONLY), free, files })
}

fn is_there(path: &Path) -> bool {
    !path.as_os_str().is_empty() && std::fs::metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Places {
        Places {
            root: "/run/orlop".into(),
            state: Ok(State { read_only: false, free: 1 << 30, files: 1000 }),
            criu: Ok("criu: /usr/sbin/criu 3.17.1".into()),
            terminal: true,
        }
    }

    #[test]
    fn a_state_directory_that_takes_nothing_is_broken() {
        assert!(good().judge().iter().all(|one| one.level == Level::Ok));
        for state in [
            Err("permission denied".to_owned()),
            Ok(State { read_only: true, free: 1 << 30, files: 1000 }),
            Ok(State { read_only: false, free: 4096, files: 1000 }),
            Ok(State { read_only: false, free: 1 << 30, files: 0 }),
        ] {
            let found = Places { state, ..good() }.judge().remove(0);
            assert_eq!(found.level, Level::Broken, "{found:?}");
            assert!(found.remedy.contains("--root"), "{found:?}");
        }
    }

    #[test]
    fn without_criu_nothing_else_is_lost() {
        let found = Places { criu: Err("no such program in PATH".into()), ..good() }.judge().remove(1);
        assert_eq!(found.level, Level::Note);
        assert!(found.consequence.contains("restore"));
    }
}
