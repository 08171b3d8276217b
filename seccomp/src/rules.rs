//! From rules to a table: for every architecture and system call number, what a filter decides.
use crate::bpf::MAX_INSTRUCTIONS;
use crate::condition::{self, Condition};
use crate::error::{Error, Kind};
use crate::profile::{Profile, Rule};
use crate::tables::{self, NameIndex};
use crate::{Action, Arch, Options};

/// What is decided for one number: an answer, or the rules to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell(u16);

const GROUP: u16 = 0x8000;

impl Cell {
    /// No rule: the default action, which is leaf 0.
    pub(crate) const DEFAULT: Self = Self(0);

    pub(crate) const fn leaf(index: u16) -> Self {
        Self(index)
    }

    /// The index of the answer or, as an error, that of the group.
    pub(crate) const fn decode(self) -> Result<u16, u16> {
        if self.0 & GROUP == 0 { Ok(self.0) } else { Err(self.0 & !GROUP) }
    }
}

/// The numbers of one architecture.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) arch: Arch,
    /// The decision for `arch.base() + index`.
    pub(crate) cells: Vec<Cell>,
    /// Decisions for the few numbers far above the others (Arm's private calls).
    pub(crate) extra: Vec<(u32, Cell)>,
    /// The largest number a rule names, or comes to through `socketcall` or `ipc`.
    pub(crate) largest: Option<u32>,
}

/// All rules on one number of one architecture, as a list through [`Resolved::chains`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) wide: bool,
    pub(crate) first: u32,
    last: u32,
}

/// A way to reach a call through `socketcall` or `ipc`: the value of the first argument that selects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Socketcall(u8),
    Ipc(u8),
}

/// One rule on one call: conditions that must all hold, and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) conditions: (u32, u32),
    pub(crate) route: Option<Route>,
    pub(crate) leaf: u16,
}

/// A profile with every name turned into numbers.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The answers; the first is the default action.
    pub(crate) leaves: Vec<u32>,
    pub(crate) sections: Vec<Section>,
    pub(crate) groups: Vec<Group>,
    /// Each with the index of the next in its group.
    pub(crate) chains: Vec<(Chain, u32)>,
    pub(crate) conditions: Vec<Condition>,
    /// Names no architecture has: rule and index in its `names`.
    pub(crate) unknown: Vec<(usize, usize)>,
    pub(crate) notify: bool,
}

pub(crate) const END: u32 = u32::MAX;
/// Numbers this far above the base go to [`Section::extra`].
const DENSE: usize = 1024;

/// What a rule does, before it is known to which numbers.
struct Effect {
    leaf: u16,
    /// Ranges of [`Resolved::conditions`], one for each alternative; empty for an unconditional rule.
    first: u32,
    count: u32,
    each_alone: bool,
}

impl Resolved {
    /// Checks every rule and enters it for each of its names on each of `architectures`.
    pub(crate) fn new(
        profile: &Profile<'_>,
        architectures: &[Arch],
        default: Action,
        options: &Options,
    ) -> Result<Self, Error> {
        let sections = architectures.iter().map(|&arch| Section {
            arch,
            cells: vec![Cell::DEFAULT; DENSE],
            extra: Vec::new(),
            largest: None,
        });
        let mut resolved = Self {
            leaves: vec![default.to_raw()],
            sections: sections.collect(),
            groups: Vec::new(),
            chains: Vec::new(),
            conditions: Vec::new(),
            unknown: Vec::new(),
            notify: default == Action::Notify,
        };
        let routes = architectures.iter().any(|arch| arch.multiplexers().is_some());
        for (index, rule) in profile.syscalls.iter().enumerate() {
            let effect = resolved.effect(index, rule)?;
            for (position, name) in rule.names.iter().enumerate() {
                match tables::find(name) {
                    Some(found) => {
                        let route = if routes { route(name) } else { None };
                        resolved.enter(found, route, &effect);
                    }
                    None => resolved.unknown_name(index, position, name, options)?,
                }
            }
        }
        Ok(resolved)
    }

    fn unknown_name(&mut self, rule: usize, position: usize, name: &str, options: &Options) -> Result<(), Error> {
        let field = || format!("/names/{position}");
        if name.is_empty() {
            return Err(Error::in_rule(Kind::MissingName, rule, &field(), "a system call without a name"));
        }
        if options.fail_unknown_syscalls {
            let message = format!("unknown system call {name:?}");
            return Err(Error::in_rule(Kind::UnknownSyscall, rule, &field(), message));
        }
        self.unknown.push((rule, position));
        Ok(())
    }

    /// The index of an answer, entered if it is new.
    pub(crate) fn leaf(&mut self, answer: u32) -> Result<u16, Error> {
        let index = self.leaves.iter().position(|&known| known == answer).unwrap_or_else(|| {
            self.leaves.push(answer);
            self.leaves.len() - 1
        });
        // Each needs an instruction of its own.
        u16::try_from(index).ok().filter(|&index| usize::from(index) < MAX_INSTRUCTIONS).ok_or_else(|| {
            let message = format!("more than {MAX_INSTRUCTIONS} different answers, and so instructions");
            Error::new(Kind::TooLong, "/syscalls", message)
        })
    }

    fn effect(&mut self, index: usize, rule: &Rule<'_>) -> Result<Effect, Error> {
        let action = Action::parse_in_rule(index, &rule.action, rule.errno_ret)?;
        self.notify |= action == Action::Notify;
        let leaf = self.leaf(action.to_raw())?;
        let first = self.conditions.len();
        for (position, condition) in rule.args.iter().enumerate() {
            self.conditions.push(Condition::parse(index, position, condition)?);
        }
        let each_alone = condition::repeats_an_argument(rule);
        if !each_alone && let Some(new) = self.conditions.get_mut(first..) {
            new.sort_by_key(|condition| condition.argument);
        }
        let (first, count) = (u32::try_from(first).unwrap_or(END), u32::try_from(rule.args.len()).unwrap_or(END));
        Ok(Effect { leaf, first, count, each_alone })
    }

    /// Enters a rule for one name on every architecture.
    fn enter(&mut self, name: NameIndex, route: Option<Route>, effect: &Effect) {
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get_mut(index) else { return };
            let arch = section.arch;
            let number = tables::number(arch, name);
            let routed = route.zip(arch.multiplexers()).map(|(route, (socketcall, ipc))| {
                (route, if matches!(route, Route::Socketcall(_)) { socketcall } else { ipc })
            });
            for number in number.into_iter().chain(routed.map(|(_, number)| number)) {
                section.largest = section.largest.max(Some(number));
            }
            // A rule that says what happens anyway is none, and so does not stand in the way of others.
            if effect.leaf == 0 {
                continue;
            }
            if let Some(number) = number {
                self.enter_number(index, number, None, effect);
            }
            if let Some((route, number)) = routed {
                self.enter_number(index, number, Some(route), effect);
            }
        }
    }

    fn enter_number(&mut self, section: usize, number: u32, route: Option<Route>, effect: &Effect) {
        if effect.count == 0 {
            self.enter_chain(section, number, Chain { conditions: (effect.first, 0), route, leaf: effect.leaf });
        } else if effect.each_alone {
            for condition in effect.first..effect.first + effect.count {
                self.enter_chain(section, number, Chain { conditions: (condition, 1), route, leaf: effect.leaf });
            }
        } else {
            let conditions = (effect.first, effect.count);
            self.enter_chain(section, number, Chain { conditions, route, leaf: effect.leaf });
        }
    }

    fn enter_chain(&mut self, section: usize, number: u32, chain: Chain) {
        let unconditional = self.is_unconditional(section, &chain);
        let Some(section) = self.sections.get_mut(section) else { return };
        let wide = section.arch.compares_64_bits();
        let Some(cell) = section.cell(number) else { return };
        match (*cell, cell.decode()) {
            // The first unconditional rule on a call stands, whatever comes before or after.
            (current, Ok(_)) if current != Cell::DEFAULT => {}
            _ if unconditional => *cell = Cell::leaf(chain.leaf),
            (_, Err(group)) => {
                let new = u32::try_from(self.chains.len()).unwrap_or(END);
                self.chains.push((chain, END));
                if let Some(group) = self.groups.get_mut(usize::from(group)) {
                    let last = std::mem::replace(&mut group.last, new);
                    if let Some(previous) = usize::try_from(last).ok().and_then(|last| self.chains.get_mut(last)) {
                        previous.1 = new;
                    }
                }
            }
            (_, Ok(_)) => {
                let new = u32::try_from(self.chains.len()).unwrap_or(END);
                // 32767 numbers with conditions would need more instructions than a filter may have.
                if let Ok(group) = u16::try_from(self.groups.len()) {
                    *cell = Cell(GROUP | group);
                    self.chains.push((chain, END));
                    self.groups.push(Group { wide, first: new, last: new });
                }
            }
        }
    }

    fn is_unconditional(&self, section: usize, chain: &Chain) -> bool {
        let wide = self.sections.get(section).is_some_and(|section| section.arch.compares_64_bits());
        chain.route.is_none() && self.conditions_of(chain).iter().all(|condition| effective(condition, wide).is_none())
    }

    /// The conditions of a chain as the profile gives them, without what its route adds.
    pub(crate) fn conditions_of(&self, chain: &Chain) -> &[Condition] {
        let (first, count) = chain.conditions;
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(0);
        self.conditions.get(first..first.saturating_add(count)).unwrap_or(&[])
    }

    /// The chains of a group in the order of the profile.
    pub(crate) fn chains_of(&self, group: &Group) -> impl Iterator<Item = &Chain> {
        let mut next = group.first;
        std::iter::from_fn(move || {
            let (chain, following) = self.chains.get(usize::try_from(next).ok()?)?;
            next = *following;
            Some(chain)
        })
    }
}

/// The condition as this width tests it; `None` if it always holds.
pub(crate) fn effective(condition: &Condition, wide: bool) -> Option<Condition> {
    let condition = if wide { *condition } else { condition.narrow() };
    (!condition.is_always_true()).then_some(condition)
}

impl Section {
    fn cell(&mut self, number: u32) -> Option<&mut Cell> {
        let offset = usize::try_from(number.wrapping_sub(self.arch.base())).ok()?;
        if offset < DENSE {
            return self.cells.get_mut(offset);
        }
        let position = self.extra.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
            self.extra.push((number, Cell::DEFAULT));
            self.extra.len() - 1
        });
        self.extra.get_mut(position).map(|(_, cell)| cell)
    }
}

/// The subcodes of `socketcall` (linux/net.h) and `ipc` (linux/ipc.h).
fn route(name: &str) -> Option<Route> {
    Some(match name {
        "socket" => Route::Socketcall(1),
        "bind" => Route::Socketcall(2),
        "connect" => Route::Socketcall(3),
        "listen" => Route::Socketcall(4),
        "accept" => Route::Socketcall(5),
        "getsockname" => Route::Socketcall(6),
        "getpeername" => Route::Socketcall(7),
        "socketpair" => Route::Socketcall(8),
        "send" => Route::Socketcall(9),
        "recv" => Route::Socketcall(10),
        "sendto" => Route::Socketcall(11),
        "recvfrom" => Route::Socketcall(12),
        "shutdown" => Route::Socketcall(13),
        "setsockopt" => Route::Socketcall(14),
        "getsockopt" => Route::Socketcall(15),
        "sendmsg" => Route::Socketcall(16),
        "recvmsg" => Route::Socketcall(17),
        "accept4" => Route::Socketcall(18),
        "recvmmsg" => Route::Socketcall(19),
        "sendmmsg" => Route::Socketcall(20),
        "semop" => Route::Ipc(1),
        "semget" => Route::Ipc(2),
        "semctl" => Route::Ipc(3),
        "semtimedop" => Route::Ipc(4),
        "msgsnd" => Route::Ipc(11),
        "msgrcv" => Route::Ipc(12),
        "msgget" => Route::Ipc(13),
        "msgctl" => Route::Ipc(14),
        "shmat" => Route::Ipc(21),
        "shmdt" => Route::Ipc(22),
        "shmget" => Route::Ipc(23),
        "shmctl" => Route::Ipc(24),
        _ => return None,
    })
}
