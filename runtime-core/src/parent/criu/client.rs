//! Starts CRIU and talks to it.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, send, shutdown, socketpair};
use nix::unistd::{AccessFlags, access};

use super::message::{FeatureSet, Kind as Message, Notify, Request, Response};
use crate::base::sys::{self, Before, Program, Spawn, pidfd};
use crate::base::{Error, Exit, HostPid, Kind, Result, Step};

/// The oldest release that is taken: it tells by notification when lazy pages are ready, and knows external pid namespaces.
const OLDEST: u32 = 31_500;

/// Where programs are looked for without PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the answer to a question about CRIU itself may take.
const QUICK: Duration = Duration::from_secs(30);

/// How long CRIU may take to exit after its last word.
const FAREWELL: Duration = Duration::from_secs(30);

/// The longest message that is read.
const LONGEST: usize = 40 * 1024;

/// The program, found and asked for its version.
#[derive(Debug)]
pub(crate) struct Criu {
    program: CString,
    version: u32,
    /// The limit of open files (soft, hard) that it starts with; `None`: the runtime's own.
    open_files: Option<(u64, u64)>,
}

/// Where CRIU itself is to run.
#[derive(Debug, Default)]
pub(crate) struct Place<'p> {
    /// The v2 cgroup it is born into.
    pub(crate) cgroup: Option<BorrowedFd<'p>>,
    /// The v1 `tasks` files it enters.
    pub(crate) tasks: Vec<BorrowedFd<'p>>,
    /// A tree, and the directory on which it is mounted in a mount namespace of CRIU's own.
    pub(crate) root: Option<(&'p CStr, &'p CStr)>,
    /// Its standard streams; `None`: the caller's where it has a root to restore, else none.
    pub(crate) stdio: Option<[BorrowedFd<'p>; 3]>,
}

/// Who does the caller's part when CRIU has come to a point.
pub(crate) trait Notified {
    /// Called at each point; `fd` is a descriptor that CRIU hands over with some of them.
    ///
    /// # Errors
    /// Tells CRIU to give up.
    fn at(&mut self, notify: &Notify, fd: Option<OwnedFd>) -> Result<()>;
}

/// Nothing is to be done at any point.
impl Notified for () {
    fn at(&mut self, _: &Notify, _: Option<OwnedFd>) -> Result<()> {
        Ok(())
    }
}

fn failed(errno: Errno) -> Error {
    Error::os(Step::Criu, errno as i32)
}

impl Criu {
    /// Finds CRIU in PATH and asks for its version. It starts with the limit of open files `open_files`, where the runtime's own is for
    /// itself alone.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when there is none, or one that is too old.
    pub(crate) fn find(open_files: Option<(u64, u64)>) -> Result<Self> {
        let program = look_up(std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new(DEFAULT_PATH)))?;
        let mut criu = Self { program, version: 0, open_files };
        let answer = criu.ask(&Request::Version)?;
        criu.version = answer.version.ok_or_else(|| criu.nonsense(&Request::Version))?;
        criu.require(OLDEST, "checkpoint and restore")?;
        Ok(criu)
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Which CRIU it is, for a debug log.
    pub(crate) fn describe(&self) -> String {
        let (major, minor, sublevel) = (self.version / 10_000, self.version / 100 % 100, self.version % 100);
        format!("criu: {} {major}.{minor}.{sublevel}", self.name())
    }

    /// Insists on a release that has what is needed.
    pub(crate) fn require(&self, version: u32, what: &str) -> Result<()> {
        if self.version >= version {
            return Ok(());
        }
        let dotted = |number: u32| format!("{}.{}", number / 10_000, number / 100 % 100);
        Err(Error::new(Kind::Unsupported, Step::Criu)
            .with_object(self.name())
            .with_reason(format!("{} is too old for {what}: {} is needed", dotted(self.version), dotted(version)))
            .with_hint("install a newer criu"))
    }

    /// What CRIU and this kernel can do.
    pub(crate) fn features(&self) -> Result<FeatureSet> {
        self.ask(&Request::FeatureCheck).map(|answer| answer.features)
    }

    fn ask(&self, request: &Request) -> Result<Response> {
        let mut conversation = self.start(&Place::default(), &[])?;
        conversation.carry_on(request, Instant::now() + QUICK, &mut ())
    }

    /// Starts CRIU; it waits for a request. `inherit` are descriptors that the request hands over by their numbers; directories it
    /// opens through this program's /proc/PID/fd.
    pub(crate) fn start(&self, place: &Place<'_>, inherit: &[RawFd]) -> Result<Conversation<'_>> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        let number = CString::new(theirs.as_raw_fd().to_string()).map_err(|_| failed(Errno::EINVAL))?;
        let environment = environment();
        let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let mut before = vec![Before::UnblockSignals];
        before.extend(self.open_files.map(|(soft, hard)| Before::LimitOpenFiles { soft, hard }));
        before.extend(place.tasks.iter().map(|tasks| Before::JoinTasks(*tasks)));
        if let Some((source, target)) = place.root {
            // CRIU gives the restored mounts the master that the saved ones had: a private one would have none to give.
            before.extend([Before::SlaveMounts, Before::Bind(source, target)]);
        }
        let null =
            std::fs::File::open("/dev/null").map_err(|error| Error::io(Step::Criu, &error).with_object("/dev/null"))?;
        // What it has to say is in its log. The streams of a restored container are found where CRIU's own are.
        let stdio = place.stdio.or_else(|| place.root.is_none().then(|| [null.as_fd(), null.as_fd(), null.as_fd()]));
        let inherit: Vec<RawFd> = inherit.iter().copied().chain([theirs.as_raw_fd()]).collect();
        let spawned = sys::spawn(&Spawn {
            namespaces: if place.root.is_some() { u64::from(libc::CLONE_NEWNS.cast_unsigned()) } else { 0 },
            cgroup: place.cgroup,
            program: Program::Path(&self.program),
            argv: &[c"criu", c"swrk", &number],
            environment: &environment,
            before: &before,
            inherit: &inherit,
            stdio,
        });
        let (pid, pidfd) = spawned.map_err(|problem| self.not_started(problem, &before))?;
        let pid = HostPid::new(pid).ok_or_else(|| failed(Errno::ESRCH))?;
        Ok(Conversation { criu: self, socket: ours, pid, pidfd, reaped: false })
    }

    fn not_started(&self, problem: sys::NotSpawned, before: &[Before<'_>]) -> Error {
        let error = failed(problem.errno);
        match problem.before.and_then(|index| before.get(index)) {
            None
            | Some(
                Before::UnblockSignals
                | Before::DefaultSignals
                | Before::LeadProcessGroup
                | Before::ChangeDirectory(_)
                | Before::LimitOpenFiles { .. },
            ) => error.with_object(self.name()),
            Some(Before::JoinTasks(_)) => error.with_object("enter the container's cgroup"),
            Some(Before::SlaveMounts) => error.with_object("set the propagation of its mounts"),
            Some(Before::Bind(source, target)) => {
                let object = format!("bind {} on {}", source.to_string_lossy(), target.to_string_lossy());
                Error::os(Step::BindMount, problem.errno as i32).with_object(object).with_field("/root/path")
            }
        }
    }

    fn nonsense(&self, request: &Request) -> Error {
        Error::new(Kind::System, Step::Criu)
            .with_object(self.name())
            .with_reason(format!("its answer to the {} request cannot be understood", request.words()))
    }
}

/// The program as a path, by the directories of `path`.
fn look_up(path: &OsStr) -> Result<CString> {
    let found = path.as_bytes().split(|byte| *byte == b':').filter(|dir| !dir.is_empty()).find_map(|dir| {
        let file = Path::new(OsStr::from_bytes(dir)).join("criu");
        (access(&file, AccessFlags::X_OK).is_ok() && file.is_file()).then_some(file)
    });
    let missing = || {
        Error::new(Kind::Unsupported, Step::Criu)
            .with_reason("no such program in PATH")
            .with_hint("checkpoint and restore are done by CRIU: install it (https://criu.org)")
    };
    let file = found.ok_or_else(missing)?;
    CString::new(file.into_os_string().into_encoded_bytes()).map_err(|_| missing())
}

/// The caller's environment: CRIU runs tar, ip and iptables-restore by PATH.
fn environment() -> Vec<CString> {
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let mut entry = name.into_encoded_bytes();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        CString::new(entry).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

/// A CRIU that runs. Dropping it ends CRIU.
#[derive(Debug)]
pub(crate) struct Conversation<'c> {
    criu: &'c Criu,
    socket: OwnedFd,
    pid: HostPid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Conversation<'_> {
    /// CRIU's process.
    pub(crate) fn pid(&self) -> HostPid {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Makes the request, does the caller's part at the points that CRIU tells of, and returns the final answer, which is a
    /// success.
    ///
    /// # Errors
    /// What CRIU or the caller's part says; [`Kind::Timeout`]; and when CRIU dies or its answer is none.
    pub(crate) fn carry_on(
        &mut self,
        request: &Request,
        deadline: Instant,
        caller: &mut dyn Notified,
    ) -> Result<Response> {
        self.send(request)?;
        let mut gave_up = None;
        loop {
            let (response, fd) = match self.receive(request, deadline) {
                Ok(received) => received,
                // The first cause on top: CRIU ends because it was told to.
                Err(error) => return Err(gave_up.unwrap_or(error)),
            };
            match (&response.notify, response.kind) {
                (Some(notify), kind) if kind == Message::Notify as i32 && response.success => {
                    let done = if gave_up.is_some() { Ok(()) } else { caller.at(notify, fd) };
                    self.send(&Request::Notified(done.is_ok() && gave_up.is_none()))?;
                    gave_up = gave_up.or(done.err());
                }
                _ if gave_up.is_some() => return Err(gave_up.unwrap_or_else(|| self.criu.nonsense(request))),
                (_, kind) if kind == request.kind() as i32 && response.success => return Ok(response),
                _ if !response.success => return Err(self.refused(request, &response)),
                _ => return Err(self.criu.nonsense(request)),
            }
        }
    }

    /// Waits until CRIU has exited after its last word.
    ///
    /// # Errors
    /// When it failed after all, unless `whatever` is set: after a pre-dump it waits for the dump that another one makes, and
    /// fails when there is none.
    pub(crate) fn end(mut self, whatever: bool) -> Result<()> {
        shutdown(self.socket.as_raw_fd(), Shutdown::Write).ok();
        let deadline = Instant::now() + FAREWELL;
        if !pidfd::wait_until(self.pidfd.as_fd(), deadline).map_err(failed)? {
            return Err(self.late("does not exit after its work"));
        }
        match self.reap()? {
            Exit::Code(0) => Ok(()),
            _ if whatever => Ok(()),
            exit => Err(self.died(exit)),
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        match send(self.socket.as_raw_fd(), &request.encode(), MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(()),
            // It has died: receiving tells how.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(failed(errno).with_object(format!("send the {} request", request.words()))),
        }
    }

    fn receive(&mut self, request: &Request, deadline: Instant) -> Result<(Response, Option<OwnedFd>)> {
        loop {
            let (word, dead) = self.poll(deadline)?;
            // What it said before it died still counts.
            if word {
                match sys::socket::receive(self.socket.as_fd(), LONGEST).map_err(failed)? {
                    Some((bytes, fd)) => {
                        let response = Response::decode(&bytes).map_err(|_| self.criu.nonsense(request))?;
                        return Ok((response, fd));
                    }
                    None => return Err(self.hung_up(deadline)?),
                }
            }
            if dead {
                let exit = self.reap()?;
                return Err(self.died(exit));
            }
            if Instant::now() >= deadline {
                return Err(self.late(&format!("does not come to an end of the {}", request.words())));
            }
        }
    }

    /// Whether there is a word, or an end, to be read, and whether the process has ended.
    fn poll(&self, deadline: Instant) -> Result<(bool, bool)> {
        let mut fds =
            [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, pidfd::timeout_until(deadline)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let [word, dead] = fds.map(|fd| fd.any().unwrap_or(false));
        Ok((word, dead))
    }

    /// It closed its end without an answer, so it is on its way to the end.
    fn hung_up(&mut self, deadline: Instant) -> Result<Error> {
        let soon = deadline.min(Instant::now() + FAREWELL);
        if pidfd::wait_until(self.pidfd.as_fd(), soon).map_err(failed)? {
            let exit = self.reap()?;
            return Ok(self.died(exit));
        }
        Ok(self.late("has hung up and does not exit"))
    }

    fn reap(&mut self) -> Result<Exit> {
        let exit = crate::base::wait_for(self.pidfd.as_fd(), true)?;
        self.reaped = true;
        Ok(exit)
    }

    fn died(&self, exit: Exit) -> Error {
        let how = match exit {
            Exit::Code(code) => format!("ended with exit status {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
        };
        Error::new(Kind::System, Step::Criu)
            .with_object(self.criu.name())
            .with_reason(format!("{how} without an answer"))
    }

    fn late(&self, what: &str) -> Error {
        Error::new(Kind::Timeout, Step::Criu).with_object(self.criu.name()).with_reason(what).with_hint("it was killed")
    }

    fn refused(&self, request: &Request, response: &Response) -> Error {
        let error = match response.errno {
            0 => Error::new(Kind::System, Step::Criu),
            errno => Error::os(Step::Criu, errno.saturating_abs()),
        };
        let said: Vec<String> =
            [format!("{} failed", request.words())].into_iter().chain(super::log::errors(&response.message)).collect();
        error.with_object(self.criu.name()).with_reason(said.join("; "))
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Its own children die with what they were made for: the caller ends the container's processes.
        pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL).ok();
        if pidfd::wait_until(self.pidfd.as_fd(), Instant::now() + FAREWELL).unwrap_or(false) {
            crate::base::wait_for(self.pidfd.as_fd(), true).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_criu_is_told_with_what_to_do() {
        let error = look_up(OsStr::new("/no/such:/proc/self::")).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(
            error.to_string(),
            "run criu: no such program in PATH (checkpoint and restore are done by CRIU: install it (https://criu.org))"
        );
    }

    #[test]
    fn an_old_criu_is_refused_with_both_versions() {
        let criu = Criu { program: c"/x/criu".into(), version: 31_402, open_files: None };
        criu.require(31_402, "this").unwrap();
        assert_eq!(
            criu.require(OLDEST, "checkpoint and restore").unwrap_err().to_string(),
            "run criu /x/criu: 3.14 is too old for checkpoint and restore: 3.15 is needed (install a newer criu)"
        );
    }
}
