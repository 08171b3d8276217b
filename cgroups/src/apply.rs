//! Setting limits: once for a new container, or as an update that is taken back when any part of it fails.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use crate::cgroup::Cgroup;
use crate::devices::{DeviceFilter, RuleSet, attach};
use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::resources::Resources;
use crate::sys::Errno;
use crate::writes::{Absent, Mounts, Place, Write, writes_for};

/// What a write replaced, for taking it back.
#[derive(Debug)]
enum Undo {
    File { place: Place, file: String, lines: Vec<String> },
    DevicesV1(RuleSet),
    DevicesV2(attach::Previous),
}

impl Cgroup {
    /// The files that [`apply`](Self::apply) would write, in order, device rules left out.
    ///
    /// # Errors
    /// As for [`writes`](crate::writes()).
    pub fn writes<'a>(&self, resources: &'a Resources<'_>) -> Result<Vec<Write<'a>>> {
        let v1 = |controller: &str| self.v1(controller).is_some();
        let mounts = Mounts { v1: &v1, unified: self.unified().is_some() || self.parts.is_empty() };
        let mut list = writes_for(resources, mounts)?;
        if self.record.unit.is_some() {
            crate::systemd::settle(resources, &mut list);
        }
        Ok(list)
    }

    /// Sets the limits and device rules of a new container. On failure the limits set so far stay, since a container that cannot
    /// be limited is not started and its cgroup removed.
    ///
    /// # Errors
    /// The first limit that could not be set: file, value, field, and the missing controller if that is the cause.
    pub fn apply(&self, resources: &Resources<'_>) -> Result<()> {
        self.apply_with(resources, &DeviceFilter::default())
    }

    /// As [`apply`](Self::apply), with the program that `filter` keeps where the device rules are those that it was loaded for.
    ///
    /// # Errors
    /// As there.
    pub fn apply_with(&self, resources: &Resources<'_>, filter: &DeviceFilter) -> Result<()> {
        let writes = self.writes(resources)?;
        let devices = RuleSet::from_rules(&resources.devices)?;
        if self.record.unit.is_some() {
            crate::systemd::set_properties(self, resources)?;
        }
        if !resources.devices.is_empty() {
            self.set_devices(&devices, filter, None)?;
        }
        self.write_all(&writes, None)
    }

    /// Changes limits of a running container, all of them or none: when one cannot be set, those set before are put back.
    ///
    /// Empty fields leave their limits alone; so does an empty device list. With `checkBeforeUpdate` a memory limit below what is
    /// used now is refused before anything is changed.
    ///
    /// # Errors
    /// [`Kind::BelowUsage`] for that; otherwise as for [`apply`](Self::apply). If putting back fails too, the message says so.
    pub fn update(&self, resources: &Resources<'_>) -> Result<()> {
        let writes = self.writes(resources)?;
        let devices = RuleSet::from_rules(&resources.devices)?;
        self.check_usage(resources)?;
        let mut undo = Vec::new();
        let mut outcome = Ok(());
        if !resources.devices.is_empty() {
            outcome = self.set_devices(&devices, &DeviceFilter::default(), Some(&mut undo));
        }
        outcome = outcome.and_then(|()| self.write_all(&writes, Some(&mut undo)));
        // systemd comes after the files, which can be taken back; then the files once more, since it has no property for
        // some of what it writes (a burst, say, that it resets).
        if outcome.is_ok() && self.record.unit.is_some() {
            outcome = crate::systemd::set_properties(self, resources).and_then(|()| self.write_all(&writes, None));
        }
        outcome.map_err(|error| match self.take_back(undo) {
            Ok(()) => error,
            Err(second) => error.with_hint(format!("the earlier limits could not all be restored: {second}")),
        })
    }

    /// The `checkBeforeUpdate` test.
    fn check_usage(&self, resources: &Resources<'_>) -> Result<()> {
        let Some(memory) = resources.memory.filter(|memory| memory.check_before_update == Some(true)) else {
            return Ok(());
        };
        let (part, file) = match (self.v1("memory"), self.unified()) {
            (Some(part), _) => (part, "memory.usage_in_bytes"),
            (None, Some(part)) => (part, "memory.current"),
            (None, None) => return Ok(()),
        };
        let Some(usage) = part.dir()?.read_if_there(file)?.and_then(|text| text.trim().parse::<i64>().ok()) else {
            return Ok(());
        };
        let limits = [("memory+swap", memory.swap, "/memory/swap"), ("memory", memory.limit, "/memory/limit")];
        for (what, limit, pointer) in limits {
            if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit <= usage) {
                return Err(Error::new(Kind::BelowUsage, "update the limits of")
                    .with_object(&part.path)
                    .with_field(pointer)
                    .with_reason(format!("rejecting {what} limit {limit} <= usage {usage}")));
            }
        }
        Ok(())
    }

    fn set_devices(&self, rules: &RuleSet, filter: &DeviceFilter, undo: Option<&mut Vec<Undo>>) -> Result<()> {
        // Without a cgroup of its own an ordinary user's container is bound by file permissions, as that user is.
        if self.parts.is_empty() && self.record.rootless {
            return Ok(());
        }
        // Under systemd the scope is new, but systemd may have attached a filter of its own.
        let again = self.filtered.swap(true, Ordering::Relaxed);
        let fresh = self.fresh && !again && self.record.unit.is_none();
        let outcome = if let Some(part) = self.v1("devices") {
            if let Some(undo) = undo {
                undo.push(Undo::DevicesV1(attach::read_v1(part.dir()?)?));
            }
            attach::write_v1(part.dir()?, rules, fresh && self.record.made.contains(&part.path))
        } else if let Some(part) = self.unified() {
            let fresh = fresh && self.record.made.contains(&part.path);
            attach::attach_v2(part.dir()?, rules, fresh, filter).map(|previous| {
                if let Some(undo) = undo {
                    undo.push(Undo::DevicesV2(previous));
                }
            })
        } else {
            Err(self.no_cgroup("/devices"))
        };
        match outcome {
            // An ordinary user can neither make device nodes nor load the filter; the kernel's own file permissions hold.
            Err(error) if self.record.rootless && is_denied(&error) => Ok(()),
            other => other,
        }
    }

    fn no_cgroup(&self, pointer: &str) -> Error {
        let error = Error::new(Kind::NotDelegated, "set a limit").with_field(pointer);
        if self.parts.is_empty() {
            let what = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
            error.with_reason(format!("cannot set {what} limit: container could not join or create cgroup")).with_hint(
                "nothing is delegated to this user; use the systemd driver with a user session, or have an administrator delegate a cgroup",
            )
        } else {
            error.with_kind(Kind::Unsupported).with_reason("the controller is not mounted on this host")
        }
    }

    fn place(&self, place: Place, pointer: &str) -> Result<&Dir> {
        let part = match place {
            Place::V1(controller) => self.v1(controller),
            Place::Unified => self.unified(),
        };
        part.ok_or_else(|| self.no_cgroup(pointer))?.dir()
    }

    fn write_all(&self, writes: &[Write<'_>], mut undo: Option<&mut Vec<Undo>>) -> Result<()> {
        let mut later = Vec::new();
        for write in writes {
            match self.write_one(write, undo.as_deref_mut()) {
                Err(error) if write.retry && (error.has_errno(Errno::INVAL) || error.has_errno(Errno::BUSY)) => {
                    later.push(write)
                }
                other => other?,
            }
        }
        later.into_iter().try_for_each(|write| self.write_one(write, undo.as_deref_mut()))
    }

    fn write_one(&self, write: &Write<'_>, undo: Option<&mut Vec<Undo>>) -> Result<()> {
        let dir = self.place(write.place, &write.pointer)?;
        let (mut file, mut value) = (write.file.as_ref(), Cow::Borrowed(write.value.as_ref()));
        let mut old = None;
        if undo.is_some() || write.keep_first {
            old = dir.read_if_there(file)?;
        }
        if let Some(first) = old.as_deref().and_then(|old| old.split_whitespace().next()).filter(|_| write.keep_first) {
            let rest = value.split_once(' ').map_or("", |(_, rest)| rest);
            value = format!("{first} {rest}").into();
        }
        let mut result = dir.try_write(file, &value);
        if is_missing(&result) {
            match &write.absent {
                Absent::Ignore => return Ok(()),
                Absent::Instead { file: other, value: converted } => {
                    if undo.is_some() {
                        old = dir.read_if_there(other)?;
                    }
                    (file, value) = (other, converted.as_str().into());
                    result = dir.try_write(file, &value);
                }
                Absent::Fail => {}
            }
        }
        if is_missing(&result) && write.place == Place::Unified && self.enable(write.controller())? {
            if undo.is_some() {
                old = dir.read_if_there(file)?;
            }
            result = dir.try_write(file, &value);
        }
        match result {
            Ok(()) => {
                if let (Some(undo), Some(old)) = (undo, old) {
                    let lines = restoring(file, &value, &old);
                    undo.push(Undo::File { place: write.place, file: file.to_owned(), lines });
                }
                Ok(())
            }
            Err(errno) => Err(explain(dir, write, file, &value, errno)),
        }
    }

    /// Tries to have a v2 controller handed down to this cgroup; false when there is nothing to try.
    fn enable(&self, controller: &str) -> Result<bool> {
        let (Some(mount), Some(part)) = (&self.record.unified_mount, self.unified()) else {
            return Ok(false);
        };
        crate::create::enable(mount, &part.path, |name| name == controller)?;
        Ok(true)
    }

    fn take_back(&self, undo: Vec<Undo>) -> Result<()> {
        let mut outcome = Ok(());
        // Twice: values that depend on each other may only go back once the other one has.
        let mut left = undo;
        left.reverse();
        for _ in 0..2 {
            outcome = Ok(());
            let mut failed = Vec::new();
            for step in left {
                let result = match step {
                    Undo::File { place, file, lines } => {
                        let result = lines.iter().try_for_each(|line| self.place(place, "")?.write(&file, line));
                        if result.is_err() {
                            failed.push(Undo::File { place, file, lines });
                        }
                        result
                    }
                    Undo::DevicesV1(rules) => {
                        self.v1("devices").map_or(Ok(()), |part| attach::write_v1(part.dir()?, &rules, false))
                    }
                    Undo::DevicesV2(previous) => {
                        self.unified().map_or(Ok(()), |part| attach::restore_v2(part.dir()?, previous))
                    }
                };
                outcome = outcome.and(result);
            }
            left = failed;
        }
        outcome
    }
}

fn is_denied(error: &Error) -> bool {
    error.has_errno(Errno::PERM) || error.has_errno(Errno::ACCESS) || error.has_errno(Errno::ROFS)
}

fn is_missing(result: &std::result::Result<(), Errno>) -> bool {
    matches!(result, Err(Errno::NOENT))
}

/// The lines to write to `file` to have `old` back after `new` was written. A file with a line for each device keeps the lines of
/// the others, and a device without a line before goes back to having no limit.
fn restoring(file: &str, new: &str, old: &str) -> Vec<String> {
    let key = new.split_whitespace().next().unwrap_or_default();
    let per_device =
        key.contains(':') || matches!(file, "rdma.max" | "misc.max" | "dmem.max" | "dmem.min" | "dmem.low");
    if !per_device {
        return match file {
            // An idle cgroup shows a weight that may not be written; cpu.idle brings it back.
            "cpu.weight" if old.trim() == "0" => Vec::new(),
            // The whole of memory.oom_control and io.weight is more than what may be written back.
            "memory.oom_control" => vec![crate::dir::keyed(old, "oom_kill_disable").unwrap_or(0).to_string()],
            "io.weight" | "io.bfq.weight" => {
                vec![
                    crate::dir::keyed(old, "default")
                        .map_or_else(|| old.trim().to_owned(), |weight| format!("default {weight}")),
                ]
            }
            _ => vec![old.trim().to_owned()],
        };
    }
    let before = old.lines().find(|line| line.split_whitespace().next() == Some(key)).map(str::trim);
    vec![match (before, file) {
        (Some(line), "io.max") => with_every_limit(line),
        (Some(line), _) => line.to_owned(),
        (None, "io.max") => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        (None, "io.weight" | "io.bfq.weight" | "misc.max") => format!("{key} default"),
        (None, "rdma.max") => format!("{key} hca_handle=max hca_object=max"),
        (None, _) => format!("{key} 0"),
    }]
}

/// `io.max` shows all four limits of a device, so the line can be written back as it is; older kernels leave unlimited ones out.
fn with_every_limit(line: &str) -> String {
    let mut full = line.to_owned();
    for key in ["rbps", "wbps", "riops", "wiops"] {
        if !line.split_whitespace().any(|word| word.starts_with(&format!("{key}="))) {
            full.push_str(&format!(" {key}=max"));
        }
    }
    full
}

/// Turns a refused write into an error that says why.
fn explain(dir: &Dir, write: &Write<'_>, file: &str, value: &str, errno: Errno) -> Error {
    let error = dir.error("write", file, errno).with_value(value).with_field(write.pointer.as_ref());
    let controller = write.controller();
    match (errno, write.place) {
        (Errno::NOENT | Errno::ACCESS | Errno::PERM, Place::Unified) if controller != "cgroup" => {
            let have = dir.read_if_there("cgroup.controllers").ok().flatten().unwrap_or_default();
            if have.split_whitespace().any(|name| name == controller) {
                return if errno == Errno::NOENT {
                    error
                        .with_kind(Kind::Unsupported)
                        .with_hint("this kernel has no such file; a newer one or another option may have")
                } else {
                    error.with_kind(Kind::NotDelegated)
                };
            }
            error
                .with_kind(Kind::Unsupported)
                .with_reason(format!("controller {controller:?} is not available in this cgroup (it has: {})", have.trim()))
                .with_hint("the parent cgroups do not hand it down: they have processes of their own, or it is not delegated to this user")
        }
        (Errno::NOENT, Place::V1(_)) => error.with_kind(Kind::Unsupported).with_hint("this kernel has no such file"),
        (Errno::BUSY, _) if file == "memory.limit_in_bytes" => match dir.read_if_there("memory.usage_in_bytes") {
            Ok(Some(usage)) => {
                error.with_kind(Kind::BelowUsage).with_reason(format!("{} bytes are in use", usage.trim()))
            }
            _ => error,
        },
        (Errno::INVAL | Errno::RANGE | Errno::OVERFLOW, _) => error.with_kind(Kind::InvalidResources),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_values_are_put_back_in_the_files_own_terms() {
        let table = [
            ("memory.max", "4096", "max\n", "max"),
            ("cpu.max", "100 1000", "max 100000\n", "max 100000"),
            (
                "io.max",
                "8:0 rbps=1",
                "8:0 rbps=max wbps=5 riops=max wiops=max\n",
                "8:0 rbps=max wbps=5 riops=max wiops=max",
            ),
            ("io.max", "8:0 rbps=1", "8:0 wbps=5\n8:16 rbps=7\n", "8:0 wbps=5 rbps=max riops=max wiops=max"),
            ("io.max", "8:0 rbps=1", "8:16 rbps=7\n", "8:0 rbps=max wbps=max riops=max wiops=max"),
            ("blkio.throttle.read_bps_device", "8:0 1", "", "8:0 0"),
            ("blkio.throttle.read_bps_device", "8:0 1", "8:0 77\n", "8:0 77"),
            ("io.weight", "200", "default 100\n8:0 50\n", "default 100"),
            ("io.weight", "8:0 50", "default 100\n", "8:0 default"),
            ("io.bfq.weight", "200", "100\n", "100"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "0"),
            ("rdma.max", "mlx hca_handle=1", "", "mlx hca_handle=max hca_object=max"),
            ("cpuset.cpus", "0", "\n", ""),
        ];
        assert!(restoring("cpu.weight", "59", "0\n").is_empty());
        for (file, new, old, expected) in table {
            assert_eq!(restoring(file, new, old), [expected], "{file}: {new:?} over {old:?}");
        }
    }
}
