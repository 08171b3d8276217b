//! File systems that the runtime puts together, with what is in them, while the init is at work elsewhere: by the same code, and with
//! the same report when something fails.

use core::sync::atomic::{AtomicI32, AtomicU8};

use crate::abi::EINVAL;
use crate::block::Block;
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{Errno, Fd, close};

use crate::wire::{DETAIL, Op, Record};

/// What could not be done of an assembly.
#[derive(Debug)]
pub struct Unmade {
    /// Which of its operations failed, by index.
    pub index: usize,
    /// Its errno.
    pub errno: i32,
    /// What within the operation failed, see [`crate::wire::detail`].
    pub reason: u32,
}

/// Makes the file system of the first operation, an [`Op::Mount`], and carries the others out in its root directory; returns the
/// number of its detached mount. The paths of the others are entries of that directory.
///
/// `slots` holds the numbers, each plus 1, of what the operations bind; they stay the caller's. `detail` takes what the kernel says
/// besides an errno.
///
/// # Errors
/// The operation that failed; nothing is left of the file system then.
pub fn assemble(
    block: Block<'_>,
    operations: &[Record],
    slots: &[AtomicI32],
    detail: &[AtomicU8; DETAIL],
) -> Result<i32, Unmade> {
    let mut executor = Executor::with(block, slots, detail);
    for (index, record) in operations.iter().enumerate() {
        if let Err(failure) = executor.assemble(record) {
            if let Some(root) = executor.assembling {
                let closed = close(root);
                debug_assert!(closed.is_ok());
            }
            return Err(Unmade { index, errno: failure.errno.0, reason: failure.reason });
        }
    }
    let root = executor.assembling.ok_or(Unmade { index: 0, errno: EINVAL, reason: 0 })?;
    Ok(root.0)
}

impl Executor<'_> {
    fn assemble(&mut self, record: &Record) -> Result<(), Failure> {
        match (record.op, self.assembling) {
            (Op::Mount { fstype, source, params, attr, .. }, None) => {
                let root: Fd = self.new_filesystem(fstype, source, self.block.list(params), None, attr)?;
                self.assembling = Some(root);
                Ok(())
            }
            (Op::Mount { target, fstype, source, params, attr, flags, after }, Some(_)) => {
                self.mount(target, fstype, source, params, attr, flags, after)
            }
            (Op::Bind { tree, source, target, flags, attrs }, Some(_)) => self.bind(tree, source, target, flags, attrs),
            (Op::Device { path, mode, major, minor, uid, gid }, Some(_)) => {
                self.device(path, mode, (major, minor), (uid, gid))
            }
            (Op::Symlink { path, target, replace }, Some(_)) => self.symlink(path, target, replace == 1),
            (Op::SetAttr { attrs, .. }, Some(root)) => self.set_attrs(root, attrs).map(drop),
            // The plan puts nothing else into an assembly.
            _ => Err(Errno(EINVAL).into()),
        }
    }
}
