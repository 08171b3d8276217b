//! The shared block: the plan's program laid out in the memory that the init maps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use orlop_init::NotABlock;
use orlop_init::wire::{DETAIL, FAILED, Header, List, MAGIC, Made, PLACES, Record, Str, VERSION};

use crate::base::sys::{self, MappedBlock, Mapping};
use crate::base::{Error, Kind, Result, Step};
use crate::plan::Plan;
use crate::plan::program::{DATA_AT, View};

/// The block's name in the container's directory, where `start` finds what the init reports.
pub(crate) const BLOCK_FILE: &str = "init.block";

/// What errors call it.
const BLOCK: &str = "the init's shared block";

/// More than any argument list and environment that execve takes (a quarter of the stack limit at most).
const MAX_SIZE: usize = 64 << 20;

/// The mapped block of an init.
#[derive(Debug)]
pub(crate) struct InitBlock {
    mapped: MappedBlock,
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
    /// Whether it goes on by a vfork(2) where it enters a pid namespace.
    pub(crate) vforks: bool,
}

impl InitBlock {
    /// Lays `plan` out in a new file: in `dir`, or in memory only.
    pub(crate) fn write(plan: &Plan, connection: &Connection, dir: Option<BorrowedFd<'_>>) -> Result<(Self, OwnedFd)> {
        let program = &plan.program;
        let mut layout = Layout { end: DATA_AT + program.data.len() };
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            record_size: u32::try_from(size_of::<Record>()).unwrap_or(u32::MAX),
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
            vforks: u32::from(connection.vforks),
            ops: layout.place(program.ops.len()),
            slots: layout.place(plan.resources.len()),
            network: AtomicI32::new(0),
            tasks: layout.place(connection.tasks),
            made: layout.place(if plan.serves() { PLACES } else { 0 }),
            programs: layout.place(program.programs.len()),
            argv: layout.place(program.argv.len()),
            envp: layout.place(program.envp.len()),
            pointers: layout.place(program.argv.len() + program.envp.len() + 2),
            detail: [const { AtomicU8::new(0) }; DETAIL],
        };
        if layout.end > MAX_SIZE {
            return Err(Error::os(Step::Execute, libc::E2BIG).with_field("/process/env"));
        }
        let header = Header { size: u32::try_from(layout.end).unwrap_or(u32::MAX), ..header };
        let failed = |errno: Errno| Error::os(Step::Clone, errno as i32).with_object(BLOCK);
        let file = create(dir).map_err(failed)?;
        reserve(&file, layout.end).map_err(failed)?;
        let mut mapping = Mapping::new(file.as_fd(), layout.end).map_err(failed)?;
        fill(&mut mapping, plan, header).ok_or_else(|| failed(Errno::EOVERFLOW))?;
        let mapped = mapping.into_block().map_err(|_| failed(Errno::EINVAL))?;
        Ok((Self { mapped }, file))
    }

    /// Maps the block that `create` left in `dir`.
    ///
    /// # Errors
    /// [`Kind::State`] for a file that this build did not write or that is damaged.
    pub(crate) fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        let failed = |errno: Errno| Error::os(Step::ReadState, errno as i32).with_object(BLOCK_FILE);
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(dir, BLOCK_FILE, flags, Mode::empty()).map_err(failed)?;
        let size = nix::sys::stat::fstat(&file).map_err(failed)?.st_size;
        let size = usize::try_from(size).unwrap_or(0);
        let damaged = |why: String| {
            let error = Error::new(Kind::State, Step::ReadState).with_object(BLOCK_FILE).with_reason(why);
            error.with_hint("delete the container and create it again")
        };
        if !(size_of::<Header>()..=MAX_SIZE).contains(&size) {
            return Err(damaged(format!("damaged: it has {size} bytes")));
        }
        let mapped = Mapping::new(file.as_fd(), size).map_err(failed)?.into_block();
        let mapped = mapped.map_err(|reason| {
            damaged(match reason {
                NotABlock::Magic => "damaged: it does not begin as such a file does".into(),
                NotABlock::Version(version) => {
                    format!("another version of orlop wrote it: its format is {version}, this one reads {VERSION}")
                }
                NotABlock::Size => "damaged, or another build of orlop wrote it: sizes do not fit".into(),
            })
        })?;
        let block = Self { mapped };
        if (0..block.header().ops.len as usize).any(|index| block.mapped.block().record(index).is_none()) {
            return Err(damaged("damaged: it holds an operation that there is not".into()));
        }
        Ok(block)
    }

    pub(super) fn header(&self) -> &Header {
        self.mapped.block().header()
    }

    /// Whether the init has reported a failure.
    pub(crate) fn failed(&self) -> bool {
        self.header().state.load(Ordering::Acquire) == FAILED
    }

    /// The process after a fork of the init, once.
    pub(crate) fn take_forked(&self) -> Option<i32> {
        let pid = self.header().forked.swap(0, Ordering::AcqRel);
        (pid > 0).then_some(pid)
    }

    /// Where an exec server tells of the process that it was asked for with this place.
    pub(super) fn made(&self, place: u8) -> Option<&Made> {
        self.mapped.block().list(self.header().made).get(usize::from(place))
    }

    /// Whether the program is yet to load a filter with a listener.
    pub(crate) fn awaits_listener(&self) -> bool {
        if self.header().listener_taken.load(Ordering::Acquire) != 0 {
            return false;
        }
        let block = self.mapped.block();
        (0..self.header().ops.len as usize)
            .filter_map(|index| block.record(index))
            .any(|record| matches!(record.op, orlop_init::wire::Op::Seccomp { listener: 1, .. }))
    }

    /// The number of the seccomp listener in the init's table.
    pub(crate) fn listener(&self) -> Option<RawFd> {
        let number = self.header().listener.load(Ordering::Acquire);
        (number > 0).then(|| number - 1)
    }

    /// Tells the init that its listener has been taken.
    pub(crate) fn listener_taken(&self) {
        self.header().listener_taken.store(1, Ordering::Release);
    }

    /// The operation that waits for the id map of a mount, by index, and the mount's number in the init's table.
    pub(crate) fn waiting_mount(&self) -> Option<(usize, RawFd)> {
        let header = self.header();
        let number = header.mount.load(Ordering::Acquire);
        (number >= 0).then(|| (header.progress.load(Ordering::Relaxed) as usize, number))
    }

    /// The operation at work, or the one that failed.
    pub(crate) fn operation(&self) -> Option<Record> {
        self.mapped.block().record(self.header().progress.load(Ordering::Relaxed) as usize)
    }

    /// The reported errno and reason.
    pub(crate) fn report(&self) -> (i32, u32) {
        let header = self.header();
        (header.errno.load(Ordering::Relaxed), header.reason.load(Ordering::Relaxed))
    }

    /// What the kernel, or a file, said besides.
    pub(crate) fn detail(&self) -> Vec<u8> {
        text(&self.header().detail)
    }

    /// The block's strings, which stand before the operations.
    pub(crate) fn view(&self) -> View<'_> {
        let strings = (self.header().ops.at as usize).saturating_sub(DATA_AT);
        let bytes = self.mapped.block().bytes(u32::try_from(DATA_AT).unwrap_or(0), strings);
        View { bytes, bias: DATA_AT }
    }

    /// The command's first argument.
    pub(crate) fn command(&self) -> String {
        let argv = self.mapped.block().list(self.header().argv);
        self.view().text(argv.first().copied().unwrap_or(Str::NONE)).to_owned()
    }
}

/// What was left in a place for text.
pub(super) fn text(place: &[AtomicU8; DETAIL]) -> Vec<u8> {
    place.iter().map(|byte| byte.load(Ordering::Relaxed)).take_while(|byte| *byte != 0).collect()
}

/// Gives the file its size, and room: where a file system is full, a store to a mapping is no error but a SIGBUS. Zeros are
/// written and not reserved by `fallocate`, which ext4 answers with blocks of a disk that it has to take back at `start`.
fn reserve(file: &OwnedFd, size: usize) -> std::result::Result<(), Errno> {
    let zeros = vec![0; size.min(1 << 20)];
    let mut at = 0;
    while at < size {
        let part = zeros.get(..zeros.len().min(size - at)).unwrap_or(&zeros);
        match nix::sys::uio::pwrite(file, part, i64::try_from(at).unwrap_or(i64::MAX)) {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => at += written,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn create(dir: Option<BorrowedFd<'_>>) -> std::result::Result<OwnedFd, Errno> {
    match dir {
        Some(dir) => {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(dir, BLOCK_FILE, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        }
        None => sys::memfd(c"orlop-block", false),
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
