//! Everything about the files of a tree.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use orlop_images::Digest;

/// All about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    pub device: u64,
    pub mtime: (i64, i64),
    /// The size and the digest of a regular file.
    pub content: Option<(u64, Digest)>,
    pub target: Option<PathBuf>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first name of the same file.
    pub first: PathBuf,
}

impl Node {
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Reads the tree below `root`.
pub fn read(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    walk(root, Path::new(""), &mut nodes, &mut HashMap::new());
    nodes
}

fn walk(root: &Path, at: &Path, nodes: &mut BTreeMap<PathBuf, Node>, inodes: &mut HashMap<(u64, u64), PathBuf>) {
    let path = root.join(at);
    let status = path.symlink_metadata().unwrap();
    let regular = status.is_file().then(|| (status.size(), Digest::of(&std::fs::read(&path).unwrap())));
    let first = match status.is_dir() {
        true => at.to_owned(),
        false => inodes.entry((status.dev(), status.ino())).or_insert_with(|| at.to_owned()).clone(),
    };
    let node = Node {
        mode: status.mode(),
        owner: (status.uid(), status.gid()),
        device: if status.mode() & libc::S_IFMT == libc::S_IFREG { 0 } else { status.rdev() },
        mtime: (status.mtime(), status.mtime_nsec()),
        content: regular,
        target: status.is_symlink().then(|| std::fs::read_link(&path).unwrap()),
        xattrs: xattrs(&path),
        first,
    };
    nodes.insert(at.to_owned(), node);
    if status.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(root, &at.join(name), nodes, inodes);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        (String::from_utf8_lossy(name).into_owned(), value)
    };
    // What overlayfs keeps for itself is not part of the tree.
    names.map(value).filter(|(name, _)| !name.contains(".overlay.")).collect()
}
