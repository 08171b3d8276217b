//! The program's memory allocator: made for processes that live for a millisecond, sound for those that live for days, and for one
//! thread.
//!
//! musl's allocator asks the kernel for a page per size class when it is first used: with it `orlop state` takes a third more
//! instructions, and `orlop run` a tenth more system calls. Here small blocks are cut from one zeroed area of the program itself,
//! whose pages cost nothing until they are touched, then from larger chunks. A freed block goes to a list of its size and is taken
//! from there again, so that `events`, which runs for days, needs no more than it ever used at once. Large blocks come from the
//! kernel and return to it.
#![allow(unsafe_code, reason = "an allocator hands out raw memory; GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};

/// What the first blocks are cut from. Most calls need less.
const FIRST: usize = 64 * 1024;
/// What is asked of the kernel when that is used up.
const CHUNK: usize = 256 * 1024;
/// Every block is aligned to this and has a multiple of it in bytes.
const UNIT: usize = 16;
/// Blocks above this come from the kernel, each by itself.
const LARGE: usize = 32 * 1024;
/// Sizes 16, 32, … 256, then powers of two to 32 KiB.
const CLASSES: usize = 16 + 7;

#[repr(align(16))]
struct Area(UnsafeCell<[u8; FIRST]>);

/// A freed block: its first bytes point to the next one of its size.
struct Free {
    next: *mut Free,
}

struct Heap {
    /// Where the next block is cut, and where the room ends. Null before the first one.
    next: *mut u8,
    left: usize,
    free: [*mut Free; CLASSES],
}

/// The allocator.
pub(crate) struct Allocator {
    heap: UnsafeCell<Heap>,
    area: Area,
}

// SAFETY: this program has one thread. Its library starts none, nor does it, and the child that shares its memory until it executes
// the init does not allocate.
unsafe impl Sync for Allocator {}

/// The list that blocks of `size` bytes belong to, and how many bytes each has; `None` for a large one.
fn class(size: usize) -> Option<(usize, usize)> {
    match size {
        0..=256 => {
            let index = size.saturating_sub(1) / UNIT;
            Some((index, (index + 1) * UNIT))
        }
        257..=LARGE => {
            let rounded = size.next_power_of_two();
            // 512 is 2^9: class 16.
            Some((usize::try_from(rounded.trailing_zeros()).ok()? + 7, rounded))
        }
        _ => None,
    }
}

impl Heap {
    /// Takes `size` bytes (a multiple of [`UNIT`]) off the current room; null when the kernel has no more.
    fn cut(&mut self, size: usize, area: &Area) -> *mut u8 {
        if self.next.is_null() {
            (self.next, self.left) = (area.0.get().cast(), FIRST);
        }
        if self.left < size {
            let chunk = map(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            (self.next, self.left) = (chunk, CHUNK);
        }
        let block = self.next;
        // SAFETY: `left` says that at least `size` bytes of the same object follow `next`.
        self.next = unsafe { block.add(size) };
        self.left -= size;
        block
    }

    fn take(&mut self, index: usize, size: usize, area: &Area) -> *mut u8 {
        let Some(list) = self.free.get_mut(index) else { return null_mut() };
        match NonNull::new(*list) {
            None => self.cut(size, area),
            Some(block) => {
                // SAFETY: blocks on a list were freed by their owner, are at least as large and as aligned as `Free`, and had
                // their `next` written by `give`.
                *list = unsafe { block.as_ref() }.next;
                block.as_ptr().cast()
            }
        }
    }

    fn give(&mut self, index: usize, block: *mut u8) {
        if let Some(list) = self.free.get_mut(index) {
            let block: *mut Free = block.cast();
            // SAFETY: the caller of `dealloc` gave the block up; it has at least 16 bytes, aligned to 16.
            unsafe { block.write(Free { next: *list }) };
            *list = block;
        }
    }
}

/// Fresh zeroed pages, or null.
fn map(size: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping at a place of the kernel's choice touches no memory in use.
    let pages = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
    if pages == libc::MAP_FAILED { null_mut() } else { pages.cast() }
}

/// Whether a block is served by the kernel directly: too large, or aligned to more than a unit (which nothing here needs often).
fn is_large(layout: Layout) -> bool {
    layout.size() > LARGE || layout.align() > UNIT
}

impl Allocator {
    /// An allocator that has not given out anything yet.
    pub(crate) const fn new() -> Self {
        let heap = Heap { next: null_mut(), left: 0, free: [null_mut(); CLASSES] };
        Self { heap: UnsafeCell::new(heap), area: Area(UnsafeCell::new([0; FIRST])) }
    }

    /// Runs `work` on the heap.
    fn with<T>(&self, work: impl FnOnce(&mut Heap) -> T) -> T {
        // SAFETY: there is no other thread, the only signal handler does not allocate, and no `work` calls back into the allocator: this
        // is the only reference to the heap.
        work(unsafe { &mut *self.heap.get() })
    }
}

// SAFETY: blocks are disjoint parts of the area or of mappings, at least as large and as aligned as asked for, and are handed
// out again only after they were given back.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout.size()) {
            Some((index, size)) if !is_large(layout) => self.with(|heap| heap.take(index, size, &self.area)),
            // A page is the most alignment that anything here asks for.
            _ if layout.align() <= 4096 => map(layout.size()),
            _ => null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same as for `alloc`.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() && !is_large(layout) {
            // SAFETY: the block has at least `layout.size()` bytes and is not shared yet.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(layout.size()) {
            Some((index, _)) if !is_large(layout) => self.with(|heap| heap.give(index, block)),
            _ => {
                // SAFETY: a large block is a whole mapping of this size (the kernel rounds both up to pages alike), and the
                // caller has given it up. It cannot fail then, and there would be nothing to do if it did.
                unsafe { libc::munmap(block.cast(), layout.size()) };
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if is_large(layout) && is_large(wanted) {
            // SAFETY: the block is a whole mapping of the old size that the caller owns; page alignment is kept.
            let moved = unsafe { libc::mremap(block.cast(), layout.size(), new_size, libc::MREMAP_MAYMOVE) };
            return if moved == libc::MAP_FAILED { null_mut() } else { moved.cast() };
        }
        if !is_large(layout) && !is_large(wanted) && class(layout.size()) == class(new_size) {
            return block;
        }
        // SAFETY: `wanted` has a size that is not zero, as the caller promises of `new_size`.
        let target = unsafe { self.alloc(wanted) };
        if !target.is_null() {
            // SAFETY: both blocks are live, distinct and at least this long.
            unsafe { std::ptr::copy_nonoverlapping(block, target, layout.size().min(new_size)) };
            // SAFETY: `block` has the layout that the caller says, and is given up by calling `realloc`.
            unsafe { self.dealloc(block, layout) };
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        let mut before = (0, UNIT);
        for size in 1..=LARGE {
            let (index, rounded) = class(size).unwrap();
            assert!(rounded >= size && index < CLASSES, "{size}");
            assert!(
                (index, rounded) == before || (index == before.0 + 1 && rounded > before.1 && size == before.1 + 1),
                "{size}"
            );
            before = (index, rounded);
        }
        assert_eq!(before, (CLASSES - 1, LARGE));
        assert_eq!(class(LARGE + 1), None);
    }

    #[test]
    fn blocks_are_aligned_disjoint_zeroed_reused_and_keep_their_bytes() {
        static HEAP: Allocator = Allocator::new();
        let heap = &HEAP;
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut seed = 1_u32;
        for round in 0..20_000_u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = match seed >> 30 {
                0 => 1 + (seed >> 8) as usize % 70_000,
                _ => 1 + (seed >> 8) as usize % 600,
            };
            let layout = Layout::from_size_align(size, 1 << ((seed >> 5) % 7)).unwrap();
            let fill = u8::try_from(round % 256).unwrap();
            // SAFETY: the layout's size is not zero.
            let block = unsafe { heap.alloc_zeroed(layout) };
            assert!(!block.is_null() && block.addr() % layout.align() == 0);
            // SAFETY: the block was just allocated with this size.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block, size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(fill);
            blocks.push((block, layout, fill));
            if blocks.len() > 40 {
                let (block, layout, fill) = blocks.swap_remove(seed as usize % 40);
                let grown = 1 + layout.size() * 3 / (1 + seed as usize % 5);
                // SAFETY: the block is live and has this layout.
                let moved = unsafe { heap.realloc(block, layout, grown) };
                // SAFETY: the block now has `grown` bytes, of which the common part was filled before.
                let bytes = unsafe { std::slice::from_raw_parts(moved, grown.min(layout.size())) };
                assert!(bytes.iter().all(|&byte| byte == fill));
                let layout = Layout::from_size_align(grown, layout.align()).unwrap();
                // SAFETY: the block is live and has this layout.
                unsafe { heap.dealloc(moved, layout) };
            }
        }
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: the layout's size is not zero.
        let first = unsafe { heap.alloc(layout) };
        // SAFETY: the block is live and has this layout.
        unsafe { heap.dealloc(first, layout) };
        // SAFETY: the layout's size is not zero.
        let second = unsafe { heap.alloc(layout) };
        assert_eq!(first, second, "a freed block is taken again");
    }
}
