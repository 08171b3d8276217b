//! From a rule set to a BPF program for `BPF_CGROUP_DEVICE`. Pure functions; an interpreter in the tests runs what they make.

use std::collections::BTreeMap;

use super::{Access, DeviceKind, Match, RuleSet};

/// One `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Insn {
    code: u8,
    /// Destination register in the low half, source in the high half (little endian; see [`regs`]).
    regs: u8,
    off: i16,
    imm: i32,
}

// Opcodes from linux/bpf_common.h and linux/bpf.h: class | size or operation | mode or source.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_W | BPF_MEM
const AND_IMM_32: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT_IMM_32: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const MOVE_IMM_32: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOVE_REG_32: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const JUMP_EQUAL_IMM_32: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_NOT_EQUAL_IMM_32: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP_NOT_EQUAL_REG_32: u8 = 0x5e; // BPF_JMP32 | BPF_JNE | BPF_X
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// linux/bpf.h
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;
const ACC_MKNOD: i32 = 1;
const ACC_READ: i32 = 2;
const ACC_WRITE: i32 = 4;

/// The two register numbers share a byte whose halves swap with the byte order.
const fn regs(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "big") { destination << 4 | source } else { source << 4 | destination }
}

const fn insn(code: u8, destination: u8, source: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: regs(destination, source), off, imm }
}

/// As many tests as a jump is sure to lead over twice.
const MOST_IN_A_ROW: usize = 10_000;

/// The program that decides as `rules` say. Kernel 4.15 can run it, except for the 32-bit jumps of 5.1, which are used because a
/// device number above 2^31 must not be sign-extended.
///
/// Before the kernel loads a program it goes through it in every way there is, and that is most of what loading takes. So what exceptions
/// have in common, their kind, access and major number, is asked once for all of them.
pub(crate) fn program(rules: &RuleSet) -> Vec<Insn> {
    let mut code = vec![
        // struct bpf_cgroup_dev_ctx { u32 access_type (low half: kind, high half: access); u32 major; u32 minor; }
        insn(LOAD_WORD, KIND, CONTEXT, 0, 0),
        insn(AND_IMM_32, KIND, 0, 0, 0xffff),
        insn(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        insn(SHIFT_RIGHT_IMM_32, ACCESS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    let mut groups: BTreeMap<Group, Numbers> = BTreeMap::new();
    for (what, access) in rules.exceptions() {
        groups.entry(Group::of(what, access)).or_default().entry(what.major).or_default().push(what.minor);
    }
    for (group, numbers) in &groups {
        let mut row = Vec::new();
        for mut tests in tests(numbers, !rules.default_allow) {
            if row.len() + tests.len() > MOST_IN_A_ROW {
                group.guard(&mut code, std::mem::take(&mut row), rules.default_allow);
            }
            row.append(&mut tests);
        }
        group.guard(&mut code, row, rules.default_allow);
    }
    code.extend(verdict(rules.default_allow));
    code
}

fn verdict(allow: bool) -> [Insn; 2] {
    [insn(MOVE_IMM_32, RESULT, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

/// Minor numbers by major number; `None` is any number.
type Numbers = BTreeMap<Option<u32>, Vec<Option<u32>>>;

/// The tests for each major number. Whoever has none of its numbers comes out behind them.
fn tests(numbers: &Numbers, allow: bool) -> Vec<Vec<Insn>> {
    let mut all = Vec::new();
    for (major, minors) in numbers {
        // One exception for every minor number is enough.
        let minors: Vec<u32> = minors.iter().copied().collect::<Option<_>>().unwrap_or_default();
        let mut rows = minors.chunks(MOST_IN_A_ROW / 2);
        let first = rows.next().unwrap_or_default();
        for row in std::iter::once(first).chain(rows) {
            let mut tests: Vec<Insn> = row
                .iter()
                .zip((1..=row.len()).rev())
                .map(|(minor, behind)| insn(JUMP_EQUAL_IMM_32, MINOR, 0, length(behind), minor.cast_signed()))
                .collect();
            if !tests.is_empty() {
                tests.push(insn(JUMP_ALWAYS, 0, 0, 2, 0));
            }
            tests.extend(verdict(allow));
            if let Some(major) = major {
                tests.insert(0, insn(JUMP_NOT_EQUAL_IMM_32, MAJOR, 0, length(tests.len()), major.cast_signed()));
            }
            all.push(tests);
        }
        if major.is_none() && minors.is_empty() {
            // It is for every device. The kernel refuses what nothing leads to.
            break;
        }
    }
    all
}

/// What exceptions for different numbers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    kind: i32,
    access: i32,
}

impl Group {
    const ALL: i32 = ACC_READ | ACC_WRITE | ACC_MKNOD;

    fn of(what: Match, access: Access) -> Self {
        let bits = [(access.read, ACC_READ), (access.write, ACC_WRITE), (access.mknod, ACC_MKNOD)];
        Self {
            kind: if what.kind == DeviceKind::Char { DEV_CHAR } else { DEV_BLOCK },
            access: bits.into_iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit),
        }
    }

    /// Has `tests` be left out for a request that is of another kind or asks for something else.
    ///
    /// In allow mode an access matches when all it asks for is given (one request may ask for several things at once). In deny mode it
    /// matches when anything it asks for is taken away: the v1 controller decides so (`match_exception_partial`), and a program that
    /// wanted all of it would let `rw` pass a rule that denies `w`.
    fn guard(self, code: &mut Vec<Insn>, tests: Vec<Insn>, default_allow: bool) {
        let over = length(tests.len());
        let access = if self.access == Self::ALL {
            Vec::new()
        } else {
            vec![
                insn(MOVE_REG_32, CONTEXT, ACCESS, 0, 0),
                insn(AND_IMM_32, CONTEXT, 0, 0, self.access),
                if default_allow {
                    insn(JUMP_EQUAL_IMM_32, CONTEXT, 0, over, 0)
                } else {
                    insn(JUMP_NOT_EQUAL_REG_32, CONTEXT, ACCESS, over, 0)
                },
            ]
        };
        code.push(insn(JUMP_NOT_EQUAL_IMM_32, KIND, 0, over + length(access.len()), self.kind));
        code.extend(access);
        code.extend(tests);
    }
}

/// How far a jump over so many instructions goes.
fn length(instructions: usize) -> i16 {
    i16::try_from(instructions).unwrap_or(i16::MAX)
}

const JUMP_ALWAYS: u8 = 0x05; // BPF_JMP | BPF_JA

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::DeviceRule;

    /// Runs a program as the kernel would, for one request.
    fn run(code: &[Insn], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let context = [u32::try_from(access).unwrap() << 16 | u32::try_from(kind).unwrap(), major, minor];
        let mut regs = [0_u32; 6];
        let mut next = 0_usize;
        loop {
            let at = code[next];
            let (to, from) = (usize::from(at.regs & 15), usize::from(at.regs >> 4));
            let imm = at.imm.cast_unsigned();
            next += 1;
            let mut jump = |taken: bool| {
                if taken {
                    next = next.checked_add_signed(isize::from(at.off)).unwrap();
                }
            };
            match at.code {
                LOAD_WORD => regs[to] = context[usize::try_from(at.off).unwrap() / 4],
                AND_IMM_32 => regs[to] &= imm,
                SHIFT_RIGHT_IMM_32 => regs[to] >>= imm,
                MOVE_IMM_32 => regs[to] = imm,
                MOVE_REG_32 => regs[to] = regs[from],
                JUMP_EQUAL_IMM_32 => jump(regs[to] == imm),
                JUMP_NOT_EQUAL_IMM_32 => jump(regs[to] != imm),
                JUMP_NOT_EQUAL_REG_32 => jump(regs[to] != regs[from]),
                JUMP_ALWAYS => jump(true),
                EXIT => return regs[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: &'static str, major: i64, minor: i64, access: &'static str) -> DeviceRule<'static> {
        DeviceRule { allow, kind: kind.into(), major: Some(major), minor: Some(minor), access: access.into() }
    }

    /// Every instruction can be reached, and no jump leads out: the kernel refuses a program otherwise.
    fn is_sound(code: &[Insn]) -> bool {
        let mut reached = vec![false; code.len()];
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            let Some(seen) = reached.get_mut(at) else { return false };
            if std::mem::replace(seen, true) || code[at].code == EXIT {
                continue;
            }
            let there = (at + 1).checked_add_signed(isize::from(code[at].off)).unwrap();
            match code[at].code {
                JUMP_ALWAYS => open.push(there),
                JUMP_EQUAL_IMM_32 | JUMP_NOT_EQUAL_IMM_32 | JUMP_NOT_EQUAL_REG_32 => open.extend([at + 1, there]),
                _ => open.push(at + 1),
            }
        }
        reached.into_iter().all(|reached| reached)
    }

    #[test]
    fn as_many_rules_as_anyone_writes_make_a_sound_program() {
        let minors = (0..25_000).map(|minor| rule(true, "c", 9, minor, "rwm"));
        let majors = (10..25_000).map(|major| rule(true, "c", major, 1, "rwm"));
        let rules: Vec<_> = minors.chain(majors).chain([rule(true, "b", -1, 3, "r")]).collect();
        let code = program(&RuleSet::from_rules(&rules).unwrap());
        assert!(is_sound(&code));
        let allowed = |kind, major, minor| run(&code, kind, ACC_READ, major, minor);
        for minor in [0, 1, 4_999, 5_000, 9_999, 10_000, 24_999] {
            assert!(allowed(DEV_CHAR, 9, minor), "{minor}");
            assert!(!allowed(DEV_BLOCK, 9, minor) || minor == 3, "{minor}");
        }
        for major in [10, 2_009, 2_010, 2_011, 12_000, 24_999] {
            assert!(allowed(DEV_CHAR, major, 1), "{major}");
            assert!(!allowed(DEV_CHAR, major, 2), "{major}");
        }
        assert!(!allowed(DEV_CHAR, 9, 25_000) && !allowed(DEV_CHAR, 25_000, 1) && allowed(DEV_BLOCK, 25_000, 3));
    }

    #[test]
    fn programs_decide_as_each_exception_by_itself() {
        const NUMBERS: [u32; 4] = [1, 3, 136, u32::MAX];
        let texts = ["r", "w", "m", "rw", "rwm"];
        let number = |index: u32| [None, Some(1), Some(3)][index as usize % 3];
        for seed in 0..4000_u32 {
            let mut state = seed.wrapping_mul(2_654_435_761);
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 24
            };
            let default_allow = next() % 2 == 0;
            let exceptions: Vec<_> = (0..next() % 6)
                .map(|_| {
                    let kind = ["c", "b"][next() as usize % 2];
                    let (major, minor) = (number(next()), number(next()));
                    let access = texts[next() as usize % texts.len()];
                    let signed = |number: Option<u32>| number.map_or(-1, i64::from);
                    rule(!default_allow, kind, signed(major), signed(minor), access)
                })
                .collect();
            let rules: Vec<_> = std::iter::once(rule(default_allow, "a", -1, -1, "rwm")).chain(exceptions).collect();
            let set = RuleSet::from_rules(&rules).unwrap();
            let code = program(&set);
            assert!(is_sound(&code), "{rules:?}");
            for kind in [DEV_CHAR, DEV_BLOCK] {
                for access in 1..8 {
                    for (major, minor) in NUMBERS.into_iter().flat_map(|major| NUMBERS.map(|minor| (major, minor))) {
                        let matches = set.exceptions().any(|(what, given)| {
                            let group = Group::of(what, given);
                            let asked = access & group.access;
                            group.kind == kind
                                && what.major.is_none_or(|number| number == major)
                                && what.minor.is_none_or(|number| number == minor)
                                && if default_allow { asked != 0 } else { asked == access }
                        });
                        let allowed = run(&code, kind, access, major, minor);
                        assert_eq!(allowed, matches != default_allow, "{kind} {access} {major}:{minor} {rules:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_rules_have_in_common_is_asked_once() {
        let minors = [3, 5, 7, 8, 9].map(|minor| rule(true, "c", 1, minor, "rwm"));
        let code = program(&RuleSet::from_rules(&minors).unwrap());
        // Four loads, two operations on them, kind, major, the minors, the two verdicts and the way round the first.
        assert_eq!(code.len(), 4 + 2 + 2 + 5 + 4 + 1);
    }

    #[test]
    fn programs_decide_as_the_rules_say() {
        const R: i32 = ACC_READ;
        const W: i32 = ACC_WRITE;
        const M: i32 = ACC_MKNOD;
        let white = [
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "c", 1, 3, "rwm"),
            rule(true, "c", 136, -1, "rw"),
            rule(true, "b", -1, -1, "m"),
            rule(true, "c", i64::from(u32::MAX), 7, "r"),
        ];
        let black = [rule(true, "a", -1, -1, "rwm"), rule(false, "c", 1, 3, "w"), rule(false, "b", 8, -1, "rwm")];
        let table = [
            (&white[..], DEV_CHAR, R | W, 1, 3, true),
            (&white, DEV_CHAR, R | W | M, 1, 3, true),
            (&white, DEV_CHAR, R, 1, 5, false),
            (&white, DEV_BLOCK, R, 1, 3, false),
            (&white, DEV_CHAR, R | W, 136, 99, true),
            (&white, DEV_CHAR, M, 136, 99, false),
            (&white, DEV_CHAR, R | M, 136, 99, false),
            (&white, DEV_BLOCK, M, 9, 9, true),
            (&white, DEV_CHAR, R, u32::MAX, 7, true),
            (&white, DEV_CHAR, R, u32::MAX - 1, 7, false),
            (&black, DEV_CHAR, R, 1, 3, true),
            (&black, DEV_CHAR, W, 1, 3, false),
            (&black, DEV_CHAR, R | W, 1, 3, false),
            (&black, DEV_BLOCK, R, 8, 1, false),
            (&black, DEV_BLOCK, R, 9, 1, true),
            (&[], DEV_CHAR, R, 1, 3, false),
        ];
        for (rules, kind, access, major, minor, allowed) in table {
            let code = program(&RuleSet::from_rules(rules).unwrap());
            assert_eq!(
                run(&code, kind, access, major, minor),
                allowed,
                "{kind} {access} {major}:{minor} under {rules:?}"
            );
        }
    }
}
