//! The arena: the plan's program laid out in the memory that the init maps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use orlop_init::wire::{DETAIL, FAILED, Header, List, Record, Str};

use crate::base::sys::{self, Mapping};
use crate::base::{Error, Kind, Result, Step};
use crate::plan::Plan;
use crate::plan::program::{DATA_AT, View};

/// The arena's name in the container's directory, where `start` finds what the init reports.
pub(crate) const ARENA_FILE: &str = "init.arena";

/// More than any argument list and environment that execve takes (a quarter of the stack limit at most).
const MAX_SIZE: usize = 64 << 20;

/// The mapped arena of an init.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: Mapping,
}

/// Assigns places one after the other.
struct Layout {
    end: usize,
}

impl Layout {
    fn place<T>(&mut self, count: usize) -> List<T> {
        let at = self.end.next_multiple_of(align_of::<T>());
        self.end = at + count * size_of::<T>();
        List {
            at: u32::try_from(at).unwrap_or(u32::MAX),
            len: u32::try_from(count).unwrap_or(u32::MAX),
            of: std::marker::PhantomData,
        }
    }
}

/// How the init and the runtime are connected.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The init's end of the socket.
    pub(crate) sync: RawFd,
    /// How many hierarchies of v1 it enters at most.
    pub(crate) tasks: usize,
    /// Whether it dies with the runtime.
    pub(crate) die_with_parent: bool,
}

impl Arena {
    /// Lays `plan` out in a new file: in `dir`, or in memory only.
    pub(crate) fn write(plan: &Plan, connection: &Connection, dir: Option<BorrowedFd<'_>>) -> Result<(Self, OwnedFd)> {
        let program = &plan.program;
        let mut layout = Layout { end: DATA_AT + program.data.len() };
        let header = Header {
            size: 0,
            progress: AtomicU32::new(0),
            state: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            reason: AtomicU32::new(0),
            forked: AtomicI32::new(0),
            listener: AtomicI32::new(0),
            listener_taken: AtomicU32::new(0),
            mount: AtomicI32::new(-1),
            program: AtomicU32::new(0),
            sync: connection.sync,
            first_private_fd: plan.first_private_fd,
            die_with_parent: u32::from(connection.die_with_parent),
            ops: layout.place(program.ops.len()),
            slots: layout.place(plan.resources.len()),
            tasks: layout.place(connection.tasks),
            programs: layout.place(program.programs.len()),
            argv: layout.place(program.argv.len()),
            envp: layout.place(program.envp.len()),
            pointers: layout.place(program.argv.len() + program.envp.len() + 2),
            detail: [0; DETAIL],
        };
        if layout.end > MAX_SIZE {
            return Err(Error::os(Step::Execute, libc::E2BIG).field("/process/env"));
        }
        let header = Header { size: u32::try_from(layout.end).unwrap_or(u32::MAX), ..header };
        let failed = |errno: Errno| Error::os(Step::Clone, errno as i32).object("the init's arena");
        let file = create(dir).map_err(failed)?;
        let length = i64::try_from(layout.end).unwrap_or(i64::MAX);
        nix::unistd::ftruncate(&file, length).map_err(failed)?;
        let mut mapping = Mapping::new(file.as_fd(), layout.end).map_err(failed)?;
        fill(&mut mapping, plan, header).ok_or_else(|| failed(Errno::EOVERFLOW))?;
        Ok((Self { mapping }, file))
    }

    /// Maps the arena that `create` left in `dir`.
    pub(crate) fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        let failed = |errno: Errno| Error::os(Step::ReadState, errno as i32).object(ARENA_FILE);
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(dir, ARENA_FILE, flags, Mode::empty()).map_err(failed)?;
        let size = nix::sys::stat::fstat(&file).map_err(failed)?.st_size;
        let size = usize::try_from(size).unwrap_or(0);
        if size < size_of::<Header>() {
            return Err(Error::new(Kind::State, Step::ReadState).object(ARENA_FILE).detail("is too short"));
        }
        Ok(Self { mapping: Mapping::new(file.as_fd(), size).map_err(failed)? })
    }

    fn header(&self) -> Option<&Header> {
        self.mapping.header()
    }

    /// Whether the init has reported a failure.
    pub(crate) fn failed(&self) -> bool {
        self.header().is_some_and(|header| header.state.load(Ordering::Acquire) == FAILED)
    }

    /// The process after a fork of the init, once.
    pub(crate) fn take_forked(&self) -> Option<i32> {
        let pid = self.header()?.forked.swap(0, Ordering::AcqRel);
        (pid > 0).then_some(pid)
    }

    /// Whether the program is yet to load a filter with a listener.
    pub(crate) fn awaits_listener(&self) -> bool {
        let Some(header) = self.header().filter(|header| header.listener_taken.load(Ordering::Acquire) == 0) else {
            return false;
        };
        let places = (0..header.ops.len as usize).map(|index| header.ops.at as usize + index * size_of::<Record>());
        places
            .filter_map(|at| self.mapping.record(at))
            .any(|record| matches!(record.op, orlop_init::wire::Op::Seccomp { listener: 1, .. }))
    }

    /// The number of the seccomp listener in the init's table.
    pub(crate) fn listener(&self) -> Option<RawFd> {
        let number = self.header()?.listener.load(Ordering::Acquire);
        (number > 0).then(|| number - 1)
    }

    /// Tells the init that its listener has been taken.
    pub(crate) fn listener_taken(&self) {
        if let Some(header) = self.header() {
            header.listener_taken.store(1, Ordering::Release);
        }
    }

    /// The operation that waits for the id map of a mount, by index, and the mount's number in the init's table.
    pub(crate) fn waiting_mount(&self) -> Option<(usize, RawFd)> {
        let header = self.header()?;
        let number = header.mount.load(Ordering::Acquire);
        (number >= 0).then(|| (header.progress.load(Ordering::Relaxed) as usize, number))
    }

    /// The operation at work, or the one that failed.
    pub(crate) fn operation(&self) -> Option<Record> {
        let header = self.header()?;
        let index = header.progress.load(Ordering::Relaxed) as usize;
        if index >= header.ops.len as usize {
            return None;
        }
        self.mapping.record(header.ops.at as usize + index * size_of::<Record>())
    }

    /// Carries operations that refer to the arena out on a new file system of this process's; `detail` is what [`Self::detail`] is for
    /// the init's.
    pub(crate) fn assemble(
        &self,
        operations: &[Record],
        slots: &[AtomicI32],
        detail: &mut [u8; DETAIL],
    ) -> std::result::Result<OwnedFd, orlop_init::Unmade> {
        self.mapping.assemble(operations, slots, detail)
    }

    /// The reported errno and reason.
    pub(crate) fn report(&self) -> (i32, u32) {
        self.header()
            .map_or((0, 0), |header| (header.errno.load(Ordering::Relaxed), header.reason.load(Ordering::Relaxed)))
    }

    /// What the kernel, or a file, said besides.
    pub(crate) fn detail(&self) -> Vec<u8> {
        self.header()
            .map_or_else(Vec::new, |header| header.detail.iter().copied().take_while(|byte| *byte != 0).collect())
    }

    /// The arena's strings.
    pub(crate) fn view(&self) -> View<'_> {
        View { bytes: self.mapping.bytes(), bias: 0 }
    }

    /// The command's first argument.
    pub(crate) fn command(&self) -> String {
        let Some(header) = self.header() else { return String::new() };
        let place = self.view().bytes(header.argv.at, size_of::<Str>());
        match place {
            [a, b, c, d, e, f, g, h] => {
                let text = Str { at: u32::from_ne_bytes([*a, *b, *c, *d]), len: u32::from_ne_bytes([*e, *f, *g, *h]) };
                self.view().text(text).to_owned()
            }
            _ => String::new(),
        }
    }
}

fn create(dir: Option<BorrowedFd<'_>>) -> std::result::Result<OwnedFd, Errno> {
    match dir {
        Some(dir) => {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(dir, ARENA_FILE, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        }
        None => sys::memfd(c"orlop-arena", false),
    }
}

fn fill(mapping: &mut Mapping, plan: &Plan, header: Header) -> Option<()> {
    let program = &plan.program;
    mapping.put(DATA_AT, &program.data)?;
    mapping.put(header.ops.at as usize, &program.ops)?;
    mapping.put(header.programs.at as usize, &program.programs)?;
    mapping.put(header.argv.at as usize, &program.argv)?;
    mapping.put(header.envp.at as usize, &program.envp)?;
    mapping.put_header(header)
}
