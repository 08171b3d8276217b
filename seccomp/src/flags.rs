//! The flags of `seccomp(2)`.
use crate::error::{Error, Kind};
use crate::profile::Profile;
use std::fmt;
use std::ops::BitOr;

/// A set of `SECCOMP_FILTER_FLAG_…`, with the kernel's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

/// All flags a profile may list.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Bring all threads of the process under the filter. Linux 3.17.
    pub const TSYNC: Self = Self(1);
    /// Log every answer but ALLOW. Linux 4.14.
    pub const LOG: Self = Self(1 << 1);
    /// Leave Speculative Store Bypass as it is, instead of mitigating it. Linux 4.17.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// Return a listener for `SCMP_ACT_NOTIFY`. Linux 5.0.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// With `TSYNC`, fail with ESRCH instead of returning a thread's id. Linux 5.7.
    pub const TSYNC_ESRCH: Self = Self(1 << 4);
    /// Only fatal signals interrupt a call that the agent has received. Linux 5.19.
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// The kernel's value.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set without `other`: what remains to try when the kernel does not know a flag.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The flag a profile calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TSYNC, Self::LOG, Self::SPEC_ALLOW, Self::WAIT_KILLABLE_RECV]
            .into_iter()
            .zip(FLAGS)
            .find_map(|(flag, known)| (known == name).then_some(flag))
    }

    /// The names of the flags in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const ALL: [(Flags, &str); 6] = [
            (Flags::TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"),
            (Flags::LOG, "SECCOMP_FILTER_FLAG_LOG"),
            (Flags::SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
            (Flags::NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
            (Flags::TSYNC_ESRCH, "SECCOMP_FILTER_FLAG_TSYNC_ESRCH"),
            (Flags::WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        ];
        ALL.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }

    /// The flags to load a profile's filter with.
    pub(crate) fn from_profile(profile: &Profile<'_>, notify: bool, default: Self) -> Result<Self, Error> {
        let mut flags = if profile.flags.is_none() { default } else { Self::NONE };
        for (index, name) in profile.flags.iter().flatten().enumerate() {
            let pointer = || format!("/flags/{index}");
            let flag = Self::from_name(name)
                .ok_or_else(|| Error::new(Kind::UnknownFlag, pointer(), format!("unknown flag {name:?}")))?;
            if flag == Self::WAIT_KILLABLE_RECV && !notify {
                let message = format!("{name} needs a rule with SCMP_ACT_NOTIFY");
                return Err(Error::new(Kind::UselessFlag, pointer(), message));
            }
            flags = flags | flag;
        }
        if notify {
            flags = flags | Self::NEW_LISTENER;
            if flags.contains(Self::TSYNC) {
                // Both want the return value; the kernel takes the two only if TSYNC leaves it to the listener.
                flags = flags | Self::TSYNC_ESRCH;
            }
        }
        Ok(flags)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str("|")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
