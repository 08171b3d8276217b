//! The `seccompiler` crate as a second opinion: what both can say (one architecture, one action for all rules, one for the rest) must
//! come to the same verdict for every call.
//!
//! Of a profile, the rules that allow are given to both; rules with other actions are left out on both sides.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
use orlop_seccomp::{Action, Arch, Call, Condition, Options, Profile, Rule, SockFilter, compile, evaluate, report};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

const ARCHITECTURES: [Arch; 3] = [Arch::X86_64, Arch::Aarch64, Arch::Riscv64];

/// What is left of a profile when it may only allow, and refuse the rest with an errno.
fn allowing<'p>(profile: &Profile<'p>) -> Profile<'p> {
    let allows = |rule: &&Rule<'_>| rule.action == "SCMP_ACT_ALLOW";
    Profile {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(99),
        syscalls: profile.syscalls.iter().filter(allows).cloned().collect(),
        ..Profile::default()
    }
}

fn condition(from: &Condition<'_>) -> SeccompCondition {
    let (operator, value) = match &*from.op {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, from.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, from.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, from.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, from.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, from.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, from.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(from.value), from.value_two),
        other => panic!("{other}"),
    };
    SeccompCondition::new(u8::try_from(from.index).unwrap(), SeccompCmpArgLen::Qword, operator, value).unwrap()
}

/// The program that seccompiler makes of the profile.
fn theirs(profile: &Profile<'_>, arch: Arch) -> Vec<SockFilter> {
    let mut rules: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    for rule in &profile.syscalls {
        let numbers = rule.names.iter().filter_map(|name| Call::named(arch, name, &[]));
        for number in numbers.map(|call| i64::from(call.number)) {
            let of_call = rules.entry(number).or_insert_with(|| Some(Vec::new()));
            if rule.args.is_empty() {
                // It allows the call whatever the others ask.
                *of_call = None;
            } else if let Some(of_call) = of_call {
                of_call.push(SeccompRule::new(rule.args.iter().map(condition).collect()).unwrap());
            }
        }
    }
    let rules = rules.into_iter().map(|(number, rules)| (number, rules.unwrap_or_default())).collect();
    let target = match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "aarch64",
        _ => "riscv64",
    };
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(99), SeccompAction::Allow, target.try_into().unwrap()).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    program.iter().map(|one| SockFilter { code: one.code, jt: one.jt, jf: one.jf, k: one.k }).collect()
}

/// Values at which one of the conditions changes its answer, and some with bits in the upper half.
fn values(conditions: &[&Condition<'_>]) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX];
    for value in conditions.iter().flat_map(|condition| [condition.value, condition.value_two]) {
        values.extend([value.wrapping_sub(1), value, value.wrapping_add(1), value | 1 << 40, !value]);
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// How many calls were compared, and how many of them were allowed.
fn compare(name: &str, profile: &Profile<'_>, arch: Arch) -> (usize, usize) {
    let mut options = Options::default();
    options.native = Some(arch);
    // seccompiler knows no such answer.
    options.enosys_for_newer = false;
    let ours = compile(profile, &options).unwrap().instructions;
    let theirs = theirs(profile, arch);
    let (mut compared, mut allowed) = (0, 0);
    let mut check = |call: &Call| {
        let (our, their) = (evaluate(&ours, call), evaluate(&theirs, call));
        assert_eq!(our, their, "{name}, {arch}: {call:?}");
        compared += 1;
        allowed += usize::from(our == Action::Allow);
    };
    for number in (0..512).chain([1023, 0x3fff_ffff]) {
        check(&Call::numbered(arch, number, &[]));
        let Some(call) = arch.syscall_name(number) else { continue };
        let rules = profile.syscalls.iter().filter(|rule| rule.names.iter().any(|name| name == call));
        let conditions: Vec<_> = rules.flat_map(|rule| &rule.args).collect();
        for condition in &conditions {
            for value in values(&conditions) {
                let mut arguments = [0; 6];
                arguments[condition.index as usize] = value;
                check(&Call::numbered(arch, number, &arguments));
                check(&Call::numbered(arch, number, &[value; 6]));
            }
        }
    }
    (compared, allowed)
}

#[test]
fn both_decide_alike_on_every_call_of_engines_profiles() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut profiles = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let profile = allowing(&report::read(&text).unwrap());
        for arch in ARCHITECTURES {
            let (compared, allowed) = compare(&path.display().to_string(), &profile, arch);
            assert!(compared > 512 && allowed > 200, "{}: {compared} compared, {allowed} allowed", path.display());
        }
        profiles += 1;
    }
    assert!(profiles >= 8, "{profiles}");
}

#[test]
fn both_decide_alike_on_every_operator() {
    let operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    for operator in operators {
        for (value, value_two) in
            [(0, 0), (7, 3), (0xffff_ffff_u64, 0x8000_0000_u64), (0x1_0000_0000, 0x1_0000_0000), (u64::MAX, 5)]
        {
            let json = format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["ioctl", "mmap"], "action": "SCMP_ACT_ALLOW",
                    "args": [{{"index": 1, "value": {value}, "valueTwo": {value_two}, "op": "SCMP_CMP_{operator}"}},
                             {{"index": 3, "value": 9, "op": "SCMP_CMP_LE"}}]}}]}}"#
            );
            let profile = allowing(&report::read(&json).unwrap());
            for arch in ARCHITECTURES {
                compare(&json, &profile, arch);
            }
        }
    }
}
