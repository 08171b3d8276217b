//! Classic BPF as seccomp uses it: the instruction, and the few opcodes this crate writes.

/// Loads the 32-bit word at offset `k` of `seccomp_data`.
pub(crate) const LOAD: u16 = 0x20;
/// `A &= k`
pub(crate) const AND: u16 = 0x54;
/// Jumps `k` instructions ahead.
pub(crate) const JUMP: u16 = 0x05;
/// Jumps if `A == k`.
pub(crate) const JEQ: u16 = 0x15;
/// Jumps if `A > k`.
pub(crate) const JGT: u16 = 0x25;
/// Jumps if `A >= k`.
pub(crate) const JGE: u16 = 0x35;
/// Jumps if `A & k != 0`.
pub(crate) const JSET: u16 = 0x45;
/// Ends the filter with the answer `k`.
pub(crate) const RETURN: u16 = 0x06;

/// Where the system call number lies in `seccomp_data`.
pub(crate) const NUMBER: u32 = 0;
/// Where the architecture lies.
pub(crate) const ARCH: u32 = 4;
/// Where the six arguments start.
pub(crate) const ARGUMENTS: u32 = 16;

/// The most instructions the kernel takes in one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SockFilter {
    /// The opcode.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl SockFilter {
    pub(crate) const fn new(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }
}
