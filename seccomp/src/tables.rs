//! System call names and numbers of every architecture.
//!
//! One text holds all names in byte order, one array per architecture the numbers: no pointers, so that a
//! position-independent program neither relocates nor reads more of it at start than it looks up.
use crate::Arch;
use crate::arch::X32_BIT;

mod data;

/// A name's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameIndex(u16);

/// The architectures with numbers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    X86_64,
    X86,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Ppc,
    Ppc64,
    Riscv64,
    S390,
    S390x,
    Loongarch64,
    M68k,
    Sh,
    Parisc,
    Parisc64,
}

/// No such call on this architecture.
const NONE: u16 = u16::MAX;
/// Entries from here on stand for Arm's private calls at 0xf0000.
const PRIVATE: u16 = 0xf000;

/// The first eight bytes of every name, as numbers that sort as the names do.
static PREFIXES: [u64; data::COUNT] = prefixes();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
const fn prefixes() -> [u64; data::COUNT] {
    let names = data::NAMES.as_bytes();
    let mut prefixes = [0; data::COUNT];
    let mut index = 0;
    while index < data::COUNT {
        let (start, end) = (data::OFFSETS[index] as usize, data::OFFSETS[index + 1] as usize);
        let mut offset = 0;
        while offset < 8 && start + offset < end {
            prefixes[index] |= (names[start + offset] as u64) << (56 - 8 * offset);
            offset += 1;
        }
        index += 1;
    }
    prefixes
}

const fn numbers(column: Column) -> &'static [u16; data::COUNT] {
    match column {
        Column::X86_64 => &data::X86_64,
        Column::X86 => &data::X86,
        Column::X32 => &data::X32,
        Column::Arm => &data::ARM,
        Column::Aarch64 => &data::AARCH64,
        Column::Mips => &data::MIPS,
        Column::Mips64 => &data::MIPS64,
        Column::Mips64N32 => &data::MIPS64N32,
        Column::Ppc => &data::PPC,
        Column::Ppc64 => &data::PPC64,
        Column::Riscv64 => &data::RISCV64,
        Column::S390 => &data::S390,
        Column::S390x => &data::S390X,
        Column::Loongarch64 => &data::LOONGARCH64,
        Column::M68k => &data::M68K,
        Column::Sh => &data::SH,
        Column::Parisc => &data::PARISC,
        Column::Parisc64 => &data::PARISC64,
    }
}

/// The place of a name that at least one architecture knows.
pub(crate) fn find(name: &str) -> Option<NameIndex> {
    let bytes = name.as_bytes();
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    let prefix = u64::from_be_bytes(head);
    let mut index = PREFIXES.partition_point(|&known| known < prefix);
    while PREFIXES.get(index) == Some(&prefix) {
        if name_at(index)?.as_bytes() == bytes {
            return u16::try_from(index).ok().map(NameIndex);
        }
        index += 1;
    }
    None
}

fn name_at(index: usize) -> Option<&'static str> {
    let (start, end) = (data::OFFSETS.get(index)?, data::OFFSETS.get(index + 1)?);
    data::NAMES.get(usize::from(*start)..usize::from(*end))
}

/// The name at a place.
#[cfg(test)]
pub(crate) fn name(index: NameIndex) -> &'static str {
    name_at(usize::from(index.0)).unwrap_or("")
}

/// The number a call has on `arch`, as `seccomp_data.nr` shows it.
#[inline]
pub(crate) fn number(arch: Arch, index: NameIndex) -> Option<u32> {
    match numbers(arch.column()).get(usize::from(index.0)).copied() {
        None | Some(NONE) => None,
        Some(number) => Some(widen(arch, number)),
    }
}

#[inline]
fn widen(arch: Arch, number: u16) -> u32 {
    match arch {
        Arch::X32 => X32_BIT | u32::from(number),
        Arch::Arm if number >= PRIVATE => 0x000f_0000 + u32::from(number - PRIVATE),
        _ => u32::from(number),
    }
}

/// The name of the call with this number on `arch`. A search over the whole table: for people, not for hot paths.
pub(crate) fn name_of(arch: Arch, wanted: u32) -> Option<&'static str> {
    numbers(arch.column()).iter().position(|&number| number != NONE && widen(arch, number) == wanted).and_then(name_at)
}

/// Every call of `arch`, as name and number, in the order of the names.
pub(crate) fn calls(arch: Arch) -> impl Iterator<Item = (&'static str, u32)> {
    numbers(arch.column())
        .iter()
        .enumerate()
        .filter(|&(_, &number)| number != NONE)
        .filter_map(move |(index, &number)| Some((name_at(index)?, widen(arch, number))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ARCHITECTURES;

    #[test]
    fn every_name_is_found_at_its_place() {
        for index in 0..data::COUNT {
            let text = name_at(index).unwrap();
            let found = find(text).unwrap();
            assert_eq!(usize::from(found.0), index, "{text}");
            assert_eq!(name(found), text);
        }
        for text in ["", "a", "nosuchcall", "read\0", "rea", "readx", "zzz", "clock_gettime6"] {
            assert_eq!(find(text), None, "{text:?}");
        }
    }

    #[test]
    fn spot_checks_against_the_manuals() {
        for (arch, name, number) in [
            (Arch::X86_64, "read", 0),
            (Arch::X86_64, "seccomp", 317),
            (Arch::X86, "socket", 359),
            (Arch::X86, "clock_settime64", 404),
            (Arch::X32, "rt_sigaction", 0x4000_0200),
            (Arch::X32, "read", 0x4000_0000),
            (Arch::Arm, "set_tls", 0x000f_0005),
            (Arch::Aarch64, "openat", 56),
            (Arch::Mips, "exit", 4001),
            (Arch::Mips64, "read", 5000),
            (Arch::Mips64N32, "read", 6000),
            (Arch::S390x, "execve", 11),
            (Arch::Loongarch64, "statx", 291),
        ] {
            assert_eq!(find(name).and_then(|index| super::number(arch, index)), Some(number), "{arch} {name}");
            assert_eq!(name_of(arch, number), Some(name), "{arch} {number}");
        }
        assert_eq!(find("open").and_then(|index| number(Arch::Aarch64, index)), None);
        assert_eq!(find("sched_getaffinity").and_then(|index| number(Arch::X32, index)), Some(X32_BIT | 204));
    }

    #[test]
    fn every_architecture_has_the_calls_all_have() {
        for arch in ARCHITECTURES {
            for name in ["read", "write", "execveat", "exit_group", "seccomp", "pidfd_open", "clone3"] {
                let present = calls(arch).any(|(known, _)| known == name);
                // clone3 is reserved but not wired on these.
                let absent = name == "clone3" && matches!(arch, Arch::Sh | Arch::Sheb);
                assert!(present || absent, "{arch} {name}");
            }
        }
    }
}
