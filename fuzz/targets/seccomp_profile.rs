//! Any JSON: reading and compiling it never panics, and what is compiled is a program the kernel takes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use orlop_seccomp::{ARCHITECTURES, Arch, Call, MAX_INSTRUCTIONS, Options, compile, report};

const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(profile) = report::read(text) else { return };
    let mut options = Options::default();
    options.native = Some(ARCHITECTURES[data.len() % ARCHITECTURES.len()]);
    drop(orlop_seccomp::advise(&profile));
    let filter = match compile(&profile, &options) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.field().is_none_or(|field| field.starts_with('/')));
            return;
        }
    };
    let program = &filter.instructions;
    assert!(!program.is_empty() && program.len() <= MAX_INSTRUCTIONS);
    for (index, instruction) in program.iter().enumerate() {
        let left = program.len() - index - 1;
        match instruction.code {
            RETURN => {}
            JUMP => assert!((instruction.k as usize) < left),
            _ => assert!(usize::from(instruction.jt.max(instruction.jf)) < left),
        }
    }
    for number in [0, 1, 59, 1000, u32::MAX] {
        filter.verdict(&Call::numbered(Arch::X86_64, number, &[u64::MAX; 6]));
    }
    report::dump(&profile, &options, report::Format::Text).expect("compiled before");
});
