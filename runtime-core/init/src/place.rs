//! Where a mount goes, and where a file is made: descriptors, never paths that are looked up twice.

use crate::abi::{EEXIST, ELOOP, ENOENT, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, O_PATH};
use crate::executor::{Executor, Parent};
use crate::failure::{Failure, WithReason};
use crate::resolve::{self, Make};
use crate::sys::{self, CStr, Errno, Fd, close};
use crate::wire::{MAKE_FIRST, NO_SYMLINK, Str, detail};

/// The target of a mount.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'n> {
    /// What the descriptor is of.
    At(Fd),
    /// A new entry of a directory; the last component is no link, or the mount fails.
    In(Fd, CStr<'n>),
}

impl Place<'_> {
    /// Attaches the detached mount `tree` here.
    pub(crate) fn attach(self, tree: Fd) -> Result<(), Failure> {
        let (dir, name, flags) = match self {
            Self::At(target) => (target, CStr::EMPTY, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
            Self::In(parent, name) => (parent, name, MOVE_MOUNT_F_EMPTY_PATH),
        };
        sys::move_mount(tree, CStr::EMPTY, dir, name, flags).with_reason(detail::ATTACH)?;
        Ok(())
    }

    /// Closes what was opened for it.
    pub(crate) fn leave(self) -> Result<(), Failure> {
        match self {
            Self::At(target) => drop(close(target)?),
            // Kept for the next one.
            Self::In(..) => {}
        }
        Ok(())
    }
}

impl Executor<'_> {
    /// The directory of `path`, made if it is missing, and the last component. The directory is kept open for the next operation.
    pub(crate) fn parent<'n>(&mut self, path: Str, name: &'n mut [u8; 256]) -> Result<(Fd, CStr<'n>), Failure> {
        let text = self.block.str(path).bytes();
        let cut = text.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let directory = Str { at: path.at, len: cut as u32 };
        let last = text.get(cut..).unwrap_or(&[]);
        let known = self.parent.filter(|parent| self.starts(parent.path) == self.starts(directory));
        if let Some(parent) = known.filter(|_| resolve::is_name(last)) {
            let name = resolve::terminated(last, name).with_reason(detail::TARGET)?;
            return Ok((parent.dir, name));
        }
        self.forget_parent()?;
        let (dir, name) = resolve::parent(self.root, self.block.str(path), name).with_reason(detail::TARGET)?;
        self.parent = Some(Parent { path: directory, dir });
        Ok((dir, name))
    }

    /// The first bytes of a string.
    fn starts(&self, text: Str) -> &[u8] {
        self.block.bytes(text.at, text.len as usize)
    }

    /// To be called where another mount may cover the directory from now on.
    pub(crate) fn forget_parent(&mut self) -> Result<(), Failure> {
        if let Some(parent) = self.parent.take() {
            close(parent.dir)?;
        }
        Ok(())
    }

    /// The directory that a mount goes to, made if it is missing.
    pub(crate) fn directory<'n>(
        &mut self,
        target: Str,
        flags: u32,
        name: &'n mut [u8; 256],
    ) -> Result<Place<'n>, Failure> {
        match self.make_first(target, flags, name)? {
            Some(place) => Ok(place),
            None => self.target(target, flags & NO_SYMLINK != 0, Make::Directory(0o755)).map(Place::At),
        }
    }

    /// Makes the target without looking for it, where the plan has reason to think that it is missing.
    pub(crate) fn make_first<'n>(
        &mut self,
        target: Str,
        flags: u32,
        name: &'n mut [u8; 256],
    ) -> Result<Option<Place<'n>>, Failure> {
        if flags & MAKE_FIRST != 0 {
            let (dir, name) = self.parent(target, name)?;
            match sys::mkdirat(dir, name, 0o755) {
                Ok(_) => return Ok(Some(Place::In(dir, name))),
                Err(Errno(EEXIST)) => {}
                Err(errno) => return Err(Failure::new(errno, detail::TARGET)),
            }
        }
        self.forget_parent()?;
        Ok(None)
    }

    /// The target of a mount, made if it is missing.
    fn target(&self, path: Str, no_links: bool, make: Make) -> Result<Fd, Failure> {
        let path = self.block.str(path);
        let found = if no_links {
            match resolve::open_no_links(self.root, path, O_PATH) {
                Err(Errno(ELOOP)) => return Err(Failure::new(Errno(ELOOP), detail::SYMLINK)),
                Err(Errno(ENOENT)) => resolve::open_or_make(self.root, path, make),
                other => other,
            }
        } else {
            resolve::open_or_make(self.root, path, make)
        };
        found.with_reason(detail::TARGET)
    }
}
