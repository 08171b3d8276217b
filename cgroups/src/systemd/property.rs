//! One property of a unit: its name, and its value on the wire.

use std::fmt;

use super::dbus::text;
use super::dbus::value::Value;
use crate::error::{Error, Kind, Result};
use crate::resources::Resources;

/// One property of a systemd unit, from an annotation.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub(super) name: String,
    pub(super) value: Value,
}

const OOM_GROUP: &str = "memory.oom.group";
pub(super) const OOM_POLICY: &str = "OOMPolicy";

/// How annotations that are unit properties begin.
const ANNOTATION: &str = "org.systemd.property.";

impl Property {
    pub(super) fn new(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value }
    }

    /// Reads an annotation such as `org.systemd.property.TimeoutStopUSec` = `uint64 123456789`; none for any other annotation. The
    /// value is in GVariant's text format, and a name in `Sec` with a number of seconds becomes the one in `USec`, as with runc.
    ///
    /// # Errors
    /// [`Kind::InvalidResources`] for a name with other than letters, or a value that is none. The pointer is the annotation's name.
    pub fn from_annotation(key: &str, text: &str) -> Result<Option<Self>> {
        let Some(name) = key.strip_prefix(ANNOTATION) else {
            return Ok(None);
        };
        let refuse = |detail: String| {
            Error::new(Kind::InvalidResources, "read the annotation").with_object(key).with_reason(detail)
        };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(refuse(
                "the name of a property has at least three letters, and nothing but letters".to_owned(),
            ));
        }
        let value = text::parse(text).map_err(refuse)?;
        match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|last: char| last.is_ascii_lowercase())) {
            Some(stem) => {
                let microseconds =
                    microseconds(&value).ok_or_else(|| refuse("a number of seconds is wanted".to_owned()))?;
                Ok(Some(Self::new(format!("{stem}USec"), Value::Uint64(microseconds))))
            }
            None => Ok(Some(Self::new(name, value))),
        }
    }

    /// What of the limits a unit has to be started with, because systemd takes it at no other time: `OOMPolicy` for
    /// `memory.oom.group` (systemd 253; older ones leave it to the file). Add it to [`Spec::properties`](crate::Spec::properties).
    #[must_use]
    pub fn for_start(resources: &Resources<'_>) -> Option<Self> {
        let policy = match resources.unified.get(OOM_GROUP)?.trim() {
            "0" => "continue",
            "1" => "kill",
            _ => return None,
        };
        Some(Self::new(OOM_POLICY, Value::string(policy)))
    }

    /// The property's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For the wire: `(sv)`.
    pub(super) fn pair(&self) -> Value {
        Value::Struct(vec![Value::string(&self.name), Value::variant(self.value.clone())])
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        show(&self.value, f)
    }
}

fn show(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let list = |items: &[Value], f: &mut fmt::Formatter<'_>| {
        items.iter().enumerate().try_for_each(|(index, item)| {
            if index > 0 {
                f.write_str(", ")?;
            }
            show(item, f)
        })
    };
    match value {
        Value::Byte(number) => write!(f, "{number}"),
        Value::Bool(flag) => write!(f, "{flag}"),
        Value::Int16(number) => write!(f, "{number}"),
        Value::Uint16(number) => write!(f, "{number}"),
        Value::Int32(number) => write!(f, "{number}"),
        Value::Uint32(number) => write!(f, "{number}"),
        Value::Int64(number) => write!(f, "{number}"),
        Value::Uint64(u64::MAX) => f.write_str("infinity"),
        Value::Uint64(number) => write!(f, "{number}"),
        Value::Double(number) => write!(f, "{number}"),
        Value::String(text) | Value::ObjectPath(text) | Value::Signature(text) => write!(f, "{text:?}"),
        Value::Array(_, items) => {
            f.write_str("[")?;
            list(items, f)?;
            f.write_str("]")
        }
        Value::Struct(items) => {
            f.write_str("(")?;
            list(items, f)?;
            f.write_str(")")
        }
        Value::DictEntry(entry) => {
            show(&entry.0, f)?;
            f.write_str(": ")?;
            show(&entry.1, f)
        }
        Value::Variant(inner) => show(inner, f),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative and huge spans are refused before"
)]
fn microseconds(seconds: &Value) -> Option<u64> {
    const MILLION: u64 = 1_000_000;
    let whole = match seconds {
        Value::Byte(number) => u64::from(*number),
        Value::Int16(number) => u64::try_from(*number).ok()?,
        Value::Uint16(number) => u64::from(*number),
        Value::Int32(number) => u64::try_from(*number).ok()?,
        Value::Uint32(number) => u64::from(*number),
        Value::Int64(number) => u64::try_from(*number).ok()?,
        Value::Uint64(number) => *number,
        Value::Double(number) if (0.0..1e12).contains(number) => return Some((number * 1e6) as u64),
        _ => return None,
    };
    whole.checked_mul(MILLION)
}
