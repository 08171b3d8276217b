//! The run: one operation after the other, and a report by number when one fails.

use core::sync::atomic::Ordering;

use crate::abi::{O_NONBLOCK, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, S_IFREG};
use crate::block::Block;
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::{self, FAILED, Header, List, Op, Str, detail};
use crate::{identity, join, mounts, network};

/// Carries out the operations of the shared block behind `fd`. Ends by executing the container's command, or with status 1 after a report.
pub fn run(fd: i32) -> ! {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    const CLASSIC_TABLE: i32 = 4096;
    let Ok(block) = Block::map(Fd(fd)) else { sys::exit(1) };
    let header = block.header();
    let mut executor = Executor::new(block);
    let begin = || -> Result<(), Failure> {
        match sys::close_range(header.first_private_fd as usize, u32::MAX as usize, CLOSE_RANGE_CLOEXEC) {
            // Before Linux 5.11: one by one, as far as a table usually goes.
            Err(Errno(crate::abi::EINVAL)) => (header.first_private_fd as i32..CLASSIC_TABLE).for_each(close_on_exec),
            other => drop(other?),
        }
        executor.die_with_parent()?;
        sys::prctl(PR_SET_NAME, CStr::new(crate::wire::INIT_NAME.to_bytes_with_nul()).arg(), 0)?;
        // Modes are given exactly.
        sys::umask(0)?;
        sys::reset_signals();
        Ok(())
    };
    if let Err(failure) = begin() {
        fail(header, failure);
    }
    executor.carry_out()
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

pub(crate) fn fail(header: &Header, failure: Failure) -> ! {
    header.errno.store(failure.errno.0, Ordering::Relaxed);
    header.reason.store(failure.reason, Ordering::Relaxed);
    header.state.store(FAILED, Ordering::Release);
    sys::exit(1)
}

impl Executor<'_> {
    /// Carries all operations out. The last one of each program does not return.
    pub(crate) fn carry_out(&mut self) -> ! {
        let header = self.block.header();
        for index in 0..header.ops.len {
            header.progress.store(index, Ordering::Relaxed);
            let done = match self.block.record(index as usize) {
                Some(record) => self.step(&record.op),
                None => Err(Errno(crate::abi::EPROTO).into()),
            };
            if let Err(failure) = done {
                fail(header, failure);
            }
        }
        sys::exit(1)
    }

    /// One arm per operation, so that the compiler sees that none is missing.
    fn step(&mut self, op: &Op) -> Result<(), Failure> {
        let block = self.block;
        if !makes_an_entry(op) {
            self.forget_parent()?;
        }
        match *op {
            Op::Receive => self.receive(),
            Op::JoinCgroups => self.join_cgroups(),
            Op::JoinLate => self.join_late(),
            Op::NotDumpable => {
                self.hidden = true;
                self.stay_hidden()
            }
            Op::OpenForeignProcfs { namespace, count } => self.open_foreign_procfs(namespace, count),
            Op::CloseReceived { kept } => self.close_received(kept.map(|slot| self.slot(slot))),
            Op::Setns { fd, flags } => {
                sys::setns(self.slot(fd), flags)?;
                self.stay_hidden()
            }
            Op::Unshare { flags } => {
                sys::unshare(flags as usize)?;
                self.stay_hidden()
            }
            Op::Fork { flags } => self.fork(flags),
            Op::TimeOffsets { proc, lines } => self.time_offsets(self.slot(proc), lines),
            Op::Sync { phase } => self.sync(phase),
            Op::BecomeRoot { setgroups } => self.become_root(setgroups == 1),
            Op::Setsid => done(sys::setsid()),
            Op::Network => self.network(),
            Op::Loopback => network::loopback(),
            Op::NewKeyring => done(sys::join_session_keyring(1, 0)),

            Op::Propagation { flags } => mounts::root_propagation(flags, true),
            Op::Rootfs { tree, path, at, attrs } => self.rootfs(tree, path, at, attrs),
            Op::EnterRoot { dir } => mounts::enter_root(self.slot(dir)),
            Op::CurrentRoot => self.current_root(),
            Op::TopmostRoot => mounts::topmost_root(),
            Op::Mount { target, fstype, source, params, attr, flags, after } => {
                self.mount(target, fstype, source, params, attr, flags, after)
            }
            Op::Bind { tree, source, target, flags, attrs } => self.bind(tree, source, target, flags, attrs),
            Op::SetAttr { target, attrs, flags } => self.set_attr(target, attrs, flags),
            Op::MakeDir { path, mode } => self.make_dir(path, mode),
            Op::Device { path, mode, major, minor, uid, gid } => self.device(path, mode, (major, minor), (uid, gid)),
            Op::Symlink { path, target, replace } => self.symlink(path, target, replace == 1),
            Op::StdioNull => self.stdio_null(),
            Op::Mask { path, null } => self.mask(path, null),
            Op::Readonly { path } => self.readonly(path),
            Op::Console { socket, rows, cols, bind, plain_lines, uid } => {
                self.console(self.slot(socket), (rows, cols), bind == 1, plain_lines == 1, uid)
            }
            Op::Detach { path } => self.detach(path),
            Op::Pivot => self.pivot(),
            Op::MoveRoot { moved } => self.move_root(moved == 1),
            Op::RootPropagation { flags, recursive } => mounts::root_propagation(flags, recursive == 1),

            Op::Hostname { name } => {
                let name = block.str(name).bytes();
                done(sys::sethostname(name, name.len()))
            }
            Op::Domainname { name } => {
                let name = block.str(name).bytes();
                done(sys::setdomainname(name, name.len()))
            }
            Op::WriteProc { proc, path, data, .. } => {
                join::write_proc(self.slot(proc), block.str(path), block.str(data).bytes())
            }
            Op::Rlimits { limits } => identity::rlimits(block.list(limits)),
            Op::Personality { domain } => done(sys::personality(domain)),
            Op::Scheduler { attr } => done(sys::sched_setattr(&attr)),
            Op::IoPriority { value } => done(sys::ioprio_set(1, 0, value)),
            Op::Affinity { mask } | Op::FinalAffinity { mask } => {
                let mask = block.list(mask);
                done(sys::sched_setaffinity(0, mask.len(), mask))
            }
            Op::MemoryPolicy { mode, mask, bits } => done(sys::set_mempolicy(mode, block.list(mask), bits)),

            Op::OwnStdio { uid, must } => identity::own_stdio(uid, must == 1),
            Op::UseConsole => self.use_console(),
            Op::CapBounding { keep, held } => identity::cap_bounding(keep, held),
            Op::User { uid, gid, groups, set_groups, umask } => self.user(uid, gid, groups, set_groups == 1, umask),
            Op::Capabilities { effective, permitted, inheritable, ambient } => {
                identity::capabilities(effective, permitted, inheritable, ambient)
            }
            Op::Chdir { path } => self.chdir(block.str(path)),
            Op::NoNewPrivs => done(sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)),
            Op::FindProgram => self.find_program(),
            Op::ListenPid { at } => self.listen_pid(at),
            Op::WaitStart { fifo } => self.wait_start(self.slot(fifo)),
            Op::Seccomp { filter, flags, listener } => self.seccomp(filter, flags, listener == 1),
            Op::Serve { init, parent, enters } => self.serve(self.slot(init), parent as usize, enters == 1),
            Op::Execute => self.execute(),
        }
    }

    fn close_received(&mut self, [one, other]: [Fd; 2]) -> Result<(), Failure> {
        let mut kept = [one.0, other.0, self.runtime.0, self.console.map_or(-1, |fd| fd.0)];
        kept.sort_unstable();
        let mut from = self.block.header().first_private_fd as usize;
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
        let (first, kept) = (self.block.header().first_private_fd as usize, fifo.0 as usize);
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
        let fd = sys::seccomp(self.block.list(filter), flags)?;
        if listener {
            let header = self.block.header();
            header.listener.store(fd as i32 + 1, Ordering::Release);
            while header.listener_taken.load(Ordering::Acquire) == 0 {
                core::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn execute(&self) -> Result<(), Failure> {
        let header = self.block.header();
        let (argv, envp) = (self.block.list(header.argv), self.block.list(header.envp));
        let cells = self.block.list(header.pointers);
        let end = core::iter::once(&Str::NONE);
        let texts = argv.iter().chain(end.clone()).chain(envp).chain(end);
        let (Some(environment), true) = (cells.get(argv.len() + 1..), cells.len() >= argv.len() + envp.len() + 2)
        else {
            return Err(Errno(crate::abi::EINVAL).into());
        };
        for (cell, text) in cells.iter().zip(texts) {
            cell.store(self.block.address(*text), Ordering::Relaxed);
        }
        let program = header.program.load(Ordering::Relaxed) as usize;
        let path = self.block.list(header.programs).get(program).copied().unwrap_or(Str::NONE);
        let path = self.block.str(path);
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
        let header = self.block.header();
        header.errno.store(crate::abi::ENOENT, Ordering::Relaxed);
        header.reason.store(detail::INTERPRETER, Ordering::Relaxed);
        header.state.store(FAILED, Ordering::Release);
        let mut text = [0u8; wire::DETAIL];
        if let Ok(file) = sys::openat2(Fd::CWD, path, O_NONBLOCK, 0, 0)
            && sys::statx(file, CStr::EMPTY).is_ok_and(|it| it.kind() == S_IFREG)
            && let Ok(length) = sys::read(file, &mut text, wire::DETAIL - 1)
        {
            self.report_detail(text.get(..length).unwrap_or(&[]));
        }
        Failure::new(Errno(crate::abi::ENOENT), detail::INTERPRETER)
    }
}

/// Whether the directory in which this one makes an entry is kept for the next: every other operation might cover it.
fn makes_an_entry(op: &Op) -> bool {
    matches!(op, Op::Mount { .. } | Op::Bind { .. } | Op::Device { .. } | Op::Symlink { .. })
}

fn done(result: sys::Result<usize>) -> Result<(), Failure> {
    result?;
    Ok(())
}
