//! The search for a number: runs of numbers with the same decision, and the comparisons that find the run.
use crate::assemble::{Assembler, Target};
use crate::bpf;

/// Numbers from `start` up to the next run's start, and what is decided for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run<T> {
    pub(crate) start: u32,
    pub(crate) decision: T,
}

/// Some neighbouring runs that are told apart by comparing for equality: all but one decision are single numbers.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    /// The first number that belongs to it.
    start: u32,
    /// The runs, as a range.
    first: usize,
    last: usize,
}

/// The most equality comparisons in a row.
const SINGLES: usize = 3;

/// Writes the search through `runs`, which start at 0 and cover all numbers, and returns where it starts.
pub(crate) fn write<T: Copy + PartialEq>(
    runs: &[Run<T>],
    to: &mut Assembler,
    mut target: impl FnMut(&mut Assembler, T) -> Target,
) -> Target {
    let leaves = divide(runs);
    search(&leaves, runs, to, &mut target)
}

fn search<T: Copy + PartialEq>(
    leaves: &[Leaf],
    runs: &[Run<T>],
    to: &mut Assembler,
    target: &mut impl FnMut(&mut Assembler, T) -> Target,
) -> Target {
    let (below, above) = leaves.split_at(leaves.len() / 2);
    match (below, above) {
        ([], [leaf]) => single(leaf, runs, to, target),
        (_, [first, ..]) => {
            let right = search(above, runs, to, target);
            let left = search(below, runs, to, target);
            to.branch(bpf::JGE, first.start, right, left)
        }
        (_, []) => Target::Leaf(0),
    }
}

/// Writes the equality comparisons of one leaf.
fn single<T: Copy + PartialEq>(
    leaf: &Leaf,
    runs: &[Run<T>],
    to: &mut Assembler,
    target: &mut impl FnMut(&mut Assembler, T) -> Target,
) -> Target {
    let covered = runs.get(leaf.first..=leaf.last).unwrap_or(&[]);
    let Some(background) = background(runs, leaf.first, leaf.last) else { return Target::Leaf(0) };
    let mut otherwise = target(to, background);
    for run in covered.iter().rev().filter(|run| run.decision != background) {
        let special = target(to, run.decision);
        otherwise = to.branch(bpf::JEQ, run.start, special, otherwise);
    }
    otherwise
}

fn is_single<T>(runs: &[Run<T>], index: usize) -> bool {
    match (runs.get(index), runs.get(index + 1)) {
        (Some(run), Some(next)) => next.start - run.start == 1,
        (Some(run), None) => run.start == u32::MAX,
        _ => false,
    }
}

/// The one decision of all runs but single numbers; the first run's if there are only such.
fn background<T: Copy + PartialEq>(runs: &[Run<T>], first: usize, last: usize) -> Option<T> {
    let wide = (first..=last).find(|&index| !is_single(runs, index)).unwrap_or(first);
    runs.get(wide).map(|run| run.decision)
}

/// The cheapest way to cover the runs from one point on.
#[derive(Debug, Clone, Copy)]
struct Cover {
    /// Instructions.
    cost: u32,
    /// The last run of the first leaf, and whether that run is divided with the next leaf.
    last: usize,
    divided: bool,
}

/// Divides the runs into leaves such that the whole search takes the fewest instructions.
///
/// Worked from the end: `covers[i]` is for all runs from `i` on. It serves as well where run `i` has been divided, as
/// only runs of several numbers are, and what is left of them is treated alike.
fn divide<T: Copy + PartialEq>(runs: &[Run<T>]) -> Vec<Leaf> {
    let mut covers = vec![Cover { cost: 0, last: 0, divided: false }; runs.len()];
    for first in (0..runs.len()).rev() {
        let best = cheapest(runs, &covers, first);
        if let Some(slot) = covers.get_mut(first) {
            *slot = best;
        }
    }
    let mut leaves = Vec::with_capacity(runs.len());
    let (mut first, mut start) = (0, 0);
    while let Some(cover) = covers.get(first) {
        leaves.push(Leaf { start, first, last: cover.last });
        first = if cover.divided { cover.last } else { cover.last + 1 };
        start = runs.get(first).map_or(u32::MAX, |run| run.start + u32::from(cover.divided));
    }
    leaves
}

fn cheapest<T: Copy + PartialEq>(runs: &[Run<T>], covers: &[Cover], first: usize) -> Cover {
    let mut best = Cover { cost: u32::MAX, last: first, divided: false };
    let mut wide: Option<T> = None;
    let mut singles = 0;
    for last in first..runs.len() {
        let Some(run) = runs.get(last) else { break };
        let single = is_single(runs, last);
        match wide {
            // The background is the first wide run's decision.
            None if !single => {
                singles = runs
                    .get(first..last)
                    .map_or(0, |before| before.iter().filter(|before| before.decision != run.decision).count());
                wide = Some(run.decision);
            }
            Some(decision) if decision == run.decision => {}
            Some(_) if !single => break,
            None if runs.get(first).is_some_and(|first| first.decision == run.decision) => {}
            _ => singles += 1,
        }
        if singles > SINGLES {
            break;
        }
        let here = u32::try_from(singles).unwrap_or(u32::MAX);
        let mut consider = |rest: usize, divided: bool| {
            let cost = here + covers.get(rest).map_or(0, |cover| cover.cost.saturating_add(1));
            if cost < best.cost {
                best = Cover { cost, last, divided };
            }
        };
        consider(last + 1, false);
        if !single && last > first && wide == Some(run.decision) {
            consider(last, true);
        }
    }
    best
}
