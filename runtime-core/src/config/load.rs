//! Reads a config into the model. Only if that fails, reads it a second time to say exactly where and why.

use std::cell::Cell;

use orlop_cgroups::Resources;
use serde::Deserialize;

use super::annotations::{SECCOMP_BPF_DATA, SECCOMP_RECEIVER};
use super::model::{Config, Process};
use super::schema::{self, UnknownField};
use super::watch::Watch;
use crate::base::{Error, Kind, Result, Step};

/// Reads a config from the bytes of config.json, which it borrows.
///
/// # Errors
/// [`Kind::InvalidConfig`] with the JSON pointer of the first fault: not JSON, a wrong type, a number out of range, a name that
/// is not in its set, a field that is missing or written twice.
pub fn load(bytes: &[u8]) -> Result<Config<'_>> {
    let (mut config, ignored) = read::<Config<'_>>(bytes, "Config")?;
    config.has_unknown_fields = ignored;
    if let Some(linux) = &mut config.linux
        && linux.seccomp.is_none()
        && config.annotations.get(SECCOMP_BPF_DATA).is_some()
    {
        // The filter comes with the annotation; what else there is to say of it, its agent, is said here.
        linux.seccomp = Some(Box::default());
    }
    if let Some(profile) = config.linux.as_mut().and_then(|linux| linux.seccomp.as_mut())
        && let Some(path) = config.annotations.get(SECCOMP_RECEIVER)
    {
        profile.listener_path = Some(path.clone().into_cow());
    }
    Ok(config)
}

/// Reads the `process` object of a file given to exec, which it borrows.
///
/// # Errors
/// As [`load`]; pointers are relative to the process.
pub fn load_process(bytes: &[u8]) -> Result<Process<'_>> {
    read(bytes, "Process").map(|(process, _)| process)
}

/// Reads the `resources` object of a file given to update, which it borrows.
///
/// # Errors
/// As [`load`]; pointers are relative to the resources.
pub fn load_resources(bytes: &[u8]) -> Result<Resources<'_>> {
    read(bytes, "Resources").map(|(resources, _)| resources)
}

/// The fields in a config's bytes that runtime-spec does not have; empty when the bytes are not JSON.
///
/// [`Config::has_unknown_fields`] tells without a second walk whether there are any.
#[must_use]
pub fn unknown_fields(bytes: &[u8]) -> Vec<UnknownField> {
    schema::compare(bytes, "Config").map(|report| report.unknown).unwrap_or_default()
}

/// The fields in a process file's bytes that runtime-spec does not have.
pub(crate) fn unknown_process_fields(bytes: &[u8]) -> Vec<UnknownField> {
    // The fast way knows whether there are any; only then the slow one looks which.
    let any = read::<Process<'_>>(bytes, "Process").is_ok_and(|(_, ignored)| ignored);
    if any { schema::compare(bytes, "Process").map(|report| report.unknown).unwrap_or_default() } else { Vec::new() }
}

/// Every fault of a config's bytes that keeps it from being loaded, not only the first.
pub(crate) fn faults(bytes: &[u8]) -> Vec<Error> {
    match read::<Config<'_>>(bytes, "Config") {
        Ok(_) => Vec::new(),
        Err(first) => match schema::compare(bytes, "Config") {
            Ok(report) if !report.faults.is_empty() => report.faults.into_iter().map(error).collect(),
            _ => vec![first],
        },
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], object: &'static str) -> Result<(T, bool)> {
    // One pass over all bytes for UTF-8 is cheaper than one for every string.
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::new(Kind::InvalidConfig, Step::LoadConfig).with_reason(format!("not UTF-8: wrong byte at offset {at}"))
    })?;
    let ignored = Cell::new(false);
    let mut json = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Watch::new(&mut json, &ignored)).and_then(|value| json.end().map(|()| value));
    value.map(|value| (value, ignored.get())).map_err(|fast| explain(bytes, object, &fast))
}

/// Says where and why reading failed: reads the file again, now against the schema.
#[cold]
fn explain(bytes: &[u8], object: &'static str, fast: &serde_json::Error) -> Error {
    let failed = Error::new(Kind::InvalidConfig, Step::LoadConfig);
    match schema::compare(bytes, object) {
        Err(syntax) => failed.with_reason(format!("not JSON: {syntax}")),
        Ok(report) => match report.faults.into_iter().next() {
            Some(fault) => error(fault),
            None => failed.with_reason(fast.to_string()),
        },
    }
}

fn error(fault: schema::Fault) -> Error {
    let mut error = Error::new(Kind::InvalidConfig, Step::LoadConfig).with_reason(fault.detail);
    if !fault.pointer.is_empty() {
        error = error.with_field(fault.pointer);
    }
    match fault.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
