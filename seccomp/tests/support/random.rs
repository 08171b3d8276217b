//! Profiles made by chance, the same on every run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]
#![allow(dead_code, reason = "each test uses a part")]
use orlop_seccomp::{ACTIONS, Condition, OPERATORS, Profile, Rule};
use std::borrow::Cow;
use std::collections::HashMap;

/// A small generator of random numbers (xorshift64*), which may be given a beginning.
pub(crate) struct Random(u64, Vec<u8>);

impl Random {
    /// Starts from a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Vec::new())
    }

    /// Makes every byte of `bytes` a number first, so that a fuzzer has its say in each decision.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut random = Self::new(1);
        random.1 = bytes.iter().rev().copied().collect();
        random
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        if let Some(byte) = self.1.pop() {
            // The upper bits decide in `below`.
            return u64::from(byte).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }

    /// True once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of some.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// An argument or operand, likely to lie at the edge of something.
    pub(crate) fn value(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1,
            2,
            8,
            40,
            0xffff,
            0x7e02_0000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0xffff_ffff_0000_0000,
            0x8000_0000_0000_0000,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.next() & 0xff,
            1 => self.next() >> self.below(64),
            _ => self.pick(&EDGES).wrapping_add(self.next() % 3).wrapping_sub(1),
        }
    }
}

/// What kinds of profiles to make.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The most rules.
    pub(crate) rules: usize,
    /// The most names of a rule.
    pub(crate) names: usize,
    /// Whether rules on one call may have different actions although both may match.
    pub(crate) conflicts: bool,
    /// The most rules with conditions on one call.
    pub(crate) per_call: usize,
    /// Whether rules may name an argument twice.
    pub(crate) repeats: bool,
    /// Whether operands may need more than 32 bits.
    pub(crate) wide: bool,
}

/// A profile over the calls `names`.
pub(crate) fn profile(random: &mut Random, names: &[&'static str], shape: Shape) -> Profile<'static> {
    let (default_action, default_errno_ret) = action(random);
    let mut profile = Profile {
        default_action: default_action.into(),
        default_errno_ret,
        listener_path: Some("/run/agent".into()),
        ..Profile::default()
    };
    // With one action for all conditional rules no two of them can disagree.
    let common = action(random);
    let mut counts = HashMap::new();
    for _ in 0..=random.below(shape.rules) {
        let conditional = !random.once_in(3);
        let (action, errno_ret) = if conditional && !shape.conflicts { common } else { action(random) };
        let few = if random.once_in(4) { shape.names } else { 4 };
        let mut chosen: Vec<Cow<'static, str>> = Vec::new();
        for _ in 0..=random.below(few) {
            let name = *random.pick(names);
            let count = counts.entry(name).or_insert(0);
            if !conditional || *count < shape.per_call {
                *count += usize::from(conditional);
                chosen.push(name.into());
            }
        }
        let args = if conditional { conditions(random, shape) } else { Vec::new() };
        profile.syscalls.push(Rule { names: chosen, action: action.into(), errno_ret, args });
    }
    profile
}

fn action(random: &mut Random) -> (&'static str, Option<u32>) {
    let action = *random.pick(&ACTIONS);
    let data = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE") && !random.once_in(3);
    (action, data.then(|| *random.pick(&[0, 1, 13, 38, 4095])))
}

fn conditions(random: &mut Random, shape: Shape) -> Vec<Condition<'static>> {
    let mut conditions = Vec::new();
    for _ in 0..=random.below(3) {
        let cut = if shape.wide { u64::MAX } else { 0xffff_ffff };
        let index = u32::try_from(random.below(6)).unwrap();
        if !shape.repeats && conditions.iter().any(|known: &Condition<'_>| known.index == index) {
            continue;
        }
        conditions.push(Condition {
            index,
            value: random.value() & cut,
            value_two: random.value() & cut,
            op: (*random.pick(&OPERATORS)).into(),
        });
    }
    conditions
}

/// Arguments that lie at the edges of the conditions of `profile`.
pub(crate) fn arguments(random: &mut Random, profile: &Profile<'_>, narrow: bool) -> [u64; 6] {
    let mut arguments = [0; 6];
    for (index, argument) in arguments.iter_mut().enumerate() {
        *argument = random.value();
        let conditions = profile.syscalls.iter().flat_map(|rule| &rule.args);
        let relevant: Vec<_> = conditions.filter(|condition| condition.index as usize == index).collect();
        if !relevant.is_empty() && !random.once_in(8) {
            let condition = *random.pick(&relevant);
            *argument = match random.below(6) {
                0 => condition.value.wrapping_sub(1),
                1 => condition.value.wrapping_add(1),
                2 => condition.value_two,
                3 => (random.next() & !condition.value) | (condition.value_two & condition.value),
                4 => condition.value ^ (1 << random.below(64)),
                _ => condition.value,
            };
        }
        if narrow {
            *argument &= 0xffff_ffff;
        }
    }
    arguments
}
