//! Actions: their names in a profile, and the words the kernel's filters return for them.
use crate::error::{Error, Kind};
use std::fmt;

const EPERM: u32 = 1;
/// The largest errno the kernel returns; anything above is silently made this.
const MAX_ERRNO: u32 = 4095;

/// What happens to a system call: what a filter returns for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The whole process dies by SIGSYS.
    KillProcess,
    /// The calling thread dies.
    KillThread,
    /// SIGSYS is sent to the thread.
    Trap,
    /// The call returns this errno without being made.
    Errno(u16),
    /// The supervising agent decides.
    Notify,
    /// A ptrace tracer decides, and sees this message; without one the call returns ENOSYS.
    Trace(u16),
    /// The call is made and logged.
    Log,
    /// The call is made.
    Allow,
}

/// All action names of the OCI specification.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

impl Action {
    /// The filter's return value, `SECCOMP_RET_…` with its data.
    pub const fn to_raw(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Trace(message) => 0x7ff0_0000 | message as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// The meaning of a return value; as in the kernel, one it does not know kills the process.
    pub const fn from_raw(raw: u32) -> Self {
        let data = (raw & 0xffff) as u16;
        match raw & 0xffff_0000 {
            0 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Errno(data),
            0x7fc0_0000 => Self::Notify,
            0x7ff0_0000 => Self::Trace(data),
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The name in a profile; `SCMP_ACT_KILL` is the same as `SCMP_ACT_KILL_THREAD`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// Whether calls the profile's author never heard of may be made: then an unknown call needs no ENOSYS, and under
    /// a tracer only the tracer can tell.
    pub(crate) const fn is_permissive(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }

    /// Reads an action with its errno. The error has the field alone as its pointer: `action` or `errnoRet`.
    pub(crate) fn parse(name: &str, data: Option<u32>) -> Result<Self, (Kind, String)> {
        let limit = |limit: u32| {
            let value = data.unwrap_or(EPERM);
            u16::try_from(value).ok().filter(|_| value <= limit).ok_or_else(|| {
                (Kind::BadErrno, format!("{value} is not in the range 0 to {limit} that {name} can carry"))
            })
        };
        let action = match name {
            "SCMP_ACT_ALLOW" => Self::Allow,
            "SCMP_ACT_ERRNO" => return limit(MAX_ERRNO).map(Self::Errno),
            "SCMP_ACT_TRACE" => return limit(u32::from(u16::MAX)).map(Self::Trace),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_TRAP" => Self::Trap,
            "" => return Err((Kind::UnknownAction, "no action given".to_owned())),
            _ => return Err((Kind::UnknownAction, format!("unknown action {name:?}"))),
        };
        match data {
            None => Ok(action),
            Some(_) => Err((Kind::BadErrno, format!("{name} cannot carry an errno"))),
        }
    }

    /// [`Self::parse`] for the default action.
    pub(crate) fn parse_default(name: &str, data: Option<u32>) -> Result<Self, Error> {
        Self::parse(name, data).map_err(|(kind, message)| {
            let field = if kind == Kind::BadErrno { "/defaultErrnoRet" } else { "/defaultAction" };
            Error::new(kind, field, message)
        })
    }

    /// [`Self::parse`] for a rule's action.
    pub(crate) fn parse_in_rule(rule: usize, name: &str, data: Option<u32>) -> Result<Self, Error> {
        Self::parse(name, data).map_err(|(kind, message)| {
            let field = if kind == Kind::BadErrno { "/errnoRet" } else { "/action" };
            Error::in_rule(kind, rule, field, message)
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(data) | Self::Trace(data) => write!(f, "{}({data})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_lead_back() {
        for name in ACTIONS {
            let action = Action::parse(name, None).unwrap();
            assert_eq!(Action::from_raw(action.to_raw()), action);
            if name != "SCMP_ACT_KILL" {
                assert_eq!(action.name(), name);
            }
        }
        assert_eq!(Action::from_raw(0x1234_0000), Action::KillProcess);
    }

    #[test]
    fn data_is_for_those_that_have_it() {
        assert_eq!(Action::parse("SCMP_ACT_ERRNO", None), Ok(Action::Errno(1)));
        assert_eq!(Action::parse("SCMP_ACT_ERRNO", Some(38)), Ok(Action::Errno(38)));
        assert_eq!(Action::parse("SCMP_ACT_ERRNO", Some(0)), Ok(Action::Errno(0)));
        assert_eq!(Action::parse("SCMP_ACT_TRACE", Some(65535)), Ok(Action::Trace(65535)));
        for (name, data) in [
            ("SCMP_ACT_ERRNO", 4096),
            ("SCMP_ACT_TRACE", 65536),
            ("SCMP_ACT_ALLOW", 1),
            ("SCMP_ACT_KILL", 1),
            ("SCMP_ACT_NOTIFY", 0),
        ] {
            assert_eq!(Action::parse(name, Some(data)).unwrap_err().0, Kind::BadErrno, "{name} {data}");
        }
        for name in ["", "ALLOW", "SCMP_ACT_Allow", "SCMP_ACT_ALLOW "] {
            assert_eq!(Action::parse(name, None).unwrap_err().0, Kind::UnknownAction, "{name}");
        }
    }
}
