//! What the operations work with and what they have made so far.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use crate::abi::PR_SET_DUMPABLE;
use crate::block::Block;
use crate::failure::Failure;
use crate::sys::{self, Fd};
use crate::wire::{DETAIL, FOREIGN_PROCFS, List, Slot, Str};

/// A directory that was looked up, for the operations in a row that make something in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent {
    /// Its path, with the slash at its end.
    pub(crate) path: Str,
    pub(crate) dir: Fd,
}

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Executor<'b> {
    pub(crate) block: Block<'b>,
    /// The socket to the runtime.
    pub(crate) runtime: Fd,
    /// Where descriptors are found by their slots.
    pub(crate) slots: &'b [AtomicI32],
    /// Where text for the runtime goes.
    pub(crate) detail: &'b [AtomicU8; DETAIL],
    /// Where the kernel tells the runtime of a fork.
    pub(crate) forked: &'b AtomicI32,
    /// The root filesystem: what was mounted on `/` last.
    pub(crate) root: Fd,
    /// Where it is attached, by the host's path.
    pub(crate) root_at: Str,
    /// The container's end of its terminal.
    pub(crate) console: Option<Fd>,
    /// The directory in which the operation before this one made something.
    pub(crate) parent: Option<Parent>,
    /// An attached empty directory, for masks.
    pub(crate) empty_dir: Option<Fd>,
    /// An attached null device, for masks.
    pub(crate) null: Option<Fd>,
    /// Contexts for procfs mounts that show a joined pid namespace.
    pub(crate) foreign_procfs: [Option<Fd>; FOREIGN_PROCFS],
    /// Not dumpable until the command is executed.
    pub(crate) hidden: bool,
    /// 0: the working directory is still to be entered; 1: refused once, try again as the container's user; 2: done.
    pub(crate) cwd_tries: u8,
}

impl<'b> Executor<'b> {
    pub(crate) fn new(block: Block<'b>) -> Self {
        let header = block.header();
        Self {
            block,
            runtime: Fd(header.sync),
            slots: block.list(header.slots),
            detail: &header.detail,
            forked: &header.forked,
            root: Fd(-1),
            root_at: Str::NONE,
            console: None,
            parent: None,
            empty_dir: None,
            null: None,
            foreign_procfs: [None; FOREIGN_PROCFS],
            hidden: false,
            cwd_tries: 0,
        }
    }

    /// Changes of ids and user namespaces set what a process may be traced by anew, after fs.suid_dumpable (proc_sys_fs(5)).
    pub(crate) fn stay_hidden(&self) -> Result<(), Failure> {
        if self.hidden {
            sys::prctl(PR_SET_DUMPABLE, 0, 0)?;
        }
        Ok(())
    }

    pub(crate) fn slot(&self, slot: Slot) -> Fd {
        Fd(self.slots.get(slot.0 as usize).map_or(-1, |number| number.load(Ordering::Relaxed) - 1))
    }

    /// The bytes of a string that this program changes.
    pub(crate) fn cells(&self, text: Str) -> &'b [AtomicU8] {
        self.block.list(List { at: text.at, len: text.len, of: PhantomData })
    }

    /// Leaves text for the runtime.
    pub(crate) fn report_detail(&self, text: &[u8]) {
        // The last one stays NUL.
        for (place, byte) in self.detail.iter().take(DETAIL - 1).zip(text) {
            place.store(*byte, Ordering::Relaxed);
        }
    }
}
