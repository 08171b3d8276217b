//! What stands in the shared block: the runtime writes it, the program inside the container reads it, and a few words go the other
//! way.
//!
//! Both sides are built from this file by the same compiler for the same target, so `repr(C)` is all the contract there is. The block
//! in a container's directory outlives the process that wrote it, and says so much about its format that another build refuses it
//! ([`MAGIC`], [`VERSION`], the size of a [`Record`]). Every string is followed by a NUL byte. Offsets count from the first byte.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64};

/// [`Header::magic`].
pub const MAGIC: u32 = u32::from_ne_bytes(*b"orlp");
/// [`Header::version`]: one more with each change of what this file says.
pub const VERSION: u32 = 10;

/// The name of the init's process, until it executes the command.
pub const INIT_NAME: &core::ffi::CStr = c"orlop:init";

/// A type that may be read from any bytes of its size, and written as such: no padding, and no value that is none of its own.
///
/// # Safety
/// Every bit pattern is a valid value, and there is no padding.
pub unsafe trait Plain {}

/// The bytes of plain values.
#[must_use]
pub fn bytes_of<T: Plain + Copy>(items: &[T]) -> &[u8] {
    // SAFETY: the same memory, borrowed for as long; all of it is initialised, since the type has no padding.
    unsafe { core::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) }
}

macro_rules! plain_numbers {
    ($($type:ty)*) => {
        // SAFETY: a number.
        $(unsafe impl Plain for $type {})*
    };
}

plain_numbers! { u8 u16 u32 u64 i32 AtomicU8 AtomicU64 AtomicI32 }

macro_rules! plain {
    ($($type:ty { $($field:tt: $kind:ty),* })*) => {
        $(
            const _: () = assert!(size_of::<$type>() == 0 $(+ size_of::<$kind>())*, "padding");
            const _: fn(&$type) = |value| { $(is_plain::<$kind>(&value.$field);)* };
            // SAFETY: plain fields without padding between or after them, as the two lines above have the compiler check.
            unsafe impl Plain for $type {}
        )*
    };
}

const fn is_plain<T: Plain>(_: &T) {}

plain! {
    Str { at: u32, len: u32 }
    Slot { 0: u32 }
    Param { key: Str, value: Str }
    Attr { set: u64, clear: u64, propagation: u64, userns: Slot, recursive: u32 }
    Rlimit { resource: u32, pad: u32, soft: u64, hard: u64 }
    Bpf { code: u16, jt: u8, jf: u8, k: u32 }
    Made { process: AtomicI32, forked: AtomicI32 }
}

/// A string in the block; a NUL follows its `len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Str {
    /// Offset of the first byte; 0 means "no string" (the header is there).
    pub at: u32,
    /// Bytes without the NUL.
    pub len: u32,
}

impl Str {
    /// No string at all, as opposed to an empty one.
    pub const NONE: Self = Self { at: 0, len: 0 };

    /// Whether there is a string.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.at != 0
    }
}

/// An array in the block, aligned for `T`.
#[derive(Debug)]
#[repr(C)]
pub struct List<T> {
    /// Offset of the first element.
    pub at: u32,
    /// Number of elements.
    pub len: u32,
    /// What the elements are.
    pub of: PhantomData<T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { at: 0, len: 0, of: PhantomData }
    }
}

/// A file descriptor that the runtime opens and [`Op::Receive`] takes, by its place in [`Header::slots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// No descriptor: the program opens the path itself.
    pub const NONE: Self = Self(u32::MAX);

    /// As the namespace of an [`Attr`]: the runtime maps the ids, at [`Phase::MapMount`].
    pub const RUNTIME: Self = Self(u32::MAX - 1);
}

/// A point at which the program tells the runtime where it is and waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// A new user namespace waits for its id maps.
    MapIds = 1,
    /// The process is to be put into its systemd scope.
    Attach = 2,
    /// The namespaces exist: network devices, hooks.
    Namespaces = 3,
    /// All is set up but the command; limits, state and pid file come now.
    Ready = 4,
    /// A detached mount is to get its id map, for which a user namespace lacks the right; [`Header::mount`] names it.
    MapMount = 5,
}

/// One `mount_setattr(2)` call.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Attr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// The user namespace that `MOUNT_ATTR_IDMAP` takes.
    pub userns: Slot,
    /// 1: the whole tree below as well. [`IF_ALLOWED`]: only the mount, and only where the kernel allows it.
    pub recursive: u32,
}

/// One `fsconfig(2)` parameter.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Param {
    /// Its name.
    pub key: Str,
    /// Its value; none: a flag.
    pub value: Str,
}

/// A resource limit (`setrlimit(2)`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Keeps the following words aligned.
    pub pad: u32,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// `struct sched_attr` of `sched_setattr(2)`, version 0.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct SchedAttr {
    /// Size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub period: u64,
}

/// A BPF instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Bpf {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A process that [`Op::Serve`] has made. The kernel writes both numbers, where no process of the container's pid namespace can: nobody
/// can name another in its place.
#[derive(Debug)]
#[repr(C)]
pub struct Made {
    /// Its number, or the errno, negative.
    pub process: AtomicI32,
    /// The process that goes on after its [`Op::Fork`].
    pub forked: AtomicI32,
}

/// `Attr::recursive`: a change that may be refused for want of rights, and then is not made.
pub const IF_ALLOWED: u32 = 2;

/// `Bind::flags` and `Mount::flags`: also mount what is mounted below the source.
pub const RECURSIVE: u32 = 1;
/// `Mount::flags`: the last component of the target must not be a symbolic link.
pub const NO_SYMLINK: u32 = 1 << 1;
/// `Mount::flags`: copy what the target directory holds into the new file system.
pub const COPY_UP: u32 = 1 << 2;
/// `Bind::flags`: the source is a path inside the root filesystem, as the mounts before this one have made it.
pub const SOURCE_IN_ROOT: u32 = 1 << 7;
/// `Mount::flags`: the new file system's root takes the mode of the directory that it covers.
pub const TAKE_MODE: u32 = 1 << 6;
/// `Mount::flags` and `Bind::flags`: the target may be in a procfs, as the config names it.
pub const ON_PROCFS: u32 = 1 << 10;
/// `Mount::flags`: the one parameter is all options in one string, for mount(2): one is longer than fsconfig(2) takes.
pub const BY_MOUNT: u32 = 1 << 11;
/// The longest value that fsconfig(2) takes.
pub const LONGEST_VALUE: usize = 255;
/// `Mount::flags`: the last parameter is the security label for the root of the new file system, which is no parameter of it.
pub const LABEL_ROOT: u32 = 1 << 9;
/// `Bind::flags`: a target that does not exist is left alone, without an error.
pub const OPTIONAL: u32 = 1 << 3;
/// `Bind::flags`: a source path whose last component is a symbolic link is not followed.
pub const SOURCE_NOFOLLOW: u32 = 1 << 4;
/// `Bind::flags`: a source that is a symbolic link is copied as a link instead of being mounted.
pub const COPY_SYMLINK: u32 = 1 << 5;

/// `Mount::flags` and `Bind::flags` (of a directory): the target is likely missing, so that making it comes before looking for it.
pub const MAKE_FIRST: u32 = 1 << 8;

/// What the program does, one kernel-facing action each. All paths are inside the root filesystem unless said otherwise.
#[derive(Debug, Clone, Copy)]
#[repr(C, u32)]
#[allow(missing_docs, reason = "the fields are the parameters of the call that the variant names")]
pub enum Op {
    /// Receives the descriptors of [`Header::slots`] and of [`Header::tasks`] through the socket: the runtime opens and makes them
    /// while this process is at work on what needs none.
    Receive,
    /// Writes `0` into each of [`Header::tasks`]: a single-threaded process that moves itself takes no lock that waits for RCU.
    JoinCgroups,
    /// Receives the `tasks` files of hierarchies that can be entered only now that the runtime has set their limits, and writes `0`
    /// into each.
    JoinLate,
    /// `prctl(PR_SET_DUMPABLE, 0)`, and again after each change of ids, until `execve`: whoever shares a namespace with this process, with
    /// the same ids and capabilities, could otherwise open its descriptors and trace it.
    NotDumpable,
    /// Closes every descriptor that the command does not inherit, but for the socket, the terminal and these: what leads to the host is
    /// gone before other processes of the container can see this one.
    CloseReceived { kept: [Slot; 2] },
    /// Prepares so many mounts of a procfs that shows this pid namespace, which others are in, and which this process enters last.
    OpenForeignProcfs { namespace: Slot, count: u32 },
    /// `setns(2)` by a namespace fd or a pidfd.
    Setns { fd: Slot, flags: u32 },
    /// `unshare(2)`.
    Unshare { flags: u32 },
    /// A new process with these clone flags, as a sibling, goes on; this one ends. A joined pid namespace takes effect so, without flags;
    /// there, if [`Header::vforks`], this one ends when the new one has executed the command or has ended.
    Fork { flags: u64 },
    /// A time namespace with these lines of `timens_offsets`.
    TimeOffsets { proc: Slot, lines: Str },
    /// Tells the runtime and waits for its answer.
    Sync { phase: Phase },
    /// Becomes user and group 0 of the user namespace.
    BecomeRoot { setgroups: u32 },
    /// `setsid(2)`.
    Setsid,
    /// Brings the loopback device up.
    Loopback,
    /// Enters the network namespace of [`Header::network`], whose loopback device is up; makes one where there is none.
    Network,
    /// A new session keyring (`keyctl(KEYCTL_JOIN_SESSION_KEYRING)`).
    NewKeyring,

    /// Sets the propagation of every mount of the namespace.
    Propagation { flags: u64 },
    /// Attaches the root filesystem, a detached tree or a host path, at the host path `at` of this namespace; without one it
    /// stays detached (Linux 6.15), for a container in its caller's mount namespace.
    Rootfs { tree: Slot, path: Str, at: Str, attrs: List<Attr> },
    /// Enters a root directory by its descriptor (`exec` where the container has no mount namespace of its own).
    EnterRoot { dir: Slot },
    /// Takes the current root as the root filesystem (`exec`, or a joined mount namespace).
    CurrentRoot,
    /// Fails where something was mounted upon the root since this process, or the one that has made it, came in.
    TopmostRoot,
    /// Mounts a new file system.
    Mount { target: Str, fstype: Str, source: Str, params: List<Param>, attr: u64, flags: u32, after: List<Attr> },
    /// Bind mounts a detached tree, or a host path.
    Bind { tree: Slot, source: Str, target: Str, flags: u32, attrs: List<Attr> },
    /// Changes the attributes of the mount at a path.
    SetAttr { target: Str, attrs: List<Attr>, flags: u32 },
    /// Makes a directory and its parents.
    MakeDir { path: Str, mode: u32 },
    /// Makes a device node, or leaves the same one alone.
    Device { path: Str, mode: u32, major: u32, minor: u32, uid: u32, gid: u32 },
    /// Makes a symbolic link; an existing one is left alone. `replace`: another file in its place is removed first.
    Symlink { path: Str, target: Str, replace: u32 },
    /// Has standard streams that are the host's /dev/null be the container's own.
    StdioNull,
    /// Hides a path under an empty, read-only directory or file; one that does not exist needs no hiding.
    Mask { path: Str, null: Slot },
    /// Makes a path read-only; one that does not exist needs no protection.
    Readonly { path: Str },
    /// Opens a terminal in the container's devpts, sends its master to the socket, and keeps the other end.
    Console { socket: Slot, rows: u16, cols: u16, bind: u16, plain_lines: u16, uid: u32 },
    /// Takes a mount of the old root, at a host path, out of this namespace, where the old root itself stays.
    Detach { path: Str },
    /// `pivot_root(2)` into the root filesystem, and the old root goes.
    Pivot,
    /// `chroot(2)`, for a root that cannot be pivoted; `moved` 1: after `MS_MOVE` to the namespace's root, where it is not yet.
    MoveRoot { moved: u32 },
    /// The root's propagation as the container shall see it.
    RootPropagation { flags: u64, recursive: u32 },

    /// `sethostname(2)`.
    Hostname { name: Str },
    /// `setdomainname(2)`.
    Domainname { name: Str },
    /// Writes a file below the private procfs handle.
    WriteProc { proc: Slot, path: Str, data: Str, what: ProcFile },
    /// `setrlimit(2)`.
    Rlimits { limits: List<Rlimit> },
    /// `personality(2)`.
    Personality { domain: u64 },
    /// `sched_setattr(2)`.
    Scheduler { attr: SchedAttr },
    /// `ioprio_set(2)`.
    IoPriority { value: u32 },
    /// `sched_setaffinity(2)` with this bit mask; an empty one is no call at all.
    Affinity { mask: List<u8> },
    /// `set_mempolicy(2)`.
    MemoryPolicy { mode: u32, mask: List<u64>, bits: u64 },

    /// Gives the terminal or the standard streams to the container's user.
    /// 1: who has not the right to give away what could be given away fails.
    OwnStdio { uid: u32, must: u32 },
    /// Takes the terminal as controlling terminal and standard streams.
    UseConsole,
    /// Drops every capability that is not in `keep` from the bounding set, in which no others are than those of `held`.
    CapBounding { keep: u64, held: u64 },
    /// `setgroups(2)`, `setresgid(2)`, `setresuid(2)`, `umask(2)`, keeping capabilities.
    User { uid: u32, gid: u32, groups: List<u32>, set_groups: u32, umask: u32 },
    /// `capset(2)` and the ambient set.
    Capabilities { effective: u64, permitted: u64, inheritable: u64, ambient: u64 },
    /// `chdir(2)`, and a check that it did not lead outside. Planned before and after the change of user: the first may fail for
    /// lack of rights, the second is no call when the first was one.
    Chdir { path: Str },
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivs,
    /// Finds the command among the candidates of [`Header::programs`].
    FindProgram,
    /// Sets `LISTEN_PID` in the environment, at this place, to the pid.
    ListenPid { at: Str },
    /// Waits for a byte on the FIFO that `start` writes.
    WaitStart { fifo: Slot },
    /// `sched_setaffinity(2)` as the very last thing (`execCPUAffinity.final`).
    FinalAffinity { mask: List<u8> },
    /// `seccomp(2)`. `listener` 1: wait, without a system call, until the runtime has taken the listener.
    Seccomp { filter: List<Bpf>, flags: u32, listener: u32 },
    /// Makes a process of each command that the runtime sends, until the runtime closes its end of the socket, or the container's init
    /// or the runtime, its parent, has ended. 1: what it makes is in the container's pid namespace from the start.
    Serve { init: Slot, parent: u32, enters: u32 },
    /// `execve(2)`.
    Execute,
}

/// What a write below /proc is for, so that its failure is named rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ProcFile {
    /// A sysctl.
    Sysctl,
    /// An AppArmor or SELinux label.
    Label,
    /// The `oom_score_adj` of the process.
    OomScoreAdj,
}

/// An operation and where it comes from.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// JSON pointer of the config field behind it.
    pub field: Str,
    /// What to do.
    pub op: Op,
}

impl Record {
    /// The record that stands there; `None` when it is none. Not its bytes are looked at, some of which are padding, but the three fields
    /// of which not every value is valid.
    ///
    /// # Safety
    /// The memory is readable and aligned for a record.
    #[must_use]
    pub unsafe fn read(place: NonNull<Self>) -> Option<Self> {
        // SAFETY: inside the record.
        let op = unsafe { place.cast::<u8>().add(core::mem::offset_of!(Self, op)) };
        // SAFETY: `repr(C, u32)` begins with the tag, and any bytes are a number.
        let tag = unsafe { op.cast::<u32>().read() };
        let known = match tag {
            SYNC => {
                // SAFETY: inside the operation, as the compiler has laid it out.
                let phase = unsafe { op.add(PHASE_AT) };
                // SAFETY: any byte is a number.
                let phase = unsafe { phase.read() };
                (Phase::MapIds as u8..=Phase::MapMount as u8).contains(&phase)
            }
            WRITE_PROC => {
                // SAFETY: inside the operation, as the compiler has laid it out.
                let what = unsafe { op.add(PROC_FILE_AT) };
                // SAFETY: aligned as the field is, and any bytes are a number.
                let what = unsafe { what.cast::<u32>().read() };
                what <= ProcFile::OomScoreAdj as u32
            }
            tag => tag <= LAST_OP,
        };
        // SAFETY: readable and aligned; the three enumerations in it hold values of their own, and all else is plain.
        known.then(|| unsafe { place.read() })
    }
}

/// How an [`Op`] is told from others in memory.
pub(crate) const fn tag(op: &Op) -> u32 {
    // SAFETY: `repr(C, u32)` begins with the tag.
    unsafe { *core::ptr::from_ref(op).cast() }
}

/// Where in an [`Op`] one of its fields stands.
pub(crate) const fn offset<T>(op: &Op, field: &T) -> usize {
    let (op, field): (*const u8, *const u8) = (core::ptr::from_ref(op).cast(), core::ptr::from_ref(field).cast());
    // SAFETY: both point into the same operation.
    unsafe { field.offset_from(op) as usize }
}

const A_SYNC: Op = Op::Sync { phase: Phase::MapIds };
const A_WRITE_PROC: Op = Op::WriteProc { proc: Slot::NONE, path: Str::NONE, data: Str::NONE, what: ProcFile::Sysctl };
const SYNC: u32 = tag(&A_SYNC);
const WRITE_PROC: u32 = tag(&A_WRITE_PROC);
const LAST_OP: u32 = tag(&Op::Execute);
const PHASE_AT: usize = match &A_SYNC {
    op @ Op::Sync { phase } => offset(op, phase),
    _ => 0,
};
const PROC_FILE_AT: usize = match &A_WRITE_PROC {
    op @ Op::WriteProc { what, .. } => offset(op, what),
    _ => 0,
};

/// The most descriptors that one message carries; the kernel's own bound is 253 (`SCM_MAX_FD`).
pub const DESCRIPTORS: usize = 128;
/// The byte of a message with descriptors that another one follows.
pub const MORE: u8 = 1;
/// The byte of the last one.
pub const LAST: u8 = 0;
/// The byte of a message with the descriptor of [`Header::network`], which another one follows.
pub const NETWORK: u8 = 2;

/// What is sent to [`Op::Serve`] for each command, in this order: its block, its socket to the runtime, its standard streams. The
/// message's byte is the place in [`Header::made`].
pub const COMMAND: usize = 5;
/// How many commands [`Op::Serve`] can be making at once: as many as the byte has values.
pub const PLACES: usize = 256;

/// [`Header::state`]: at work.
pub const WORKING: u32 = 0;
/// [`Header::state`]: an operation failed; the report is complete.
pub const FAILED: u32 = 1;

/// The most procfs mounts of a container that joins a pid namespace.
pub const FOREIGN_PROCFS: usize = 8;

/// Bytes of [`Header::detail`].
pub const DETAIL: usize = 256;

/// The block's first bytes.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of a [`Record`].
    pub record_size: u32,
    /// Bytes of the whole block.
    pub size: u32,
    /// Index of the operation at work. Written by the program.
    pub progress: AtomicU32,
    /// [`WORKING`] or [`FAILED`]. Written by the program, last of all.
    pub state: AtomicU32,
    /// The errno of the failure. Written by the program.
    pub errno: AtomicI32,
    /// What within the operation failed, see [`detail`]. Written by the program.
    pub reason: AtomicU32,
    /// The process that goes on after [`Op::Fork`], but for those of [`Made`]. Written by the program.
    pub forked: AtomicI32,
    /// The number of the seccomp listener in the program's fd table, plus 1. Written by the program.
    pub listener: AtomicI32,
    /// 1 once the runtime has the listener. Written by the runtime.
    pub listener_taken: AtomicU32,
    /// The number of the mount at [`Phase::MapMount`] in the program's fd table. Written by the program.
    pub mount: AtomicI32,
    /// Which candidate of `programs` was found. Written by the program.
    pub program: AtomicU32,
    /// The socket on which [`Op::Sync`] speaks.
    pub sync: i32,
    /// The first fd that the command does not inherit.
    pub first_private_fd: u32,
    /// 1: die when the runtime dies, until [`Phase::Ready`] is answered.
    pub die_with_parent: u32,
    /// 1: a joined pid namespace is entered by vfork(2), see [`Op::Fork`].
    pub vforks: u32,
    /// The operations.
    pub ops: List<Record>,
    /// File descriptors by [`Slot`], each plus 1; 0 before [`Op::Receive`]. Written by the program.
    pub slots: List<AtomicI32>,
    /// The descriptor of a network namespace that was made ahead, plus 1; 0 before [`Op::Receive`] and where there is none. Written by the
    /// program.
    pub network: AtomicI32,
    /// Those of [`Op::JoinCgroups`], likewise; places may be left over.
    pub tasks: List<AtomicI32>,
    /// The processes that [`Op::Serve`] has made, each in the place that its message named. Written by the program, and set to 0 by the
    /// runtime.
    pub made: List<Made>,
    /// Candidates for the command's path, in PATH's order.
    pub programs: List<Str>,
    /// Arguments.
    pub argv: List<Str>,
    /// Environment.
    pub envp: List<Str>,
    /// Room for `argv.len + envp.len + 2` pointers.
    pub pointers: List<AtomicU64>,
    /// What the kernel said besides an errno (the log of a file system context, the first bytes of a script). NUL-terminated.
    pub detail: [AtomicU8; DETAIL],
}

/// Values of [`Header::reason`].
pub mod detail {
    /// The operation itself.
    pub const CALL: u32 = 0;
    /// Opening or making the target.
    pub const TARGET: u32 = 1;
    /// Opening the source.
    pub const SOURCE: u32 = 2;
    /// Setting mount attributes.
    pub const ATTRIBUTES: u32 = 3;
    /// Attaching the mount.
    pub const ATTACH: u32 = 4;
    /// The target is a symbolic link where none is allowed.
    pub const SYMLINK: u32 = 5;
    /// A file system parameter: `detail` holds what the kernel said.
    pub const PARAMETER: u32 = 6;
    /// The directory lies outside the root filesystem.
    pub const OUTSIDE: u32 = 7;
    /// No candidate exists.
    pub const NOT_FOUND: u32 = 8;
    /// A candidate exists, but its interpreter does not: `detail` holds the file's first bytes.
    pub const INTERPRETER: u32 = 9;
    /// The terminal is not one of the container's devpts.
    pub const NOT_DEVPTS: u32 = 10;
    /// The fd to write is not on procfs.
    pub const NOT_PROCFS: u32 = 11;
    /// Sending the terminal's master.
    pub const SEND: u32 = 12;
    /// Copying up what the target holds.
    pub const COPY: u32 = 13;
    /// The target is in a procfs, where nothing is mounted by another name.
    pub const ON_PROCFS: u32 = 14;
    /// The target is the root filesystem's root, by a link or for a mask.
    pub const ON_ROOT: u32 = 15;
    /// The tree holds a mount namespace that is pinned, and cannot be moved.
    pub const PINNED: u32 = 16;
}
