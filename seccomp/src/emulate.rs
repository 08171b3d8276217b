//! Runs a filter as the kernel would, and tells which answers need no look at the arguments.
use crate::bpf::{self, SockFilter};
use crate::{Action, Arch, tables};

/// A system call as a filter sees it: the kernel's `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The convention it is made by.
    pub arch: Arch,
    /// Its number, for x32 with the x32 bit.
    pub number: u32,
    /// The address it is made from.
    pub instruction_pointer: u64,
    /// The six arguments.
    pub arguments: [u64; 6],
}

impl Call {
    /// The call `name` with arguments (absent ones are 0); `None` if the architecture has none of that name.
    pub fn named(arch: Arch, name: &str, arguments: &[u64]) -> Option<Self> {
        let number = tables::number(arch, tables::find(name)?)?;
        Some(Self::numbered(arch, number, arguments))
    }

    /// The call with this number and arguments (absent ones are 0).
    pub fn numbered(arch: Arch, number: u32, arguments: &[u64]) -> Self {
        let mut six = [0; 6];
        for (to, from) in six.iter_mut().zip(arguments) {
            *to = *from;
        }
        Self { arch, number, instruction_pointer: 0, arguments: six }
    }

    /// The word at an offset of `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64, second: bool| {
            let high = second == self.arch.is_little_endian();
            #[expect(clippy::cast_possible_truncation, reason = "one half is what is wanted")]
            if high { (value >> 32) as u32 } else { value as u32 }
        };
        match offset {
            bpf::NUMBER => self.number,
            bpf::ARCH => self.arch.audit(),
            8 | 12 => half(self.instruction_pointer, offset == 12),
            _ => {
                let index = usize::try_from((offset - bpf::ARGUMENTS) / 8).unwrap_or(usize::MAX);
                half(self.arguments.get(index).copied().unwrap_or(0), offset % 8 == 4)
            }
        }
    }
}

/// What a filter answers to a call: runs `program` as the kernel would.
///
/// A program the kernel would not take (one that runs off its end, or uses instructions that seccomp filters may not have)
/// kills the process.
pub fn evaluate(program: &[SockFilter], call: &Call) -> Action {
    run(program, call).action()
}

/// As [`evaluate`], with what it took.
pub fn trace(program: &[SockFilter], call: &Call) -> Trace {
    let outcome = run(program, call);
    Trace { action: outcome.action(), instructions: outcome.steps, looks_further: outcome.looked_further }
}

/// How a filter comes to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The answer.
    pub action: Action,
    /// How many instructions run.
    pub instructions: u32,
    /// Whether they look at anything but the call's number and architecture. If not, and the answer is
    /// [`Action::Allow`], Linux 5.11 and later notes so when the filter is loaded, and never runs it for this call.
    pub looks_further: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) answer: u32,
    pub(crate) steps: u32,
    pub(crate) looked_further: bool,
}

impl Outcome {
    const fn action(self) -> Action {
        Action::from_raw(self.answer)
    }
}

/// What the kernel answers for a program it would not have loaded.
const BROKEN: u32 = 0x8000_0000;

pub(crate) fn run(program: &[SockFilter], call: &Call) -> Outcome {
    let mut outcome = Outcome { answer: BROKEN, steps: 0, looked_further: false };
    let mut at = 0_usize;
    let mut accumulator = 0_u32;
    let mut rest = Rest::default();
    while let Some(&SockFilter { code, jt, jf, k }) = program.get(at) {
        outcome.steps += 1;
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            bpf::LOAD => {
                outcome.looked_further |= k > bpf::ARCH;
                accumulator = call.word(k);
            }
            bpf::AND => accumulator &= k,
            bpf::JUMP => at = at.saturating_add(usize::try_from(k).unwrap_or(usize::MAX)),
            bpf::JEQ => branch(accumulator == k),
            bpf::JGT => branch(accumulator > k),
            bpf::JGE => branch(accumulator >= k),
            bpf::JSET => branch(accumulator & k != 0),
            bpf::RETURN => {
                outcome.answer = k;
                return outcome;
            }
            RETURN_A => {
                outcome.answer = accumulator;
                return outcome;
            }
            JEQ_X => branch(accumulator == rest.index),
            JGT_X => branch(accumulator > rest.index),
            JGE_X => branch(accumulator >= rest.index),
            JSET_X => branch(accumulator & rest.index != 0),
            _ => match rest.step(code, k, accumulator) {
                Some(next) => accumulator = next,
                None => return outcome,
            },
        }
    }
    outcome
}

const RETURN_A: u16 = 0x16;
const JEQ_X: u16 = 0x1d;
const JGT_X: u16 = 0x2d;
const JGE_X: u16 = 0x3d;
const JSET_X: u16 = 0x4d;

/// What programs of other compilers use besides the accumulator.
#[derive(Debug, Default)]
struct Rest {
    index: u32,
    scratch: [u32; 16],
}

impl Rest {
    /// One of the less usual instructions: the accumulator after it; `None` for what the kernel would not load, or a division by 0,
    /// at which it answers with 0, which kills the thread.
    fn step(&mut self, code: u16, k: u32, accumulator: u32) -> Option<u32> {
        /// `struct seccomp_data`, whose length is what these two load.
        const LENGTH: u32 = 64;
        let cell = usize::try_from(k).unwrap_or(usize::MAX);
        match code {
            0x01 => self.index = k,
            0x81 => self.index = LENGTH,
            0x61 => self.index = *self.scratch.get(cell)?,
            0x02 => *self.scratch.get_mut(cell)? = accumulator,
            0x03 => *self.scratch.get_mut(cell)? = self.index,
            0x07 => self.index = accumulator,
            0x00 => return Some(k),
            0x80 => return Some(LENGTH),
            0x60 => return self.scratch.get(cell).copied(),
            0x87 => return Some(self.index),
            _ => return arithmetic(code & !0x08, accumulator, if code & 0x08 == 0 { k } else { self.index }),
        }
        Some(accumulator)
    }
}

/// The arithmetic opcodes, in their form with a constant.
fn arithmetic(code: u16, a: u32, b: u32) -> Option<u32> {
    match code {
        0x04 => Some(a.wrapping_add(b)),
        0x14 => Some(a.wrapping_sub(b)),
        0x24 => Some(a.wrapping_mul(b)),
        0x34 => a.checked_div(b),
        0x44 => Some(a | b),
        0x54 => Some(a & b),
        // The kernel takes the amount of a shift modulo 32.
        0x64 => Some(a.wrapping_shl(b)),
        0x74 => Some(a.wrapping_shr(b)),
        0x84 => Some(a.wrapping_neg()),
        0xa4 => Some(a ^ b),
        _ => None,
    }
}
