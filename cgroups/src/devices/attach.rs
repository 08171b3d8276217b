//! Putting device rules into force: files on v1, a program on v2.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use super::{RuleSet, program::program};
use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Errno, OFlags, bpf};

/// Writes the steps from what `devices.list` says to `target`, and checks the outcome.
///
/// In a `fresh` cgroup that is to deny what it does not allow, neither is read: the first step denies everything, whatever it has
/// inherited, and from there on the kernel either takes a rule as it is or refuses it.
pub(crate) fn write_v1(dir: &Dir, target: &RuleSet, fresh: bool) -> Result<()> {
    let known = fresh && !target.default_allow;
    let current = if known { RuleSet::everything() } else { read_v1(dir)? };
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for step in current.steps_to(target) {
        let (name, file) = match (step.allow, &mut files) {
            (false, [file, _]) => ("devices.deny", file),
            (true, [_, file]) => ("devices.allow", file),
        };
        let fail = |errno| dir.error("write", name, errno).with_value(&step.line).with_field("/devices");
        if file.is_none() {
            *file = Some(dir.open_file(name, OFlags::WRONLY).map_err(fail)?);
        }
        if let Some(file) = file {
            sys::write(file.as_fd(), step.line.as_bytes()).map_err(fail)?;
        }
    }
    if known {
        return Ok(());
    }
    // A parent that denies more than this cgroup allows makes the kernel refuse or drop rules; in allow mode the list tells.
    let now = read_v1(dir)?;
    if now.default_allow != target.default_allow || (!target.default_allow && now != *target) {
        return Err(Error::new(Kind::System, "set the device rules of")
            .with_object(dir.path())
            .with_field("/devices")
            .with_reason(
                "the kernel kept other rules than those written; a parent cgroup may deny some of these devices",
            ));
    }
    Ok(())
}

pub(crate) fn read_v1(dir: &Dir) -> Result<RuleSet> {
    let text = dir.read("devices.list")?;
    RuleSet::from_list(&text).ok_or_else(|| dir.malformed("devices.list", &text))
}

/// The program of a device filter on v2, kept for further cgroups with the same rules: to load one takes the kernel longer than all else
/// that it does for a cgroup. On v1 there is nothing to keep.
///
/// It is loaded when the first cgroup needs it, and cgroups whose rules are others get a program of their own. The cgroups that have it
/// keep it by themselves.
#[derive(Debug, Default)]
pub struct DeviceFilter(OnceLock<(RuleSet, Arc<OwnedFd>)>);

impl DeviceFilter {
    /// The program for `target`: the kept one, or else a new one.
    fn program(&self, dir: &Dir, target: &RuleSet) -> Result<Arc<OwnedFd>> {
        if let Some((_, program)) = self.0.get().filter(|(rules, _)| rules == target) {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(load(dir, target)?);
        // One of other rules that is kept already, or that another thread has loaded meanwhile, stays.
        drop(self.0.set((target.clone(), Arc::clone(&program))));
        Ok(program)
    }
}

/// What was attached before, for putting it back.
#[derive(Debug)]
pub(crate) struct Previous(Option<OwnedFd>);

/// Loads the program for `target` and attaches it, in place of the one that is there: at no moment is there no filter.
///
/// A `fresh` cgroup was made just now, so nothing can be attached to it and nobody asks.
pub(crate) fn attach_v2(dir: &Dir, target: &RuleSet, fresh: bool, filter: &DeviceFilter) -> Result<Previous> {
    let fail = |errno| {
        Error::os("attach the device filter to", errno).with_object(dir.path()).with_field("/devices").with_hint(
            "without it the container could use every device; it needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and a kernel \
             with CONFIG_CGROUP_BPF",
        )
    };
    let mut old = if fresh { Vec::new() } else { attached(dir)? };
    if old.is_empty() && target.allows_everything() {
        return Ok(Previous(None));
    }
    let new = filter.program(dir, target)?;
    if old.len() == 1 {
        let previous = old.pop();
        match bpf::attach(dir.as_fd(), new.as_fd(), previous.as_ref().map(AsFd::as_fd)) {
            Ok(()) => return Ok(Previous(previous)),
            // No BPF_F_REPLACE before kernel 5.6: attach first, then detach, so that both are in force for a moment, never none.
            Err(Errno::INVAL) => old.extend(previous),
            Err(errno) => return Err(fail(errno)),
        }
    }
    bpf::attach(dir.as_fd(), new.as_fd(), None).map_err(fail)?;
    let mut previous = None;
    for program in old {
        bpf::detach(dir.as_fd(), program.as_fd()).map_err(fail)?;
        previous = Some(program);
    }
    Ok(Previous(previous))
}

/// Attaches what was there before [`attach_v2`] in place of what is there now.
pub(crate) fn restore_v2(dir: &Dir, previous: Previous) -> Result<()> {
    let fail = |errno| Error::os("restore the device filter of", errno).with_object(dir.path()).with_field("/devices");
    let now = attached(dir)?;
    match (&previous.0, now.as_slice()) {
        (Some(previous), [one]) => bpf::attach(dir.as_fd(), previous.as_fd(), Some(one.as_fd())).map_err(fail),
        (Some(previous), _) => bpf::attach(dir.as_fd(), previous.as_fd(), None).map_err(fail),
        (None, now) => now.iter().try_for_each(|program| bpf::detach(dir.as_fd(), program.as_fd()).map_err(fail)),
    }
}

fn load(dir: &Dir, target: &RuleSet) -> Result<OwnedFd> {
    let code = program(target);
    bpf::load(&code, &mut []).or_else(|errno| {
        // Once more with the verifier's log, for the message.
        let mut log = vec![0_u8; 64 * 1024];
        bpf::load(&code, &mut log).map_err(|_| {
            let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default())
                .trim()
                .replace('\n', " | ");
            let error = Error::os("load the device filter for", errno).with_object(dir.path()).with_field("/devices");
            if text.is_empty() { error } else { error.with_reason(text) }
        })
    })
}

fn attached(dir: &Dir) -> Result<Vec<OwnedFd>> {
    let fail = |errno| Error::os("list the device filters of", errno).with_object(dir.path()).with_field("/devices");
    let mut programs = Vec::new();
    for id in bpf::attached(dir.as_fd()).map_err(fail)? {
        match bpf::by_id(id) {
            Ok(program) => programs.push(program),
            // Gone meanwhile, or labelled so that it may not be touched: a further program only denies more, so it can stay.
            Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(programs)
}
