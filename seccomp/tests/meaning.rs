//! Property: for profiles made by chance, the compiled filter answers every call as the profile says, read plainly.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]
use orlop_seccomp::{ARCHITECTURES, Arch, Call, Options, Profile, compile};
use support::{Model, Random, Shape, arguments, profile};

mod support {
    #[path = "../support/model.rs"]
    mod model;
    #[path = "../support/random.rs"]
    mod random;
    pub(crate) use model::Model;
    pub(crate) use random::{Random, Shape, arguments, profile};
}

fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ARCHITECTURES.iter().flat_map(|&arch| arch.syscalls().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    names.extend(["nosuchcall", "another_unknown_call"]);
    names
}

fn numbers(arch: Arch, random: &mut Random) -> Vec<u32> {
    let mut numbers: Vec<u32> = arch.syscalls().map(|(_, number)| number).collect();
    let neighbours: Vec<u32> = numbers.iter().flat_map(|&number| [number.wrapping_sub(1), number + 1]).collect();
    numbers.extend(neighbours);
    numbers.extend([0, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe]);
    numbers.extend([u32::MAX, u32::try_from(random.next() >> 32).unwrap()]);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn check(profile: &Profile<'_>, native: Arch, enosys: bool, random: &mut Random, repeat: usize) {
    let mut options = Options::default();
    options.native = Some(native);
    options.enosys_for_newer = enosys;
    let filter = compile(profile, &options).unwrap();
    let model = Model::new(profile, native, enosys);
    let foreign = [*random.pick(&ARCHITECTURES)];
    for &arch in filter.architectures.iter().chain(&foreign) {
        for number in numbers(arch, random) {
            for _ in 0..repeat {
                let narrow = random.once_in(4);
                let call = Call::numbered(arch, number, &arguments(random, profile, narrow));
                assert_eq!(
                    filter.verdict(&call),
                    model.verdict(&call),
                    "filter and profile for {call:x?}, native {native}, ENOSYS {enosys}, in\n{}",
                    serde_json::to_string(profile).unwrap()
                );
            }
        }
    }
}

fn generated(seed: u64, count: usize, shape: Shape) {
    let mut random = Random::new(seed);
    let names = names();
    let mut instructions = 0;
    for _ in 0..count {
        let mut profile = profile(&mut random, &names, shape);
        for _ in 0..random.below(4) {
            profile.architectures.push(random.pick(&ARCHITECTURES).name().into());
        }
        let native = *random.pick(&ARCHITECTURES);
        check(&profile, native, random.once_in(2), &mut random, 2);
        instructions += 1;
    }
    assert_eq!(instructions, count);
}

#[test]
fn many_small_profiles() {
    generated(21, 250, Shape { rules: 3, conflicts: true, per_call: 6, repeats: true, names: 60, wide: true });
}

#[test]
fn large_profiles() {
    generated(22, 60, Shape { rules: 40, conflicts: true, per_call: 6, repeats: true, names: 60, wide: true });
}

#[test]
fn engines_profiles() {
    let mut random = Random::new(23);
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let profile: Profile<'_> = serde_json::from_str(&text).unwrap();
        for enosys in [false, true] {
            for native in [Arch::X86_64, Arch::Aarch64, Arch::S390x] {
                check(&profile, native, enosys, &mut random, 2);
            }
        }
    }
}
