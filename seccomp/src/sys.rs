//! The few operations of this crate that the compiler cannot check.
#![allow(unsafe_code, reason = "views of plain memory and raw system calls live here and nowhere else")]
use crate::bpf::SockFilter;

/// The memory of some instructions.
pub(crate) fn bytes(instructions: &[SockFilter]) -> &[u8] {
    let length = size_of_val(instructions);
    // SAFETY: the slice is live for the returned lifetime and `length` bytes long; `SockFilter` is `repr(C)` of
    // u16, u8, u8, u32 and so has no padding, and any byte is a valid u8 at any alignment.
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), length) }
}
