//! The root filesystem, built from detached mounts that are attached descriptor to descriptor.

use core::sync::atomic::Ordering;

use crate::abi::{
    AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, EEXIST, EINVAL, ENOENT, ENOSYS, ENOTDIR, EPERM, ESTALE, FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC, MNT_DETACH, MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS, MS_MOVE,
    MS_REC, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDWR, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE, PROC_SUPER_MAGIC, S_IFBLK,
    S_IFCHR, S_IFDIR, S_IFMT,
};
use crate::classic;
use crate::executor::Executor;
use crate::failure::{Failure, WithReason};
use crate::place::Place;
use crate::resolve::{self, Make};
use crate::sys::{self, CStr, Errno, Fd, close};
use crate::wire::{
    Attr, BY_MOUNT, COPY_UP, DETAIL, IF_ALLOWED, LABEL_ROOT, List, MAKE_FIRST, ON_PROCFS, OPTIONAL, Param, Phase, Slot,
    Str, TAKE_MODE, detail,
};

/// A detached copy of the mount at `path` (`dir` itself when the path is empty).
pub(crate) fn clone_tree(dir: Fd, path: CStr<'_>, flags: usize) -> sys::Result<Fd> {
    let empty = if path.bytes().is_empty() { crate::abi::AT_EMPTY_PATH } else { 0 };
    let flags = flags | empty | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    Ok(Fd(sys::open_tree(dir, path, flags)? as i32))
}

/// Whether the attributes of a mount are set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attributes {
    Set,
    Later(List<Attr>),
}

impl Executor<'_> {
    /// Sets the attributes of a detached mount; on a kernel that cannot (before Linux 5.12), after it is attached.
    pub(crate) fn set_attrs(&self, mount: Fd, attrs: List<Attr>) -> Result<Attributes, Failure> {
        for attr in self.block.list(attrs) {
            if attr.userns == Slot::RUNTIME {
                self.block.header().mount.store(mount.0, Ordering::Release);
                self.sync(Phase::MapMount)?;
                continue;
            }
            let userns = (attr.userns != Slot::NONE).then(|| self.slot(attr.userns));
            match sys::mount_setattr(mount, attr.recursive == 1, attr.set, attr.clear, attr.propagation, userns) {
                Ok(_) => {}
                Err(Errno(ENOSYS)) => return Ok(Attributes::Later(attrs)),
                Err(Errno(EPERM)) if attr.recursive == IF_ALLOWED => {}
                Err(errno) => return Err(Failure::new(errno, detail::ATTRIBUTES)),
            }
        }
        Ok(Attributes::Set)
    }

    /// Whether a mount that goes to `place` becomes the root for all that follows. Mounted there by another name it would be missed.
    pub(crate) fn covers_root(&self, place: Place<'_>, path: Str) -> Result<bool, Failure> {
        let Place::At(target) = place else { return Ok(false) };
        if self.block.str(path).bytes() == b"/" {
            return Ok(true);
        }
        let there = sys::statx(target, CStr::EMPTY)?;
        if there.is_mount_root() && there.is_same_place(&sys::statx(self.root, CStr::EMPTY)?) {
            return Err(Failure::new(Errno(EINVAL), detail::ON_ROOT));
        }
        Ok(false)
    }

    /// What the runtime and others trust on /proc is covered by nothing that reaches it by another name (CVE-2019-16884): the plan has
    /// looked at the names, and cannot see where the image's links lead. A procfs may cover another.
    pub(crate) fn spare_procfs(place: Place<'_>, tree: Fd, flags: u32) -> Result<(), Failure> {
        let Place::At(target) = place else { return Ok(()) };
        let covers = |fd: Fd| Ok::<_, Failure>(sys::filesystem(fd)? == PROC_SUPER_MAGIC);
        if flags & ON_PROCFS == 0 && covers(target)? && !covers(tree)? {
            return Err(Failure::new(Errno(EPERM), detail::ON_PROCFS));
        }
        Ok(())
    }

    /// Goes on with a mount that was attached: as the root, where it covers it.
    pub(crate) fn leave_mount(&mut self, mount: Fd, covers_root: bool) -> Result<(), Failure> {
        if covers_root {
            self.forget_parent()?;
            self.root = mount;
        } else {
            close(mount)?;
        }
        Ok(())
    }

    /// The mount that was made on `covered` by a call that returns none, by the path once more. Of what somebody may have moved there
    /// meanwhile, in a shared volume, it is told by being a mount's root and another mount.
    pub(crate) fn topmost(&self, path: Str, covered: Fd, covers_root: bool) -> Result<Fd, Failure> {
        let found = if !covers_root {
            resolve::open(self.root, self.block.str(path), O_PATH)
        } else if self.block.str(self.root_at).bytes() == b"/" {
            // At the root, `..` leads to what is mounted on it.
            sys::openat2(Fd::CWD, CStr::new(b"/..\0"), O_PATH, 0, 0)
        } else {
            sys::openat2(Fd::CWD, self.block.str(self.root_at), O_PATH, 0, 0)
        };
        let found = found.with_reason(detail::TARGET)?;
        let (top, below) = (sys::statx(found, CStr::EMPTY)?, sys::statx(covered, CStr::EMPTY)?);
        if !top.is_mount_root() || top.is_same_place(&below) {
            return Err(Failure::new(Errno(ESTALE), detail::TARGET));
        }
        Ok(found)
    }

    /// Sets on an attached mount what could not be set before.
    pub(crate) fn finish(&self, mount: Fd, attributes: Attributes) -> Result<(), Failure> {
        match attributes {
            Attributes::Set => Ok(()),
            Attributes::Later(attrs) => self
                .block
                .list(attrs)
                .iter()
                .try_for_each(|attr| match classic::set_attr(mount, attr) {
                    Err(Errno(EPERM)) if attr.recursive == IF_ALLOWED => Ok(()),
                    result => result,
                })
                .with_reason(detail::ATTRIBUTES),
        }
    }

    /// Attaches the root filesystem, usually on top of this namespace's root, from where it becomes the root.
    pub(crate) fn rootfs(&mut self, tree: Slot, path: Str, at: Str, attrs: List<Attr>) -> Result<(), Failure> {
        let tree = if tree == Slot::NONE {
            clone_tree(Fd::CWD, self.block.str(path), AT_RECURSIVE).with_reason(detail::SOURCE)?
        } else {
            self.slot(tree)
        };
        let attributes = self.set_attrs(tree, attrs)?;
        (self.root, self.root_at) = (tree, at);
        if !at.is_some() {
            return Ok(());
        }
        // The host's own path to it may lead over links.
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS;
        sys::move_mount(tree, CStr::EMPTY, Fd::CWD, self.block.str(at), flags).with_reason(detail::ATTACH)?;
        self.finish(tree, attributes)
    }

    #[allow(clippy::too_many_arguments, reason = "the parameters are the fields of one operation")]
    pub(crate) fn mount(
        &mut self,
        target: Str,
        fstype: Str,
        source: Str,
        params: List<Param>,
        attr: u64,
        flags: u32,
        after: List<Attr>,
    ) -> Result<(), Failure> {
        if flags & BY_MOUNT != 0 {
            return self.mount_by_data(target, fstype, source, params, attr, flags, after);
        }
        let covered = if flags & TAKE_MODE != 0 { self.mode_at(target) } else { None };
        let mut name = [0u8; 256];
        let place = self.directory(target, flags, &mut name)?;
        let params = self.block.list(params);
        let (params, label) = match params.split_last() {
            Some((label, rest)) if flags & LABEL_ROOT != 0 => (rest, Some(label)),
            _ => (params, None),
        };
        let covers_root = self.covers_root(place, target)?;
        let mount = self.new_filesystem(fstype, source, params, covered, attr)?;
        let copied = flags & COPY_UP != 0;
        let attached = label.map_or(Ok(()), |label| self.label_root(mount, label)).and_then(|()| {
            Self::spare_procfs(place, mount, flags)?;
            // A directory that was made for it holds nothing.
            if let (true, Place::At(target)) = (copied, place) {
                self.copy_up(target, mount)?;
            }
            let attributes = self.set_attrs(mount, after)?;
            place.attach(mount)?;
            self.finish(mount, attributes)
        });
        attached?;
        place.leave()?;
        self.leave_mount(mount, covers_root)
    }

    /// As [`Self::mount`], for options that fsconfig(2) does not take.
    #[allow(clippy::too_many_arguments, reason = "the parameters are the fields of one operation")]
    fn mount_by_data(
        &mut self,
        target: Str,
        fstype: Str,
        source: Str,
        params: List<Param>,
        attr: u64,
        flags: u32,
        after: List<Attr>,
    ) -> Result<(), Failure> {
        self.forget_parent()?;
        let mut name = [0u8; 256];
        let place = self.directory(target, flags & !MAKE_FIRST, &mut name)?;
        let Place::At(there) = place else { return Err(Errno(EINVAL).into()) };
        let covers_root = self.covers_root(place, target)?;
        let data = self.block.list(params).first().map_or(CStr::EMPTY, |data| self.block.str(data.value));
        // A file system with such options is none that shows processes.
        Self::spare_procfs(place, self.root, flags)?;
        classic::mount(self.block.str(source), there, self.block.str(fstype), attr, data)?;
        let mount = self.topmost(target, there, covers_root)?;
        let attributes = self.set_attrs(mount, after)?;
        self.finish(mount, attributes)?;
        place.leave()?;
        self.leave_mount(mount, covers_root)
    }

    /// A new file system as a detached mount; `mode` is that of its root, where the parameters give none.
    pub(crate) fn new_filesystem(
        &mut self,
        fstype: Str,
        source: Str,
        params: &[Param],
        mode: Option<u32>,
        attr: u64,
    ) -> Result<Fd, Failure> {
        let context = match self.take_foreign_procfs(self.block.str(fstype)) {
            Some(context) => context,
            None => Fd(sys::fsopen(self.block.str(fstype), FSOPEN_CLOEXEC)? as i32),
        };
        let made = self.configure(context, source, params, mode).and_then(|()| {
            let mount = sys::fsmount(context, FSMOUNT_CLOEXEC, attr)?;
            Ok(Fd(mount as i32))
        });
        close(context)?;
        made
    }

    fn configure(&self, context: Fd, source: Str, params: &[Param], mode: Option<u32>) -> Result<(), Failure> {
        if source.is_some() {
            let key = CStr::new(b"source\0");
            sys::fsconfig(context, FSCONFIG_SET_STRING, Some(key), Some(self.block.str(source)))
                .map_err(|errno| self.explain(context, errno))?;
        }
        for param in params {
            let value = param.value.is_some().then(|| self.block.str(param.value));
            let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
            sys::fsconfig(context, command, Some(self.block.str(param.key)), value)
                .map_err(|errno| self.explain(context, errno))?;
        }
        if let Some(mode) = mode {
            let digit = |shift: u32| b'0' + (mode >> shift & 7) as u8;
            let text = [digit(9), digit(6), digit(3), digit(0), 0];
            sys::fsconfig(context, FSCONFIG_SET_STRING, Some(CStr::new(b"mode\0")), Some(CStr::new(&text)))?;
        }
        sys::fsconfig(context, FSCONFIG_CMD_CREATE, None, None).map_err(|errno| self.explain(context, errno))?;
        Ok(())
    }

    /// Gives the root of a new mount its security label.
    fn label_root(&self, mount: Fd, label: &Param) -> Result<(), Failure> {
        let root = sys::openat2(mount, CStr::new(b".\0"), O_DIRECTORY, 0, 0)?;
        sys::fsetxattr(root, self.block.str(label.key), self.block.str(label.value).bytes())
            .with_reason(detail::PARAMETER)?;
        close(root)?;
        Ok(())
    }

    /// The mode of a directory that is there already.
    fn mode_at(&self, path: Str) -> Option<u32> {
        let there = resolve::open(self.root, self.block.str(path), O_PATH).ok()?;
        let mode = sys::statx(there, CStr::EMPTY).ok().map(|status| u32::from(status.mode) & 0o7777);
        close(there).ok()?;
        mode
    }

    /// Takes what the kernel says about a file system context into the report.
    fn explain(&self, context: Fd, errno: Errno) -> Failure {
        let mut text = [0u8; DETAIL];
        match sys::read(context, &mut text, DETAIL - 1) {
            Ok(length) => {
                self.report_detail(text.get(..length).unwrap_or(&[]));
                Failure::new(errno, detail::PARAMETER)
            }
            Err(_) => errno.into(),
        }
    }

    pub(crate) fn set_attr(&self, target: Str, attrs: List<Attr>, flags: u32) -> Result<(), Failure> {
        let found = resolve::open(self.root, self.block.str(target), O_PATH);
        let target = match found {
            Err(Errno(ENOENT)) if flags & OPTIONAL != 0 => return Ok(()),
            other => other.with_reason(detail::TARGET)?,
        };
        let attributes = self.set_attrs(target, attrs)?;
        self.finish(target, attributes)?;
        close(target)?;
        Ok(())
    }

    pub(crate) fn make_dir(&self, path: Str, mode: u32) -> Result<(), Failure> {
        let made = resolve::open_or_make(self.root, self.block.str(path), Make::Directory(mode))?;
        close(made)?;
        Ok(())
    }

    pub(crate) fn device(
        &mut self,
        path: Str,
        mode: u32,
        number: (u32, u32),
        owner: (u32, u32),
    ) -> Result<(), Failure> {
        let mut name = [0u8; 256];
        let (parent, name) = self.parent(path, &mut name)?;
        let (major, minor) = number;
        let dev = u64::from(minor & 0xff) | u64::from(major & 0xfff) << 8 | u64::from(minor & !0xff) << 12;
        match sys::mknodat(parent, name, mode, dev) {
            Ok(_) => {}
            Err(Errno(EEXIST)) => {
                let there = sys::statx(parent, name)?;
                let same = there.kind() == mode & S_IFMT
                    && (!matches!(there.kind(), S_IFCHR | S_IFBLK) || (there.rdev_major, there.rdev_minor) == number);
                if !same {
                    return Err(Errno(EEXIST).into());
                }
                sys::fchmodat(parent, name, mode & 0o7777)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        if owner != (0, 0) {
            sys::fchownat(parent, name, owner.0, owner.1, AT_SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// A file of a mount that the container cannot see is a hold on the host, and CRIU cannot save it. Not a failure where the device
    /// cannot be opened (a /dev without devices): the streams work as they are.
    pub(crate) fn stdio_null(&self) -> Result<(), Failure> {
        const NULL: (u32, u32) = (1, 3);
        let is_null = |fd: Fd| {
            sys::statx(fd, CStr::EMPTY).is_ok_and(|it| it.kind() == S_IFCHR && (it.rdev_major, it.rdev_minor) == NULL)
        };
        let mut own = None;
        for number in 0..3 {
            if !is_null(Fd(number)) {
                continue;
            }
            if own.is_none() {
                // Looked at before it is opened for good: the image's could be any device.
                for flags in [O_PATH, O_RDWR | O_NONBLOCK] {
                    match resolve::open_no_links(self.root, CStr::new(b"dev/null\0"), flags) {
                        Ok(fd) if is_null(fd) && flags != O_PATH => own = Some(fd),
                        Ok(fd) => {
                            let fits = is_null(fd);
                            close(fd)?;
                            if !fits {
                                return Ok(());
                            }
                        }
                        Err(_) => return Ok(()),
                    }
                }
            }
            if let Some(fd) = own {
                sys::dup3(fd, Fd(number), 0)?;
            }
        }
        if let Some(fd) = own {
            close(fd)?;
        }
        Ok(())
    }

    pub(crate) fn symlink(&mut self, path: Str, target: Str, replace: bool) -> Result<(), Failure> {
        let mut name = [0u8; 256];
        let (parent, name) = self.parent(path, &mut name)?;
        let target = self.block.str(target);
        match sys::symlinkat(target, parent, name) {
            Err(Errno(EEXIST)) if replace => {
                sys::unlinkat(parent, name, 0)?;
                sys::symlinkat(target, parent, name)?;
            }
            Ok(_) | Err(Errno(EEXIST)) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Covers a path. One empty directory and one null device serve all masks: the first is attached, the others are its clones.
    pub(crate) fn mask(&mut self, path: Str, null: Slot) -> Result<(), Failure> {
        let target = match resolve::open(self.root, self.block.str(path), O_PATH) {
            Err(Errno(ENOENT | ENOTDIR)) => return Ok(()),
            other => other.with_reason(detail::TARGET)?,
        };
        let there = sys::statx(target, CStr::EMPTY)?;
        if there.is_mount_root() && there.is_same_place(&sys::statx(self.root, CStr::EMPTY)?) {
            return Err(Failure::new(Errno(EINVAL), detail::ON_ROOT));
        }
        let directory = there.kind() == S_IFDIR;
        let cover = if directory { self.empty_dir } else { self.null };
        let tree = match cover {
            Some(attached) => clone_tree(attached, CStr::EMPTY, 0)?,
            None if directory => empty_directory()?,
            None => self.null_device(null)?,
        };
        Place::At(target).attach(tree)?;
        if directory && self.empty_dir.is_none() {
            self.empty_dir = Some(tree);
        } else if !directory && self.null.is_none() {
            self.null = Some(tree);
        } else {
            close(tree)?;
        }
        close(target)?;
        Ok(())
    }

    /// The host's null device, verified: CVE-2025-31133 is a container that put something else in its place.
    fn null_device(&self, slot: Slot) -> Result<Fd, Failure> {
        let tree = if slot == Slot::NONE {
            clone_tree(Fd::CWD, CStr::new(b"/dev/null\0"), AT_SYMLINK_NOFOLLOW).with_reason(detail::SOURCE)?
        } else {
            self.slot(slot)
        };
        let status = sys::statx(tree, CStr::EMPTY)?;
        if status.kind() != S_IFCHR || (status.rdev_major, status.rdev_minor) != (1, 3) {
            return Err(Failure::new(Errno(EPERM), detail::SOURCE));
        }
        Ok(tree)
    }

    pub(crate) fn readonly(&mut self, path: Str) -> Result<(), Failure> {
        let target = match resolve::open(self.root, self.block.str(path), O_PATH) {
            Err(Errno(ENOENT | ENOTDIR)) => return Ok(()),
            other => other.with_reason(detail::TARGET)?,
        };
        let there = sys::statx(target, CStr::EMPTY)?;
        let covers_root = there.is_mount_root() && there.is_same_place(&sys::statx(self.root, CStr::EMPTY)?);
        let tree = clone_tree(target, CStr::EMPTY, AT_RECURSIVE)?;
        let late = match sys::mount_setattr(tree, true, MOUNT_ATTR_RDONLY, 0, 0, None) {
            Ok(_) => false,
            Err(Errno(ENOSYS)) => true,
            Err(errno) => return Err(Failure::new(errno, detail::ATTRIBUTES)),
        };
        Place::At(target).attach(tree)?;
        if late {
            classic::set_readonly(tree).with_reason(detail::ATTRIBUTES)?;
        }
        close(target)?;
        self.leave_mount(tree, covers_root)
    }

    /// The root that there is.
    pub(crate) fn current_root(&mut self) -> Result<(), Failure> {
        self.root = sys::openat2(Fd::CWD, CStr::new(b"/\0"), O_PATH, 0, 0)?;
        Ok(())
    }

    /// Makes the root filesystem the root; the old root is stacked upon it and goes.
    pub(crate) fn pivot(&mut self) -> Result<(), Failure> {
        let here = CStr::new(b".\0");
        let old = sys::openat2(Fd::CWD, CStr::new(b"/\0"), O_PATH, 0, 0)?;
        sys::fchdir(self.root)?;
        sys::pivot_root(here, here)?;
        // What a mount of the config on `/` was mounted on stays on the old root, and is what an unmount finds first: the old root
        // would stay the root of the namespace, where every exec enters. So it is asked for until the old root itself has gone.
        sys::fchdir(old)?;
        sys::umount2(here, MNT_DETACH)?;
        loop {
            match sys::umount2(here, MNT_DETACH) {
                Ok(_) => {}
                Err(Errno(EINVAL)) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        close(old)?;
        sys::chdir(CStr::new(b"/\0"))?;
        Ok(())
    }

    /// Takes a full procfs or sysfs of the old root away: where one can be seen in the namespace, however deep below, the kernel
    /// lets an unprivileged user namespace mount a new one, without the masks (`mount_too_revealing`).
    pub(crate) fn detach(&self, path: Str) -> Result<(), Failure> {
        let path = self.block.str(path);
        match sys::umount2(path, MNT_DETACH) {
            // It went with one above it.
            Err(Errno(ENOENT)) => {}
            // Locked, since it came from a namespace of a more privileged user: covered, it counts as little.
            Err(Errno(EINVAL | EPERM)) => {
                let tmpfs = CStr::new(b"tmpfs\0");
                sys::mount(tmpfs, path, tmpfs, 0, CStr::EMPTY)?;
            }
            other => {
                other?;
            }
        }
        Ok(())
    }

    /// For a root that is an initramfs, which cannot be pivoted: weaker, since the old mounts stay below.
    pub(crate) fn move_root(&mut self, moved: bool) -> Result<(), Failure> {
        let here = CStr::new(b".\0");
        sys::fchdir(self.root)?;
        if moved {
            sys::mount(here, CStr::new(b"/\0"), CStr::EMPTY, MS_MOVE, CStr::EMPTY)?;
        }
        sys::chroot(here)?;
        sys::chdir(CStr::new(b"/\0"))?;
        Ok(())
    }
}

pub(crate) fn enter_root(dir: Fd) -> Result<(), Failure> {
    sys::fchdir(dir)?;
    sys::chroot(CStr::new(b".\0"))?;
    Ok(())
}

/// Above the root there is the root, but with what was mounted upon it: a lookup of `/` alone stays below that.
pub(crate) fn topmost_root() -> Result<(), Failure> {
    let root = sys::statx(Fd::CWD, CStr::new(b"/\0"))?;
    let topmost = sys::statx(Fd::CWD, CStr::new(b"/..\0"))?;
    if root.is_same_place(&topmost) { Ok(()) } else { Err(Errno(crate::abi::ESTALE).into()) }
}

pub(crate) fn root_propagation(flags: u64, recursive: bool) -> Result<(), Failure> {
    let flags = flags as usize | if recursive { MS_REC } else { 0 };
    sys::mount(CStr::EMPTY, CStr::new(b"/\0"), CStr::EMPTY, flags, CStr::EMPTY)?;
    Ok(())
}

/// An empty, read-only file system.
pub(crate) fn empty_directory() -> crate::sys::Result<Fd> {
    let context = Fd(sys::fsopen(CStr::new(b"tmpfs\0"), FSOPEN_CLOEXEC)? as i32);
    sys::fsconfig(context, FSCONFIG_SET_STRING, Some(CStr::new(b"mode\0")), Some(CStr::new(b"755\0")))?;
    sys::fsconfig(context, FSCONFIG_CMD_CREATE, None, None)?;
    let attr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let mount = Fd(sys::fsmount(context, FSMOUNT_CLOEXEC, attr)? as i32);
    close(context)?;
    Ok(mount)
}
