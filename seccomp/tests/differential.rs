//! Compares filters with those of libseccomp: engines' own profiles and some thousand made by chance, for every number.
//!
//! Intended differences are left out here by name, and tested as such in `semantics.rs`:
//! the ENOSYS answer for newer calls, comparing all 64 bits on x32, `ipc` compared without its version, and killing the
//! process, not the thread, for foreign architectures (libseccomp is told to do the same here).
//!
//! `ORLOP_LIBSECCOMP` names another library than the system's; `ORLOP_SHOW=1` prints each call it gets wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::indexing_slicing, reason = "a test")]
use orlop_seccomp::{ARCHITECTURES, Action, Arch, Call, Options, Profile, SockFilter, compile, evaluate};
use std::cell::Cell;
use support::{Model, Oracle, Random, Shape, arguments, profile};

mod support {
    #[path = "../support/libseccomp.rs"]
    mod libseccomp;
    #[path = "../support/model.rs"]
    mod model;
    #[path = "../support/random.rs"]
    mod random;
    pub(crate) use libseccomp::Oracle;
    pub(crate) use model::Model;
    pub(crate) use random::{Random, Shape, arguments, profile};
}

const SETS: [&[Arch]; 9] = [
    &[Arch::X86_64, Arch::X86, Arch::X32],
    &[Arch::X86_64],
    &[Arch::X86_64, Arch::X86],
    &[Arch::Aarch64, Arch::Arm],
    &[Arch::Ppc64le],
    &[Arch::S390x, Arch::S390],
    &[Arch::Mipsel64, Arch::Mipsel, Arch::Mipsel64N32],
    &[Arch::Riscv64],
    &[Arch::Mips, Arch::Ppc],
];

fn oracle() -> Option<Oracle> {
    match Oracle::load() {
        Ok(oracle) => Some(oracle),
        Err(reason) => {
            eprintln!("skipped (1): {reason}");
            None
        }
    }
}

/// All names of the table.
fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ARCHITECTURES.iter().flat_map(|&arch| arch.syscalls().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The names that all of `architectures` have and that libseccomp knows alike.
///
/// libseccomp forgets to load the call's number where the first rule of an architecture is for a call it does not have,
/// or has through `socketcall` or `ipc`; on x86 that never comes first.
fn common_names(oracle: &Oracle, architectures: &[Arch]) -> Vec<&'static str> {
    // Where they are not native, libseccomp takes the first of these for the second. And rules on a multiplexer itself
    // are merged with those on the calls that go through it.
    let excluded = ["switch_endian", "sys_debug_setcontext", "socketcall", "ipc"];
    let everywhere = |name: &str| {
        architectures.iter().all(|&arch| {
            let direct = arch == Arch::X86 || oracle.number(arch, name).is_some_and(|number| number >= 0);
            direct && Call::named(arch, name, &[]).is_some()
        })
    };
    let wanted = |name: &&str| !excluded.contains(name) && everywhere(name) && known_alike(oracle, architectures, name);
    names().into_iter().filter(wanted).collect()
}

/// Whether both have the same number for a call, on each of `architectures`.
fn known_alike(oracle: &Oracle, architectures: &[Arch], name: &str) -> bool {
    oracle.number(Arch::native().unwrap(), name).is_some()
        && architectures.iter().all(|&arch| {
            let ours = Call::named(arch, name, &[]).map(|call| call.number);
            match oracle.number(arch, name) {
                Some(number) if number >= 0 => ours == u32::try_from(number).ok(),
                // One that goes through socketcall or ipc, if this libseccomp knows of them on this architecture.
                Some(-224..=-100) => arch.syscalls().any(|(name, _)| name == "socketcall"),
                _ => ours.is_none(),
            }
        })
}

fn numbers(arch: Arch, random: &mut Random) -> Vec<u32> {
    let first = arch.syscalls().map(|(_, number)| number).min().unwrap();
    let base = first - first % 1000 % 0x4000_0000;
    let base = if arch == Arch::X32 {
        0x4000_0000
    } else if base >= 4000 {
        base
    } else {
        0
    };
    let mut numbers: Vec<u32> = (base..base + 480).collect();
    numbers.extend(arch.syscalls().map(|(_, number)| number));
    numbers.extend([0, 1, 999, 1000, 0x3fff_ffff, 0x4000_0000, 0x4000_03ff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe]);
    numbers.extend([u32::MAX, u32::try_from(random.next() >> 32).unwrap()]);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

struct Comparison<'a> {
    profile: &'a Profile<'a>,
    model: Model<'a>,
    native: Arch,
    /// Calls on which libseccomp disagrees with the profile.
    wrong: Cell<usize>,
    ours: &'a [SockFilter],
    theirs: &'a [SockFilter],
}

impl Comparison<'_> {
    fn check(&self, call: &Call) {
        let (ours, theirs) = (evaluate(self.ours, call), evaluate(self.theirs, call));
        if ours != theirs {
            // One of the two is wrong: never ours.
            assert_eq!(
                ours,
                self.model.verdict(call),
                "our filter and the profile for {call:x?} (libseccomp: {theirs}), native {}, in\n{}",
                self.native,
                serde_json::to_string(self.profile).unwrap()
            );
            if std::env::var_os("ORLOP_SHOW").is_some() {
                eprintln!(
                    "{call:x?} ours {ours} libseccomp {theirs}\n{}",
                    serde_json::to_string(self.profile).unwrap()
                );
            }
            self.wrong.set(self.wrong.get() + 1);
        }
    }

    fn check_all(&self, random: &mut Random, arch: Arch, repeat: usize) {
        let conditional = self.conditional(arch);
        // What each architecture compares, and what is intended to differ.
        for number in numbers(arch, random) {
            let narrow = matches!(arch, Arch::X86_64 | Arch::X32) && number & 0x4000_0000 != 0;
            let repeat = if conditional.contains(&number) { repeat } else { 1 };
            for _ in 0..repeat {
                let mut arguments =
                    if repeat == 1 { [random.next() & 0xff; 6] } else { arguments(random, self.profile, narrow) };
                if [102, 117, 4102, 4117].contains(&number) && !narrow {
                    arguments[0] = random.next() % 28;
                }
                self.check(&Call::numbered(arch, number, &arguments));
            }
        }
    }

    fn conditional(&self, arch: Arch) -> Vec<u32> {
        let rules = self.profile.syscalls.iter().filter(|rule| !rule.args.is_empty());
        let mut numbers: Vec<u32> =
            rules.flat_map(|rule| &rule.names).filter_map(|name| Some(Call::named(arch, name, &[])?.number)).collect();
        numbers.extend([102, 117, 4102, 4117]);
        numbers
    }
}

fn options(native: Arch) -> Options {
    let mut options = Options::default();
    options.native = Some(native);
    options.enosys_for_newer = false;
    options
}

#[test]
fn engines_profiles_mean_the_same() {
    let Some(oracle) = oracle() else { return };
    let native = Arch::native().unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut profile: Profile<'_> = serde_json::from_str(&text).unwrap();
        let architectures = [Arch::X86_64, Arch::X86, Arch::X32];
        for rule in &mut profile.syscalls {
            rule.names.retain(|name| known_alike(&oracle, &architectures, name));
        }
        let ours = compile(&profile, &options(native)).unwrap();
        let theirs = oracle.compile(&profile, &architectures, true).unwrap();
        eprintln!("{}: {} instructions, libseccomp {}", path.display(), ours.instructions.len(), theirs.len());
        assert!(ours.instructions.len() <= 400);
        let model = Model::new(&profile, native, false);
        let wrong = Cell::new(0);
        let comparison =
            Comparison { profile: &profile, model, native, wrong, ours: &ours.instructions, theirs: &theirs };
        let mut random = Random::new(1);
        for arch in ARCHITECTURES {
            comparison.check_all(&mut random, arch, 300);
        }
        assert_eq!(comparison.wrong.get(), 0, "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} profiles");
}

/// Compares `count` profiles, and returns how many libseccomp gets wrong.
fn generated(seed: u64, count: usize, shape: Shape, trees: bool) -> usize {
    let Some(oracle) = oracle() else { return 0 };
    let mut random = Random::new(seed);
    let (mut compared, mut refused, mut disagree) = (0, 0, 0);
    while compared < count {
        let set = SETS[compared % SETS.len()];
        let names = common_names_cached(&oracle, set);
        let mut shape = Shape { wide: shape.wide && !set.contains(&Arch::X32), ..shape };
        if set.iter().any(|arch| !arch.is_little_endian()) {
            // Where libseccomp repeats an answer to bring it near, it swaps the bytes once too often.
            (shape.rules, shape.names) = (2, 4);
        }
        let mut profile = profile(&mut random, &names, shape);
        profile.architectures = set.iter().map(|arch| arch.name().into()).collect();
        // runc's rule; with fewer calls libseccomp's tree misses some.
        let tree = trees && profile.syscalls.iter().map(|rule| rule.names.len()).sum::<usize>() > 32;
        let Ok(theirs) = oracle.compile(&profile, set, tree) else {
            refused += 1;
            assert!(refused <= count, "libseccomp refuses most profiles: the test tests little");
            continue;
        };
        let ours = compile(&profile, &options(set[0])).unwrap();
        let (model, wrong) = (Model::new(&profile, set[0], false), Cell::new(0));
        let comparison =
            Comparison { profile: &profile, model, native: set[0], wrong, ours: &ours.instructions, theirs: &theirs };
        for &arch in set {
            comparison.check_all(&mut random, arch, 10);
        }
        // And one that the filter does not speak of.
        comparison.check(&Call::numbered(Arch::Sheb, 1, &[]));
        compared += 1;
        disagree += usize::from(comparison.wrong.get() > 0);
    }
    eprintln!(
        "libseccomp {}: {compared} profiles compared, {refused} more it refuses, {disagree} it gets wrong",
        oracle.version()
    );
    disagree
}

fn common_names_cached(oracle: &Oracle, set: &'static [Arch]) -> Vec<&'static str> {
    use std::cell::RefCell;
    type Known = (&'static [Arch], Vec<&'static str>);
    thread_local! {
        static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some((_, names)) = known.iter().find(|(known, _)| *known == set) {
            return names.clone();
        }
        let names = common_names(oracle, set);
        known.push((set, names.clone()));
        names
    })
}

#[test]
fn generated_profiles_mean_the_same() {
    // One rule on each call, and each argument once: nothing to merge.
    let shape = Shape { rules: 12, conflicts: true, per_call: 1, repeats: false, names: 60, wide: true };
    assert_eq!(generated(11, 2000, shape, false), 0);
}

#[test]
fn several_rules_on_a_call_mean_the_same() {
    // libseccomp merges comparisons of one argument, up to 2.6.1 wrongly for some pairs of ranges; what the profile
    // says decides then (`meaning.rs` compares with that alone, for every call).
    let shape = Shape { rules: 4, conflicts: false, per_call: 2, repeats: true, names: 60, wide: true };
    assert!(generated(12, 400, shape, true) <= 24);
}

#[test]
fn actions_are_what_the_kernel_calls_them() {
    // The words of linux/seccomp.h, which both sides must use for the comparison to mean anything.
    for (action, word) in [
        (Action::KillProcess, 0x8000_0000),
        (Action::KillThread, 0),
        (Action::Errno(38), 0x0005_0026),
        (Action::Allow, 0x7fff_0000),
    ] {
        assert_eq!(action.to_raw(), word);
    }
}
