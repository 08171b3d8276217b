//! The architectures of the OCI list, and what a filter must know of each.
use crate::error::{Error, Kind};
use crate::tables::{self, Column};
use std::fmt;
use std::str::FromStr;

/// The bit that marks a system call number as one of the x32 ABI.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

const LITTLE: u32 = 0x4000_0000;
const BITS64: u32 = 0x8000_0000;
const N32: u32 = 0x2000_0000;

/// An architecture with its calling convention, as the OCI runtime specification names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Arch {
    /// x86, 64 bits.
    X86_64,
    /// x86, 32 bits.
    X86,
    /// x86 with 64-bit registers and 32-bit pointers.
    X32,
    /// Arm, 32 bits, EABI.
    Arm,
    /// Arm, 64 bits.
    Aarch64,
    /// MIPS, O32, big-endian.
    Mips,
    /// MIPS, N64, big-endian.
    Mips64,
    /// MIPS, N32, big-endian.
    Mips64N32,
    /// MIPS, O32, little-endian.
    Mipsel,
    /// MIPS, N64, little-endian.
    Mipsel64,
    /// MIPS, N32, little-endian.
    Mipsel64N32,
    /// PowerPC, 32 bits.
    Ppc,
    /// PowerPC, 64 bits, big-endian.
    Ppc64,
    /// PowerPC, 64 bits, little-endian.
    Ppc64le,
    /// RISC-V, 64 bits.
    Riscv64,
    /// S/390, 31 bits.
    S390,
    /// S/390, 64 bits.
    S390x,
    /// LoongArch, 64 bits.
    Loongarch64,
    /// Motorola 68000.
    M68k,
    /// SuperH, little-endian.
    Sh,
    /// SuperH, big-endian.
    Sheb,
    /// PA-RISC, 32 bits.
    Parisc,
    /// PA-RISC, 64 bits.
    Parisc64,
}

/// Every architecture, in the order filters use them.
pub const ARCHITECTURES: [Arch; 23] = [
    Arch::X86_64,
    Arch::X86,
    Arch::X32,
    Arch::Arm,
    Arch::Aarch64,
    Arch::Mips,
    Arch::Mips64,
    Arch::Mips64N32,
    Arch::Mipsel,
    Arch::Mipsel64,
    Arch::Mipsel64N32,
    Arch::Ppc,
    Arch::Ppc64,
    Arch::Ppc64le,
    Arch::Riscv64,
    Arch::S390,
    Arch::S390x,
    Arch::Loongarch64,
    Arch::M68k,
    Arch::Sh,
    Arch::Sheb,
    Arch::Parisc,
    Arch::Parisc64,
];

impl Arch {
    /// The architecture this code was built for; `None` on one that seccomp filters of this crate do not know.
    pub const fn native() -> Option<Self> {
        const LITTLE_ENDIAN: bool = cfg!(target_endian = "little");
        const WIDE: bool = cfg!(target_pointer_width = "64");
        if cfg!(target_arch = "x86_64") {
            Some(if WIDE { Self::X86_64 } else { Self::X32 })
        } else if cfg!(target_arch = "x86") {
            Some(Self::X86)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "arm") {
            Some(Self::Arm)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else if cfg!(target_arch = "powerpc64") {
            Some(if LITTLE_ENDIAN { Self::Ppc64le } else { Self::Ppc64 })
        } else if cfg!(target_arch = "powerpc") {
            Some(Self::Ppc)
        } else if cfg!(target_arch = "s390x") {
            Some(Self::S390x)
        } else if cfg!(target_arch = "loongarch64") {
            Some(Self::Loongarch64)
        } else if cfg!(target_arch = "mips64") {
            Some(if LITTLE_ENDIAN { Self::Mipsel64 } else { Self::Mips64 })
        } else if cfg!(target_arch = "mips") {
            Some(if LITTLE_ENDIAN { Self::Mipsel } else { Self::Mips })
        } else if cfg!(target_arch = "m68k") {
            Some(Self::M68k)
        } else {
            None
        }
    }

    /// The name in an OCI profile, `SCMP_ARCH_…`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Mips => "SCMP_ARCH_MIPS",
            Self::Mips64 => "SCMP_ARCH_MIPS64",
            Self::Mips64N32 => "SCMP_ARCH_MIPS64N32",
            Self::Mipsel => "SCMP_ARCH_MIPSEL",
            Self::Mipsel64 => "SCMP_ARCH_MIPSEL64",
            Self::Mipsel64N32 => "SCMP_ARCH_MIPSEL64N32",
            Self::Ppc => "SCMP_ARCH_PPC",
            Self::Ppc64 => "SCMP_ARCH_PPC64",
            Self::Ppc64le => "SCMP_ARCH_PPC64LE",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
            Self::S390 => "SCMP_ARCH_S390",
            Self::S390x => "SCMP_ARCH_S390X",
            Self::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            Self::M68k => "SCMP_ARCH_M68K",
            Self::Sh => "SCMP_ARCH_SH",
            Self::Sheb => "SCMP_ARCH_SHEB",
            Self::Parisc => "SCMP_ARCH_PARISC",
            Self::Parisc64 => "SCMP_ARCH_PARISC64",
        }
    }

    /// The architecture an OCI profile calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        name.starts_with("SCMP_ARCH_").then(|| ARCHITECTURES.into_iter().find(|arch| arch.name() == name))?
    }

    /// The `AUDIT_ARCH_…` token the kernel puts into `seccomp_data.arch`; x32 has that of x86-64.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 62 | LITTLE | BITS64,
            Self::X86 => 3 | LITTLE,
            Self::Arm => 40 | LITTLE,
            Self::Aarch64 => 183 | LITTLE | BITS64,
            Self::Mips => 8,
            Self::Mips64 => 8 | BITS64,
            Self::Mips64N32 => 8 | BITS64 | N32,
            Self::Mipsel => 8 | LITTLE,
            Self::Mipsel64 => 8 | LITTLE | BITS64,
            Self::Mipsel64N32 => 8 | LITTLE | BITS64 | N32,
            Self::Ppc => 20,
            Self::Ppc64 => 21 | BITS64,
            Self::Ppc64le => 21 | LITTLE | BITS64,
            Self::Riscv64 => 243 | LITTLE | BITS64,
            Self::S390 => 22,
            Self::S390x => 22 | BITS64,
            Self::Loongarch64 => 258 | LITTLE | BITS64,
            Self::M68k => 4,
            Self::Sh => 42 | LITTLE,
            Self::Sheb => 42,
            Self::Parisc => 15,
            Self::Parisc64 => 15 | BITS64,
        }
    }

    /// Whether the low half of a 64-bit argument comes first in memory.
    pub const fn is_little_endian(self) -> bool {
        self.audit() & LITTLE != 0
    }

    /// Whether conditions compare all 64 bits of an argument.
    ///
    /// On 32-bit conventions the kernel fills the upper half by itself, in different ways, so only the lower half is
    /// looked at, and of a rule's value only the lower half counts. x32 compares 64 bits: its calls run on the
    /// arguments as x86-64 ones do.
    pub const fn compares_64_bits(self) -> bool {
        self.audit() & BITS64 != 0 && self.audit() & N32 == 0
    }

    /// Every system call it has, by name and number (for x32 with the x32 bit), in the order of the names.
    pub fn syscalls(self) -> impl Iterator<Item = (&'static str, u32)> {
        tables::calls(self)
    }

    /// The name of the system call with this number. Searches the whole table.
    pub fn syscall_name(self, number: u32) -> Option<&'static str> {
        tables::name_of(self, number)
    }

    /// The table column that holds its numbers.
    pub(crate) const fn column(self) -> Column {
        match self {
            Self::X86_64 => Column::X86_64,
            Self::X86 => Column::X86,
            Self::X32 => Column::X32,
            Self::Arm => Column::Arm,
            Self::Aarch64 => Column::Aarch64,
            Self::Mips | Self::Mipsel => Column::Mips,
            Self::Mips64 | Self::Mipsel64 => Column::Mips64,
            Self::Mips64N32 | Self::Mipsel64N32 => Column::Mips64N32,
            Self::Ppc => Column::Ppc,
            Self::Ppc64 | Self::Ppc64le => Column::Ppc64,
            Self::Riscv64 => Column::Riscv64,
            Self::S390 => Column::S390,
            Self::S390x => Column::S390x,
            Self::Loongarch64 => Column::Loongarch64,
            Self::M68k => Column::M68k,
            Self::Sh | Self::Sheb => Column::Sh,
            Self::Parisc => Column::Parisc,
            Self::Parisc64 => Column::Parisc64,
        }
    }

    /// The number below which it has no system call.
    pub(crate) const fn base(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            Self::Mips | Self::Mipsel => 4000,
            Self::Mips64 | Self::Mipsel64 => 5000,
            Self::Mips64N32 | Self::Mipsel64N32 => 6000,
            _ => 0,
        }
    }

    /// The numbers of `socketcall` and `ipc`, where calls can be made through them.
    pub(crate) const fn multiplexers(self) -> Option<(u32, u32)> {
        match self {
            Self::X86
            | Self::Ppc
            | Self::Ppc64
            | Self::Ppc64le
            | Self::S390
            | Self::S390x
            | Self::M68k
            | Self::Sh
            | Self::Sheb => Some((102, 117)),
            Self::Mips | Self::Mipsel => Some((4102, 4117)),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Reads `SCMP_ARCH_X86_64` as well as `x86_64`, in any case.
    fn from_str(name: &str) -> Result<Self, Error> {
        let short = |name: &'static str| name.strip_prefix("SCMP_ARCH_").unwrap_or(name);
        let matches =
            |arch: &Self| arch.name().eq_ignore_ascii_case(name) || short(arch.name()).eq_ignore_ascii_case(name);
        ARCHITECTURES.into_iter().find(matches).ok_or_else(|| {
            Error::in_step(Kind::UnknownArchitecture, "read an architecture", format!("unknown architecture {name:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for arch in ARCHITECTURES {
            assert_eq!(Arch::from_name(arch.name()), Some(arch));
            assert_eq!(arch.name().parse::<Arch>().unwrap(), arch);
            assert_eq!(arch.name().to_lowercase().replace("scmp_arch_", "").parse::<Arch>().unwrap(), arch);
        }
        assert_eq!(Arch::from_name("SCMP_ARCH_VAX"), None);
        assert_eq!(Arch::from_name(""), None);
    }

    #[test]
    fn tokens_are_those_of_linux_audit_h() {
        for (arch, token) in [
            (Arch::X86_64, 0xc000_003e),
            (Arch::X86, 0x4000_0003),
            (Arch::Arm, 0x4000_0028),
            (Arch::Aarch64, 0xc000_00b7),
            (Arch::Mipsel64N32, 0xe000_0008),
            (Arch::Ppc64le, 0xc000_0015),
            (Arch::S390x, 0x8000_0016),
            (Arch::Riscv64, 0xc000_00f3),
            (Arch::Loongarch64, 0xc000_0102),
            (Arch::Sheb, 42),
        ] {
            assert_eq!(arch.audit(), token, "{arch}");
        }
    }

    #[test]
    fn multiplexers_have_the_tables_numbers() {
        for arch in ARCHITECTURES {
            let number = |name| crate::tables::find(name).and_then(|index| crate::tables::number(arch, index));
            match arch.multiplexers() {
                Some((socketcall, ipc)) => {
                    assert_eq!(number("socketcall"), Some(socketcall), "{arch}");
                    assert_eq!(number("ipc"), Some(ipc), "{arch}");
                }
                None => assert_eq!(number("socketcall"), None, "{arch}"),
            }
        }
    }
}
