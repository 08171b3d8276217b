//! The shared block as it is mapped: checked once as a whole, and each read against its bounds.

use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::{Header, List, MAGIC, Plain, Record, Str, VERSION};

/// Why memory is no shared block that this build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotABlock {
    /// It does not begin as one.
    Magic,
    /// Another build's: its version.
    Version(u32),
    /// The sizes in its header do not fit together, or not this build.
    Size,
}

/// A mapped block.
#[derive(Debug, Clone, Copy)]
pub struct Block<'m> {
    base: NonNull<u8>,
    size: usize,
    memory: PhantomData<&'m [u8]>,
}

impl<'m> Block<'m> {
    /// The block in the first `size` bytes at `base`.
    ///
    /// # Errors
    /// When it is none of this build's.
    ///
    /// # Safety
    /// The bytes are mapped readable and writable for `'m`, `base` is aligned as a page is, and what is changed in them meanwhile are
    /// the atomics of [`crate::wire`].
    pub unsafe fn new(base: NonNull<u8>, size: usize) -> Result<Self, NotABlock> {
        let block = Self { base, size, memory: PhantomData };
        if size < size_of::<Header>() {
            return Err(NotABlock::Size);
        }
        let header = block.header();
        if header.magic != MAGIC {
            return Err(NotABlock::Magic);
        }
        if header.version != VERSION {
            return Err(NotABlock::Version(header.version));
        }
        let fits = header.record_size as usize == size_of::<Record>()
            && header.size as usize == size
            && (header.ops.at as usize).is_multiple_of(align_of::<Record>())
            && block.has(header.ops.at, header.ops.len as usize, size_of::<Record>());
        fits.then_some(block).ok_or(NotABlock::Size)
    }

    /// As [`Self::new`] for what has passed it before.
    ///
    /// # Safety
    /// As there, and it gave a block for the same memory.
    #[must_use]
    pub unsafe fn checked_before(base: NonNull<u8>, size: usize) -> Self {
        Self { base, size, memory: PhantomData }
    }

    /// Maps the block behind `fd`, for as long as the process lives.
    pub(crate) fn map(fd: Fd) -> sys::Result<Block<'static>> {
        const SIZE_AT: usize = offset_of!(Header, size);
        let mut first = [0u8; SIZE_AT + size_of::<u32>()];
        let length = first.len();
        sys::read(fd, &mut first, length)?;
        let [.., a, b, c, d] = first;
        let size = u32::from_ne_bytes([a, b, c, d]) as usize;
        let base = sys::map_shared(fd, size)?;
        sys::close(fd)?;
        // SAFETY: just mapped, and never unmapped; the runtime changes no more of it than the atomics.
        unsafe { Block::new(base, size) }.map_err(|_| Errno(crate::abi::EINVAL))
    }

    /// Leaves it out of the memory of processes that are forked from now on.
    pub(crate) fn keep_from_children(&self) -> sys::Result<usize> {
        sys::keep_from_children(self.base, self.size)
    }

    /// The header at its start.
    #[must_use]
    pub fn header(&self) -> &'m Header {
        // SAFETY: aligned and large enough, as `new` has found; every bit pattern is a valid Header, and the words that change are
        // atomics.
        unsafe { self.base.cast().as_ref() }
    }

    /// Whether `count` elements of `size` bytes at `at` lie inside; everything that is read passes here.
    fn has(&self, at: u32, count: usize, size: usize) -> bool {
        count.checked_mul(size).and_then(|bytes| bytes.checked_add(at as usize)).is_some_and(|end| end <= self.size)
    }

    /// An array; an empty one where it does not lie inside.
    #[must_use]
    pub fn list<T: Plain>(&self, list: List<T>) -> &'m [T] {
        let aligned = (list.at as usize).is_multiple_of(align_of::<T>());
        if list.len == 0 || !aligned || !self.has(list.at, list.len as usize, size_of::<T>()) {
            return &[];
        }
        // SAFETY: inside, as was just found.
        let first = unsafe { self.base.add(list.at as usize) };
        // SAFETY: `len` elements are inside and aligned, any bytes are a valid T, and only atomics change.
        unsafe { core::slice::from_raw_parts(first.as_ptr().cast(), list.len as usize) }
    }

    /// The bytes at an offset; none where they do not all lie inside.
    #[must_use]
    pub fn bytes(&self, at: u32, len: usize) -> &'m [u8] {
        u32::try_from(len).map_or(&[], |len| self.list(List { at, len, of: PhantomData }))
    }

    /// The operation of this index; `None` where there is none.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<Record> {
        let ops = self.header().ops;
        let at = u32::try_from(index.checked_mul(size_of::<Record>())?).ok()?.checked_add(ops.at)?;
        if index >= ops.len as usize || !self.has(at, 1, size_of::<Record>()) {
            return None;
        }
        // SAFETY: inside, as was just found.
        let place = unsafe { self.base.add(at as usize) };
        // SAFETY: the block is aligned as a page is, and its operations as records are, as `new` has found.
        unsafe { Record::read(place.cast()) }
    }

    /// A string, with its NUL.
    pub(crate) fn str(&self, text: Str) -> CStr<'m> {
        if !text.is_some() {
            return CStr::EMPTY;
        }
        CStr::new(self.bytes(text.at, text.len as usize + 1))
    }

    /// The address of a string, for those who are passed lists of them; 0: none.
    pub(crate) fn address(&self, text: Str) -> u64 {
        if text.is_some() { self.str(text).arg() as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;
    use core::sync::atomic::{AtomicI32, AtomicU32};

    use super::*;
    use crate::wire::{self, DETAIL, Op, Phase, ProcFile, Slot, bytes_of};

    extern crate std;
    use std::vec::Vec;

    /// Aligned as a page is, for the most that a record or a header asks for.
    #[repr(C, align(4096))]
    struct Page([MaybeUninit<u8>; 4096]);

    impl Page {
        fn zeroed() -> Self {
            Self([MaybeUninit::new(0); 4096])
        }

        fn set(&mut self, at: usize, bytes: &[u8]) {
            for (place, byte) in self.0[at..].iter_mut().zip(bytes) {
                place.write(*byte);
            }
        }
    }

    fn header(ops: List<Record>) -> Header {
        let none = || List { at: 0, len: 0, of: PhantomData };
        let texts = || List { at: 0, len: 0, of: PhantomData };
        Header {
            magic: MAGIC,
            version: VERSION,
            record_size: size_of::<Record>() as u32,
            size: 4096,
            progress: AtomicU32::new(0),
            state: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            reason: AtomicU32::new(0),
            forked: AtomicI32::new(0),
            listener: AtomicI32::new(0),
            listener_taken: AtomicU32::new(0),
            mount: AtomicI32::new(0),
            program: AtomicU32::new(0),
            sync: 0,
            first_private_fd: 3,
            die_with_parent: 0,
            vforks: 0,
            ops,
            slots: none(),
            network: AtomicI32::new(0),
            tasks: none(),
            made: List { at: 0, len: 0, of: PhantomData },
            programs: texts(),
            argv: texts(),
            envp: texts(),
            pointers: List { at: 0, len: 0, of: PhantomData },
            detail: [const { core::sync::atomic::AtomicU8::new(0) }; DETAIL],
        }
    }

    /// A page with this header, and operations at 2048, every byte of which has a value as in memory that another process has written.
    fn page(header: Header, ops: &[Op]) -> Page {
        let mut page = Page::zeroed();
        // SAFETY: aligned and large enough.
        unsafe { page.0.as_mut_ptr().cast::<Header>().write(header) };
        for (index, op) in ops.iter().enumerate() {
            let at = 2048 + index * size_of::<Record>() + offset_of!(Record, op);
            page.set(at, &wire::tag(op).to_ne_bytes());
            match op {
                Op::Sync { phase } => page.set(at + wire::offset(op, phase), &[*phase as u8]),
                Op::WriteProc { proc, what, .. } => {
                    page.set(at + wire::offset(op, proc), &proc.0.to_ne_bytes());
                    page.set(at + wire::offset(op, what), &(*what as u32).to_ne_bytes());
                }
                _ => {}
            }
        }
        page
    }

    fn block(page: &mut Page) -> Result<Block<'_>, NotABlock> {
        let base = NonNull::new(page.0.as_mut_ptr().cast()).unwrap();
        // SAFETY: borrowed for as long as the block is.
        unsafe { Block::new(base, 4096) }
    }

    fn ops(at: u32, len: u32) -> List<Record> {
        List { at, len, of: PhantomData }
    }

    #[test]
    fn only_what_this_build_wrote_is_a_block() {
        let changed = |change: fn(&mut Header)| {
            let mut header = header(ops(2048, 1));
            change(&mut header);
            let mut page = page(header, &[Op::Setsid]);
            block(&mut page).map(drop)
        };
        assert_eq!(changed(|_| {}), Ok(()));
        assert_eq!(changed(|header| header.magic = 0), Err(NotABlock::Magic));
        assert_eq!(changed(|header| header.version = VERSION + 1), Err(NotABlock::Version(VERSION + 1)));
        assert_eq!(changed(|header| header.record_size += 8), Err(NotABlock::Size));
        assert_eq!(changed(|header| header.size = 4095), Err(NotABlock::Size));
        assert_eq!(changed(|header| header.size = 1 << 30), Err(NotABlock::Size));
        assert_eq!(changed(|header| header.ops.len = u32::MAX), Err(NotABlock::Size));
        assert_eq!(changed(|header| header.ops.at = 2049), Err(NotABlock::Size));
        assert_eq!(changed(|header| header.ops.at = u32::MAX - 7), Err(NotABlock::Size));
        let mut empty = Page::zeroed();
        assert_eq!(block(&mut empty).map(drop), Err(NotABlock::Magic));
    }

    #[test]
    fn an_operation_that_is_none_is_not_read() {
        let write = Op::WriteProc { proc: Slot(1), path: Str::NONE, data: Str::NONE, what: ProcFile::Label };
        let all = [Op::Sync { phase: Phase::MapMount }, write, Op::Execute];
        let mut good = page(header(ops(2048, 3)), &all);
        let good = block(&mut good).unwrap();
        assert!(matches!(good.record(0).unwrap().op, Op::Sync { phase: Phase::MapMount }));
        assert!(matches!(good.record(1).unwrap().op, Op::WriteProc { what: ProcFile::Label, proc: Slot(1), .. }));
        assert!(matches!(good.record(2).unwrap().op, Op::Execute));
        assert!(good.record(3).is_none() && good.record(usize::MAX).is_none());
        // Each byte of each operation, set to something else, gives an operation or none, and never a value that is not one.
        for index in 0..all.len() {
            for at in 0..size_of::<Record>() {
                for value in [6, 0x7f, 0xff] {
                    let mut damaged = page(header(ops(2048, 3)), &all);
                    damaged.set(2048 + index * size_of::<Record>() + at, &[value]);
                    let damaged = block(&mut damaged).unwrap();
                    if let Some(record) = damaged.record(index) {
                        assert!(std::format!("{:?}", record.op).len() > 1);
                    }
                }
            }
        }
        for (index, at) in [(0, 8), (0, 16), (1, 8), (1, 16 + 4 + 8 + 8)] {
            let mut damaged = page(header(ops(2048, 3)), &all);
            damaged.set(2048 + index * size_of::<Record>() + at, &[0xff]);
            assert!(block(&mut damaged).unwrap().record(index).is_none(), "record {index}, byte {at}");
        }
    }

    #[test]
    fn what_lies_outside_is_empty() {
        let mut page = page(header(ops(2048, 0)), &[]);
        page.set(3000, &7u64.to_ne_bytes());
        let block = block(&mut page).unwrap();
        assert_eq!(block.list(List::<u64> { at: 3000, len: 1, of: PhantomData }), [7]);
        for (at, len) in [(4092, 1), (3001, 1), (3000, u32::MAX), (u32::MAX - 3, 1), (3000, 0)] {
            assert!(block.list(List::<u64> { at, len, of: PhantomData }).is_empty(), "{at} {len}");
        }
        // A string without its NUL is none.
        assert_eq!(block.str(Str { at: 3000, len: 0 }).bytes(), b"");
        assert!(block.bytes(4000, 97).is_empty());
        let words: Vec<u8> = bytes_of(&[Slot(1), Slot(2)]).to_vec();
        assert_eq!(words, [1u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat());
    }
}
