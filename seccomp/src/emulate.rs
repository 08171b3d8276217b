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
/// A program the kernel would not take (one that runs off its end, or uses instructions seccomp filters have no need
/// of) kills the process.
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
            _ => return outcome,
        }
    }
    outcome
}
