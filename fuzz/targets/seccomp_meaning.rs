//! Compiler against emulator: a profile and calls made of the input; the filter answers as the profile says.
#![no_main]
use libfuzzer_sys::fuzz_target;
use model::Model;
use orlop_seccomp::{ARCHITECTURES, Call, Options, compile};
use random::{Random, Shape, arguments, profile};
use std::sync::LazyLock;

#[path = "../../seccomp/tests/support/model.rs"]
mod model;
#[path = "../../seccomp/tests/support/random.rs"]
mod random;

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut names: Vec<_> = ARCHITECTURES.iter().flat_map(|arch| arch.syscalls()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    names
});

fuzz_target!(|data: &[u8]| {
    let mut random = Random::from_bytes(data);
    let native = *random.pick(&ARCHITECTURES);
    let enosys = random.once_in(2);
    let shape = Shape { rules: 8, names: 20, conflicts: true, per_call: 6, repeats: true, wide: true };
    let mut profile = profile(&mut random, &NAMES, shape);
    for _ in 0..random.below(3) {
        profile.architectures.push(random.pick(&ARCHITECTURES).name().into());
    }
    let mut options = Options::default();
    options.native = Some(native);
    options.enosys_for_newer = enosys;
    let filter = compile(&profile, &options).expect("a good profile");
    let model = Model::new(&profile, native, enosys);
    for &arch in &filter.architectures {
        for name in profile.syscalls.iter().flat_map(|rule| &rule.names) {
            let arguments = arguments(&mut random, &profile, false);
            let Some(call) = Call::named(arch, name, &arguments) else { continue };
            for number in [call.number, call.number + 1, call.number.wrapping_sub(1)] {
                let call = Call { number, ..call };
                assert_eq!(filter.verdict(&call), model.verdict(&call), "{call:x?} in {profile:?}");
            }
        }
    }
});
