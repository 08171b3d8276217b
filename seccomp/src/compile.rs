//! From a profile to a filter.
use crate::arch::X32_BIT;
use crate::arguments::{Block, Written};
use crate::assemble::{Assembler, Target};
use crate::bpf::{self, MAX_INSTRUCTIONS, SockFilter};
use crate::error::{Error, Kind};
use crate::profile::Profile;
use crate::rules::{Cell, Resolved, Section};
use crate::tree::{self, Run};
use crate::{ARCHITECTURES, Action, Arch, Filter, Flags, UnknownSyscall};

/// ENOSYS on the architecture this crate is built for.
#[expect(clippy::cast_possible_truncation, reason = "a small positive constant")]
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);

/// How to compile a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The architecture of the kernel the filter is for. It always belongs to the filter, listed or not.
    /// `None`, the default, is the one this code was built for.
    pub native: Option<Arch>,
    /// Refuse names no architecture has, instead of leaving them out (and listing them in the filter).
    pub fail_unknown_syscalls: bool,
    /// The flags of a profile without a `flags` list. The default is `SPEC_ALLOW`, as with runc; pass none on kernels
    /// before 4.17, which do not have it.
    pub default_flags: Flags,
    /// Answer ENOSYS, not the default action, to calls newer than all a profile names, as runc does: programs then fall
    /// back to older calls. The default is `true`.
    pub enosys_for_newer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { native: None, fail_unknown_syscalls: false, default_flags: Flags::SPEC_ALLOW, enosys_for_newer: true }
    }
}

/// Compiles a profile.
///
/// The same profile and options give the same bytes everywhere.
///
/// # Errors
/// What is wrong with the profile, with the JSON pointer of the field.
pub fn compile(profile: &Profile<'_>, options: &Options) -> Result<Filter, Error> {
    let native = options.native.or(const { Arch::native() }).ok_or_else(|| {
        Error::new(Kind::NoArchitecture, "", "this architecture has no seccomp filters that are known here")
    })?;
    let architectures = architectures(profile, native)?;
    let default = Action::parse_default(&profile.default_action, profile.default_errno_ret)?;
    let mut resolved = Resolved::new(profile, &architectures, default, options)?;
    let enosys =
        if options.enosys_for_newer && !default.is_permissive() { Some(resolved.leaf(ENOSYS.to_raw())?) } else { None };
    let foreign = resolved.leaf(Action::KillProcess.to_raw())?;
    let flags = Flags::from_profile(profile, resolved.notify, options.default_flags)?;
    check_listener(profile, &resolved)?;
    let instructions = Compiler::new(&resolved, enosys, foreign).run()?;
    Ok(Filter {
        instructions,
        flags,
        architectures,
        notify: resolved.notify,
        listener_path: profile.listener_path.as_deref().map(str::to_owned),
        listener_metadata: profile.listener_metadata.as_deref().map(str::to_owned),
        unknown_syscalls: unknown_syscalls(profile, &resolved),
    })
}

/// The native architecture, then the others without repetition in an order of their own.
fn architectures(profile: &Profile<'_>, native: Arch) -> Result<Vec<Arch>, Error> {
    let mut listed = [false; ARCHITECTURES.len()];
    for (index, name) in profile.architectures.iter().enumerate() {
        let position = Arch::from_name(name)
            .and_then(|arch| ARCHITECTURES.iter().position(|&known| known == arch))
            .and_then(|position| listed.get_mut(position))
            .ok_or_else(|| {
                let message = format!("unknown architecture {name:?}");
                Error::new(Kind::UnknownArchitecture, format!("/architectures/{index}"), message)
            })?;
        *position = true;
    }
    let others = ARCHITECTURES.into_iter().zip(listed).filter(|&(arch, listed)| listed && arch != native);
    Ok(std::iter::once(native).chain(others.map(|(arch, _)| arch)).collect())
}

fn check_listener(profile: &Profile<'_>, resolved: &Resolved) -> Result<(), Error> {
    let missing = |pointer: &str, message: &str| Err(Error::new(Kind::MissingListener, pointer, message));
    if profile.listener_path.as_deref().unwrap_or("").is_empty() {
        if resolved.notify {
            let rule = profile.syscalls.iter().position(|rule| rule.action == "SCMP_ACT_NOTIFY");
            return match rule {
                Some(rule) => {
                    Err(Error::in_rule(Kind::MissingListener, rule, "/action", "SCMP_ACT_NOTIFY needs a listenerPath"))
                }
                None => missing("/defaultAction", "SCMP_ACT_NOTIFY needs a listenerPath"),
            };
        }
        if profile.listener_metadata.is_some() {
            return missing("/listenerMetadata", "listenerMetadata without a listenerPath");
        }
    }
    Ok(())
}

fn unknown_syscalls(profile: &Profile<'_>, resolved: &Resolved) -> Vec<UnknownSyscall> {
    let unknown = resolved.unknown.iter().filter_map(|&(rule, position)| {
        let name = profile.syscalls.get(rule)?.names.get(position)?.to_string();
        Some(UnknownSyscall { name, rule, position })
    });
    unknown.collect()
}

/// What is decided for a number, with the rules on it compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Leaf(u16),
    Block(u16),
}

struct Compiler<'a> {
    resolved: &'a Resolved,
    enosys: Option<u16>,
    foreign: u16,
    blocks: Vec<(Block, Written)>,
    /// The block of each group.
    of_group: Vec<Decision>,
}

impl<'a> Compiler<'a> {
    fn new(resolved: &'a Resolved, enosys: Option<u16>, foreign: u16) -> Self {
        let mut compiler = Self { resolved, enosys, foreign, blocks: Vec::new(), of_group: Vec::new() };
        for group in &resolved.groups {
            let known = compiler.blocks.iter().position(|(block, _)| block.is_for(resolved, group));
            let index = known.unwrap_or_else(|| {
                compiler.blocks.push((Block::new(resolved, group), Written::No));
                compiler.blocks.len() - 1
            });
            let constant = compiler.blocks.get(index).and_then(|(block, _)| block.constant());
            let decision = constant.map_or_else(|| Decision::Block(u16::try_from(index).unwrap_or(0)), Decision::Leaf);
            compiler.of_group.push(decision);
        }
        compiler
    }

    fn run(mut self) -> Result<Vec<SockFilter>, Error> {
        let mut to = Assembler::new(&self.resolved.leaves);
        let mut starts = Vec::new();
        let mut byte_order = None;
        for section in self.resolved.sections.iter().rev() {
            // x32 and x86-64 have one token, and so one search over the numbers of both.
            let other = self
                .resolved
                .sections
                .iter()
                .find(|other| other.arch.audit() == section.arch.audit() && other.arch != section.arch);
            if other.is_some() && section.arch == Arch::X32 {
                continue;
            }
            let little_endian = section.arch.is_little_endian();
            if byte_order.replace(little_endian) != Some(little_endian) {
                // The halves of arguments lie elsewhere: what was written for the other byte order is no use.
                self.blocks.iter_mut().for_each(|(_, written)| *written = Written::No);
            }
            let runs = self.runs(section, other);
            let start = tree::write(&runs, &mut to, |to, decision| self.target(to, decision, little_endian));
            to.next(start);
            let load = to.push(SockFilter::new(bpf::LOAD, bpf::NUMBER));
            starts.push((section.arch.audit(), Target::Code(load)));
            Self::check_length(&to)?;
        }
        let mut otherwise = Target::Leaf(self.foreign);
        for &(audit, start) in &starts {
            otherwise = to.branch(bpf::JEQ, audit, start, otherwise);
        }
        to.next(otherwise);
        to.push(SockFilter::new(bpf::LOAD, bpf::ARCH));
        Self::check_length(&to)?;
        Ok(to.finish())
    }

    fn check_length(to: &Assembler) -> Result<(), Error> {
        if to.len() > MAX_INSTRUCTIONS {
            let message = format!("the profile needs more than the {MAX_INSTRUCTIONS} instructions a filter may have");
            return Err(Error::new(Kind::TooLong, "/syscalls", message));
        }
        Ok(())
    }

    fn target(&mut self, to: &mut Assembler, decision: Decision, little_endian: bool) -> Target {
        let index = match decision {
            Decision::Leaf(leaf) => return Target::Leaf(leaf),
            Decision::Block(index) => usize::from(index),
        };
        let Some((block, written)) = self.blocks.get_mut(index) else { return Target::Leaf(0) };
        let label = match *written {
            Written::Leaf(leaf) => return Target::Leaf(leaf),
            Written::At(label) => to.bring_near(label),
            Written::No => match block.write(to, little_endian) {
                Target::Leaf(leaf) => {
                    *written = Written::Leaf(leaf);
                    return Target::Leaf(leaf);
                }
                Target::Code(label) => label,
            },
        };
        *written = Written::At(label);
        Target::Code(label)
    }

    fn decision(&self, cell: Cell) -> Decision {
        match cell.decode() {
            Ok(leaf) => Decision::Leaf(leaf),
            Err(group) => self.of_group.get(usize::from(group)).copied().unwrap_or(Decision::Leaf(0)),
        }
    }

    /// All 32-bit numbers, divided by what is decided for them.
    fn runs(&self, section: &Section, x32: Option<&Section>) -> Vec<Run<Decision>> {
        let mut runs = Runs { runs: Vec::with_capacity(128) };
        let below = if section.arch == Arch::X32 { self.foreign } else { 0 };
        runs.push(0, Decision::Leaf(below));
        self.numbers(section, &mut runs);
        if matches!(section.arch, Arch::S390 | Arch::S390x)
            && let Some(enosys) = self.enosys
        {
            // Numbers above 255 came through call 0 once, and a call unknown to the kernel still shows as 0.
            runs.at_zero(Decision::Leaf(enosys));
        }
        match (section.arch, x32) {
            (Arch::X86_64, Some(x32)) => {
                runs.push(X32_BIT, Decision::Leaf(0));
                self.numbers(x32, &mut runs);
            }
            (Arch::X86_64, None) => {
                let newer = runs.last();
                runs.push(X32_BIT, Decision::Leaf(self.foreign));
                if self.newer(section).is_some() {
                    // Bit 31 without the x32 bit is no x32 call, only a number too large.
                    runs.push(2 * X32_BIT, newer);
                    runs.push(3 * X32_BIT, Decision::Leaf(self.foreign));
                }
                // What a tracer sets to skip a call, which must not kill.
                runs.push(u32::MAX, Decision::Leaf(0));
            }
            _ => {}
        }
        runs.runs
    }

    /// The answer for numbers above all that the profile names on this architecture, if it is ENOSYS. As with runc,
    /// naming number 0 alone says nothing about the age of a profile.
    fn newer(&self, section: &Section) -> Option<u16> {
        self.enosys.filter(|_| section.largest > Some(0))
    }

    fn numbers(&self, section: &Section, runs: &mut Runs) {
        let base = section.arch.base();
        let Some(largest) = section.largest else { return runs.push(base, Decision::Leaf(0)) };
        let count = usize::try_from(largest - base).unwrap_or(usize::MAX).saturating_add(1).min(section.cells.len());
        for (&cell, number) in section.cells.get(..count).unwrap_or(&[]).iter().zip(base..) {
            runs.push(number, self.decision(cell));
        }
        let mut extra = section.extra.clone();
        extra.sort_by_key(|&(number, _)| number);
        for (number, cell) in extra {
            runs.push(number, self.decision(cell));
            runs.push(number + 1, Decision::Leaf(0));
        }
        let newer = self.newer(section).unwrap_or(0);
        runs.push(largest + 1, Decision::Leaf(newer));
    }
}

/// Runs in order, neighbours with the same decision made one.
struct Runs {
    runs: Vec<Run<Decision>>,
}

impl Runs {
    fn push(&mut self, start: u32, decision: Decision) {
        match self.runs.last_mut() {
            Some(last) if last.start == start => {
                last.decision = decision;
                let previous = self.runs.len().checked_sub(2).and_then(|index| self.runs.get(index));
                if previous.is_some_and(|previous| previous.decision == decision) {
                    self.runs.pop();
                }
            }
            Some(last) if last.decision == decision => {}
            _ => self.runs.push(Run { start, decision }),
        }
    }

    fn last(&self) -> Decision {
        self.runs.last().map_or(Decision::Leaf(0), |run| run.decision)
    }

    /// Sets the decision for number 0.
    fn at_zero(&mut self, decision: Decision) {
        let Some(first) = self.runs.first().copied() else { return };
        if first.decision == decision {
            return;
        }
        if let Some(slot) = self.runs.first_mut() {
            slot.decision = decision;
        }
        match self.runs.get(1) {
            Some(second) if second.start == 1 && second.decision == decision => {
                self.runs.remove(1);
            }
            Some(second) if second.start == 1 => {}
            _ => self.runs.insert(1, Run { start: 1, decision: first.decision }),
        }
    }
}
