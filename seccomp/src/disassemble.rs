//! A filter as text, for people.
use crate::bpf::{self, SockFilter};
use crate::{Action, Arch};
use std::fmt;

/// Some instructions as an assembler listing: a line for each, with its index, and jump targets as indices.
#[derive(Debug, Clone, Copy)]
pub struct Disassembly<'a> {
    instructions: &'a [SockFilter],
    little_endian: bool,
}

impl<'a> Disassembly<'a> {
    /// The listing of a filter whose first architecture is `arch` (it names the halves of arguments).
    pub fn new(instructions: &'a [SockFilter], arch: Arch) -> Self {
        Self { instructions, little_endian: arch.is_little_endian() }
    }

    fn load(&self, f: &mut fmt::Formatter<'_>, offset: u32) -> fmt::Result {
        match offset {
            bpf::NUMBER => f.write_str("load   number"),
            bpf::ARCH => f.write_str("load   arch"),
            _ => {
                let half = if (offset % 8 == 4) == self.little_endian { "high" } else { "low" };
                match offset.checked_sub(bpf::ARGUMENTS) {
                    Some(offset) => write!(f, "load   argument {} {half}", offset / 8),
                    None => write!(f, "load   instruction pointer {half}"),
                }
            }
        }
    }
}

impl fmt::Display for Disassembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last word loaded says how operands read best.
        let mut loaded = bpf::NUMBER;
        for (index, &SockFilter { code, jt, jf, k }) in self.instructions.iter().enumerate() {
            write!(f, "{index:4}  ")?;
            let mut branch = |name: &str| {
                let (yes, no) = (index + 1 + usize::from(jt), index + 1 + usize::from(jf));
                match loaded {
                    bpf::NUMBER => write!(f, "{name:6} {:<12} yes {yes:<4} no {no}", Number(k)),
                    _ => write!(f, "{name:6} {k:#012x} yes {yes:<4} no {no}"),
                }
            };
            match code {
                bpf::LOAD => {
                    loaded = k;
                    self.load(f, k)?;
                }
                bpf::AND => write!(f, "and    {k:#x}")?,
                bpf::JUMP => {
                    write!(f, "jump   {}", index.saturating_add(1).saturating_add(usize::try_from(k).unwrap_or(0)))?;
                }
                bpf::JEQ => branch("if ==")?,
                bpf::JGT => branch("if >")?,
                bpf::JGE => branch("if >=")?,
                bpf::JSET => branch("if &")?,
                bpf::RETURN => write!(f, "return {}", Action::from_raw(k))?,
                _ => write!(f, "unknown {code:#06x} {jt} {jf} {k:#x}")?,
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// A call's number: decimal, the x32 bit apart.
struct Number(u32);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BIT: u32 = crate::arch::X32_BIT;
        match self.0 {
            u32::MAX => f.pad("-1"),
            number if number >= 2 * BIT => f.pad(&format!("{number:#x}")),
            number if number >= BIT => f.pad(&format!("x32+{}", number - BIT)),
            number => f.pad(&number.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_names_words_calls_and_answers() {
        let program = [
            SockFilter::new(bpf::LOAD, bpf::ARCH),
            SockFilter { code: bpf::JEQ, jt: 0, jf: 3, k: Arch::X86_64.audit() },
            SockFilter::new(bpf::LOAD, 28),
            SockFilter { code: bpf::JSET, jt: 1, jf: 0, k: 1 },
            SockFilter::new(bpf::RETURN, Action::Allow.to_raw()),
            SockFilter::new(bpf::RETURN, Action::Errno(38).to_raw()),
        ];
        let text = Disassembly::new(&program, Arch::X86_64).to_string();
        for (line, expected) in text.lines().zip([
            "   0  load   arch",
            "   1  if ==  0x00c000003e yes 2    no 5",
            "   2  load   argument 1 high",
            "   3  if &   0x0000000001 yes 5    no 4",
            "   4  return SCMP_ACT_ALLOW",
            "   5  return SCMP_ACT_ERRNO(38)",
        ]) {
            assert_eq!(line, expected);
        }
        assert_eq!(text.lines().count(), program.len());
    }
}
