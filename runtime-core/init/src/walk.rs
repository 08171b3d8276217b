//! The walk: one operation after the other, and a report by number when one fails.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::abi::{CLONE_PARENT, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS};
use crate::place::Parent;
use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::{self, FAILED, Header, List, Op, Record, Slot, Str, detail};
use crate::{identity, join};

/// Why an operation failed: the errno, and what within the operation it befell (see [`detail`]).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) reason: u32,
}

impl Failure {
    pub(crate) fn because(errno: Errno, reason: u32) -> Self {
        Self { errno, reason }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, reason: detail::CALL }
    }
}

/// Says what within an operation a system call was for.
pub(crate) trait Because<T> {
    fn because(self, reason: u32) -> Result<T, Failure>;
}

impl<T> Because<T> for sys::Result<T> {
    fn because(self, reason: u32) -> Result<T, Failure> {
        self.map_err(|errno| Failure { errno, reason })
    }
}

/// The mapped arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arena {
    base: usize,
    size: usize,
    /// Where descriptors are found by their slots.
    slots: &'static [AtomicI32],
    /// Where text for the runtime goes.
    detail: usize,
}

impl Arena {
    /// An arena at `base`, whose first bytes are a header.
    pub(crate) fn at(base: usize, size: usize) -> Self {
        let mut arena = Self { base, size, slots: &[], detail: base + core::mem::offset_of!(Header, detail) };
        arena.slots = arena.list(arena.header().slots);
        arena
    }

    /// With descriptors and a place for text of the caller's.
    pub(crate) fn with(self, slots: &'static [AtomicI32], detail: usize) -> Self {
        Self { slots, detail, ..self }
    }

    fn map(fd: Fd) -> sys::Result<Self> {
        let mut first = [0u8; 4];
        sys::read(fd, &mut first, 4)?;
        let size = u32::from_ne_bytes(first) as usize;
        let base = sys::map_shared(fd, size)?;
        sys::close(fd)?;
        Ok(Self::at(base, size))
    }

    pub(crate) fn header(&self) -> &'static Header {
        // SAFETY: the mapping begins with a Header that the runtime wrote; it is never unmapped, and its words that either side
        // changes are atomics.
        unsafe { &*(self.base as *const Header) }
    }

    /// Whether `count` elements of `size` bytes at `at` lie inside; everything that is read passes here.
    fn inside(&self, at: u32, count: usize, size: usize) -> bool {
        count.checked_mul(size).and_then(|bytes| bytes.checked_add(at as usize)).is_some_and(|end| end <= self.size)
    }

    pub(crate) fn list<T>(&self, list: List<T>) -> &'static [T] {
        if list.len == 0 || !self.inside(list.at, list.len as usize, size_of::<T>()) {
            return &[];
        }
        // SAFETY: inside the mapping, aligned by the writer, of a plain type, and never changed after it was written.
        unsafe { core::slice::from_raw_parts((self.base + list.at as usize) as *const T, list.len as usize) }
    }

    pub(crate) fn str(&self, text: Str) -> CStr<'static> {
        if !text.is_some() {
            return CStr::EMPTY;
        }
        CStr::new(self.list(List { at: text.at, len: text.len + 1, of: PhantomData }))
    }

    /// The bytes of a string that this program changes.
    pub(crate) fn bytes_mut(&self, text: Str) -> &'static [identity::Cell] {
        self.list(List { at: text.at, len: text.len, of: PhantomData })
    }

    pub(crate) fn slot(&self, slot: Slot) -> Fd {
        Fd(self.slots.get(slot.0 as usize).map_or(-1, |number| number.load(Ordering::Relaxed) - 1))
    }

    /// Leaves text for the runtime.
    pub(crate) fn report_detail(&self, text: &[u8]) {
        let length = text.len().min(wire::DETAIL - 1);
        // SAFETY: `detail` has DETAIL bytes, which nobody reads before the report is complete.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), self.detail as *mut u8, length) };
    }
}

/// What the walk has made so far.
#[derive(Debug)]
pub(crate) struct Walker {
    pub(crate) arena: Arena,
    /// The root filesystem.
    pub(crate) root: Fd,
    /// The one directory in which everything is made: the root of a file system that is put together before it is attached.
    pub(crate) assembling: Option<Fd>,
    /// The container's end of its terminal.
    pub(crate) console: Option<Fd>,
    /// The directory in which the operation before this one made something.
    pub(crate) parent: Option<Parent>,
    /// An attached empty directory, for masks.
    pub(crate) empty_dir: Option<Fd>,
    /// An attached null device, for masks.
    pub(crate) null: Option<Fd>,
    /// Contexts for procfs mounts that show a joined pid namespace.
    pub(crate) foreign_procfs: [Option<Fd>; wire::FOREIGN_PROCFS],
    /// Not dumpable until the command is executed.
    pub(crate) hidden: bool,
    /// 0: the working directory is still to be entered; 1: refused once, try again as the container's user; 2: done.
    pub(crate) cwd_tries: u8,
}

/// Walks the arena behind `fd`. Ends by executing the container's command, or with status 1 after a report.
pub fn run(fd: i32) -> ! {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    const CLASSIC_TABLE: i32 = 4096;
    let Ok(arena) = Arena::map(Fd(fd)) else { sys::exit(1) };
    let header = arena.header();
    let operations = arena.list(header.ops);
    let mut walker = Walker::new(arena);
    let begin = || -> Result<(), Failure> {
        match sys::close_range(header.first_private_fd as usize, u32::MAX as usize, CLOSE_RANGE_CLOEXEC) {
            // Before Linux 5.11: one by one, as far as a table usually goes.
            Err(Errno(crate::abi::EINVAL)) => (header.first_private_fd as i32..CLASSIC_TABLE).for_each(close_on_exec),
            other => drop(other?),
        }
        walker.die_with_parent()?;
        sys::prctl(PR_SET_NAME, CStr::new(crate::wire::INIT_NAME.to_bytes_with_nul()).arg(), 0)?;
        // Modes are given exactly.
        sys::umask(0)?;
        sys::reset_signals();
        Ok(())
    };
    if let Err(failure) = begin() {
        fail(arena, failure);
    }
    for (index, record) in operations.iter().enumerate() {
        header.progress.store(index as u32, Ordering::Relaxed);
        if let Err(failure) = walker.step(record) {
            fail(arena, failure);
        }
    }
    sys::exit(1)
}

fn close_on_exec(fd: i32) {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    // What is not open needs no flag.
    let marked = sys::fcntl(Fd(fd), F_SETFD, FD_CLOEXEC);
    debug_assert!(matches!(marked, Ok(_) | Err(_)));
}

/// Closes all descriptors from `first` to `last`.
fn close_all(first: usize, last: usize) -> Result<(), Failure> {
    done(sys::close_range(first, last, 0))
}

fn fail(arena: Arena, failure: Failure) -> ! {
    let header = arena.header();
    header.errno.store(failure.errno.0, Ordering::Relaxed);
    header.reason.store(failure.reason, Ordering::Relaxed);
    header.state.store(FAILED, Ordering::Release);
    sys::exit(1)
}

impl Walker {
    pub(crate) fn new(arena: Arena) -> Self {
        Self {
            arena,
            root: Fd(-1),
            assembling: None,
            console: None,
            parent: None,
            empty_dir: None,
            null: None,
            foreign_procfs: [None; wire::FOREIGN_PROCFS],
            hidden: false,
            cwd_tries: 0,
        }
    }

    fn step(&mut self, record: &Record) -> Result<(), Failure> {
        let arena = self.arena;
        match record.op {
            Op::Receive { slots } => self.receive(arena.list(slots), true),
            Op::JoinCgroups => self.join_cgroups(),
            Op::JoinLate => self.join_late(),
            Op::NotDumpable => {
                self.hidden = true;
                self.stay_hidden()
            }
            Op::OpenForeignProcfs { namespace, count } => self.open_foreign_procfs(namespace, count),
            Op::CloseReceived { fifo } => self.close_received(arena.slot(fifo)),
            Op::Setns { fd, flags } => {
                sys::setns(arena.slot(fd), flags)?;
                self.stay_hidden()
            }
            Op::Unshare { flags } => {
                sys::unshare(flags as usize)?;
                self.stay_hidden()
            }
            Op::Fork { flags } => self.fork(flags | CLONE_PARENT),
            Op::TimeOffsets { proc, lines } => self.time_offsets(arena.slot(proc), lines),
            Op::Sync { phase } => self.sync(phase),
            Op::BecomeRoot { setgroups } => self.become_root(setgroups == 1),
            Op::Setsid => done(sys::setsid()),
            Op::Loopback => join::loopback(),
            Op::NewKeyring => done(sys::join_session_keyring(1, 0)),
            Op::Hostname { name } => {
                let name = arena.str(name).bytes();
                done(sys::sethostname(name, name.len()))
            }
            Op::Domainname { name } => {
                let name = arena.str(name).bytes();
                done(sys::setdomainname(name, name.len()))
            }
            Op::WriteProc { proc, path, data, .. } => {
                join::write_proc(arena.slot(proc), arena.str(path), arena.str(data).bytes())
            }
            _ => self.step_mounts(record),
        }
    }

    fn step_mounts(&mut self, record: &Record) -> Result<(), Failure> {
        let arena = self.arena;
        if !matches!(
            record.op,
            Op::Mount { .. } | Op::Attach { .. } | Op::Bind { .. } | Op::Device { .. } | Op::Symlink { .. }
        ) {
            self.forget_parent()?;
        }
        match record.op {
            Op::Propagation { flags } => Self::root_propagation(flags, true),
            Op::Rootfs { tree, path, at, attrs } => self.rootfs(tree, path, at, attrs),
            Op::CurrentRoot => {
                self.root = sys::openat2(Fd::CWD, CStr::new(b"/\0"), crate::abi::O_PATH, 0, 0)?;
                Ok(())
            }
            Op::Mount { target, fstype, source, params, attr, flags, after } => {
                self.mount(target, fstype, source, params, attr, flags, after)
            }
            Op::Attach { tree, target, flags, .. } => self.attach(tree, target, flags),
            Op::Bind { tree, source, target, flags, attrs } => self.bind(tree, source, target, flags, attrs),
            Op::SetAttr { target, attrs, flags } => self.set_attr(target, attrs, flags),
            Op::MakeDir { path, mode } => self.make_dir(path, mode),
            Op::Device { path, mode, major, minor, uid, gid } => self.device(path, mode, (major, minor), (uid, gid)),
            Op::Symlink { path, target, replace } => self.symlink(path, target, replace == 1),
            Op::StdioNull => self.stdio_null(),
            Op::Mask { path, null } => self.mask(path, null),
            Op::Readonly { path } => self.readonly(path),
            Op::Console { socket, rows, cols, bind, plain_lines, uid } => {
                self.console(self.arena.slot(socket), (rows, cols), bind == 1, plain_lines == 1, uid)
            }
            Op::EnterRoot { dir } => self.enter_root(arena.slot(dir)),
            Op::Detach { path } => self.detach(path),
            Op::Pivot => self.pivot(),
            Op::MoveRoot { moved } => self.move_root(moved == 1),
            Op::RootPropagation { flags, recursive } => Self::root_propagation(flags, recursive == 1),
            _ => self.step_process(record),
        }
    }

    fn step_process(&mut self, record: &Record) -> Result<(), Failure> {
        let arena = self.arena;
        match record.op {
            Op::Rlimits { limits } => arena
                .list(limits)
                .iter()
                .try_for_each(|limit| done(sys::setrlimit(limit.resource, limit.soft, limit.hard))),
            Op::Personality { domain } => done(sys::personality(domain)),
            Op::Scheduler { attr } => done(sys::sched_setattr(&attr)),
            Op::IoPriority { value } => done(sys::ioprio_set(1, 0, value)),
            Op::Affinity { mask } | Op::FinalAffinity { mask } => {
                let mask = arena.list(mask);
                done(sys::sched_setaffinity(0, mask.len(), mask))
            }
            Op::MemoryPolicy { mode, mask, bits } => done(sys::set_mempolicy(mode, arena.list(mask), bits)),
            Op::OwnStdio { uid } => identity::own_stdio(uid),
            Op::UseConsole => self.use_console(),
            Op::CapBounding { keep, last } => identity::cap_bounding(keep, last),
            Op::User { uid, gid, groups, set_groups, umask } => self.user(uid, gid, groups, set_groups == 1, umask),
            Op::Capabilities { effective, permitted, inheritable, ambient } => {
                identity::capabilities(effective, permitted, inheritable, ambient)
            }
            Op::Chdir { .. } if self.cwd_tries == 2 => Ok(()),
            Op::Chdir { path } => self.chdir(arena.str(path)),
            Op::NoNewPrivs => done(sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)),
            Op::FindProgram => self.find_program(),
            Op::ListenPid { at } => self.listen_pid(at),
            Op::WaitStart { fifo } => self.wait_start(arena.slot(fifo)),
            Op::Seccomp { filter, flags, listener } => self.seccomp(filter, flags, listener == 1),
            Op::Execute => self.execute(),
            // Every variant has its arm in one of the three functions.
            _ => Err(Errno(crate::abi::ENOSYS).into()),
        }
    }

    /// Changes of ids and user namespaces set what a process may be traced by anew, after fs.suid_dumpable (proc_sys_fs(5)).
    pub(crate) fn stay_hidden(&self) -> Result<(), Failure> {
        if self.hidden {
            sys::prctl(PR_SET_DUMPABLE, 0, 0)?;
        }
        Ok(())
    }

    fn close_received(&mut self, fifo: Fd) -> Result<(), Failure> {
        let mut kept = [fifo.0, self.arena.header().sync, self.console.map_or(-1, |fd| fd.0)];
        kept.sort_unstable();
        let mut from = self.arena.header().first_private_fd as usize;
        for kept in kept.map(|kept| usize::try_from(kept).unwrap_or(0)) {
            if kept >= from {
                if kept > from {
                    close_all(from, kept - 1)?;
                }
                from = kept + 1;
            }
        }
        (self.root, self.empty_dir, self.null) = (Fd(-1), None, None);
        close_all(from, u32::MAX as usize)
    }

    /// Waits, for as long as it takes, for `start`.
    fn wait_start(&self, fifo: Fd) -> Result<(), Failure> {
        // This process may wait for days, and needs its FIFO for that and nothing else. The socket's end tells the runtime that it may end.
        let (first, kept) = (self.arena.header().first_private_fd as usize, fifo.0 as usize);
        if kept > first {
            close_all(first, kept - 1)?;
        }
        close_all(kept + 1, u32::MAX as usize)?;
        sys::end_on_signals();
        let mut byte = [0u8; 1];
        loop {
            match sys::read(fifo, &mut byte, 1) {
                Ok(1) => return Ok(()),
                Err(Errno(crate::abi::EINTR)) => {}
                Ok(_) => return Err(Errno(crate::abi::ECONNRESET).into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Installs the filter. From here on only `execve` may be called: the profile may kill on anything else.
    fn seccomp(&self, filter: List<wire::Bpf>, flags: u32, listener: bool) -> Result<(), Failure> {
        let fd = sys::seccomp(self.arena.list(filter), flags)?;
        if listener {
            let header = self.arena.header();
            header.listener.store(fd as i32 + 1, Ordering::Release);
            while header.listener_taken.load(Ordering::Acquire) == 0 {
                core::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn execute(&self) -> Result<(), Failure> {
        let header = self.arena.header();
        let (argv, envp) = (self.arena.list(header.argv), self.arena.list(header.envp));
        let pointers = header.pointers;
        let cells: &[AtomicU64] = self.arena.list(List { at: pointers.at, len: pointers.len, of: PhantomData });
        let end = core::iter::once(&Str::NONE);
        let texts = argv.iter().chain(end.clone()).chain(envp).chain(end);
        let (Some(environment), true) = (cells.get(argv.len() + 1..), cells.len() >= argv.len() + envp.len() + 2)
        else {
            return Err(Errno(crate::abi::EINVAL).into());
        };
        for (cell, text) in cells.iter().zip(texts) {
            let pointer = if text.is_some() { (self.arena.base + text.at as usize) as u64 } else { 0 };
            cell.store(pointer, Ordering::Relaxed);
        }
        let program = header.program.load(Ordering::Relaxed) as usize;
        let path = self.arena.list(header.programs).get(program).copied().unwrap_or(Str::NONE);
        let path = self.arena.str(path);
        // SAFETY: both arrays were just filled with addresses of strings that end in NUL, and each ends in a null.
        let errno = unsafe { sys::execve(path, cells.as_ptr().cast(), environment.as_ptr().cast()) };
        if errno == Errno(crate::abi::ENOENT) {
            return Err(self.explain_missing(path));
        }
        Err(errno.into())
    }

    /// The file was there a moment ago: it is its interpreter that is missing, and the file's first bytes name it.
    ///
    /// The report is made before the file is read, since a seccomp profile may kill on that.
    fn explain_missing(&self, path: CStr<'_>) -> Failure {
        let header = self.arena.header();
        header.errno.store(crate::abi::ENOENT, Ordering::Relaxed);
        header.reason.store(detail::INTERPRETER, Ordering::Relaxed);
        header.state.store(FAILED, Ordering::Release);
        let mut text = [0u8; wire::DETAIL];
        if let Ok(file) = sys::openat2(Fd::CWD, path, 0, 0, 0)
            && let Ok(length) = sys::read(file, &mut text, wire::DETAIL - 1)
        {
            self.arena.report_detail(text.get(..length).unwrap_or(&[]));
        }
        Failure::because(Errno(crate::abi::ENOENT), detail::INTERPRETER)
    }
}

fn done(result: sys::Result<usize>) -> Result<(), Failure> {
    result?;
    Ok(())
}
