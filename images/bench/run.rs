//! What an image's container costs beside one of a bundle: the time to its first output, and mounts on the host.
//!
//! `cargo bench -p orlop-images --bench run -- [--rounds N] [--containers N] [--layers N]`, as root. `ORLOP_RUNTIME` names the
//! `orlop` to compare with; by default it is that beside `orlop-image` (`cargo build --release -p orlop-cli`). Both start the
//! same program with the same config, in turn. What lasts until the next boot lies on /dev/shm, as /run is a tmpfs too.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measuring program that ends at the first thing that goes wrong"
)]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use more of it")]
#[path = "../tests/support/layout.rs"]
mod layout;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use layout::Layout;
use orlop_images::layer::tar::{Entry, Kind, Time, Writer};
use serde_json::json;

/// Makes the command of a contender.
type Make<'a> = Box<dyn Fn() -> Command + 'a>;

struct Bench {
    scratch: PathBuf,
    /// What the runtime and the network know, on a tmpfs.
    run: PathBuf,
    program: &'static str,
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP run: it needs root");
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let value = arguments.iter().skip_while(|word| *word != name).nth(1);
        value.map_or(default, |value| value.parse().unwrap())
    };
    let scratch = std::env::temp_dir().join(format!("orlop-bench-run-{}", std::process::id()));
    std::fs::create_dir(&scratch).unwrap();
    let run = Path::new("/dev/shm").join(scratch.file_name().unwrap());
    std::fs::create_dir(&run).unwrap();
    let bench = Bench { scratch, run, program: env!("CARGO_BIN_EXE_orlop-image") };
    let images = bench.scratch.join("state/images");
    let base = base();
    let config = json!({ "Cmd": ["/bin/busybox", "echo", "x"] });
    Layout::add(&images, "small", std::slice::from_ref(&base), &config);
    let layers = number("--layers", 50);
    let mut stack = vec![base];
    stack.extend((1..layers).map(|at| archive(&[(&format!("layer{at}"), b"x", 0o644)])));
    Layout::add(&images, "deep", &stack, &config);
    bench.first_output(number("--rounds", 40));
    bench.mounts(layers, number("--containers", 100));
    std::fs::remove_dir_all(&bench.scratch).unwrap();
    std::fs::remove_dir_all(&bench.run).unwrap();
}

fn base() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox")).unwrap();
    archive(&[("bin/busybox", &busybox, 0o755), ("etc/passwd", b"root:x:0:0::/:/bin/sh\n", 0o644)])
}

fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for (path, content, mode) in files {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: Kind::File { size: content.len() as u64, pieces: None },
            mode: *mode,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 1_700_000_000, nanos: 0 },
            atime: None,
            xattrs: Vec::new(),
        };
        writer.entry(&entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

impl Bench {
    fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_str().unwrap().to_owned()
    }

    fn image(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(self.scratch.join("state")).arg("--runtime-root").arg(self.run.join("run"));
        command.args(words);
        command.stdin(Stdio::null());
        command
    }

    fn ok(&self, words: &[&str]) {
        let output = self.image(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// From the start of the program to the first byte that the container writes.
    fn first_output(&self, rounds: usize) {
        let beside = Path::new(self.program).with_file_name("orlop");
        let runtime = std::env::var_os("ORLOP_RUNTIME").map_or(beside, PathBuf::from);
        if !runtime.is_file() {
            eprintln!("SKIP first output: there is no {} (cargo build --release -p orlop-cli)", runtime.display());
            return;
        }
        self.ok(&["bundle", "-q", "small", &self.path("bundle")]);
        let of_bundle = || {
            let mut command = Command::new(&runtime);
            command.arg("--root").arg(self.run.join("run-bundle")).args([
                "run",
                "-b",
                &self.path("bundle"),
                "bench-bundle",
            ]);
            command.stdin(Stdio::null());
            command
        };
        let contenders: [(&str, Make<'_>); 4] = [
            ("orlop run, a bundle", Box::new(of_bundle)),
            ("orlop image run --network none", Box::new(|| self.run("none"))),
            ("orlop image run --network host", Box::new(|| self.run("host"))),
            ("orlop image run, on the bridge", Box::new(|| self.run("bridge"))),
        ];
        let mut times = vec![Vec::new(); contenders.len()];
        // The first round has nothing in the caches, and unpacks the image.
        for round in 0..=rounds {
            for ((_, command), times) in contenders.iter().zip(&mut times) {
                let time = first_byte(&mut command());
                if round > 0 {
                    times.push(time);
                }
            }
        }
        for ((name, _), mut times) in contenders.iter().zip(times) {
            times.sort();
            let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
            println!("first output: {name:<32} median {:5.1} ms, a tenth below {:5.1}", at(50), at(10));
        }
    }

    fn run(&self, network: &str) -> Command {
        self.image(&["run", "-q", "--rm", "--network", network, "small"])
    }

    /// How many mounts the host has for each container.
    fn mounts(&self, layers: usize, containers: usize) {
        let count = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        let before = count();
        let names: Vec<String> =
            (0..containers).map(|number| format!("bench-{}-{number}", std::process::id())).collect();
        let began = Instant::now();
        for name in &names {
            let words =
                ["run", "-q", "-d", "--network", "none", "--name", name, "deep", "/bin/busybox", "sleep", "3600"];
            self.ok(&words);
        }
        let (took, after) = (began.elapsed(), count());
        println!(
            "mounts: {containers} containers of {layers} layers, started in {:.1} s: {before} mounts on the host before, {after} beside them",
            took.as_secs_f64()
        );
        for name in &names {
            self.ok(&["rm", "-f", name]);
        }
        assert_eq!(count(), before);
    }
}

fn first_byte(command: &mut Command) -> Duration {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    let time = began.elapsed();
    assert!(child.wait().unwrap().success() && &byte == b"x");
    time
}
