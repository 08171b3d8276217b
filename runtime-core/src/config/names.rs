//! The closed value sets of the config: one table per set, from the name in the file to the kernel's number.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A closed set of names: each value has exactly one name.
pub trait Named: Copy + Sized + 'static {
    /// What the set is, for messages, without an article: "namespace type".
    const WHAT: &'static str;
    /// All values with their names, in the order in which `features` prints them.
    const ALL: &'static [(&'static str, Self)];

    /// The value called `name`.
    #[must_use]
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

struct NamedVisitor<T>(std::marker::PhantomData<T>);

impl<T: Named> Visitor<'_> for NamedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        T::from_name(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &T::WHAT))
    }
}

/// Declares a closed set as an enum with its names and, where the kernel has one, its number.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal $(=> $number:expr)?,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* #[doc = concat!("`", $text, "`.")] $variant,)+
        }

        impl $name {
            /// The name in the config.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            closed_set!(@number $($variant $(=> $number)?,)+);
        }

        impl Named for $name {
            const WHAT: &'static str = $what;
            const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$variant),)+];
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.name()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(NamedVisitor(std::marker::PhantomData))
            }
        }
    };
    (@number $($variant:ident => $number:expr,)+) => {
        /// The kernel's number for it.
        #[must_use]
        pub const fn number(self) -> u64 {
            match self { $(Self::$variant => $number,)+ }
        }
    };
    (@number $($variant:ident,)+) => {};
}

closed_set! {
    /// The kinds of namespaces (`/linux/namespaces/N/type`); the number is the CLONE_NEW* flag.
    NamespaceType, "namespace type", {
        Cgroup = "cgroup" => 0x0200_0000,
        Ipc = "ipc" => 0x0800_0000,
        Mount = "mount" => 0x0002_0000,
        Network = "network" => 0x4000_0000,
        Pid = "pid" => 0x2000_0000,
        Time = "time" => 0x0000_0080,
        User = "user" => 0x1000_0000,
        Uts = "uts" => 0x0400_0000,
    }
}

closed_set! {
    /// Mount propagation (`/linux/rootfsPropagation`, and options of mounts); the number is the MS_* flags.
    Propagation, "mount propagation", {
        Private = "private" => 1 << 18,
        Rprivate = "rprivate" => (1 << 18) | (1 << 14),
        Rshared = "rshared" => (1 << 20) | (1 << 14),
        Rslave = "rslave" => (1 << 19) | (1 << 14),
        Runbindable = "runbindable" => (1 << 17) | (1 << 14),
        Shared = "shared" => 1 << 20,
        Slave = "slave" => 1 << 19,
        Unbindable = "unbindable" => 1 << 17,
    }
}

closed_set! {
    /// Resource limits (`/process/rlimits/N/type`); the number is the RLIMIT_* of asm-generic, which x86, Arm and RISC-V use.
    Rlimit, "resource limit", {
        As = "RLIMIT_AS" => 9,
        Core = "RLIMIT_CORE" => 4,
        Cpu = "RLIMIT_CPU" => 0,
        Data = "RLIMIT_DATA" => 2,
        Fsize = "RLIMIT_FSIZE" => 1,
        Locks = "RLIMIT_LOCKS" => 10,
        Memlock = "RLIMIT_MEMLOCK" => 8,
        Msgqueue = "RLIMIT_MSGQUEUE" => 12,
        Nice = "RLIMIT_NICE" => 13,
        Nofile = "RLIMIT_NOFILE" => 7,
        Nproc = "RLIMIT_NPROC" => 6,
        Rss = "RLIMIT_RSS" => 5,
        Rtprio = "RLIMIT_RTPRIO" => 14,
        Rttime = "RLIMIT_RTTIME" => 15,
        Sigpending = "RLIMIT_SIGPENDING" => 11,
        Stack = "RLIMIT_STACK" => 3,
    }
}

closed_set! {
    /// Kinds of device nodes (`/linux/devices/N/type`); the number is the S_IF* of mknod(2).
    DeviceType, "device type", {
        Block = "b" => 0o060_000,
        Char = "c" => 0o020_000,
        UnbufferedChar = "u" => 0o020_000,
        Fifo = "p" => 0o010_000,
    }
}

closed_set! {
    /// Scheduling policies (`/process/scheduler/policy`).
    SchedulerPolicy, "scheduling policy", {
        Other = "SCHED_OTHER" => 0,
        Fifo = "SCHED_FIFO" => 1,
        Rr = "SCHED_RR" => 2,
        Batch = "SCHED_BATCH" => 3,
        Iso = "SCHED_ISO" => 4,
        Idle = "SCHED_IDLE" => 5,
        Deadline = "SCHED_DEADLINE" => 6,
    }
}

closed_set! {
    /// Flags of sched_setattr(2) (`/process/scheduler/flags/N`).
    SchedulerFlag, "scheduler flag", {
        ResetOnFork = "SCHED_FLAG_RESET_ON_FORK" => 0x01,
        Reclaim = "SCHED_FLAG_RECLAIM" => 0x02,
        DlOverrun = "SCHED_FLAG_DL_OVERRUN" => 0x04,
        KeepPolicy = "SCHED_FLAG_KEEP_POLICY" => 0x08,
        KeepParams = "SCHED_FLAG_KEEP_PARAMS" => 0x10,
        UtilClampMin = "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
        UtilClampMax = "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
    }
}

closed_set! {
    /// I/O scheduling classes (`/process/ioPriority/class`), as ioprio_set(2) numbers them.
    IoPriorityClass, "I/O priority class", {
        Rt = "IOPRIO_CLASS_RT" => 1,
        Be = "IOPRIO_CLASS_BE" => 2,
        Idle = "IOPRIO_CLASS_IDLE" => 3,
    }
}

closed_set! {
    /// Execution domains (`/linux/personality/domain`), as personality(2) numbers them.
    PersonalityDomain, "execution domain", {
        Linux = "LINUX" => 0,
        Linux32 = "LINUX32" => 8,
    }
}

closed_set! {
    /// NUMA memory policies (`/linux/memoryPolicy/mode`), as set_mempolicy(2) numbers them.
    MemoryPolicyMode, "memory policy mode", {
        Default = "MPOL_DEFAULT" => 0,
        Preferred = "MPOL_PREFERRED" => 1,
        Bind = "MPOL_BIND" => 2,
        Interleave = "MPOL_INTERLEAVE" => 3,
        Local = "MPOL_LOCAL" => 4,
        PreferredMany = "MPOL_PREFERRED_MANY" => 5,
        WeightedInterleave = "MPOL_WEIGHTED_INTERLEAVE" => 6,
    }
}

closed_set! {
    /// Flags of a NUMA memory policy (`/linux/memoryPolicy/flags/N`), as set_mempolicy(2) numbers them.
    MemoryPolicyFlag, "memory policy flag", {
        NumaBalancing = "MPOL_F_NUMA_BALANCING" => 1 << 13,
        RelativeNodes = "MPOL_F_RELATIVE_NODES" => 1 << 14,
        StaticNodes = "MPOL_F_STATIC_NODES" => 1 << 15,
    }
}

closed_set! {
    /// Clocks of a time namespace (the keys of `/linux/timeOffsets`), as /proc/PID/timens_offsets names them.
    Clock, "time namespace clock", {
        Monotonic = "monotonic" => 1,
        Boottime = "boottime" => 7,
    }
}
