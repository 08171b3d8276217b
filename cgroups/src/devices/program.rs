//! From a rule set to a BPF program for `BPF_CGROUP_DEVICE`. Pure functions; an interpreter in the tests runs what they make.

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

/// The program that decides as `rules` say. Kernel 4.15 can run it, except for the 32-bit jumps of 5.1, which are used because a
/// device number above 2^31 must not be sign-extended.
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
    for (what, access) in rules.exceptions() {
        exception(&mut code, what, access, rules.default_allow);
    }
    code.push(insn(MOVE_IMM_32, RESULT, 0, 0, i32::from(rules.default_allow)));
    code.push(insn(EXIT, 0, 0, 0, 0));
    code
}

/// One exception: a row of tests that each jump behind it when they fail.
///
/// In allow mode an access matches when all it asks for is given (one request may ask for several things at once). In deny mode it
/// matches when anything it asks for is taken away: the v1 controller decides so (`match_exception_partial`), and a program that
/// wanted all of it would let `rw` pass a rule that denies `w`.
fn exception(code: &mut Vec<Insn>, what: Match, access: Access, default_allow: bool) {
    let kind = if what.kind == DeviceKind::Char { DEV_CHAR } else { DEV_BLOCK };
    let bits = [(access.read, ACC_READ), (access.write, ACC_WRITE), (access.mknod, ACC_MKNOD)]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(0, |bits, (_, bit)| bits | bit);
    let mut tests = vec![insn(JUMP_NOT_EQUAL_IMM_32, KIND, 0, 0, kind)];
    if !access.is_all() {
        tests.push(insn(MOVE_REG_32, CONTEXT, ACCESS, 0, 0));
        tests.push(insn(AND_IMM_32, CONTEXT, 0, 0, bits));
        if default_allow {
            // Skips the next jump when something is left.
            tests.push(insn(JUMP_NOT_EQUAL_IMM_32, CONTEXT, 0, 1, 0));
            tests.push(insn(JUMP_ALWAYS, 0, 0, 0, 0));
        } else {
            tests.push(insn(JUMP_NOT_EQUAL_REG_32, CONTEXT, ACCESS, 0, 0));
        }
    }
    for (register, number) in [(MAJOR, what.major), (MINOR, what.minor)] {
        if let Some(number) = number {
            tests.push(insn(JUMP_NOT_EQUAL_IMM_32, register, 0, 0, number.cast_signed()));
        }
    }
    tests.push(insn(MOVE_IMM_32, RESULT, 0, 0, i32::from(!default_allow)));
    tests.push(insn(EXIT, 0, 0, 0, 0));
    let end = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        let jumps = matches!(test.code, JUMP_NOT_EQUAL_IMM_32 | JUMP_NOT_EQUAL_REG_32 | JUMP_ALWAYS);
        if jumps && test.off == 0 {
            // At most nine instructions, so it always fits.
            test.off = i16::try_from(end - index - 1).unwrap_or(i16::MAX);
        }
    }
    code.append(&mut tests);
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
