//! What a profile means, said as plainly as possible: rule by rule, call by call, without any BPF.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
#![allow(dead_code, reason = "each test uses a part")]
use orlop_seccomp::{Action, Arch, Call, Condition, Profile, Rule};
use std::cmp::Reverse;
use std::collections::HashMap;

/// A rule's index, and what selects its call if it goes through another.
type Entry = (usize, Option<Test>);

/// A profile, ready to be asked.
pub(crate) struct Model<'a> {
    profile: &'a Profile<'a>,
    default: Action,
    /// The largest number named on each architecture, if calls above it get ENOSYS.
    newest: HashMap<Arch, u32>,
    native: Arch,
    /// The rules on each number, in order, with what selects the call if it goes through another.
    rules: HashMap<(Arch, u32), Vec<Entry>>,
}

/// A condition with its value cut to what the architecture compares.
#[derive(Clone, Copy)]
struct Test {
    index: u32,
    class: u8,
    operator: &'static str,
    mask: u64,
    value: u64,
}

struct Alternative {
    tests: Vec<Test>,
    action: Action,
}

const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

impl<'a> Model<'a> {
    pub(crate) fn new(profile: &'a Profile<'a>, native: Arch, enosys: bool) -> Self {
        let default = action(&profile.default_action, profile.default_errno_ret);
        let permissive = matches!(default, Action::Allow | Action::Log | Action::Trace(_));
        let mut newest = HashMap::new();
        if enosys && !permissive {
            for arch in Self::architectures(profile, native) {
                let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
                let through = |multiplexer| Some(Call::named(arch, multiplexer, &[])?.number);
                let numbers = |name: &str| {
                    let socketcall = SOCKETCALL.contains(&name).then(|| through("socketcall")).flatten();
                    let ipc = IPC.iter().any(|(known, _)| *known == name).then(|| through("ipc")).flatten();
                    [Call::named(arch, name, &[]).map(|call| call.number), socketcall, ipc]
                };
                let largest = names.flat_map(|name| numbers(name)).flatten().max();
                newest.extend(largest.filter(|&largest| largest > 0).map(|largest| (arch, largest)));
            }
        }
        let mut model = Self { profile, default, newest, native, rules: HashMap::new() };
        for arch in Self::architectures(profile, native) {
            if !model.rules.keys().any(|(known, _)| *known == arch) {
                model.index(arch);
            }
        }
        model
    }

    fn architectures(profile: &Profile<'_>, native: Arch) -> Vec<Arch> {
        let listed = profile.architectures.iter().map(|name| Arch::from_name(name).unwrap());
        std::iter::once(native).chain(listed).collect()
    }

    fn index(&mut self, arch: Arch) {
        let numbers: HashMap<&str, u32> = arch.syscalls().collect();
        for (index, rule) in self.profile.syscalls.iter().enumerate() {
            if action(&rule.action, rule.errno_ret) == self.default {
                continue;
            }
            for name in &rule.names {
                let mut enter = |number: u32, selector| {
                    self.rules.entry((arch, number)).or_default().push((index, selector));
                };
                if let Some(&number) = numbers.get(&**name) {
                    enter(number, None);
                }
                if let Some(&number) = numbers.get("socketcall")
                    && let Some(place) = SOCKETCALL.iter().position(|known| known == name)
                {
                    enter(number, Some(Test::selector(0xffff_ffff, place as u64 + 1)));
                }
                if let Some(&number) = numbers.get("ipc")
                    && let Some((_, value)) = IPC.iter().find(|(known, _)| known == name)
                {
                    enter(number, Some(Test::selector(0xffff, *value)));
                }
            }
        }
    }

    pub(crate) fn verdict(&self, call: &Call) -> Action {
        const BIT: u32 = 0x4000_0000;
        let known = Self::architectures(self.profile, self.native);
        let mut arch = call.arch;
        if arch == Arch::X32 || arch == Arch::X86_64 {
            let newest = self.newest.get(&Arch::X86_64);
            arch = match (known.contains(&Arch::X86_64), known.contains(&Arch::X32)) {
                (true, true) if call.number >= BIT => Arch::X32,
                (true, false) if call.number == u32::MAX => return self.default,
                (true, false) if newest.is_some() && call.number & BIT == 0 => Arch::X86_64,
                (true, false) if call.number >= BIT => return Action::KillProcess,
                (true, _) => Arch::X86_64,
                (false, true) if call.number >= BIT => Arch::X32,
                _ => return Action::KillProcess,
            };
        } else if !known.iter().any(|known| known.audit() == arch.audit()) {
            return Action::KillProcess;
        }
        if let Some(&newest) = self.newest.get(&arch) {
            let multiplexed = matches!(arch, Arch::S390 | Arch::S390x) && call.number == 0;
            if call.number > newest || multiplexed {
                return Action::Errno(38);
            }
        }
        self.by_rules(arch, call)
    }

    fn by_rules(&self, arch: Arch, call: &Call) -> Action {
        let wide = arch.compares_64_bits();
        let mut alternatives = Vec::new();
        for (index, selector) in self.rules.get(&(arch, call.number)).map_or(&[][..], Vec::as_slice) {
            let rule = &self.profile.syscalls[*index];
            let action = action(&rule.action, rule.errno_ret);
            for mut tests in tests_of(rule, wide) {
                if let Some(selector) = selector {
                    tests.retain(|test| test.index != 0);
                    tests.insert(0, *selector);
                }
                alternatives.push(Alternative { tests, action });
            }
        }
        // The first rule without conditions stands for all.
        if let Some(unconditional) = alternatives.iter().find(|alternative| alternative.tests.is_empty()) {
            return unconditional.action;
        }
        alternatives.sort_by_key(|alternative| alternative.tests.iter().map(key).collect::<Vec<_>>());
        let holds = |test: &Test| {
            let mut argument = call.arguments[test.index as usize];
            if !wide {
                argument &= 0xffff_ffff;
            }
            match test.operator {
                "NE" => argument != test.value,
                "LT" => argument < test.value,
                "LE" => argument <= test.value,
                "EQ" => argument == test.value,
                "GE" => argument >= test.value,
                "GT" => argument > test.value,
                _ => argument & test.mask == test.value,
            }
        };
        let first = alternatives.iter().find(|alternative| alternative.tests.iter().all(holds));
        first.map_or(self.default, |alternative| alternative.action)
    }
}

/// Higher arguments first, then equality, less, greater, then the narrower range.
fn key(test: &Test) -> (Reverse<u32>, Reverse<u8>, Reverse<u64>) {
    let value = if test.class == 1 { !test.value } else { test.value };
    (Reverse(test.index), Reverse(test.class), Reverse(value))
}

fn tests_of(rule: &Rule<'_>, wide: bool) -> Vec<Vec<Test>> {
    let tests = |conditions: &[Condition<'_>]| {
        let mut tests: Vec<Test> = conditions.iter().filter_map(|condition| test(condition, wide)).collect();
        tests.sort_by_key(|test| test.index);
        tests
    };
    let repeated = (0..6).any(|index| rule.args.iter().filter(|condition| condition.index == index).count() > 1);
    if repeated { rule.args.chunks(1).map(tests).collect() } else { vec![tests(&rule.args)] }
}

fn test(condition: &Condition<'_>, wide: bool) -> Option<Test> {
    let cut = if wide { u64::MAX } else { 0xffff_ffff };
    let (operator, class) = match condition.op.strip_prefix("SCMP_CMP_").unwrap() {
        "NE" => ("NE", 2),
        "LT" => ("LT", 1),
        "LE" => ("LE", 1),
        "EQ" => ("EQ", 2),
        "GE" => ("GE", 0),
        "GT" => ("GT", 0),
        _ => ("MASKED", 2),
    };
    let (mask, value) = match operator {
        "MASKED" => (condition.value & cut, condition.value_two & condition.value & cut),
        _ => (cut, condition.value & cut),
    };
    (mask != 0).then_some(Test { index: condition.index, class, operator, mask, value })
}

impl Test {
    const fn selector(mask: u64, value: u64) -> Self {
        Self { index: 0, class: 2, operator: "MASKED", mask, value }
    }
}

fn action(name: &str, data: Option<u32>) -> Action {
    let data = u16::try_from(data.unwrap_or(1)).unwrap();
    match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(data),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "SCMP_ACT_TRACE" => Action::Trace(data),
        "SCMP_ACT_TRAP" => Action::Trap,
        other => panic!("action {other}"),
    }
}
