//! Capabilities: names, numbers, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::text::Text;
use crate::base::{Error, Kind, Result, Step};

/// The names of the capabilities without their `CAP_` prefix; the index is the number (linux/capability.h, Linux 6.18).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The number of the capability called `name` (`CAP_CHOWN`).
#[must_use]
pub fn capability_number(name: &str) -> Option<u8> {
    let name = name.strip_prefix("CAP_")?;
    CAPABILITIES.iter().position(|known| *known == name).and_then(|index| u8::try_from(index).ok())
}

/// A capability that this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

impl Capability {
    /// Its number (capabilities(7)).
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Capability {
    type Err = Error;

    /// Reads a name, with or without `CAP_`, in any case.
    fn from_str(name: &str) -> Result<Self> {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        capability_number(&full).map(Self).ok_or_else(|| {
            Error::new(Kind::InvalidArgument, Step::CheckArguments)
                .with_object(format!("capability {name:?}"))
                .with_reason("is not known")
        })
    }
}

/// A set of capabilities, and the names in it that no kernel knows.
///
/// Like runc, an unknown name is not an error but a warning: an engine may be newer than the runtime or the kernel, and a
/// capability that does not exist cannot be held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilitySet<'a> {
    /// Bit N is capability number N.
    pub mask: u64,
    /// The names that are not in [`CAPABILITIES`], with their index in the list.
    pub unknown: Vec<(usize, Text<'a>)>,
}

impl CapabilitySet<'_> {
    /// Whether the set holds the capability with this number.
    #[must_use]
    pub fn contains(&self, number: u8) -> bool {
        number < 64 && self.mask & (1 << number) != 0
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = CapabilitySet<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of capabilities")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(CapabilitySet::default())
    }

    fn visit_none<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(CapabilitySet::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
        let mut set = CapabilitySet::default();
        let mut index = 0;
        while let Some(name) = list.next_element::<Text<'de>>()? {
            match capability_number(&name) {
                Some(number) => set.mask |= 1 << number,
                None => set.unknown.push((index, name)),
            }
            index += 1;
        }
        Ok(set)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for CapabilitySet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_option(SetVisitor)
    }
}
