//! Bind mounts: what is to be shown is a detached tree, and the target is made like it.

use crate::abi::{
    AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, EEXIST, ELOOP, ENOENT, ESTALE, O_NOFOLLOW, O_PATH, PATH_MAX, S_IFDIR, S_IFLNK,
};
use crate::classic;
use crate::executor::Executor;
use crate::failure::{Failure, WithReason};
use crate::mounts::clone_tree;
use crate::place::Place;
use crate::resolve::{self, Make};
use crate::sys::{self, CStr, Errno, Fd, close};
use crate::wire::{
    Attr, COPY_SYMLINK, List, NO_SYMLINK, OPTIONAL, RECURSIVE, SOURCE_IN_ROOT, SOURCE_NOFOLLOW, Slot, Str, detail,
};

impl Executor<'_> {
    pub(crate) fn bind(
        &mut self,
        tree: Slot,
        source: Str,
        target: Str,
        flags: u32,
        attrs: List<Attr>,
    ) -> Result<(), Failure> {
        let tree = if tree == Slot::NONE {
            let recursive = if flags & RECURSIVE != 0 { AT_RECURSIVE } else { 0 };
            let nofollow = if flags & (SOURCE_NOFOLLOW | COPY_SYMLINK) != 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
            if flags & SOURCE_IN_ROOT != 0 {
                let inside = resolve::open(self.root, self.block.str(source), O_PATH).with_reason(detail::SOURCE)?;
                let tree = clone_tree(inside, CStr::EMPTY, recursive).with_reason(detail::SOURCE)?;
                close(inside)?;
                tree
            } else {
                clone_tree(Fd::CWD, self.block.str(source), recursive | nofollow).with_reason(detail::SOURCE)?
            }
        } else {
            self.slot(tree)
        };
        if flags & COPY_SYMLINK != 0 && kind_of(tree)? == S_IFLNK {
            self.copy_link(tree, target)?;
            close(tree)?;
            return Ok(());
        }
        let attributes = self.set_attrs(tree, attrs)?;
        let mut name = [0u8; 256];
        let place = match self.make_first(target, flags, &mut name)? {
            Some(place) => place,
            None => match self.bind_target(tree, target, flags)? {
                Some(target) => Place::At(target),
                None => return Ok(()),
            },
        };
        Self::spare_procfs(place, tree, flags)?;
        let covers_root = self.covers_root(place, target)?;
        let mount = match place.attach(tree) {
            Err(Failure { errno: Errno(ELOOP), .. }) => {
                self.bind_pinned(tree, (source, target, flags), place, (attrs, covers_root))?
            }
            attached => {
                attached?;
                self.finish(tree, attributes)?;
                tree
            }
        };
        place.leave()?;
        self.leave_mount(mount, covers_root)
    }

    /// move_mount(2) refuses a tree in which a mount namespace is pinned (a mount of nsfs) that is older than this one; mount(2) does
    /// not, and takes the source from this mount namespace. It is looked up here once more, and told to be the same.
    fn bind_pinned(
        &self,
        tree: Fd,
        (source, target, flags): (Str, Str, u32),
        place: Place<'_>,
        (attrs, covers_root): (List<Attr>, bool),
    ) -> Result<Fd, Failure> {
        let pinned = Failure::new(Errno(ELOOP), detail::PINNED);
        // Ids can be mapped only on what is not attached yet.
        let Place::At(there) = place else { return Err(pinned) };
        if self.block.list(attrs).iter().any(|attr| attr.userns != Slot::NONE) {
            return Err(pinned);
        }
        let path = self.block.str(source);
        let from = if flags & SOURCE_IN_ROOT != 0 {
            resolve::open(self.root, path, O_PATH)
        } else {
            let nofollow = if flags & (SOURCE_NOFOLLOW | COPY_SYMLINK) != 0 { O_NOFOLLOW } else { 0 };
            sys::openat2(Fd::CWD, path, O_PATH | nofollow, 0, 0)
        }
        .with_reason(detail::SOURCE)?;
        if !sys::statx(from, CStr::EMPTY)?.is_same_file(&sys::statx(tree, CStr::EMPTY)?) {
            return Err(Failure::new(Errno(ESTALE), detail::SOURCE));
        }
        classic::bind(from, there, flags & RECURSIVE != 0).map_err(|errno| Failure { errno, ..pinned })?;
        close(from)?;
        close(tree)?;
        let mount = self.topmost(target, there, covers_root)?;
        let attributes = self.set_attrs(mount, attrs)?;
        self.finish(mount, attributes)?;
        Ok(mount)
    }

    /// The target of a bind mount, made like its source when it is missing; `None`: missing, and may be.
    fn bind_target(&self, tree: Fd, target: Str, flags: u32) -> Result<Option<Fd>, Failure> {
        let path = self.block.str(target);
        let no_links = flags & NO_SYMLINK != 0;
        let found = if no_links && kind_of(tree)? == S_IFLNK {
            resolve::open(self.root, path, O_PATH | O_NOFOLLOW)
        } else if no_links {
            resolve::open_no_links(self.root, path, O_PATH)
        } else {
            resolve::open(self.root, path, O_PATH)
        };
        match found {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno(ENOENT)) if flags & OPTIONAL != 0 => Ok(None),
            Err(Errno(ENOENT)) => {
                let make = if kind_of(tree)? == S_IFDIR { Make::Directory(0o755) } else { Make::File };
                resolve::open_or_make(self.root, path, make).map(Some).with_reason(detail::TARGET)
            }
            Err(Errno(ELOOP)) if no_links => Err(Failure::new(Errno(ELOOP), detail::SYMLINK)),
            Err(errno) => Err(Failure::new(errno, detail::TARGET)),
        }
    }

    #[cold]
    #[inline(never)]
    fn copy_link(&mut self, link: Fd, target: Str) -> Result<(), Failure> {
        let mut text = [0u8; PATH_MAX];
        let length = sys::readlinkat(link, CStr::EMPTY, &mut text, PATH_MAX - 1).with_reason(detail::SOURCE)?;
        let points_to = CStr::new(text.get(..=length).unwrap_or(b"\0"));
        let mut name = [0u8; 256];
        let (parent, name) = self.parent(target, &mut name)?;
        match sys::symlinkat(points_to, parent, name) {
            Ok(_) | Err(Errno(EEXIST)) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

/// The kind of file that a detached mount shows.
fn kind_of(tree: Fd) -> Result<u32, Failure> {
    Ok(sys::statx(tree, CStr::EMPTY).with_reason(detail::SOURCE)?.kind())
}
