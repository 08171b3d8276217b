//! Running the runtime (or any program) with a deadline, its output in files.
//!
//! Files and not pipes, because a created container keeps the runtime's standard output open after the runtime has ended.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::{process, sys, tracer};

/// How long a single command may take before it counts as hung, in seconds, where `ORLOP_TEST_DEADLINE` does not say: on a machine
/// with ten times as many processes as processors, the kernel's own waits take that long.
pub const DEADLINE: u64 = 20;

fn deadline() -> Duration {
    let wish = std::env::var("ORLOP_TEST_DEADLINE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(wish.unwrap_or(DEADLINE))
}

/// The time limit of a whole case, which is longer where a command's is.
pub(crate) fn limit(seconds: u64) -> Duration {
    Duration::from_secs(seconds * deadline().as_secs().max(DEADLINE) / DEADLINE)
}

thread_local! {
    /// The commands that run and that somebody will wait for.
    static EXPECTED: RefCell<BTreeSet<i32>> = const { RefCell::new(BTreeSet::new()) };
}

/// The children that a [`Running`] waits for.
pub(crate) fn expected_children() -> BTreeSet<i32> {
    EXPECTED.with_borrow(Clone::clone)
}

/// A command to run.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    text: String,
    fds: Vec<(OwnedFd, RawFd)>,
    files: PathBuf,
    log: Option<PathBuf>,
    deadline: Duration,
    stdin: Option<Vec<u8>>,
}

/// What a command gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line.
    pub text: String,
    /// The exit code; 1000 + N when signal N ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The JSON lines of its `--log` file, when one was asked for.
    pub log: Vec<Value>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    text: String,
    files: PathBuf,
    log: Option<PathBuf>,
    deadline: Duration,
}

impl Cmd {
    /// `program` with its output in files that start with `files`.
    #[must_use]
    pub fn new(program: &OsStr, files: PathBuf) -> Self {
        Self {
            command: Command::new(program),
            text: program.to_string_lossy().into_owned(),
            fds: Vec::new(),
            files,
            log: None,
            deadline: deadline(),
            stdin: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        let arg = arg.into();
        self.text.push(' ');
        self.text.push_str(&arg.to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes the whole environment away.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Starts in `dir`.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.command.current_dir(dir.into());
        self
    }

    /// Passes an open descriptor under the number `target`.
    #[must_use]
    pub fn fd(mut self, fd: OwnedFd, target: RawFd) -> Self {
        self.fds.push((fd, target));
        self
    }

    /// Feeds `bytes` to standard input, which is otherwise /dev/null.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Lets standard input, output and error be `fd`, a terminal, in a session of its own.
    #[must_use]
    pub fn terminal(mut self, fd: &OwnedFd) -> Self {
        sys::new_session(&mut self.command);
        for target in 0..3 {
            self.fds.push((fd.try_clone().expect("dup"), target));
        }
        self
    }

    /// The JSON log that the arguments ask for, to be read afterwards.
    #[must_use]
    pub fn log(mut self, path: PathBuf) -> Self {
        self.log = Some(path);
        self
    }

    /// Another deadline than [`DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Runs as another user and group, with no other groups.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        use std::os::unix::process::CommandExt;
        self.command.gid(gid).uid(uid);
        self
    }

    /// Runs with at most this many descriptors, which it may raise.
    #[must_use]
    pub fn descriptors(mut self, count: u64) -> Self {
        sys::limit_descriptors(&mut self.command, count);
        self
    }

    /// Runs with files of at most this many bytes (RLIMIT_FSIZE).
    #[must_use]
    pub fn file_size(mut self, bytes: u64) -> Self {
        sys::limit_file_size(&mut self.command, bytes);
        self
    }

    /// Runs with SIGCHLD ignored, as shells and engines may leave it.
    #[must_use]
    pub fn ignoring_children(mut self) -> Self {
        sys::ignore_children(&mut self.command);
        self
    }

    /// Runs with these standard streams closed.
    #[must_use]
    pub fn without(mut self, streams: &[RawFd]) -> Self {
        sys::close_streams(&mut self.command, streams.to_vec());
        self
    }

    /// Runs under a seccomp filter that answers these system calls with `errno`, as a sandbox around it may.
    #[must_use]
    pub fn refused(mut self, calls: &[libc::c_long], errno: i32) -> Self {
        sys::refuse_calls(&mut self.command, calls, errno);
        self
    }

    /// Runs with this file mode mask.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        sys::set_umask(&mut self.command, mask);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> Running {
        self.prepare();
        let child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.text));
        EXPECTED.with_borrow_mut(|set| set.insert(i32::try_from(child.id()).expect("a pid")));
        Running { child, text: self.text, files: self.files, log: self.log, deadline: self.deadline }
    }

    /// Runs it to its end with a tracer that acts at `point`.
    ///
    /// # Panics
    /// As [`Self::run`].
    #[must_use]
    pub fn trace(self, point: tracer::Point) -> (Output, tracer::Trace) {
        self.trace_beside(point, None)
    }

    /// The same, with another command for [`tracer::Act::Beside`].
    ///
    /// # Panics
    /// As [`Self::run`].
    #[must_use]
    pub fn trace_beside(mut self, point: tracer::Point, beside: Option<Self>) -> (Output, tracer::Trace) {
        self.prepare();
        let result = self.files.with_extension("trace");
        let beside = beside.map(|mut other| {
            other.prepare();
            other.command
        });
        let tracer = tracer::run(self.command, point, beside, &result);
        let until = Instant::now() + self.deadline;
        loop {
            match waitpid(tracer, Some(WaitPidFlag::WNOHANG)).expect("waitpid") {
                WaitStatus::StillAlive => {}
                WaitStatus::Exited(_, 0) => break,
                other => panic!("the tracer of `{}` ended by {other:?}", self.text),
            }
            if Instant::now() > until {
                let tree = process::descendants(tracer.as_raw());
                tree.iter().for_each(|process| process::kill_hard(process.pid));
                process::kill_hard(tracer.as_raw());
                waitpid(tracer, None).expect("waitpid");
                panic!("hang: `{}` with {point:?}; its processes were {tree:#?}", self.text);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let trace: tracer::Trace = serde_json::from_slice(&std::fs::read(result).expect("result")).expect("JSON");
        let output = gather(self.text, &self.files, self.log.as_deref(), trace.code);
        (output, trace)
    }

    fn prepare(&mut self) {
        let output = File::create(self.files.with_extension("out")).expect("output file");
        let errors = File::create(self.files.with_extension("err")).expect("error file");
        let input = match &self.stdin {
            None => Stdio::null(),
            Some(bytes) => {
                let path = self.files.with_extension("in");
                std::fs::write(&path, bytes).expect("input file");
                Stdio::from(File::open(path).expect("input file"))
            }
        };
        self.command.stdin(input).stdout(output).stderr(errors);
        sys::hand_over(&mut self.command, std::mem::take(&mut self.fds));
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or has not ended at its deadline (it is killed then).
    #[must_use]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text_of(&self.files.with_extension("out"))
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When it is no child of this process.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Kills it by SIGKILL and collects it.
    pub fn kill(mut self) -> Output {
        process::kill_hard(self.pid());
        let status = self.child.wait().expect("wait");
        self.output(status)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended at its deadline; it is killed then.
    #[must_use]
    pub fn wait(mut self) -> Output {
        let until = Instant::now() + self.deadline;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return self.output(status);
            }
            if Instant::now() > until {
                let seconds = self.deadline.as_secs();
                let text = self.text.clone();
                let output = self.kill();
                panic!("hang: `{text}` had not ended after {seconds} s\n{}{}", output.stdout, output.stderr);
            }
            std::thread::sleep(pause);
            if pause >= Duration::from_millis(10) {
                // What the runtime waits for may be the end of a pid namespace, which waits for our collecting its orphans.
                process::reap_orphans();
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn output(self, status: std::process::ExitStatus) -> Output {
        use std::os::unix::process::ExitStatusExt;
        EXPECTED.with_borrow_mut(|set| set.remove(&self.pid()));
        let code = status.code().or_else(|| status.signal().map(|signal| 1000 + signal)).unwrap_or(-1);
        gather(self.text, &self.files, self.log.as_deref(), code)
    }
}

fn gather(text: String, files: &Path, log: Option<&Path>, code: i32) -> Output {
    Output {
        text,
        code,
        stdout: text_of(&files.with_extension("out")),
        stderr: text_of(&files.with_extension("err")),
        log: log.map(read_log).unwrap_or_default(),
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn read_log(path: &Path) -> Vec<Value> {
    let text = text_of(path);
    // One object on a line, or, since crun 1.20, on several. A command that was killed may have left half of the last one.
    let objects = serde_json::Deserializer::from_str(&text).into_iter();
    let whole = objects.take_while(|object| !matches!(object, Err(error) if error.is_eof()));
    whole.map(|object| object.unwrap_or_else(|error| panic!("log {text:?}: {error}"))).collect()
}

impl Output {
    /// Insists on exit code 0.
    ///
    /// # Panics
    /// When the code is another.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Insists on exit code `code`.
    ///
    /// # Panics
    /// When the code is another.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of `{}`\nstdout: {}\nstderr: {}", self.text, self.stdout, self.stderr);
        self
    }

    /// Insists on a failure: an exit code that is neither 0 nor a signal's.
    ///
    /// # Panics
    /// When it succeeded or a signal ended it.
    #[track_caller]
    pub fn fails(self) -> Self {
        let failed = self.code != 0 && self.code < 1000;
        assert!(
            failed,
            "`{}` should fail, gave {}\nstdout: {}\nstderr: {}",
            self.text, self.code, self.stdout, self.stderr
        );
        self
    }

    /// Insists that standard error contains `text`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr of `{}` lacks {text:?}: {}", self.text, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("output of `{}` is no JSON ({error}): {:?}\n{}", self.text, self.stdout, self.stderr)
        })
    }

    /// The `msg` of the last line of level `error` in the JSON log: what a containerd shim shows.
    #[must_use]
    pub fn logged_error(&self) -> Option<&str> {
        self.log.iter().rev().find(|line| line["level"] == "error")?["msg"].as_str()
    }
}
