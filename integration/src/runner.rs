//! The runner: forks a process for each case, watches its time, looks for leaks, and reports like `cargo test`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::sandbox::{FIGURES, SKIPPED};
use crate::{Case, Sandbox, Subject, World, leak, process, sys};

/// What became of one case.
enum Outcome {
    Passed,
    Ignored(String),
    Failed(String),
}

/// The arguments that `cargo test` passes on.
#[derive(Debug, Default)]
struct Options {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
    show_output: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--nocapture" | "--show-output" => options.show_output = true,
                "--skip" => options.skips.extend(args.next()),
                // One case runs at a time whatever is asked for; colours and formats are not offered.
                "--test-threads" | "--format" | "--color" => drop(args.next()),
                "--quiet" | "-q" | "--include-ignored" | "--ignored" | "--bench" => {}
                flag if flag.starts_with("--test-threads=") || flag.starts_with("--color=") => {}
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                _ => options.filters.push(arg),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |pattern: &String| if self.exact { name == pattern } else { name.contains(pattern.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skips.iter().any(matches)
    }
}

/// Runs those of the program's cases that the arguments select and reports; the whole of a test program's `main`.
#[must_use]
pub fn run() -> ExitCode {
    // A test program itself stands in CRIU's place, started as `criu swrk FD`.
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("swrk") {
        return crate::double::serve(args.next().and_then(|number| number.parse().ok()).expect("a descriptor"));
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let all: Vec<(String, &Case)> = Case::all().into_iter().map(|case| (case.full_name(), case)).collect();
    let chosen: Vec<_> = all.iter().filter(|(name, _)| options.wants(name)).collect();
    if options.list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() && std::env::var_os("ORLOP_TEST_AS_USER").is_none() {
        return not_as_root(&chosen);
    }
    let subject = Subject::from_environment();
    println!("\nrunning {} tests of {} ({})", chosen.len(), subject.path.display(), subject.version);
    let run = Run::new(all[0].1.program(), subject, options.show_output);
    let started = Instant::now();
    let (mut passed, mut failures, mut ignored) = (0, Vec::new(), Vec::new());
    for (number, (name, case)) in chosen.iter().enumerate() {
        print!("test {name} ... ");
        std::io::stdout().flush().expect("stdout");
        let begun = Instant::now();
        let outcome = run.one(number, case);
        let time = begun.elapsed().as_secs_f64();
        match outcome {
            Outcome::Passed => {
                println!("ok ({time:.2}s)");
                passed += 1;
            }
            Outcome::Ignored(reason) => {
                println!("ignored, {reason}");
                ignored.push((name, reason));
            }
            Outcome::Failed(text) => {
                println!("FAILED ({time:.2}s)");
                failures.push((name, text));
            }
        }
    }
    crate::figures::print(&run.base.join(FIGURES));
    let at_end = run.finish();
    if !at_end.is_empty() {
        println!("left by the whole run: {at_end:#?}");
    }
    for (name, text) in &failures {
        println!("\n---- {name} ----\n{}", text.trim_end());
    }
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|(name, _)| println!("    {name}"));
    }
    if !ignored.is_empty() {
        println!("\nignored, with reason:");
        ignored.iter().for_each(|(name, reason)| println!("    {name}: {reason}"));
    }
    let failed = failures.len() + usize::from(!at_end.is_empty());
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        ignored.len(),
        all.len() - chosen.len(),
        started.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0) * 101)
}

/// Whether the surroundings promise something (`ORLOP_TEST_NEEDS`, words with spaces between): what is promised may not be skipped for
/// lack of it.
#[must_use]
pub fn is_promised(word: &str) -> bool {
    std::env::var("ORLOP_TEST_NEEDS").is_ok_and(|words| words.split_whitespace().any(|promised| promised == word))
}

/// Without root no case can have its mount namespace: all are ignored, or it is a failure where root was promised.
fn not_as_root(chosen: &[&(String, &Case)]) -> ExitCode {
    chosen.iter().for_each(|(name, _)| println!("test {name} ... ignored, these tests make containers as root"));
    let failed = usize::from(is_promised("root"));
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let count = chosen.len();
    println!("\ntest result: {word}. 0 passed; {failed} failed; {count} ignored; 0 measured; 0 filtered out\n");
    ExitCode::from(u8::from(failed > 0) * 101)
}

/// What the runner is woken by: the end of a case's process, and what ends the run.
fn awaited() -> SigSet {
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect()
}

/// What all cases of one run share.
struct Run {
    subject: Subject,
    world: World,
    base: PathBuf,
    tag: String,
    show_output: bool,
    mounts_before: usize,
    /// The signals that ask this program to end. It takes away what the case has made before it does.
    signals: SignalFd,
}

impl Run {
    fn new(program: &str, subject: Subject, show_output: bool) -> Self {
        sys::become_subreaper();
        let tag = format!("orlopit-{}", std::process::id());
        let base = std::env::temp_dir().join(format!("{tag}-{program}"));
        fs::create_dir(&base).expect("base directory");
        let cache = base.join("cache");
        fs::create_dir(&cache).expect("cache directory");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).is_file());
        fs::copy(busybox.expect("busybox (install the package busybox-static)"), cache.join("busybox"))
            .expect("busybox");
        // Carried in the test program, which may run on another root than the one it was built on (a guest).
        let programs: [(&str, &[u8]); 3] = [
            ("probe", include_bytes!(env!("ORLOP_PROGRAM_PROBE"))),
            ("floor", include_bytes!(env!("ORLOP_PROGRAM_FLOOR"))),
            ("neighbour", include_bytes!(env!("ORLOP_PROGRAM_NEIGHBOUR"))),
        ];
        for (name, bytes) in programs {
            fs::write(cache.join(name), bytes).expect(name);
            fs::set_permissions(cache.join(name), fs::Permissions::from_mode(0o755)).expect(name);
        }
        let mounts_before = leak::mounts("").len();
        awaited().thread_block().expect("block signals");
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&awaited(), flags).expect("signalfd");
        Self { subject, world: World::of_this_process(), base, tag, show_output, mounts_before, signals }
    }

    /// Forks, watches and judges one case.
    fn one(&self, number: usize, case: &Case) -> Outcome {
        if let Some(reason) = case.ignored_on(self.subject.flavor, self.world) {
            return Outcome::Ignored(reason);
        }
        let tag = format!("{}-{number}", self.tag);
        let output = self.base.join(format!("{tag}.txt"));
        let reason_file = self.base.join(format!("{tag}.reason"));
        let status = self.fork_case(case, &tag, &output, &reason_file);
        let text = fs::read_to_string(&output).unwrap_or_default();
        if self.show_output {
            print!("{text}");
        }
        self.clean_after(&tag);
        match (status, case.gap_of(self.subject.flavor)) {
            (Ok(0), None) => Outcome::Passed,
            (Ok(0), Some(reason)) => Outcome::Failed(format!("passes now: take the mark off (known gap: {reason})")),
            (Ok(SKIPPED), _) => Outcome::Ignored(fs::read_to_string(&reason_file).unwrap_or_default()),
            (_, Some(reason)) => Outcome::Ignored(format!("known gap: {reason}")),
            (Ok(_), None) => Outcome::Failed(text),
            (Err(how), None) => Outcome::Failed(format!("{how}\n{text}")),
        }
    }

    /// The exit code of the case's process, or how it ended otherwise.
    fn fork_case(&self, case: &Case, tag: &str, output: &Path, reason_file: &Path) -> Result<i32, String> {
        let Some(child) = sys::fork() else { self.child(case, tag, output, reason_file) };
        let until = Instant::now() + case.time_limit();
        loop {
            match waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("waitpid") {
                WaitStatus::StillAlive => {}
                WaitStatus::Exited(_, code) => return Ok(code),
                WaitStatus::Signaled(_, signal, _) => return Err(format!("ended by {signal}")),
                other => return Err(format!("unexpected {other:?}")),
            }
            match self.signals.read_signal() {
                // It may be the end of the one before, which was seen already.
                Ok(Some(signal)) if signal.ssi_signo == Signal::SIGCHLD as u32 => continue,
                Ok(Some(signal)) => {
                    process::kill_hard(child.as_raw());
                    waitpid(child, None).expect("waitpid");
                    self.end_early(tag, signal.ssi_signo);
                }
                Ok(None) | Err(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tree = process::descendants(child.as_raw());
                let list: Vec<_> = tree.iter().map(|p| format!("  {} {} {}", p.pid, p.state, p.command)).collect();
                process::kill_hard(child.as_raw());
                waitpid(child, None).expect("waitpid");
                let seconds = case.time_limit().as_secs();
                return Err(format!("not done after {seconds} s; its processes were\n{}", list.join("\n")));
            }
            // It sleeps until then, so that it does not disturb what a case measures.
            let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], patience) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => panic!("poll: {errno}"),
            }
        }
    }

    /// Ends the run in the middle of a case, as a signal asks for.
    fn end_early(&self, tag: &str, signal: u32) -> ! {
        println!("interrupted by signal {signal}");
        self.clean_after(tag);
        self.finish().iter().for_each(|left| println!("left behind: {left}"));
        std::process::exit(128 + i32::try_from(signal).unwrap_or(0))
    }

    /// The forked process: runs the case, looks for leaks, and ends with 0, [`SKIPPED`] or 101.
    fn child(&self, case: &Case, tag: &str, output: &Path, reason_file: &Path) -> ! {
        let file = File::create(output).expect("output of the case");
        sys::redirect_output(file.as_fd());
        awaited().thread_unblock().expect("unblock signals");
        sys::die_with_parent();
        sys::become_subreaper();
        std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
        let sandbox =
            Sandbox::enter(self.subject.clone(), self.world, tag.to_owned(), &self.base, reason_file.to_owned());
        let body = std::panic::catch_unwind(AssertUnwindSafe(|| case.run(&sandbox)));
        if body.is_err() {
            sys::exit_now(101);
        }
        let mut roots = sandbox.more_roots.borrow().clone();
        roots.push(sandbox.root.clone());
        let left = leak::find(tag, &roots);
        if !left.is_empty() {
            eprintln!("left behind: {left:#?}");
        }
        sys::exit_now(if left.is_empty() { 0 } else { 101 });
    }

    /// Takes away whatever a case left, whether it was judged for it or not.
    fn clean_after(&self, tag: &str) {
        leak::clean(tag);
        let dir = self.base.join(tag);
        if dir.is_dir()
            && let Err(error) = leak::remove_tree(&dir)
        {
            eprintln!("cannot remove {}: {error}", dir.display());
        }
    }

    /// What the run as a whole left on the host; removes the run's directory.
    fn finish(&self) -> Vec<String> {
        let mut left = leak::find(&self.tag, &[]);
        let mounts = leak::mounts(&self.tag);
        left.extend(mounts.iter().map(|line| format!("mount {line}")));
        let mounts_after = leak::mounts("").len();
        if mounts_after != self.mounts_before {
            let lines = BufReader::new(File::open("/proc/self/mountinfo").expect("mountinfo")).lines().count();
            println!("note: the host's mount table went from {} to {lines} entries during the run", self.mounts_before);
        }
        if let Err(error) = leak::remove_tree(&self.base) {
            left.push(format!("directory {}: {error}", self.base.display()));
        }
        left
    }
}
