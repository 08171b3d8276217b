//! What overlayfs has taken before, so that it need not be asked each time: a superblock that is made and taken down again is a good part of
//! what a snapshot takes.

use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use crate::base::{Dir, Step};

/// The file in the directory of the layers.
const FILE: &str = "overlay.json";

/// What decides whether an overlay works, besides its directories.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The kernel, by its boot.
    boot: String,
    /// The user namespace, by device and inode.
    user_namespace: (u64, u64),
    /// The file system of the layers.
    device: u64,
    /// With how many layers it worked.
    layers: usize,
}

impl Known {
    /// What an overlay of so many layers below `dir` depends on here; `None` where it cannot be told.
    pub(crate) fn here(dir: &Dir, boot: &str, layers: usize) -> Option<Self> {
        let namespace = std::fs::metadata("/proc/self/ns/user").ok()?;
        let device = dir.stat(Step::Snapshot, ".").ok()??.st_dev;
        Some(Self { boot: boot.to_owned(), user_namespace: (namespace.dev(), namespace.ino()), device, layers })
    }

    /// Whether one of at least as many layers has worked here.
    pub(crate) fn has_worked(&self, dir: &Dir) -> bool {
        let text = dir.read(Step::Snapshot, FILE, 4096).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&text)
            .is_ok_and(|before: Self| before.layers >= self.layers && Self { layers: self.layers, ..before } == *self)
    }

    /// Remembers that it works. Where that cannot be written down, the next one asks again.
    pub(crate) fn remember(&self, dir: &Dir) {
        if let Ok(text) = serde_json::to_vec(self) {
            drop(dir.replace_for_now(Step::Snapshot, FILE, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_worked_counts_for_this_boot_and_no_more_layers() {
        let path = std::env::temp_dir().join(format!("orlop-known-{}", std::process::id()));
        let dir = Dir::make(Step::Snapshot, &path).unwrap();
        let here = |boot: &str, layers| Known::here(&dir, boot, layers).unwrap();
        assert!(!here("one", 3).has_worked(&dir));
        here("one", 3).remember(&dir);
        assert!(here("one", 3).has_worked(&dir) && here("one", 1).has_worked(&dir));
        assert!(!here("one", 4).has_worked(&dir) && !here("two", 3).has_worked(&dir));
        // Half a file is none.
        dir.replace(Step::Snapshot, FILE, b"{\"boot\":\"one\"").unwrap();
        assert!(!here("one", 1).has_worked(&dir));
        std::fs::remove_dir_all(path).unwrap();
    }
}
