//! The cost of filters: size, compiling, attaching, and each call under them, beside libseccomp's where it is installed.
//!
//! ```text
//! cargo run --release -p orlop-seccomp --example bench [-- PROFILE.json]
//! ```
//!
//! In parentheses: how many BPF instructions run for a call (none for allowed ones on Linux 5.11 and later).
//! Instructions of compiling are counted by callgrind if valgrind is installed; the program runs itself under it.
#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]
#![allow(
    unsafe_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a measuring program"
)]
use orlop_seccomp::{Arch, Call, Flags, Options, Profile, SockFilter, compile, load, trace};
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

#[path = "../tests/support/libseccomp.rs"]
mod libseccomp;
use libseccomp::Oracle;

const DOCKER: &str = include_str!("../tests/data/docker-28.json");
const ARCHITECTURES: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];
/// The calls measured: allowed without a look at arguments, after one, and denied.
const CALLS: [(&str, &str, [u64; 3]); 3] = [
    ("allowed", "getppid", [0; 3]),
    ("argument-checked", "personality", [0xffff_ffff, 0, 0]),
    ("denied", "acct", [0; 3]),
];

/// Who compiles.
#[derive(Clone, Copy, PartialEq)]
enum Compiler {
    Orlop,
    LibseccompList,
    LibseccompTree,
}

impl Compiler {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Orlop, "orlop-seccomp"),
        (Self::LibseccompTree, "libseccomp, tree"),
        (Self::LibseccompList, "libseccomp, list"),
    ];

    fn compile(self, profile: &Profile<'_>, oracle: Option<&Oracle>) -> Vec<SockFilter> {
        match self {
            Self::Orlop => compile(profile, &Options::default()).expect("a good profile").instructions,
            _ => oracle
                .expect("libseccomp")
                .compile(profile, &ARCHITECTURES, self == Self::LibseccompTree)
                .expect("a profile libseccomp takes"),
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("--compile") {
        return compile_once(&arguments.next().expect("a compiler"), arguments.next().as_deref());
    }
    let text = first.as_deref().map_or(DOCKER.to_owned(), |path| std::fs::read_to_string(path).expect("a profile"));
    let profile: Profile<'_> = serde_json::from_str(&text).expect("a profile");
    let oracle = Oracle::load();
    let version = oracle.as_ref().map_or_else(Clone::clone, |oracle| format!("libseccomp {}", oracle.version()));
    println!("{}; {version}", first.as_deref().unwrap_or("Docker 28's default profile, three architectures"));
    print!("{:<18}{:>8}{:>12}{:>14}{:>12}", "", "insns", "compile µs", "callgrind M", "attach µs");
    CALLS.iter().for_each(|(name, ..)| print!("{:>22}", format!("{name} ns (run)")));
    println!();
    for (compiler, name) in Compiler::ALL {
        if compiler != Compiler::Orlop && oracle.is_err() {
            continue;
        }
        row(name, compiler, &profile, oracle.as_ref().ok(), first.as_deref());
    }
    print!("{:<18}{:>46}", "no filter", "");
    CALLS.iter().for_each(|(_, call, arguments)| print!("{:>22.1}", in_child(&[], None, call, arguments)));
    println!();
}

fn row(name: &str, compiler: Compiler, profile: &Profile<'_>, oracle: Option<&Oracle>, path: Option<&str>) {
    let program = compiler.compile(profile, oracle);
    let compile = best_of(if compiler == Compiler::Orlop { 400 } else { 20 }, || {
        black_box(compiler.compile(black_box(profile), oracle));
    });
    let counted = callgrind(name, path).map_or("-".to_owned(), |count| format!("{:.3}", count / 1e6));
    let attach = in_child(&program, Some(Measure::Attach), "", &[0; 3]);
    print!("{name:<18}{:>8}{:>12.1}{counted:>14}{:>12.1}", program.len(), compile / 1e3, attach / 1e3);
    for (_, call, arguments) in CALLS {
        let nanoseconds = in_child(&program, Some(Measure::Call), call, &arguments);
        let trace = trace(&program, &Call::named(Arch::X86_64, call, &arguments).expect("a call of x86-64"));
        print!("{:>22}", format!("{nanoseconds:.1} ({})", trace.instructions));
    }
    println!();
}

/// The least of some runs, in nanoseconds: what it costs when nothing disturbs.
fn best_of(runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..runs).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos()
    });
    times.min().unwrap_or(0) as f64
}

/// Compiles many times or never, for callgrind to count the difference.
fn compile_once(name: &str, path: Option<&str>) {
    let text = path.map_or(DOCKER.to_owned(), |path| std::fs::read_to_string(path).expect("a profile"));
    let profile: Profile<'_> = serde_json::from_str(&text).expect("a profile");
    let oracle = Oracle::load().ok();
    let (name, times) = name.split_once('*').expect("a compiler and a count");
    let (compiler, _) = Compiler::ALL.into_iter().find(|(_, known)| *known == name).expect("a known compiler");
    for _ in 0..times.parse::<usize>().expect("a count") {
        black_box(compiler.compile(black_box(&profile), oracle.as_ref()));
    }
}

/// Instructions executed by compiling once: the difference of two runs that compile once and twice.
fn callgrind(name: &str, path: Option<&str>) -> Option<f64> {
    let count = |times: usize| -> Option<f64> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(std::env::current_exe().ok()?).arg("--compile").arg(format!("{name}*{times}"));
        let output = command.args(path).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.split_once("Collected :"))?;
        line.1.trim().parse().ok()
    };
    Some(count(2)? - count(1)?)
}

#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Attach,
    Call,
}

/// Measures in a forked child, since a filter stays; nanoseconds.
fn in_child(program: &[SockFilter], measure: Option<Measure>, call: &str, arguments: &[u64; 3]) -> f64 {
    let number = Call::named(Arch::X86_64, call, &[]).map_or(0, |call| i64::from(call.number));
    let [a, b, c] = *arguments;
    let results = (0..if measure == Some(Measure::Attach) { 40 } else { 5 }).map(|_| {
        // SAFETY: an anonymous shared mapping of one page, unmapped below.
        let shared = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).cast::<f64>()
        };
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            let start = Instant::now();
            if measure.is_some() {
                load::install(program, Flags::SPEC_ALLOW).expect("loading needs root");
            }
            let mut nanoseconds = start.elapsed().as_nanos() as f64;
            if measure != Some(Measure::Attach) {
                const ROUNDS: u32 = 300_000;
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    // SAFETY: none of the measured calls writes to memory.
                    black_box(unsafe { libc::syscall(number, a, b, c) });
                }
                nanoseconds = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
            }
            // SAFETY: the shared page; the child ends without running anything else.
            unsafe {
                shared.write(nanoseconds);
                libc::_exit(0)
            }
        }
        // SAFETY: our own child and our own mapping.
        unsafe {
            libc::waitpid(pid, std::ptr::null_mut(), 0);
            let value = shared.read();
            libc::munmap(shared.cast(), 4096);
            value
        }
    });
    results.fold(f64::INFINITY, f64::min)
}
