//! Configs from programs that build them with the `oci-spec` crate.

use oci_spec::runtime::Spec;
use serde::Deserialize;
use serde_json::Value;

use super::load::load;
use super::model::Config;
use crate::base::{Error, Kind, Result, Step};

/// The text of a config.json that says what `spec` says.
///
/// It is not quite what the crate itself writes: its names for scheduler flags are not those of runtime-spec.
///
/// # Errors
/// [`Kind::InvalidConfig`] when it is no valid config; see [`load`].
pub fn config_json(spec: &Spec) -> Result<String> {
    let text = value(spec)?.to_string();
    load(text.as_bytes())?;
    Ok(text)
}

impl TryFrom<&Spec> for Config<'static> {
    type Error = Error;

    fn try_from(spec: &Spec) -> Result<Self> {
        let value = value(spec)?;
        match Config::<'static>::deserialize(value.clone()) {
            Ok(config) => Ok(config),
            // Read from the text, the error has the field's pointer.
            Err(error) => Err(load(value.to_string().as_bytes()).err().unwrap_or_else(|| wrong(&error))),
        }
    }
}

fn wrong(error: &serde_json::Error) -> Error {
    Error::new(Kind::InvalidConfig, Step::LoadConfig).with_reason(error.to_string())
}

fn value(spec: &Spec) -> Result<Value> {
    let mut value = serde_json::to_value(spec).map_err(|error| wrong(&error))?;
    if let Some(Value::Array(flags)) = value.pointer_mut("/process/scheduler/flags") {
        for flag in flags {
            let right =
                flag.as_str().and_then(|name| name.strip_prefix("SCHED_")).filter(|name| !name.starts_with("FLAG_"));
            if let Some(right) = right {
                *flag = format!("SCHED_FLAG_{right}").into();
            }
        }
    }
    Ok(value)
}
