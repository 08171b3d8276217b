//! Compiles the rules on one call into comparisons of argument words.
//!
//! The rules are tried in order; each is a run of comparisons on 32-bit words. A rule that fails leads to the next, and
//! there past every comparison whose outcome is known by then: five rules on one argument load each of its words once.
use crate::assemble::{Assembler, Label, Target};
use crate::bpf::{self, SockFilter};
use crate::condition::{self, Condition, Operator};
use crate::rules::{self, Chain, Group, Resolved, Route};

/// Where a comparison leads: an answer or a later comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Leaf(u16),
    Test(u32),
}

/// A comparison of one argument word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Test {
    /// Twice the argument's index, plus one for the upper half.
    word: u8,
    /// All ones for none.
    mask: u32,
    code: u16,
    k: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    test: Test,
    yes: Edge,
    no: Edge,
}

/// The comparisons for one list of rules, and where they start.
#[derive(Debug)]
pub(crate) struct Block {
    chains: Vec<Chain>,
    wide: bool,
    nodes: Vec<Node>,
    start: Edge,
}

/// One rule, ready to compile.
struct Alternative {
    conditions: Vec<Condition>,
    leaf: u16,
}

impl Block {
    /// Compiles the rules of `group`.
    pub(crate) fn new(resolved: &Resolved, group: &Group) -> Self {
        let chains: Vec<Chain> = resolved.chains_of(group).copied().collect();
        let mut alternatives: Vec<Alternative> =
            chains.iter().map(|chain| alternative(resolved, chain, group.wide)).collect();
        alternatives.sort_by(|left, right| condition::order(&left.conditions, &right.conditions));
        let mut builder = Builder { wide: group.wide, nodes: Vec::new(), facts: Vec::new() };
        let start = alternatives.iter().rev().fold(Edge::Leaf(0), |next, rule| builder.alternative(rule, next));
        Self { chains, wide: group.wide, nodes: builder.nodes, start }
    }

    /// Whether this is what compiling `group` would give.
    pub(crate) fn is_for(&self, resolved: &Resolved, group: &Group) -> bool {
        self.wide == group.wide && self.chains.iter().eq(resolved.chains_of(group))
    }

    /// The answer, if no comparison is needed.
    pub(crate) const fn constant(&self) -> Option<u16> {
        match self.start {
            Edge::Leaf(leaf) => Some(leaf),
            Edge::Test(_) => None,
        }
    }

    /// Writes the comparisons and returns where they start. Nothing is assumed of the accumulator there.
    pub(crate) fn write(&self, to: &mut Assembler, little_endian: bool) -> Target {
        let Edge::Test(start) = self.start else {
            return Target::Leaf(self.constant().unwrap_or(0));
        };
        let entries = self.entries(start);
        // For each node: where it starts with the word still to be loaded, and where with it loaded.
        let mut labels: Vec<Option<(Target, Target)>> = vec![None; self.nodes.len()];
        for (index, (node, entry)) in self.nodes.iter().zip(&entries).enumerate() {
            if *entry == Entry::None {
                continue;
            }
            let after = node.test.leaves_loaded();
            let target = |edge| match edge {
                Edge::Leaf(leaf) => Target::Leaf(leaf),
                Edge::Test(next) => {
                    let next = usize::try_from(next).unwrap_or(usize::MAX);
                    let loaded = self.nodes.get(next).is_some_and(|next| after == Some(next.test.word));
                    match labels.get(next).copied().flatten() {
                        Some((_, ready)) if loaded => ready,
                        Some((cold, _)) => cold,
                        None => Target::Leaf(0),
                    }
                }
            };
            let (yes, no) = (target(node.yes), target(node.no));
            let mut ready = to.branch(node.test.code, node.test.k, yes, no);
            if node.test.mask != u32::MAX {
                to.next(ready);
                ready = Target::Code(to.push(SockFilter::new(bpf::AND, node.test.mask)));
            }
            let mut cold = ready;
            if *entry == Entry::Cold {
                to.next(ready);
                cold = Target::Code(to.push(SockFilter::new(bpf::LOAD, node.test.offset(little_endian))));
            }
            if let Some(label) = labels.get_mut(index) {
                *label = Some((cold, ready));
            }
        }
        let start = usize::try_from(start).ok().and_then(|start| labels.get(start).copied().flatten());
        start.map_or(Target::Leaf(0), |(cold, _)| cold)
    }

    /// How each node is come to: every node leads only to nodes before it.
    fn entries(&self, start: u32) -> Vec<Entry> {
        let mut entries = vec![Entry::None; self.nodes.len()];
        let reach = |entries: &mut Vec<Entry>, edge: Edge, loaded: Option<u8>| {
            let Edge::Test(index) = edge else { return };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let (Some(entry), Some(node)) = (entries.get_mut(index), self.nodes.get(index)) {
                let new = if loaded == Some(node.test.word) { Entry::Loaded } else { Entry::Cold };
                *entry = (*entry).max(new);
            }
        };
        reach(&mut entries, Edge::Test(start), None);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if entries.get(index).is_some_and(|entry| *entry != Entry::None) {
                let loaded = node.test.leaves_loaded();
                reach(&mut entries, node.yes, loaded);
                reach(&mut entries, node.no, loaded);
            }
        }
        entries
    }
}

/// What the accumulator holds when a comparison is come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// It is never come to.
    None,
    /// Always the word to compare.
    Loaded,
    /// Something else on at least one way.
    Cold,
}

fn alternative(resolved: &Resolved, chain: &Chain, wide: bool) -> Alternative {
    let mut conditions: Vec<Condition> = resolved
        .conditions_of(chain)
        .iter()
        // What selects the call takes the place of conditions on its own first argument, which lies in memory.
        .filter(|condition| chain.route.is_none() || condition.argument != 0)
        .filter_map(|condition| rules::effective(condition, wide))
        .collect();
    if let Some(route) = chain.route {
        // The kernel looks at the lower 32 bits for socketcall, at the lower 16 for ipc (a version is above them).
        let (mask, value) = match route {
            Route::Socketcall(call) => (0xffff_ffff, call),
            Route::Ipc(call) => (0xffff, call),
        };
        let selector = Condition { argument: 0, operator: Operator::MaskedEqual, mask, value: u64::from(value) };
        conditions.insert(0, selector);
    }
    Alternative { conditions, leaf: chain.leaf }
}

/// Builds the comparisons from the last rule to the first.
struct Builder {
    wide: bool,
    nodes: Vec<Node>,
    /// What is known where the comparison being built fails.
    facts: Vec<(Test, bool)>,
}

const fn split(value: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
    ((value >> 32) as u32, value as u32)
}

impl Test {
    const fn new(word: u8, code: u16, k: u32) -> Self {
        Self { word, mask: u32::MAX, code, k }
    }

    /// The comparison of masked bits with a value, and whether it holds when the comparison does (it is turned round
    /// when that saves an instruction).
    const fn masked(word: u8, mask: u32, value: u32) -> (Self, bool) {
        if mask == u32::MAX {
            (Self::new(word, bpf::JEQ, value), true)
        } else if value == 0 {
            (Self::new(word, bpf::JSET, mask), false)
        } else if value == mask && mask.is_power_of_two() {
            (Self::new(word, bpf::JSET, mask), true)
        } else {
            (Self { word, mask, code: bpf::JEQ, k: value }, true)
        }
    }

    /// The word the accumulator holds afterwards.
    fn leaves_loaded(&self) -> Option<u8> {
        (self.mask == u32::MAX).then_some(self.word)
    }

    fn offset(&self, little_endian: bool) -> u32 {
        let high = self.word & 1 == 1;
        let second = if high == little_endian { 4 } else { 0 };
        bpf::ARGUMENTS + u32::from(self.word >> 1) * 8 + second
    }

    /// The outcome for a word that is known.
    const fn of(&self, word: u32) -> bool {
        let word = word & self.mask;
        match self.code {
            bpf::JEQ => word == self.k,
            bpf::JGT => word > self.k,
            bpf::JGE => word >= self.k,
            _ => word & self.k != 0,
        }
    }

    /// The outcome if it never depends on the word.
    const fn constant(&self) -> Option<bool> {
        match (self.code, self.k) {
            (bpf::JGT, u32::MAX) | (bpf::JSET, 0) => Some(false),
            (bpf::JGE, 0) => Some(true),
            _ => None,
        }
    }

    /// The outcome, if it follows from that of another comparison.
    fn follows(&self, known: &Self, outcome: bool) -> Option<bool> {
        if self.word != known.word {
            return None;
        }
        if self == known {
            return Some(outcome);
        }
        if known.code == bpf::JEQ && known.mask == u32::MAX && outcome {
            return Some(self.of(known.k));
        }
        if self.mask != u32::MAX || known.mask != u32::MAX {
            return None;
        }
        // With the word in a known range, comparisons with a value outside it are decided.
        let (low, high) = match (known.code, outcome) {
            (bpf::JGT, true) => (known.k.checked_add(1)?, u32::MAX),
            (bpf::JGT, false) => (0, known.k),
            (bpf::JGE, true) => (known.k, u32::MAX),
            (bpf::JGE, false) => (0, known.k.checked_sub(1)?),
            _ => return None,
        };
        match self.code {
            bpf::JEQ if self.k < low || self.k > high => Some(false),
            bpf::JGT | bpf::JGE if self.of(low) => Some(true),
            bpf::JGT | bpf::JGE if !self.of(high) => Some(false),
            _ => None,
        }
    }
}

impl Builder {
    fn node(&mut self, test: Test, yes: Edge, no: Edge) -> Edge {
        match test.constant() {
            Some(true) => return yes,
            Some(false) => return no,
            None if yes == no => return yes,
            None => {}
        }
        self.nodes.push(Node { test, yes, no });
        Edge::Test(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
    }

    /// Where to go on when the comparison at hand, known by `facts` and `last`, has failed.
    fn next(&mut self, mut edge: Edge, last: &[(Test, bool)]) -> Edge {
        while let Edge::Test(index) = edge {
            let Some(node) = usize::try_from(index).ok().and_then(|index| self.nodes.get(index)) else { break };
            let known = self.facts.iter().chain(last).find_map(|(test, outcome)| node.test.follows(test, *outcome));
            edge = match known {
                Some(true) => node.yes,
                Some(false) => node.no,
                None => break,
            };
        }
        edge
    }

    fn alternative(&mut self, rule: &Alternative, next: Edge) -> Edge {
        self.facts.clear();
        let mut known = Vec::with_capacity(rule.conditions.len());
        for condition in &rule.conditions {
            known.push(self.facts.len());
            self.assume(condition);
        }
        let mut edge = Edge::Leaf(rule.leaf);
        for (condition, known) in rule.conditions.iter().zip(known).rev() {
            self.facts.truncate(known);
            edge = self.condition(condition, edge, next);
        }
        edge
    }

    /// Notes what holds once `condition` does.
    fn assume(&mut self, condition: &Condition) {
        let (high, low) = split(condition.value);
        let (high_mask, low_mask) = split(condition.mask);
        let (upper, lower) = (condition.argument * 2 + 1, condition.argument * 2);
        match condition.operator {
            Operator::Equal | Operator::MaskedEqual => {
                if self.wide && high_mask != 0 {
                    self.facts.push(Test::masked(upper, high_mask, high));
                }
                if low_mask != 0 {
                    self.facts.push(Test::masked(lower, low_mask, low));
                }
            }
            Operator::Less | Operator::LessOrEqual if high == 0 => {
                if self.wide {
                    self.facts.push((Test::new(upper, bpf::JEQ, 0), true));
                }
                let code = if condition.operator == Operator::Less { bpf::JGE } else { bpf::JGT };
                self.facts.push((Test::new(lower, code, low), false));
            }
            _ => {}
        }
    }

    fn condition(&mut self, condition: &Condition, then: Edge, otherwise: Edge) -> Edge {
        match condition.operator {
            Operator::Equal | Operator::MaskedEqual => self.equal(condition, then, otherwise, false),
            Operator::NotEqual => self.equal(condition, otherwise, then, true),
            Operator::Greater => self.above(condition, bpf::JGT, then, otherwise, false),
            Operator::GreaterOrEqual => self.above(condition, bpf::JGE, then, otherwise, false),
            Operator::LessOrEqual => self.above(condition, bpf::JGT, otherwise, then, true),
            Operator::Less => self.above(condition, bpf::JGE, otherwise, then, true),
        }
    }

    /// An edge that leaves the condition; the one to the next rule skips what is known.
    fn leave(&mut self, edge: Edge, fails: bool, last: &[(Test, bool)]) -> Edge {
        if fails { self.next(edge, last) } else { edge }
    }

    /// `yes` if both masked halves are equal, else `no`. With `inverted`, it is `yes` that means failure.
    fn equal(&mut self, condition: &Condition, yes: Edge, no: Edge, inverted: bool) -> Edge {
        let (high, low) = split(condition.value);
        let (high_mask, low_mask) = split(condition.mask);
        let (upper, upper_holds) = Test::masked(condition.argument * 2 + 1, high_mask, high);
        let (lower, lower_holds) = Test::masked(condition.argument * 2, low_mask, low);
        let test_upper = self.wide && high_mask != 0;
        let upper_fact = (upper, upper_holds);
        let mut edge = yes;
        if low_mask != 0 {
            let before: &[(Test, bool)] = if test_upper { &[upper_fact] } else { &[] };
            let equal = [before, &[(lower, lower_holds)]].concat();
            let unequal = [before, &[(lower, !lower_holds)]].concat();
            let yes = self.leave(yes, inverted, &equal);
            let no = self.leave(no, !inverted, &unequal);
            edge = if lower_holds { self.node(lower, yes, no) } else { self.node(lower, no, yes) };
        } else {
            edge = self.leave(edge, inverted, &[upper_fact]);
        }
        if test_upper {
            let no = self.leave(no, !inverted, &[(upper, !upper_holds)]);
            edge = if upper_holds { self.node(upper, edge, no) } else { self.node(upper, no, edge) };
        }
        edge
    }

    /// `yes` if the argument is greater (or equal, as `code` says), else `no`. With `inverted`, `yes` means failure.
    fn above(&mut self, condition: &Condition, code: u16, yes: Edge, no: Edge, inverted: bool) -> Edge {
        let (high, low) = split(condition.value);
        let (upper, lower) = (condition.argument * 2 + 1, condition.argument * 2);
        let test = Test::new(lower, code, low);
        if !self.wide {
            let yes = self.leave(yes, inverted, &[(test, true)]);
            let no = self.leave(no, !inverted, &[(test, false)]);
            return self.node(test, yes, no);
        }
        let same = Test::new(upper, bpf::JEQ, high);
        let low_yes = self.leave(yes, inverted, &[(same, true), (test, true)]);
        let low_no = self.leave(no, !inverted, &[(same, true), (test, false)]);
        let lower = self.node(test, low_yes, low_no);
        if high == 0 {
            let yes = self.leave(yes, inverted, &[(same, false)]);
            return self.node(same, lower, yes);
        }
        let greater = Test::new(upper, bpf::JGT, high);
        let less = self.leave(no, !inverted, &[(greater, false), (same, false)]);
        let equal = self.node(same, lower, less);
        let yes = self.leave(yes, inverted, &[(greater, true)]);
        self.node(greater, yes, equal)
    }
}

/// Where a block starts, once it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written {
    /// Not yet.
    No,
    /// At an answer.
    Leaf(u16),
    /// Here.
    At(Label),
}
