//! Directories of images: opened once, looked through before CRIU gets them, with the file `descriptors.json` that runtimes add.
//!
//! Images may come from elsewhere, and CRIU opens what it reads and writes there as root and follows links: nothing may be in
//! such a directory but files, and the link `parent` to images of the same set.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::fchown;

use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step};

/// What the standard streams were connected to, as runc and crun write it: a list of strings, of which `pipe:[N]` count.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";

/// CRIU's link to the images that an incremental dump is based on.
const PARENT: &str = "parent";
/// The socket of `criu lazy-pages`, which may have been given the same directory to work in.
const LAZY_PAGES: &str = "lazy-pages.socket";

/// What CRIU writes in the directory where it works.
const WRITTEN: [&str; 4] = ["dump.log", "restore.log", "stats-dump", "stats-restore"];

/// More than three short strings take.
const MAX_DESCRIPTORS: u64 = 64 * 1024;

/// A directory that CRIU works in.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    step: Step,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Opens the directory of images at `path`, making it (mode 0700) where it is missing and `make` is set, and looks through it.
    pub(crate) fn open(path: &Path, make: bool, step: Step) -> Result<Self> {
        let directory = Self::open_unseen(path, make, step)?;
        directory.check()?;
        Ok(directory)
    }

    /// Opens, or makes, a directory for CRIU's log. It may be one that an engine has for everything: only what CRIU writes by name is
    /// looked at.
    fn open_for_work(path: &Path, step: Step) -> Result<Self> {
        let directory = Self::open_unseen(path, true, step)?;
        for name in WRITTEN {
            match directory.check_entry(name) {
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                result => result?,
            }
        }
        Ok(directory)
    }

    fn open_unseen(path: &Path, make: bool, step: Step) -> Result<Self> {
        let failed = |error: &std::io::Error| Error::io(step, error).with_object(path.display().to_string());
        if path.as_os_str().is_empty() {
            return Err(Error::new(Kind::InvalidArgument, step).with_reason("no directory of images is given"));
        }
        if make {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(&error))?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| failed(&errno.into()))?;
        Ok(Self { fd, path: path.to_owned(), step })
    }

    /// The same directory as the process `pid`, with a mount namespace of its own, has it: it may mount something there.
    pub(crate) fn seen_by(&self, procfs: &Procfs, pid: HostPid, pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
        let failed = |errno: Errno| self.error("", errno).with_reason("as CRIU's mount namespace has it");
        let path = procfs.path_of(self.fd.as_fd())?;
        let seen = super::targets::open_directory(procfs.open_root(pid, pidfd)?.as_fd(), &path).map_err(failed)?;
        let (own, other) = (fstat(&self.fd).map_err(failed)?, fstat(&seen).map_err(failed)?);
        if (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino) { Ok(seen) } else { Err(failed(Errno::ESTALE)) }
    }

    /// Lets a group find files in it by their names, as long as the result lives: CRIU opens images after it has entered a user
    /// namespace, whose root is nobody here.
    pub(crate) fn searchable_by(&self, gid: u32) -> Result<Searchable<'_>> {
        let failed = |errno: Errno| self.error("", errno).with_reason("let the root of the user namespace in");
        let status = fstat(&self.fd).map_err(failed)?;
        let before = (status.st_gid, Mode::from_bits_truncate(status.st_mode));
        fchown(&self.fd, None, Some(gid.into())).map_err(failed)?;
        let searchable = Searchable { directory: self, before };
        fchmod(&self.fd, before.1 | Mode::S_IXGRP).map_err(failed)?;
        Ok(searchable)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, name: &str, errno: Errno) -> Error {
        Error::os(self.step, errno as i32).with_object(self.path.join(name).display().to_string())
    }

    fn refused(&self, name: &str, detail: &str) -> Error {
        Error::new(Kind::InvalidArgument, self.step)
            .with_object(self.path.join(name).display().to_string())
            .with_reason(detail)
    }

    fn check(&self) -> Result<()> {
        let readable = openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let mut entries = readable.and_then(nix::dir::Dir::from_fd).map_err(|errno| self.error("", errno))?;
        for entry in entries.iter() {
            let entry = entry.map_err(|errno| self.error("", errno))?;
            self.check_entry(&entry.file_name().to_string_lossy())?;
        }
        Ok(())
    }

    fn check_entry(&self, name: &str) -> Result<()> {
        let status = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| self.error(name, errno))?;
        match SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) {
            // Images are only read; a log or a statistics file is written.
            SFlag::S_IFREG if status.st_nlink > 1 && !name.ends_with(".img") => {
                Err(self.refused(name, "has several names: what is written to it would be written elsewhere too"))
            }
            SFlag::S_IFREG | SFlag::S_IFDIR => Ok(()),
            SFlag::S_IFSOCK if name == LAZY_PAGES => Ok(()),
            SFlag::S_IFLNK if name == PARENT => self.check_parent(),
            SFlag::S_IFLNK => Err(self.refused(name, "is a symbolic link, which CRIU would follow")),
            _ => Err(self.refused(name, "is neither a file nor a directory")),
        }
    }

    /// `parent` leads to a sibling: `../NAME`, or further down.
    fn check_parent(&self) -> Result<()> {
        let target = readlinkat(&self.fd, PARENT).map_err(|errno| self.error(PARENT, errno))?;
        if is_parent(Path::new(&target)) {
            return Ok(());
        }
        let detail =
            format!("leads to {target:?}: parent images are reached by a relative path, by way of .. once at most");
        Err(self.refused(PARENT, &detail))
    }

    /// Checks that `--parent-path`, relative to this directory, names a directory.
    pub(crate) fn check_parent_path(&self, parent: &Path) -> Result<()> {
        if !is_parent(parent) {
            let detail = "--parent-path: must be relative to the directory of the images, by way of .. once at most";
            return Err(self.refused(&parent.display().to_string(), detail));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(&self.fd, parent, flags, Mode::empty()).map(drop).map_err(|errno| {
            self.error(&parent.display().to_string(), errno)
                .with_reason("--parent-path: the images of an earlier --pre-dump")
        })
    }

    /// Writes [`DESCRIPTORS`].
    pub(crate) fn write_descriptors(&self, streams: &[String]) -> Result<()> {
        let json = serde_json::to_vec(streams).map_err(|error| {
            Error::new(Kind::System, self.step).with_object(DESCRIPTORS).with_reason(error.to_string())
        })?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.fd, DESCRIPTORS, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.error(DESCRIPTORS, errno))?;
        File::from(file).write_all(&json).map_err(|error| {
            Error::io(self.step, &error).with_object(self.path.join(DESCRIPTORS).display().to_string())
        })
    }
}

/// A directory that somebody may search for a while.
#[derive(Debug)]
pub(crate) struct Searchable<'d> {
    directory: &'d Directory,
    before: (u32, Mode),
}

impl Drop for Searchable<'_> {
    fn drop(&mut self) {
        let (gid, mode) = self.before;
        // The mode first: without the right to search it does not matter whose the group is.
        fchmod(&self.directory.fd, mode).ok();
        fchown(&self.directory.fd, None, Some(gid.into())).ok();
    }
}

/// Whether the path stays near: relative, with `..` at its beginning only, and once.
fn is_parent(path: &Path) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let first = match parts.next() {
        Some(Component::ParentDir) => parts.next(),
        first => first,
    };
    matches!(first, Some(Component::Normal(_))) && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Images to be restored.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) directory: Directory,
    /// For each standard stream the pipe it was, in CRIU's words.
    pub(crate) pipes: Vec<Option<String>>,
}

impl Images {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let directory = Directory::open(path, false, Step::Restore)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&directory.fd, DESCRIPTORS, flags, Mode::empty()).map_err(|errno| {
            directory.error(DESCRIPTORS, errno).with_hint("`orlop checkpoint` writes it beside CRIU's images")
        })?;
        let mut bytes = Vec::new();
        File::from(file)
            .take(MAX_DESCRIPTORS)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(Step::Restore, &error).with_object(DESCRIPTORS))?;
        let pipes = parse_descriptors(&bytes).map_err(|(pointer, detail)| {
            let object = directory.path.join(DESCRIPTORS).display().to_string();
            let object = if pointer.is_empty() { object } else { format!("{object} at {pointer}") };
            Error::new(Kind::InvalidArgument, Step::Restore).with_object(object).with_reason(detail)
        })?;
        Ok(Self { directory, pipes })
    }
}

/// The pipes of `descriptors.json`; a wrong one with its JSON pointer.
fn parse_descriptors(bytes: &[u8]) -> std::result::Result<Vec<Option<String>>, (String, String)> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(bytes)
        .map_err(|error| (String::new(), format!("is not a list of what the standard streams were: {error}")))?;
    if list.len() > 3 {
        return Err(("/3".into(), "there are only three standard streams".into()));
    }
    let pipe = |(index, value): (usize, serde_json::Value)| match value {
        serde_json::Value::String(text) if !text.contains("pipe:") => Ok(None),
        serde_json::Value::String(text) if is_pipe(&text) => Ok(Some(text)),
        value => Err((format!("/{index}"), format!("{value} is neither a path nor a pipe such as \"pipe:[123]\""))),
    };
    list.into_iter().enumerate().map(pipe).collect()
}

fn is_pipe(text: &str) -> bool {
    let number = text.strip_prefix("pipe:[").and_then(|rest| rest.strip_suffix(']'));
    number.is_some_and(|number| (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The directory of CRIU's log, where it is not that of the images.
pub(crate) fn log_directory(path: Option<&Path>, step: Step) -> Result<Option<Directory>> {
    path.map(|path| Directory::open_for_work(path, step)).transpose()
}

/// Reads the descriptors of a checkpoint: what is taken are pipes.
#[cfg(fuzzing)]
pub(super) fn decode_descriptors(bytes: &[u8]) {
    if let Ok(all) = parse_descriptors(bytes) {
        assert!(all.iter().flatten().all(|one| is_pipe(one)), "{all:?}");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn descriptors_are_pipes_or_refused_by_their_place() {
        let pipe = |number: u32| Some(format!("pipe:[{number}]"));
        for (json, expected) in [
            (r#"["/dev/null","pipe:[7]","pipe:[8]"]"#, Ok(vec![None, pipe(7), pipe(8)])),
            ("[]", Ok(vec![])),
            (r#"["","",""]"#, Ok(vec![None, None, None])),
            (r#"["","pipe:[../../x]"]"#, Err("/1")),
            (r#"["/x/pipe:[1]"]"#, Err("/0")),
            (r#"["pipe:[]"]"#, Err("/0")),
            (r#"["pipe:[123456789012345678901]"]"#, Err("/0")),
            ("[1]", Err("/0")),
            (r#"["","","","pipe:[9]"]"#, Err("/3")),
            (r#"{"0":"pipe:[9]"}"#, Err("")),
            ("", Err("")),
        ] {
            assert_eq!(
                parse_descriptors(json.as_bytes()).map_err(|(pointer, _)| pointer),
                expected.map_err(String::from),
                "{json}"
            );
        }
    }

    #[test]
    fn parent_images_are_near() {
        for (path, near) in [
            ("../pre", true),
            ("pre", true),
            ("./../pre/1", true),
            ("/var/pre", false),
            ("..", false),
            ("", false),
            ("../../pre", false),
            ("pre/../../x", false),
        ] {
            assert_eq!(is_parent(Path::new(path)), near, "{path}");
        }
    }

    /// What could lead CRIU out of the directory, or stop it, is refused before it starts.
    #[test]
    fn a_directory_of_images_holds_files() {
        let dir = std::env::temp_dir().join(format!("orlop-images-{}", std::process::id()));
        let open = || Directory::open(&dir, true, Step::Restore).map(drop).map_err(|error| error.to_string());
        open().unwrap();
        std::fs::write(dir.join("core-1.img"), "x").unwrap();
        symlink("../pre", dir.join("parent")).unwrap();
        open().unwrap();
        let told = |name: &str, what: &str| {
            assert_eq!(open().unwrap_err(), format!("restore {}/{name}: {what}", dir.display()));
            std::fs::remove_file(dir.join(name)).unwrap();
        };
        symlink("/etc/shadow", dir.join("restore.log")).unwrap();
        told("restore.log", "is a symbolic link, which CRIU would follow");
        nix::unistd::mkfifo(&dir.join("pages-1.img"), Mode::S_IRWXU).unwrap();
        told("pages-1.img", "is neither a file nor a directory");
        std::fs::hard_link(dir.join("core-1.img"), dir.join("stats-restore")).unwrap();
        let several = "has several names: what is written to it would be written elsewhere too";
        assert!(open().unwrap_err().ends_with(several));
        std::fs::remove_file(dir.join("stats-restore")).unwrap();
        std::fs::remove_file(dir.join("parent")).unwrap();
        symlink("/etc", dir.join("parent")).unwrap();
        let far = "leads to \"/etc\": parent images are reached by a relative path, by way of .. once at most";
        told("parent", far);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
