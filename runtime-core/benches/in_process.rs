//! The library in the caller's own process, in turns with what the kernel asks for at least: `cargo bench -p orlop` (as root).
//!
//! - Commands with captured output in one container: by `exec`, by an exec server, by the floor program with nothing but the system calls
//!   that an exec takes, and the same program by posix_spawn(3) without a container.
//! - Whole containers, by `run` and from a template, with and without a network namespace that was made ahead, beside the floor program in
//!   a loop.
//! - With `ORLOP_BENCH_PEERS=/usr/bin/runc,…`: `exec` by these programs in containers of theirs.
//!
//! `ORLOP_BENCH_COMMANDS` and `ORLOP_BENCH_CONTAINERS` say how many (default 2000 and 100), `ORLOP_BENCH_JSON` names a file that gets all
//! figures. `ORLOP_BENCH_LAYOUT=v2` is for cgroup v2 alone, with the controllers that no v1 hierarchy holds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark ends by panicking, and prints"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use orlop::{
    Container, ContainerId, CreateOptions, DeleteOptions, ExecOptions, ExecProcess, Exit, Process, Result, Runtime,
    SpawnOptions, Template, TemplateOptions,
};
use orlop_integration::{Cmd, Sandbox, case};
use serde_json::json;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// A static program that ends at once, in every root file system here.
const COMMAND: [&str; 2] = ["/floor", "nothing"];

#[derive(Default)]
struct Times(BTreeMap<String, Vec<Duration>>);

impl Times {
    fn add(&mut self, what: &str, one: impl FnOnce()) {
        let begun = Instant::now();
        one();
        self.0.entry(what.to_owned()).or_default().push(begun.elapsed());
    }

    /// Prints the middle and the worst of each hundred, and keeps them as JSON.
    fn report(&mut self, figures: &mut BTreeMap<String, serde_json::Value>) {
        for (what, times) in &mut self.0 {
            times.sort();
            let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
            let row = [("half", at(50)), ("90 of 100", at(90)), ("99 of 100", at(99))];
            let text: Vec<String> = row.iter().map(|(share, time)| format!("{share} within {time:.3} ms")).collect();
            println!("{what:<34} {:>6} times: {}", times.len(), text.join(", "));
            figures.insert(what.clone(), json!(row.map(|(share, time)| json!({ "share": share, "ms": time }))));
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a user of a sandbox does: start it, read all of its output, learn how it ended.
fn captured(start: impl FnOnce(ExecOptions) -> Result<Process>) {
    let (mut output, stdout) = std::io::pipe().unwrap();
    let streams = [File::open("/dev/null").unwrap().into(), stdout.try_clone().unwrap().into(), stdout.into()];
    let words = COMMAND.map(str::to_owned).to_vec();
    let process = start(ExecOptions::new(ExecProcess::Args(words)).stdio(streams)).unwrap();
    let mut text = Vec::new();
    output.read_to_end(&mut text).unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
}

fn spawned(program: &Path) {
    let (mut output, stdout) = std::io::pipe().unwrap();
    let mut command = Command::new(program);
    command.arg("nothing").stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stdout);
    let mut child = command.spawn().unwrap();
    drop(command);
    output.read_to_end(&mut Vec::new()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The floor program, which executes commands in a container one by one.
struct FloorExec {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl FloorExec {
    fn new(floor: &Path, pid: i32) -> Self {
        let mut command = Command::new(floor);
        command.args(["exec", &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (asked, told) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asked, told }
    }

    fn one(&mut self) -> Duration {
        self.asked.write_all(b"x").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().unwrap())
    }

    fn end(mut self) {
        drop(self.asked);
        assert!(self.child.wait().unwrap().success());
    }
}

#[case(seconds(1800))]
fn commands_and_containers(t: &Sandbox) {
    if std::env::var("ORLOP_BENCH_LAYOUT").is_ok_and(|layout| layout == "v2") {
        v2_alone();
    }
    // Kept on a tmpfs, as /run is.
    std::fs::create_dir_all(&t.root).unwrap();
    nix::mount::mount(Some("state"), &t.root, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("mode=700")).unwrap();
    let lasting = t.container("lasting");
    t.copy_floor(&lasting.rootfs().join("floor"));
    lasting.run_paused();
    let container = Container::new(Runtime::new(&t.root), ContainerId::new(&lasting.id).unwrap());
    let server = container.exec_server().unwrap();
    let floor = lasting.rootfs().join("floor");
    let mut floor_exec = FloorExec::new(&floor, container.state().unwrap().pid.unwrap().get());
    let mut times = Times::default();
    for _ in 0..number("ORLOP_BENCH_COMMANDS", 2000) {
        times.add("command, exec server", || captured(|options| server.exec(options)));
        times.add("command, exec", || captured(|options| container.exec(options)));
        times.0.entry("command, floor of an exec".into()).or_default().push(floor_exec.one());
        times.add("command, without a container", || spawned(&floor));
    }
    let peers = std::env::var("ORLOP_BENCH_PEERS").unwrap_or_default();
    for peer in peers.split(',').filter(|peer| !peer.is_empty()) {
        by_program(t, peer, &mut times);
    }
    floor_exec.end();
    drop(server);
    lasting.end();
    containers(t, &floor, &mut times);
    let mut figures = BTreeMap::new();
    times.report(&mut figures);
    if let Ok(path) = std::env::var("ORLOP_BENCH_JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
    }
}

/// In the mount namespace of the case.
fn v2_alone() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    // Below a cgroup2 that covers it, its mount would still stand for both, and nothing left would be found by it.
    if Path::new("/sys/fs/cgroup/unified").is_dir() {
        umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH).unwrap();
    }
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
}

fn by_program(t: &Sandbox, program: &str, times: &mut Times) {
    let name = Path::new(program).file_name().unwrap().to_str().unwrap().to_owned();
    let c = t.container(&format!("by-{name}"));
    t.copy_floor(&c.rootfs().join("floor"));
    c.args(&["/probe", "pause"]).write();
    let root = t.dir.join(format!("root-{name}")).display().to_string();
    let call =
        |words: &[&str]| Cmd::new(program.as_ref(), t.dir.join("peer")).args(["--root", &root]).args(words.to_vec());
    call(&["run", "--detach", "--bundle", c.bundle.to_str().unwrap(), &c.id]).run().ok();
    for _ in 0..100 {
        times.add(&format!("command, {name} exec"), || drop(call(&["exec", &c.id, COMMAND[0], COMMAND[1]]).run().ok()));
    }
    call(&["delete", "--force", &c.id]).run().ok();
}

/// Makes a container, waits for its end, and deletes it.
fn lived(container: &Container, by: &str, times: &mut Times, make: impl FnOnce() -> Result<Process>) {
    let begun = Instant::now();
    let mut lap = |until: &str| {
        times.0.entry(format!("container, {by} to {until}")).or_default().push(begun.elapsed());
    };
    let process = make().unwrap();
    lap("its command");
    process.wait().unwrap();
    lap("its end");
    drop(container.delete(&DeleteOptions::default()).unwrap());
    lap("delete");
}

/// From `run` to `delete`; and the floor, which makes and takes away the same without a config or a state.
fn containers(t: &Sandbox, floor: &Path, times: &mut Times) {
    let c = t.container("short");
    t.copy_floor(&c.rootfs().join("floor"));
    c.args(&COMMAND).write();
    let container = Container::new(Runtime::new(&t.root), ContainerId::new(&c.id).unwrap());
    let rootfs = c.rootfs().display().to_string();
    let template = Template::new(container.runtime().clone(), TemplateOptions::new(&c.bundle)).unwrap();
    for _ in 0..number("ORLOP_BENCH_CONTAINERS", 100) {
        lived(&container, "run", times, || container.run(CreateOptions::new(&c.bundle)));
        lived(&container, "template", times, || template.spawn(container.id(), SpawnOptions::default()));
        // In an idle moment before.
        template.prepare_networks(1).unwrap();
        lived(&container, "prepared", times, || template.spawn(container.id(), SpawnOptions::default()));
        let output = Command::new(floor).env("ORLOP_TAG", &t.tag).args(["container", &rootfs, "1"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        times.0.entry("container, floor".into()).or_default().push(Duration::from_nanos(nanoseconds));
    }
}
