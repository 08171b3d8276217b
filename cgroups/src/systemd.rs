//! The systemd driver: a transient scope (or slice) for each container, made and changed over the bus.

mod bus;
mod dbus;
mod properties;
pub(crate) mod property;
mod quota;

use std::time::Duration;

use self::bus::{Connection, Failure, Manager, Whose};
use self::dbus::value::Value;
use self::property::OOM_POLICY;
pub use self::property::Property;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::members::Pid;
use crate::part::Part;
use crate::record::Unit;
use crate::resources::Resources;
use crate::writes::Write;

fn connect(user: bool) -> Result<Connection> {
    Connection::open(if user { Whose::User } else { Whose::System })
}

/// The cgroup of the user's manager, for example `/user.slice/user-1000.slice/user@1000.service`.
pub(crate) fn user_manager_cgroup() -> Result<String> {
    let mut manager = connect(true)?;
    let path = manager_property(&mut manager, "ControlGroup")?;
    crate::path::clean(&path, "read the user manager's cgroup")
}

fn manager_property(manager: &mut dyn Manager, name: &str) -> Result<String> {
    let arguments = [Value::string("org.freedesktop.systemd1.Manager"), Value::string(name)];
    let body = manager.call("Properties.Get", &arguments).map_err(Failure::into_error)?;
    match body.first() {
        Some(Value::Variant(value)) => value.as_str().map(str::to_owned),
        _ => None,
    }
    .ok_or_else(|| Error::new(Kind::Bus, "ask systemd").with_reason(format!("no property {name}")))
}

/// The leading number of a version such as `257.5-1`, `v245` or `252-rc1`; 0 when there is none.
fn version_number(text: &str) -> u32 {
    let digits = text.trim_start_matches(['"', 'v']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn version(manager: &mut dyn Manager) -> Result<u32> {
    manager_property(manager, "Version").map(|text| version_number(&text))
}

/// The version of the systemd that answers: the caller's own (`user`), or the system's.
///
/// # Errors
/// [`Kind::Bus`] when none does.
pub fn systemd_version(user: bool) -> Result<u32> {
    version(&mut connect(user)?)
}

/// Refuses a cgroup that is there already with processes in it; otherwise systemd would say only that the unit exists.
pub(crate) fn check_vacant(cgroup: &Cgroup) -> Result<()> {
    if cgroup.is_frozen()? {
        return Err(crate::create::frozen(cgroup.main_path()));
    }
    match cgroup.processes()?.len() {
        0 => Ok(()),
        count => Err(crate::create::occupied(cgroup.main_path(), count)),
    }
}

/// Makes the unit around `pid` if the cgroup is new, else adds the process to it.
pub(crate) fn attach(cgroup: &mut Cgroup, pid: Pid) -> Result<()> {
    let Some(unit) = cgroup.record.unit.clone() else { return Ok(()) };
    let mut manager = connect(unit.user)?;
    let id = pid.as_raw_nonzero().get().unsigned_abs();
    if cgroup.fresh {
        let mut list = start_properties(&unit, id, cgroup.record.is_v2(), &cgroup.properties);
        if list.iter().any(|property| property.name == OOM_POLICY) && version(&mut manager)? < 253 {
            list.retain(|property| property.name != OOM_POLICY);
        }
        start(&mut manager, &unit, &list)?;
        if let Err(error) = complete(cgroup, pid) {
            // The first failure is what counts.
            stop_unit(&mut manager, &unit).ok();
            return Err(error);
        }
        cgroup.fresh = false;
        return Ok(());
    }
    let arguments = [
        Value::string(&unit.name),
        Value::string(cgroup.record.below_unit()),
        Value::Array("u".to_owned(), vec![Value::Uint32(id)]),
    ];
    manager
        .call("AttachProcessesToUnit", &arguments)
        .map_err(|failure| failure.into_error().with_object(&unit.name))?;
    cgroup.move_into(pid, |part| !part.is_unified() && !part.has("name=systemd"))
}

/// What a container's unit is started with; the same as runc's.
fn start_properties(unit: &Unit, pid: u32, v2: bool, further: &[Property]) -> Vec<Property> {
    let mut list = vec![Property::new("Description", Value::string(format!("container {}", unit.name)))];
    if unit.name.ends_with(".slice") {
        list.push(Property::new("Wants", Value::Array("s".to_owned(), vec![Value::string(&unit.slice)])));
    } else {
        list.push(Property::new("Slice", Value::string(&unit.slice)));
        list.push(Property::new("Delegate", Value::Bool(true)));
        list.push(Property::new("PIDs", Value::Array("u".to_owned(), vec![Value::Uint32(pid)])));
    }
    // Without accounting systemd would not hand the controllers down.
    let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        list.push(Property::new(name, Value::Bool(true)));
    }
    list.push(Property::new("DefaultDependencies", Value::Bool(false)));
    list.extend(further.iter().cloned());
    list
}

/// Starts the unit and waits until it runs. A failed unit of that name, left over from before, is cleared away once.
fn start(manager: &mut dyn Manager, unit: &Unit, list: &[Property]) -> Result<()> {
    let arguments = [
        Value::string(&unit.name),
        Value::string("replace"),
        Value::Array("(sv)".to_owned(), list.iter().map(Property::pair).collect()),
        Value::Array("(sa(sv))".to_owned(), Vec::new()),
    ];
    let mut again = true;
    let body = loop {
        match manager.call("StartTransientUnit", &arguments) {
            Ok(body) => break body,
            Err(failure) if failure.is("UnitExists") && again => {
                again = false;
                reset_failed(manager, &unit.name);
            }
            Err(failure) => {
                let exists = failure.is("UnitExists");
                let error = failure.into_error().with_object(&unit.name);
                return Err(if exists {
                    error
                        .with_kind(Kind::Busy)
                        .with_hint("choose another cgroupsPath, or remove the container it belongs to")
                } else {
                    error
                });
            }
        }
    };
    match finish(manager, &body)?.as_str() {
        "done" => Ok(()),
        result => {
            reset_failed(manager, &unit.name);
            Err(Error::new(Kind::Bus, "start the systemd unit")
                .with_object(&unit.name)
                .with_reason(format!("the job ended as {result:?}")))
        }
    }
}

/// Waits for the job that a call has returned.
fn finish(manager: &mut dyn Manager, body: &[Value]) -> Result<String> {
    let job = body.first().and_then(Value::as_str);
    let job = job.ok_or_else(|| Error::new(Kind::Bus, "ask systemd").with_reason("it named no job"))?;
    manager.job(job)
}

/// A failed unit keeps its name until it is reset. That there is none is the usual case, so no answer matters.
fn reset_failed(manager: &mut dyn Manager, name: &str) {
    manager.call("ResetFailedUnit", &[Value::string(name)]).ok();
}

/// What systemd leaves to do: controllers it has not handed down, v1 hierarchies it does not know, ownership.
fn complete(cgroup: &mut Cgroup, pid: Pid) -> Result<()> {
    if cgroup.record.is_v2() {
        if cgroup.record.below_unit() != "/" {
            // Before controllers are handed down: the scope, which then has no process, could not hand them to its child with one.
            crate::create::make_path(cgroup.main_path(), &mut Vec::new())?;
            cgroup.move_into(pid, Part::is_unified)?;
        }
        crate::create::adopt(cgroup)?;
    } else {
        crate::create::make_beside(cgroup)?;
        cgroup.move_into(pid, |part| !part.is_unified() && !part.has("name=systemd"))?;
    }
    if cgroup.is_frozen()? {
        return Err(Error::new(Kind::Frozen, "create the cgroup")
            .with_object(cgroup.main_path())
            .with_reason("its slice is frozen, so the container would never run")
            .with_hint("thaw the slice, or choose another"));
    }
    Ok(())
}

/// Makes `list`, the files for `resources`, what systemd itself will write for its properties.
pub(crate) fn settle(resources: &Resources<'_>, list: &mut Vec<Write<'_>>) {
    quota::settle(resources, list);
    // To systemd idleness is a weight of 0, so any other ends it; the kernel would refuse the weight before.
    let weight = list.iter().position(|write| matches!(write.file.as_ref(), "cpu.weight" | "cpu.weight.nice"));
    if let Some(weight) = weight.filter(|_| resources.idle().is_none()) {
        list.insert(weight, Write::not_idle());
    }
}

/// Tells systemd the limits that it has properties for.
pub(crate) fn set_properties(cgroup: &Cgroup, resources: &Resources<'_>) -> Result<()> {
    let Some(unit) = &cgroup.record.unit else { return Ok(()) };
    let v2 = cgroup.record.is_v2();
    // Asked without a version first: most calls need none, and some none at all.
    let needs_version = resources.cpu.is_some() || !resources.unified.is_empty();
    if !needs_version && properties::properties(resources, v2, 0)?.is_empty() {
        return Ok(());
    }
    let mut manager = connect(unit.user)?;
    let version = if needs_version { version(&mut manager)? } else { 0 };
    let list = properties::properties(resources, v2, version)?;
    if list.is_empty() {
        return Ok(());
    }
    let pairs = Value::Array("(sv)".to_owned(), list.iter().map(Property::pair).collect());
    // On v1 systemd denies every device for a moment while it writes its list, which no process should see.
    let hold = !v2 && !resources.devices.is_empty() && !cgroup.is_frozen()?;
    if hold {
        cgroup.freeze()?;
    }
    let outcome = manager
        .call("SetUnitProperties", &[Value::string(&unit.name), Value::Bool(true), pairs])
        .map(drop)
        .map_err(|failure| failure.into_error().with_object(&unit.name));
    if hold {
        cgroup.thaw()?;
    }
    outcome
}

/// Stops the unit of a cgroup without processes. systemd would kill those, in its own time.
pub(crate) fn stop(cgroup: &Cgroup, timeout: Duration) -> Result<()> {
    let Some(unit) = &cgroup.record.unit else { return Ok(()) };
    if !cgroup.wait_empty(timeout)? {
        let count = cgroup.processes()?.len();
        return Err(Error::new(Kind::Busy, "stop the systemd unit")
            .with_object(&unit.name)
            .with_reason(format!("{count} processes are in it")));
    }
    let mut manager = connect(unit.user)?;
    stop_unit(&mut manager, unit)
}

fn stop_unit(manager: &mut dyn Manager, unit: &Unit) -> Result<()> {
    let outcome = match manager.call("StopUnit", &[Value::string(&unit.name), Value::string("replace")]) {
        Ok(body) => finish(manager, &body).map(drop),
        // An empty scope goes by itself.
        Err(failure) if failure.is("NoSuchUnit") => Ok(()),
        Err(failure) => Err(failure.into_error().with_object(&unit.name)),
    };
    reset_failed(manager, &unit.name);
    outcome
}

/// The readers and makers of this driver, for the test that gives them garbage.
#[cfg(any(test, fuzzing))]
pub(crate) fn properties_of(resources: &Resources<'_>) -> Result<Vec<Property>> {
    properties::properties(resources, true, 257)
}

#[cfg(any(test, fuzzing))]
pub(crate) fn decode_bus(bytes: &[u8]) {
    bus::decode_all(bytes);
}

#[cfg(test)]
mod tests;
