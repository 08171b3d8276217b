//! How long an image takes from a registry to a root file system, and with how much memory: Orlop beside skopeo with umoci,
//! Podman and Docker, as far as they are installed.
//!
//! `cargo bench -p orlop-images --bench unpack -- [--layers N] [--mib N] [--rounds N] [--local]`, as root. The image is made of
//! this machine's own /usr; every fourth file is random bytes, which cannot be compressed. The registry is Debian's `docker-registry`; without it, or with `--local`, blobs are read from
//! disk and the peers begin from there too. All contenders run in turn, round by round; the page cache is warm for all.
//! Docker's daemon is one of the bench's own, in a mount namespace of its own; its start is not measured, its memory is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measuring program that ends at the first thing that goes wrong"
)]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use more of it")]
#[path = "../tests/support/layout.rs"]
mod layout;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layout::{Layout, gzip};
use orlop_images::base::Dir;
use orlop_images::layer::tar::{Entry, Kind, Time, Writer};
use orlop_images::snapshot::{LayersOptions, Snapshots};
use orlop_images::{Cancel, Digest, Quiet, Step};

struct Settings {
    layers: usize,
    mib: usize,
    rounds: usize,
    local: bool,
    scratch: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(["--child", source, state]) = arguments.iter().map(String::as_str).collect::<Vec<_>>().get(..3) {
        return child(source, Path::new(state));
    }
    let number = |name: &str, default: usize| {
        let value = arguments.iter().skip_while(|word| *word != name).nth(1);
        value.map_or(default, |value| value.parse().unwrap())
    };
    let settings = Settings {
        layers: number("--layers", 10),
        mib: number("--mib", 1024),
        rounds: number("--rounds", 3),
        local: arguments.iter().any(|word| word == "--local"),
        scratch: std::env::temp_dir().join(format!("orlop-bench-{}", std::process::id())),
    };
    std::fs::create_dir(&settings.scratch).unwrap();
    run(&settings);
    std::fs::remove_dir_all(&settings.scratch).unwrap();
}

fn run(settings: &Settings) {
    let archives = archives(settings);
    alone(&archives[0], settings);
    let gz = settings.scratch.join("gzip");
    let zst = settings.scratch.join("zstd");
    Layout::of_blobs(&gz, archives.iter().map(|archive| (gzip(archive), "+gzip", Digest::of(archive))));
    Layout::of_blobs(
        &zst,
        archives.iter().map(|archive| (zstd::encode_all(&archive[..], 3).unwrap(), "+zstd", Digest::of(archive))),
    );
    drop(archives);
    let registry = if settings.local { None } else { Registry::start(&settings.scratch) };
    if registry.is_none() {
        eprintln!("SKIP docker pull: it needs a registry");
    } else if !there("dockerd") || !there("docker") {
        eprintln!("SKIP docker pull: dockerd or docker is not installed");
    }
    for (name, layout) in [("gzip", &gz), ("zstd", &zst)] {
        let source = match &registry {
            Some(registry) => registry.push(layout, name),
            None => format!("oci:{}:latest", layout.display()),
        };
        println!("{name}, {} layers, {} MiB, from {source}", settings.layers, settings.mib);
        for round in 0..settings.rounds {
            for contender in contenders(&source, name, &settings.scratch.join(format!("{name}-{round}"))) {
                contender.measure();
            }
        }
    }
}

/// Inflating a layer into nothing, beside unpacking it: how much of the inflater's speed is left.
fn alone(archive: &[u8], settings: &Settings) {
    let path = settings.scratch.join("single");
    let layout = Layout::of_blobs(&path, std::iter::once((gzip(archive), "+gzip", Digest::of(archive))));
    let image = layout.image();
    for round in 0..settings.rounds.max(5) {
        let began = Instant::now();
        let mut decoder = flate2::bufread::MultiGzDecoder::new(std::io::BufReader::with_capacity(
            256 << 10,
            layout.blob(&image.layers[0].blob.digest),
        ));
        let mut buffer = vec![0; 256 << 10];
        while decoder.read(&mut buffer).unwrap() > 0 {}
        let inflating = began.elapsed();
        let state = Dir::make(Step::OpenStore, &settings.scratch.join(format!("single-{round}"))).unwrap();
        let snapshots = Snapshots::open(&state).unwrap();
        let began = Instant::now();
        let blob = |digest: &Digest| Ok(layout.blob(digest));
        snapshots.layers().unpack(&image, &blob, &LayersOptions::default(), &Quiet, &Cancel::new()).unwrap();
        let whole = began.elapsed();
        let speed = |time: Duration| archive.len() as f64 / 1e6 / time.as_secs_f64();
        let ratio = inflating.as_secs_f64() / whole.as_secs_f64();
        println!(
            "one gzip layer: inflating alone {:.0} MB/s, unpacked {:.0} MB/s, {ratio:.2} of it",
            speed(inflating),
            speed(whole)
        );
    }
}

/// Archives of the files of /usr, over and over with other names until there are enough.
fn archives(settings: &Settings) -> Vec<Vec<u8>> {
    let wanted = (settings.mib / settings.layers) << 20;
    let mut files = Vec::new();
    collect(Path::new("/usr"), &mut files);
    files.sort();
    let mut next = files.iter().cycle().enumerate();
    (0..settings.layers)
        .map(|_| {
            let mut bytes = Vec::with_capacity(wanted + (64 << 20));
            let mut writer = Writer::new(&mut bytes);
            let mut size = 0;
            let mtime = Time { seconds: 1_700_000_000, nanos: 0 };
            let mut entry = Entry {
                path: Vec::new(),
                kind: Kind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime,
                atime: None,
                xattrs: Vec::new(),
            };
            while size < wanted {
                let (number, path) = next.next().unwrap();
                let Ok(mut content) = std::fs::read(path) else { continue };
                if number % 4 == 0 {
                    noise(&mut content, number as u64);
                }
                let directory = format!("d{}", number / 100);
                if number % 100 == 0 || size == 0 {
                    entry.path = directory.clone().into_bytes();
                    entry.kind = Kind::Directory;
                    writer.entry(&entry, &mut std::io::empty()).unwrap();
                }
                entry.path = format!("{directory}/f{number}").into_bytes();
                entry.kind = Kind::File { size: content.len() as u64, pieces: None };
                writer.entry(&entry, &mut &content[..]).unwrap();
                size += content.len() + 1024;
            }
            writer.finish().unwrap();
            bytes
        })
        .collect()
}

/// Random bytes that are the same in every run (xorshift).
fn noise(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() && entry.metadata().unwrap().len() < 16 << 20 {
            files.push(entry.path());
        }
    }
}

struct Contender {
    name: &'static str,
    /// What must listen on a socket before.
    daemon: Option<(Command, PathBuf)>,
    commands: Vec<Command>,
    scratch: PathBuf,
}

fn there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn contenders(source: &str, kind: &str, scratch: &Path) -> Vec<Contender> {
    let path = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
    let docker = source.strip_prefix("docker://");
    let own = std::env::current_exe().unwrap();
    let mut all = vec![Contender {
        name: "orlop",
        daemon: None,
        commands: vec![command(own.to_str().unwrap(), &["--child", source, &path("state")])],
        scratch: scratch.join("1"),
    }];
    // umoci of Debian 12 does not know zstd.
    if there("skopeo") && there("umoci") && kind == "gzip" {
        let image = format!("{}:latest", path("skopeo"));
        let commands = vec![
            command("skopeo", &["copy", "--quiet", "--src-tls-verify=false", source, &format!("oci:{image}")]),
            command("umoci", &["unpack", "--image", &image, &path("umoci")]),
        ];
        all.push(Contender { name: "skopeo + umoci", daemon: None, commands, scratch: scratch.join("2") });
    }
    if there("podman") {
        let arguments = [
            "-m",
            "podman",
            "--root",
            &path("podman"),
            "--runroot",
            &path("podman-run"),
            "--storage-driver",
            "overlay",
            "pull",
            "--quiet",
        ];
        let mut podman = command("unshare", &arguments);
        if docker.is_some() {
            podman.arg("--tls-verify=false");
        }
        podman.arg(source);
        all.push(Contender { name: "podman pull", daemon: None, commands: vec![podman], scratch: scratch.join("3") });
    }
    if let Some(reference) = docker.filter(|_| there("dockerd") && there("docker")) {
        all.push(docker_pull(reference, &scratch.join("4")));
    }
    all
}

/// Docker with a daemon that touches nothing of the host's network.
fn docker_pull(reference: &str, scratch: &Path) -> Contender {
    let path = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(scratch).unwrap();
    std::fs::write(scratch.join("daemon.json"), "{}").unwrap();
    let socket = format!("unix://{}", path("s"));
    let mut daemon = command("unshare", &["-m", "dockerd", "--host", &socket, "--storage-driver", "overlay2"]);
    daemon.args(["--data-root", &path("data"), "--exec-root", &path("run"), "--pidfile", &path("pid")]);
    daemon.args(["--config-file", &path("daemon.json"), "--bridge", "none", "--iptables=false", "--ip-forward=false"]);
    daemon.stderr(File::create(scratch.join("log")).unwrap());
    let mut pull = command("docker", &["--host", &socket, "pull", "--quiet", reference]);
    pull.env("DOCKER_CONFIG", scratch);
    let daemon = Some((daemon, scratch.join("s")));
    Contender { name: "docker pull", daemon, commands: vec![pull], scratch: scratch.to_owned() }
}

/// A daemon that listens; it ends when this is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(mut command: Command, socket: &Path) -> Self {
        let daemon = Self(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < end, "{}: nobody listens", socket.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while self.0.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                self.0.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Contender {
    fn measure(mut self) {
        std::fs::create_dir_all(self.scratch.parent().unwrap()).unwrap();
        let before = processor_time();
        let daemon = self.daemon.take().map(|(command, socket)| Daemon::start(command, &socket));
        let helper = daemon.as_ref().map(|daemon| daemon.0.id());
        let began = Instant::now();
        let mut peak = 0;
        for command in &mut self.commands {
            let mut child = command.spawn().unwrap();
            peak = peak.max(watch(&mut child, helper));
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            let status = child.wait().unwrap();
            if !status.success() {
                println!("  {:<16} failed: {}", self.name, text.trim());
                return;
            }
        }
        let took = began.elapsed().as_secs_f64();
        // What a daemon has taken is known once it has ended.
        drop(daemon);
        let busy = (processor_time() - before).as_secs_f64();
        println!("  {:<16} {took:6.2} s  {:4} MiB  {:.1} processors", self.name, peak >> 10, busy / took);
    }
}

/// What all children that have ended have taken of processors.
fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// The largest sum of what a child and those below it, and its daemon, have had in memory, in KiB, until it ends.
fn watch(child: &mut Child, daemon: Option<u32>) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(memory(child.id()) + daemon.map_or(0, memory));
        std::thread::sleep(Duration::from_millis(20));
    }
    peak
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own = own.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + children.split_ascii_whitespace().map(|child| memory(child.parse().unwrap())).sum::<u64>()
}

/// Pulls and unpacks as the program does.
fn child(source: &str, state: &Path) {
    let cancel = Cancel::new();
    let options = LayersOptions::default();
    match source.strip_prefix("docker://") {
        Some(reference) => {
            use orlop_images::registry::{Hosts, Keyring, Options, Registry};
            let hosts = Hosts::of_environment().unwrap();
            let registry = Registry::new(Options {
                hosts,
                keyring: Keyring::of_environment(),
                cancel: cancel.clone(),
                ..Options::default()
            });
            let store = orlop_images::store::Store::open(state, &cancel).unwrap();
            let pull = orlop_images::transfer::PullOptions { platform: None, jobs: 4 };
            let image =
                orlop_images::transfer::pull(&store, &registry, &reference.parse().unwrap(), &pull, &Quiet).unwrap();
            let snapshots = Snapshots::open(store.state()).unwrap();
            snapshots.layers().unpack(&image, &|digest| store.blob(digest), &options, &Quiet, &cancel).unwrap();
        }
        None => {
            let path = source.trim_start_matches("oci:").trim_end_matches(":latest");
            let layout = Layout::open(Path::new(path));
            let snapshots = Snapshots::open(&Dir::make(Step::OpenStore, state).unwrap()).unwrap();
            let blob = |digest: &Digest| Ok(layout.blob(digest));
            snapshots.layers().unpack(&layout.image(), &blob, &options, &Quiet, &cancel).unwrap();
        }
    }
}

/// Debian's registry on loopback.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(scratch: &Path) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = scratch.join("registry.yml");
        let root = scratch.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            root.display()
        );
        File::create_new(&config).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = command("docker-registry", &["serve", config.to_str().unwrap()]);
        let Ok(child) = command.stderr(Stdio::null()).spawn() else {
            eprintln!("SKIP registry: docker-registry is not installed; blobs come from disk");
            return None;
        };
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, port })
    }

    fn push(&self, layout: &Path, name: &str) -> String {
        let target = format!("docker://localhost:{}/bench/{name}:latest", self.port);
        let source = format!("oci:{}:latest", layout.display());
        let status =
            Command::new("skopeo").args(["copy", "--quiet", "--dest-tls-verify=false", &source, &target]).status();
        assert!(status.unwrap().success());
        target
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
