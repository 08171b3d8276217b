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
const SHIFT_LEFT_REG_32: u8 = 0x6c; // BPF_ALU | BPF_LSH | BPF_X
const JUMP_GREATER_IMM_32: u8 = 0x26; // BPF_JMP32 | BPF_JGT | BPF_K
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

/// As many instructions as a jump leads over and then some.
const MOST_IN_A_ROW: usize = 10_000;

/// The program that decides as `rules` say. Kernel 4.15 can run it, except for the 32-bit jumps of 5.1, which are used because a
/// device number above 2^31 must not be sign-extended.
///
/// Before the kernel loads a program it follows each way through it, and that is most of what loading takes. So what exceptions have in
/// common, their kind, access and major number, is asked once for all of them, and the program ends where no other can match.
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
    let groups = groups(rules);
    let mut groups = groups.iter().peekable();
    while let Some((group, numbers)) = groups.next() {
        let last = group.kind.is_some() && groups.peek().is_none_or(|(next, _)| next.kind != group.kind);
        let mut row = Vec::new();
        for mut tests in tests(numbers, rules.default_allow, last) {
            if row.len() + tests.len() > MOST_IN_A_ROW {
                group.guard(&mut code, std::mem::take(&mut row), rules.default_allow);
            }
            row.append(&mut tests);
        }
        if last && !numbers.are_all() {
            row.extend(verdict(rules.default_allow));
        }
        group.guard(&mut code, row, rules.default_allow);
        if *group == Group::EVERYTHING && numbers.are_all() {
            return code;
        }
    }
    code.extend(verdict(rules.default_allow));
    code
}

fn verdict(allow: bool) -> [Insn; 2] {
    [insn(MOVE_IMM_32, RESULT, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

/// Minor numbers by major number; `None` is every number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers(BTreeMap<Option<u32>, Vec<Option<u32>>>);

impl Numbers {
    fn are_all(&self) -> bool {
        self.0.get(&None).is_some_and(|minors| minors.contains(&None))
    }
}

/// The exceptions by what they have in common; what is the same for both kinds of devices is one group.
fn groups(rules: &RuleSet) -> BTreeMap<Group, Numbers> {
    let mut groups: BTreeMap<Group, Numbers> = BTreeMap::new();
    for (what, access) in rules.exceptions() {
        groups.entry(Group::of(what, access)).or_default().0.entry(what.major).or_default().push(what.minor);
    }
    for access in 1..=Group::EVERYTHING.access {
        let [char, block] = [DEV_CHAR, DEV_BLOCK].map(|kind| Group { kind: Some(kind), access });
        if groups.contains_key(&char) && groups.get(&char) == groups.get(&block) {
            groups.remove(&block);
            let both = groups.remove(&char).map(|numbers| (Group { kind: None, access }, numbers));
            groups.extend(both);
        }
    }
    groups
}

/// The tests for each major number: whoever has none of these numbers comes out behind all of them. With `last`, no other exception is for
/// this kind of devices, and so what has one of these major numbers and none of its minor numbers is decided.
fn tests(numbers: &Numbers, default_allow: bool, last: bool) -> Vec<Vec<Insn>> {
    let mut all = Vec::new();
    for (major, minors) in &numbers.0 {
        // One exception for every minor number is enough.
        let minors: Vec<u32> = minors.iter().copied().collect::<Option<_>>().unwrap_or_default();
        let rows: Vec<&[u32]> = if minors.is_empty() { vec![&[]] } else { minors.chunks(MOST_IN_A_ROW / 2).collect() };
        let only = rows.len() == 1;
        for row in rows {
            let miss = if last && only && major.is_some() {
                verdict(default_allow).to_vec()
            } else {
                vec![insn(JUMP_ALWAYS, 0, 0, 2, 0)]
            };
            let mut tests = minor_tests(row, &miss);
            tests.extend(verdict(!default_allow));
            if let Some(major) = major {
                tests.insert(0, insn(JUMP_NOT_EQUAL_IMM_32, MAJOR, 0, length(tests.len()), major.cast_signed()));
            }
            all.push(tests);
        }
        if numbers.are_all() {
            // The kernel refuses a program with instructions that nothing leads to.
            break;
        }
    }
    all
}

/// Tests for minor numbers: whoever has none of them comes to `miss`, the others to what is behind it. None at all for every number.
fn minor_tests(minors: &[u32], miss: &[Insn]) -> Vec<Insn> {
    const FEW: usize = 2;
    if minors.is_empty() {
        return Vec::new();
    }
    let found = length(miss.len());
    let small = minors.iter().try_fold(0_u32, |mask, minor| Some(mask | 1_u32.checked_shl(*minor)?));
    let mut code = match small {
        // Two ways for any number of them.
        Some(mask) if minors.len() > FEW => vec![
            insn(JUMP_GREATER_IMM_32, MINOR, 0, 4, 31),
            insn(MOVE_IMM_32, CONTEXT, 0, 0, 1),
            insn(SHIFT_LEFT_REG_32, CONTEXT, MINOR, 0, 0),
            insn(AND_IMM_32, CONTEXT, 0, 0, mask.cast_signed()),
            insn(JUMP_NOT_EQUAL_IMM_32, CONTEXT, 0, found, 0),
        ],
        _ => (0..minors.len())
            .rev()
            .zip(minors)
            .map(|(behind, minor)| insn(JUMP_EQUAL_IMM_32, MINOR, 0, length(behind) + found, minor.cast_signed()))
            .collect(),
    };
    code.extend(miss);
    code
}

/// What exceptions for different numbers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// `None`: either kind. Such groups come first.
    kind: Option<i32>,
    access: i32,
}

impl Group {
    const EVERYTHING: Self = Self { kind: None, access: ACC_READ | ACC_WRITE | ACC_MKNOD };

    fn of(what: Match, access: Access) -> Self {
        let bits = [(access.read, ACC_READ), (access.write, ACC_WRITE), (access.mknod, ACC_MKNOD)];
        Self {
            kind: Some(if what.kind == DeviceKind::Char { DEV_CHAR } else { DEV_BLOCK }),
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
        let access = if self.access == Self::EVERYTHING.access {
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
        if let Some(kind) = self.kind {
            code.push(insn(JUMP_NOT_EQUAL_IMM_32, KIND, 0, over + length(access.len()), kind));
        }
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
                SHIFT_LEFT_REG_32 => regs[to] = regs[to].checked_shl(regs[from]).expect("a shift that is defined"),
                JUMP_GREATER_IMM_32 => jump(regs[to] > imm),
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
                JUMP_GREATER_IMM_32 | JUMP_EQUAL_IMM_32 | JUMP_NOT_EQUAL_IMM_32 | JUMP_NOT_EQUAL_REG_32 => {
                    open.extend([at + 1, there]);
                }
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

    /// A list of rules that begins in either mode, made of few numbers so that they meet.
    fn some_rules(seed: u32) -> Vec<DeviceRule<'static>> {
        let texts = ["r", "w", "m", "rw", "rwm"];
        let numbers = [-1, 1, 3, 4, 31, 136];
        let mut state = seed.wrapping_mul(2_654_435_761);
        let mut next = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as usize % below
        };
        let default_allow = next(2) == 0;
        let count = next(12);
        let exceptions = (0..count).map(|_| {
            let (major, minor) = (numbers[next(numbers.len())], numbers[next(numbers.len())]);
            rule(!default_allow, ["c", "b"][next(2)], major, minor, texts[next(texts.len())])
        });
        std::iter::once(rule(default_allow, "a", -1, -1, "rwm")).chain(exceptions.collect::<Vec<_>>()).collect()
    }

    #[test]
    fn programs_decide_as_each_exception_by_itself() {
        const NUMBERS: [u32; 6] = [1, 3, 4, 31, 136, u32::MAX];
        for seed in 0..3000 {
            let rules = some_rules(seed);
            let set = RuleSet::from_rules(&rules).unwrap();
            let code = program(&set);
            assert!(is_sound(&code), "{rules:?}");
            let pairs = NUMBERS.into_iter().flat_map(|major| NUMBERS.map(|minor| (major, minor)));
            for ((major, minor), kind) in pairs.flat_map(|pair| [(pair, DEV_CHAR), (pair, DEV_BLOCK)]) {
                for access in 1..8 {
                    let matches = set.exceptions().any(|(what, given)| {
                        let group = Group::of(what, given);
                        let asked = access & group.access;
                        group.kind == Some(kind)
                            && what.major.is_none_or(|number| number == major)
                            && what.minor.is_none_or(|number| number == minor)
                            && if set.default_allow { asked != 0 } else { asked == access }
                    });
                    let allowed = run(&code, kind, access, major, minor);
                    assert_eq!(allowed, matches != set.default_allow, "{kind} {access} {major}:{minor} {rules:?}");
                }
            }
        }
    }

    #[test]
    fn the_kernel_takes_every_program() {
        for seed in 0..300 {
            let rules = some_rules(seed);
            let mut log = vec![0; 16 * 1024];
            match crate::sys::bpf::load(&program(&RuleSet::from_rules(&rules).unwrap()), &mut log) {
                Ok(_) => {}
                Err(errno) if seed == 0 => {
                    println!("SKIP: this caller may load no program: {errno}");
                    return;
                }
                Err(errno) => panic!("{errno}: {rules:?}\n{}", String::from_utf8_lossy(&log)),
            }
        }
    }

    #[test]
    fn what_rules_have_in_common_is_asked_once() {
        let tests = |rules: &[DeviceRule<'static>]| {
            let code = program(&RuleSet::from_rules(rules).unwrap());
            assert!(is_sound(&code));
            let branches = [JUMP_GREATER_IMM_32, JUMP_EQUAL_IMM_32, JUMP_NOT_EQUAL_IMM_32, JUMP_NOT_EQUAL_REG_32];
            code.iter().filter(|insn| branches.contains(&insn.code)).count()
        };
        let minors = [3, 5, 7, 8, 9].map(|minor| rule(true, "c", 1, minor, "rwm"));
        // The kind, the major number, whether the minor one is small, and whether it is one of these.
        assert_eq!(tests(&minors), 4);
        let kinds = ["c", "b"].map(|kind| rule(true, kind, -1, -1, "m"));
        assert_eq!(tests(&kinds), 1);
        let all = ["c", "b"].map(|kind| rule(true, kind, -1, -1, "rwm"));
        assert_eq!(tests(&all), 0);
        let far = [3, 5, 32].map(|minor| rule(true, "c", 1, minor, "rwm"));
        assert_eq!(tests(&far), 5);
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
