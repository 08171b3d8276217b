//! The options of an overlay, for a config and for a mount of our own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount as classic_mount, move_mount,
};

use crate::base::{Error, Kind, Result, Step};
use crate::layer::{OverlayXattrs, remove_directory};
use crate::snapshot::merged::failed;

/// How long one value may be for fsconfig(2).
const VALUE: usize = 255;

/// What an overlay is made of.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The uppermost first.
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    xattrs: OverlayXattrs,
}

/// The overlay of `lower` (the uppermost first) and the `upper` and `work` of the snapshot in `dir`.
pub(crate) fn options(lower: &[PathBuf], dir: &Path, xattrs: OverlayXattrs) -> Options {
    Options { lower: lower.to_vec(), upper: dir.join("upper"), work: dir.join("work"), xattrs }
}

impl Options {
    /// As pairs for fsconfig(2): one `lowerdir+` per layer.
    fn pairs(&self) -> Vec<(&'static str, Option<String>)> {
        let text = |path: &Path| Some(path.display().to_string());
        let mut pairs: Vec<_> = self.lower.iter().map(|path| ("lowerdir+", text(path))).collect();
        pairs.push(("upperdir", text(&self.upper)));
        pairs.push(("workdir", text(&self.work)));
        // What the host has for defaults would leave marks in the upper directory that no layer can say.
        pairs.extend(["redirect_dir", "metacopy", "index"].map(|name| (name, Some("off".to_owned()))));
        if self.xattrs == OverlayXattrs::User {
            pairs.push(("userxattr", None));
        }
        pairs
    }

    /// As the options of a mount in a config.
    pub(crate) fn in_config(&self) -> Vec<String> {
        let option = |(key, value): (&str, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.to_owned(),
        };
        self.pairs().into_iter().map(option).collect()
    }
}

/// Asks the kernel whether it can make the overlay, without mounting anything. `work` is the overlay's own.
pub(crate) fn check(options: &Options, work: BorrowedFd<'_>) -> Result<()> {
    // Taken down again, any other overlay would have the whole file system below it written to disk.
    let made = context(options, &[("volatile", None)]).map(drop);
    // It has left a mark there that no overlay can be made beside.
    match remove_directory(work, b"work") {
        Err(error) if error.errno() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    match made {
        Ok(()) => Ok(()),
        // Without root it is the runtime's user namespace that will tell; the rules there are those of `userxattr`.
        Err(Errno::PERM) if options.xattrs == OverlayXattrs::User => Ok(()),
        Err(errno) => Err(refused(errno)),
    }
}

/// A file system context that has been made a superblock, with some more options.
fn context(options: &Options, more: &[(&'static str, Option<String>)]) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options.pairs().into_iter().chain(more.iter().cloned()) {
        match value {
            Some(value) if value.len() > VALUE => return Err(Errno::NAMETOOLONG),
            Some(value) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), key)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(context)
}

/// Mounts the overlay on `target` in this process's mount namespace.
pub(crate) fn mount(options: &Options, target: &Path) -> Result<()> {
    match context(options, &[]) {
        Ok(context) => {
            let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
            let mount = mount.map_err(refused)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(mount.as_fd(), "", rustix::fs::CWD, target, flags).map_err(refused)
        }
        // Before Linux 6.8 there is no `lowerdir+`; long paths do not fit it.
        Err(Errno::INVAL | Errno::NAMETOOLONG | Errno::NOSYS) => mount_by_text(options, target),
        Err(errno) => Err(refused(errno)),
    }
}

/// Mounts by one string of options, which must fit a page: the layers by their short names below a descriptor.
fn mount_by_text(options: &Options, target: &Path) -> Result<()> {
    let directory = options.lower.first().and_then(|path| path.parent()).unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?;
    let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let lower: Vec<_> = options.lower.iter().filter_map(|path| path.file_name()).collect();
    let lower: Vec<_> = lower.iter().map(|name| format!("{short}/{}", name.to_string_lossy())).collect();
    let rest: Vec<_> = options.in_config().into_iter().filter(|option| !option.starts_with("lowerdir+=")).collect();
    let text = format!("lowerdir={},{}", lower.join(":"), rest.join(","));
    if text.len() >= 4096 {
        let error = Error::new(Kind::Unsupported, Step::Snapshot);
        let reason = format!("{} layers need {} bytes of mount options; mount(2) takes 4095", lower.len(), text.len());
        return Err(error.reason_is(reason).hint_is("Linux 6.8 takes more; or make a copy"));
    }
    let data = std::ffi::CString::new(text).map_err(|_| failed(Errno::INVAL))?;
    classic_mount("overlay", target, "overlay", MountFlags::empty(), Some(data.as_c_str())).map_err(refused)
}

fn refused(errno: Errno) -> Error {
    let error = failed(errno).object_is("overlay");
    match errno {
        Errno::NODEV => error.hint_is("the kernel has no overlayfs: `modprobe overlay`, or make a copy"),
        Errno::PERM => error.hint_is("in a user namespace it needs Linux 5.11; or make a copy"),
        Errno::INVAL => {
            error.hint_is("the file system of the store cannot carry an overlay's upper directory; or make a copy")
        }
        _ => error,
    }
}
