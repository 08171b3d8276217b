//! Filters that somebody else compiled.
use crate::action::Action;
use crate::bpf::{MAX_INSTRUCTIONS, RETURN, SockFilter};
use crate::error::{Error, Kind};
use crate::filter::Filter;
use crate::flags::Flags;
use crate::profile::Profile;
use crate::{Arch, Options};

/// The bytes of `struct sock_filter`.
const SIZE: usize = 8;
/// The bytes of `struct seccomp_data`.
const DATA: u32 = 64;
/// The words of a program's scratch memory.
const SCRATCH: u32 = 16;

const LOAD_ABSOLUTE: u16 = 0x20;
const LOAD_MEMORY: [u16; 2] = [0x60, 0x61];
const STORE: [u16; 2] = [0x02, 0x03];
const RETURN_A: u16 = 0x16;
const DIVIDE: u16 = 0x34;
const SHIFTS: [u16; 2] = [0x64, 0x74];
/// The other opcodes that seccomp takes: loads of constants and of the length, arithmetic, TAX and TXA.
const PLAIN: [u16; 22] = [
    0x00, 0x01, 0x80, 0x81, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x6c, 0x7c, 0x84, 0xa4,
    0xac, 0x07, 0x87,
];
const JUMP: u16 = 0x05;
const BRANCHES: [u16; 8] = [0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d];

/// Reads a program from its bytes, an array of `struct sock_filter` in this machine's order, and makes it a filter with the flags
/// and the agent of `profile`, whose rules do not count.
///
/// # Errors
/// [`Kind::InvalidProgram`] for what the kernel would not load as a seccomp filter, with the number of the instruction;
/// otherwise as [`compile`](crate::compile()) for the flags and the agent.
pub fn from_bytes(bytes: &[u8], profile: &Profile<'_>, options: &Options) -> Result<Filter, Error> {
    let instructions = decode(bytes)?;
    for (index, one) in instructions.iter().enumerate() {
        let left = instructions.len() - index - 1;
        check(*one, left).map_err(|fault| invalid(format!("instruction {index}: {fault}")))?;
    }
    if !instructions.last().is_some_and(|last| matches!(last.code, RETURN | RETURN_A)) {
        return Err(invalid("it does not end by returning an action"));
    }
    // An action that is computed may be any: nobody can be told beforehand.
    let notify = instructions.iter().any(|one| one.code == RETURN && Action::from_raw(one.k) == Action::Notify);
    let listener_path = profile.listener_path.as_deref().filter(|path| !path.is_empty()).map(str::to_owned);
    if notify && listener_path.is_none() {
        return Err(Error::new(
            Kind::MissingListener,
            "/listenerPath",
            "is missing: the program leaves calls to an agent",
        ));
    }
    Ok(Filter {
        flags: Flags::from_profile(profile, notify, options.default_flags)?,
        instructions,
        architectures: options.native.or(Arch::native()).into_iter().collect(),
        notify,
        listener_path,
        listener_metadata: profile.listener_metadata.as_deref().map(str::to_owned),
        unknown_syscalls: Vec::new(),
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidProgram, "", message)
}

fn decode(bytes: &[u8]) -> Result<Vec<SockFilter>, Error> {
    let (chunks, rest) = bytes.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return Err(invalid(format!("{} bytes are no whole number of instructions of {SIZE}", bytes.len())));
    }
    if chunks.is_empty() || chunks.len() > MAX_INSTRUCTIONS {
        return Err(invalid(format!("{} instructions: the kernel takes 1 to {MAX_INSTRUCTIONS}", chunks.len())));
    }
    let read = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; SIZE]| SockFilter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    Ok(chunks.iter().map(read).collect())
}

/// What is wrong with an instruction that `left` others follow: the rules of `seccomp_check_filter` and `bpf_check_classic` in the
/// kernel. (Whether scratch memory is written before it is read, the kernel alone looks after.)
fn check(one: SockFilter, left: usize) -> Result<(), String> {
    let far = |steps: usize| steps >= left;
    match one.code {
        LOAD_ABSOLUTE if one.k >= DATA || !one.k.is_multiple_of(4) => {
            Err(format!("loads from offset {}, which is no word of struct seccomp_data", one.k))
        }
        code if (LOAD_MEMORY.contains(&code) || STORE.contains(&code)) && one.k >= SCRATCH => {
            Err(format!("there is no word {} in scratch memory", one.k))
        }
        DIVIDE if one.k == 0 => Err("divides by 0".to_owned()),
        code if SHIFTS.contains(&code) && one.k >= 32 => Err(format!("shifts by {}", one.k)),
        JUMP if far(one.k as usize) => Err("jumps beyond the end".to_owned()),
        code if BRANCHES.contains(&code) && (far(one.jt.into()) || far(one.jf.into())) => {
            Err("jumps beyond the end".to_owned())
        }
        LOAD_ABSOLUTE | DIVIDE | JUMP | RETURN | RETURN_A => Ok(()),
        code if [&LOAD_MEMORY[..], &STORE, &SHIFTS, &BRANCHES, &PLAIN].iter().any(|set| set.contains(&code)) => Ok(()),
        code => Err(format!("opcode {code:#x} is none that a seccomp filter may have")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, compile};

    fn bytes(program: &[(u16, u8, u8, u32)]) -> Vec<u8> {
        let one =
            |&(code, jt, jf, k): &(u16, u8, u8, u32)| [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat();
        program.iter().flat_map(one).collect()
    }

    fn read(program: &[(u16, u8, u8, u32)]) -> Result<Filter, String> {
        let profile = Profile::default();
        from_bytes(&bytes(program), &profile, &Options::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_this_crate_compiles_is_read_back() {
        let profile: Profile<'_> = serde_json::from_str(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}"#,
        )
        .unwrap();
        let options = Options { native: Some(Arch::X86_64), ..Options::default() };
        let compiled = compile(&profile, &options).unwrap();
        let raw = from_bytes(compiled.as_bytes(), &profile, &options).unwrap();
        assert_eq!((raw.instructions.clone(), raw.flags), (compiled.instructions, compiled.flags));
        assert_eq!(raw.verdict(&Call::named(Arch::X86_64, "mkdir", &[]).unwrap()), Action::Errno(5));
    }

    #[test]
    fn instructions_that_this_crate_does_not_write_are_evaluated() {
        // A = nr; X = A; M[1] = X; A = 3; A += X; A ^= 0xff; A >>= 1; M[2] = A; A = M[1]; A *= 2; X = M[2]; jeq X? errno 1 : 2
        let answers = |equal: u32| {
            [
                (0x20, 0, 0, 0),
                (0x07, 0, 0, 0),
                (0x03, 0, 0, 1),
                (0x00, 0, 0, 3),
                (0x0c, 0, 0, 0),
                (0xa4, 0, 0, 0xff),
                (0x74, 0, 0, 1),
                (0x02, 0, 0, 2),
                (0x60, 0, 0, 1),
                (0x24, 0, 0, equal),
                (0x61, 0, 0, 2),
                (0x1d, 0, 1, 0),
                (RETURN, 0, 0, 0x5_0001),
                (RETURN, 0, 0, 0x5_0002),
            ]
        };
        // ((3 + 4) ^ 0xff) >> 1 = 124 = 4 * 31
        let verdict = |factor| read(&answers(factor)).unwrap().verdict(&Call::numbered(Arch::X86_64, 4, &[]));
        assert_eq!((verdict(31), verdict(30)), (Action::Errno(1), Action::Errno(2)));
        let returned = read(&[(0x00, 0, 0, 0x5_0007), (RETURN_A, 0, 0, 0)]).unwrap();
        assert_eq!(returned.verdict(&Call::numbered(Arch::X86_64, 4, &[])), Action::Errno(7));
    }

    #[test]
    fn what_the_kernel_would_not_load_is_refused_with_its_place() {
        const ALLOW: (u16, u8, u8, u32) = (RETURN, 0, 0, 0x7fff_0000);
        type Program<'p> = &'p [(u16, u8, u8, u32)];
        let cases: [(Program<'_>, &str); 10] = [
            (&[], "0 instructions: the kernel takes 1 to 4096"),
            (&[(0x20, 0, 0, 0)], "it does not end by returning an action"),
            (
                &[(0x20, 0, 0, 64), ALLOW],
                "instruction 0: loads from offset 64, which is no word of struct seccomp_data",
            ),
            (&[(0x20, 0, 0, 2), ALLOW], "instruction 0: loads from offset 2, which is no word of struct seccomp_data"),
            (&[(0x28, 0, 0, 0), ALLOW], "instruction 0: opcode 0x28 is none that a seccomp filter may have"),
            (&[(0x15, 0, 1, 0), ALLOW], "instruction 0: jumps beyond the end"),
            (&[ALLOW, (0x05, 0, 0, u32::MAX), ALLOW], "instruction 1: jumps beyond the end"),
            (&[(0x34, 0, 0, 0), ALLOW], "instruction 0: divides by 0"),
            (&[(0x64, 0, 0, 32), ALLOW], "instruction 0: shifts by 32"),
            (&[(0x02, 0, 0, 16), ALLOW], "instruction 0: there is no word 16 in scratch memory"),
        ];
        for (program, message) in cases {
            assert_eq!(read(program).unwrap_err(), message);
        }
        let odd = from_bytes(&[0; 9], &Profile::default(), &Options::default()).unwrap_err();
        assert_eq!(odd.to_string(), "9 bytes are no whole number of instructions of 8");
        let agent = read(&[(RETURN, 0, 0, 0x7fc0_0000)]).unwrap_err();
        assert_eq!(agent, "/listenerPath: is missing: the program leaves calls to an agent");
        assert!(read(&[(0x05, 0, 0, 0), ALLOW]).is_ok());
    }
}
