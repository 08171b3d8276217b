//! Writes a program from its end to its beginning, so that every jump knows how far it goes.
//!
//! A conditional jump reaches 255 instructions. Answers beyond that are repeated close by; anything else is reached
//! through an unconditional jump.
use crate::bpf::{self, SockFilter};

/// A place already written, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(u32);

/// Where a jump may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The answer with this index in [`Assembler::leaves`].
    Leaf(u16),
    /// A place in the program.
    Code(Label),
}

/// The program under construction, last instruction first.
#[derive(Debug)]
pub(crate) struct Assembler {
    code: Vec<SockFilter>,
    leaves: Vec<(u32, Option<Label>)>,
}

/// How far a conditional jump goes.
const REACH: u32 = 255;

impl Assembler {
    /// A program whose answers are `leaves`.
    pub(crate) fn new(leaves: &[u32]) -> Self {
        Self { code: Vec::with_capacity(512), leaves: leaves.iter().map(|&answer| (answer, None)).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.code.len()
    }

    fn here(&self) -> u32 {
        u32::try_from(self.code.len()).unwrap_or(u32::MAX)
    }

    /// Writes an instruction in front of all others.
    pub(crate) fn push(&mut self, instruction: SockFilter) -> Label {
        let label = Label(self.here());
        self.code.push(instruction);
        label
    }

    /// How many instructions a jump written here would skip to get to `label`.
    fn distance(&self, label: Label) -> u32 {
        self.here() - label.0 - 1
    }

    /// A label for `target` that a conditional jump reaches even after `slack` more instructions.
    fn within_reach(&mut self, target: Target, slack: u32) -> Label {
        let known = match target {
            Target::Code(label) => Some(label),
            Target::Leaf(leaf) => self.leaves.get(usize::from(leaf)).and_then(|(_, label)| *label),
        };
        match (known, target) {
            (Some(label), _) if self.distance(label) + slack <= REACH => label,
            (Some(label), Target::Code(_)) => {
                let distance = self.distance(label);
                self.push(SockFilter::new(bpf::JUMP, distance))
            }
            (_, Target::Leaf(leaf)) => self.answer(leaf),
            (None, Target::Code(label)) => label,
        }
    }

    fn answer(&mut self, leaf: u16) -> Label {
        let label = Label(self.here());
        let answer = self.leaves.get_mut(usize::from(leaf)).map_or(0, |entry| {
            entry.1 = Some(label);
            entry.0
        });
        self.push(SockFilter::new(bpf::RETURN, answer))
    }

    /// Writes a comparison; none at all if both ways lead to the same place.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let yes = self.within_reach(yes, 2);
        let no = self.within_reach(no, 1);
        let skip = |distance: u32| u8::try_from(distance).unwrap_or(u8::MAX);
        let (jt, jf) = (skip(self.distance(yes)), skip(self.distance(no)));
        Target::Code(self.push(SockFilter { code, jt, jf, k }))
    }

    /// A label for `target` such that the instruction written next runs on into it.
    pub(crate) fn next(&mut self, target: Target) -> Label {
        let label = match target {
            Target::Code(label) => label,
            Target::Leaf(leaf) => self.answer(leaf),
        };
        match self.distance(label) {
            0 => label,
            distance => self.push(SockFilter::new(bpf::JUMP, distance)),
        }
    }

    /// The nearest place from which `label` can be reached by conditional jumps written from now on, for callers that
    /// come back to it often.
    pub(crate) fn bring_near(&mut self, label: Label) -> Label {
        self.within_reach(Target::Code(label), 2)
    }

    /// The finished program, first instruction first.
    pub(crate) fn finish(mut self) -> Vec<SockFilter> {
        self.code.reverse();
        self.code
    }
}
