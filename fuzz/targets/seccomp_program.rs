//! A filter that somebody else compiled: what is taken runs to its end in the emulator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_seccomp::{Arch, Call, Options, Profile, from_bytes, report};

fuzz_target!(|bytes: &[u8]| {
    let mut options = Options::default();
    options.native = Some(Arch::X86_64);
    let Ok(filter) = from_bytes(bytes, &Profile::default(), &options) else { return };
    for number in [0, 41, 231, 0x4000_0001, u32::MAX] {
        filter.verdict(&Call::numbered(Arch::X86_64, number, &[0, u64::MAX, 1 << 32, 7, 8, 9]));
    }
    let text = orlop_seccomp::Disassembly::new(&filter.instructions, Arch::X86_64).to_string();
    assert!(text.lines().count() >= filter.instructions.len(), "{text}");
    drop(report::read("{}"));
});
