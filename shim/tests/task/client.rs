//! containerd's part: starts the shim, calls it, and takes its events.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop_integration::{Container, Sandbox};

use crate::proto::bootstrap::{BootstrapParams, BootstrapResult, Extension};
use crate::proto::event::ForwardRequest;
use crate::proto::options::RuncOptions;
use crate::proto::task::{
    ConnectResponse, CreateTaskRequest, DeleteResponse, ExecProcessRequest, KillRequest, PidResponse, ProcessRequest,
    ShutdownRequest, StateResponse, WaitResponse,
};
use crate::proto::{Any, Empty, Message, decode, encode};
use crate::ttrpc::{Decoder, Incoming, Request, Status, request, response};

/// The state root of the case is `DIR/state`, and the shim's is one directory for each namespace.
const NAMESPACE: &str = "state";
const PATIENCE: Duration = Duration::from_secs(20);

/// The shim under test: the one that `ORLOP_SHIM` names, else this package's.
pub fn shim_program() -> PathBuf {
    let named = std::env::var_os("ORLOP_SHIM").filter(|value| !value.is_empty());
    named.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-orlop-v2")), PathBuf::from)
}

/// The events that came, as topic and type with the bytes of the event.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Vec<(String, Any)>>>);

impl Events {
    /// Serves the socket to which events are published.
    pub fn serve(path: &Path) -> Self {
        let events = Self::default();
        let (listener, kept) = (UnixListener::bind(path).unwrap(), events.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || kept.take_from(stream.unwrap()));
            }
        });
        events
    }

    fn take_from(&self, mut stream: UnixStream) {
        let mut decoder = Decoder::default();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            decoder.feed(&bytes[..count]);
            while let Some(incoming) = decoder.next() {
                let Incoming::Request { stream: number, request } = incoming else { panic!("{incoming:?}") };
                assert_eq!(request.service, "containerd.services.events.ttrpc.v1.Events");
                assert_eq!(request.method, "Forward");
                let forward: ForwardRequest = decode(&request.payload).unwrap();
                let envelope = forward.envelope.unwrap();
                assert_eq!(envelope.namespace, NAMESPACE);
                self.0.lock().unwrap().push((envelope.topic, envelope.event.unwrap()));
                stream.write_all(&response(number, Ok(Vec::new()))).unwrap();
            }
        }
    }

    /// The topics in the order they came, once there are as many as that.
    pub fn topics(&self, count: usize) -> Vec<String> {
        wait_until("events", || self.0.lock().unwrap().len() >= count);
        self.0.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect()
    }

    /// The events of a topic.
    pub fn of<M: Message>(&self, topic: &str) -> Vec<M> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(of, _)| of == topic).map(|(_, event)| decode(&event.value).unwrap()).collect()
    }
}

/// Waits for something, and fails after a while.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waiting for {what} takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A shim, and a connection to it.
#[derive(Debug)]
pub struct Shim {
    pub address: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    next: u32,
    root: String,
    service: &'static str,
    runtime: String,
    /// Another's shim, by its program: it may end without having answered the call that ends it.
    peer: Option<PathBuf>,
}

/// The bundle of a container of the harness, with its config written.
pub fn bundle(container: &Container<'_>) -> PathBuf {
    container.write();
    container.rootfs().parent().unwrap().to_owned()
}

/// What `start` is told by containerd 2.3.
pub fn params(t: &Sandbox, id: &str) -> BootstrapParams {
    let events = t.dir.join("events.sock");
    let taken = fs::symlink_metadata(&events).is_ok();
    BootstrapParams {
        instance_id: id.to_owned(),
        namespace: NAMESPACE.to_owned(),
        containerd_version: "2.3.0".to_owned(),
        // Without somebody who takes the events, a shim would wait for them at its end.
        containerd_ttrpc_address: if taken { events.display().to_string() } else { String::new() },
        containerd_grpc_address: t.dir.join("containerd.sock").display().to_string(),
        socket_dir: t.dir.join("s").display().to_string(),
        extensions: vec![Extension { value: Some(options(t)) }],
        ..BootstrapParams::default()
    }
}

fn options(t: &Sandbox) -> Any {
    let options = RuncOptions { root: t.dir.display().to_string(), ..RuncOptions::default() };
    Any::of("containerd.runc.v1.Options", &options)
}

/// Calls the program as containerd does; what it writes to both of its streams.
pub fn call_binary(
    bundle: &Path,
    id: &str,
    action: &str,
    input: &[u8],
    environment: &[(&str, &str)],
) -> (bool, Vec<u8>) {
    let mut child = Command::new(shim_program())
        .args(["-namespace", NAMESPACE, "-address", "/run/c.sock", "-publish-binary", "/bin/false", "-id", id])
        .args((action == "delete").then_some(["-bundle"]).into_iter().flatten())
        .args((action == "delete").then_some(bundle))
        .arg(action)
        .current_dir(bundle)
        .env_remove("MAX_SHIM_VERSION")
        .env_remove("TTRPC_ADDRESS")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), [output.stdout, output.stderr].concat())
}

impl Shim {
    /// Starts another shim for a bundle, in the way of containerd 1.6, and connects to it; `runtime` is what it executes.
    pub fn start_program(t: &Sandbox, program: &Path, bundle: &Path, id: &str, runtime: &str) -> Self {
        // Shims written in Go end when nobody reads their log.
        let log = bundle.join("log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        std::thread::spawn(move || fs::read(log));
        let output = Command::new(program)
            .args(["-namespace", NAMESPACE, "-address", "/run/c.sock", "-publish-binary", "/bin/false", "-id", id])
            .arg("start")
            .current_dir(bundle)
            .env_remove("MAX_SHIM_VERSION")
            .env("TTRPC_ADDRESS", t.dir.join("events.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer = String::from_utf8(output.stdout).unwrap();
        // From containerd 2.0 on it is an object.
        let object = serde_json::from_str::<serde_json::Value>(&answer).ok();
        let address = object.as_ref().and_then(|object| object["address"].as_str()).unwrap_or(answer.trim());
        let mut shim = Self::connect(t, address);
        shim.service = if object.is_some() { "containerd.task.v3.Task" } else { "containerd.task.v2.Task" };
        shim.runtime = runtime.to_owned();
        shim.peer = (program != shim_program()).then(|| program.to_owned());
        shim
    }

    /// Starts a shim for a bundle, or finds that of its pod, and connects to it.
    pub fn start(t: &Sandbox, bundle: &Path, id: &str) -> Self {
        let (ok, answer) = call_binary(bundle, id, "start", &encode(&params(t, id)), &[]);
        assert!(ok, "{}", String::from_utf8_lossy(&answer));
        let result: BootstrapResult = decode(&answer).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        Self::connect(t, &result.address)
    }

    pub fn connect(t: &Sandbox, address: &str) -> Self {
        let address = PathBuf::from(address.strip_prefix("unix://").unwrap());
        let stream = UnixStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let root = t.dir.display().to_string();
        Self {
            address,
            stream,
            decoder: Decoder::default(),
            next: 1,
            root,
            service: "containerd.task.v3.Task",
            runtime: String::new(),
            peer: None,
        }
    }

    /// Sends a call without waiting for its answer; the number of its stream.
    pub fn send(&mut self, service: &str, method: &str, message: &impl Message) -> u32 {
        self.next += 2;
        let call = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: encode(message),
            timeout_nano: 0,
        };
        self.stream.write_all(&request(self.next, &call)).unwrap();
        self.next
    }

    /// The answer on a stream; those on others before it are not expected.
    pub fn receive<M: Message>(&mut self, stream: u32) -> Result<M, Status> {
        let mut bytes = [0; 4096];
        loop {
            match self.decoder.next() {
                Some(Incoming::Response { stream: number, response }) => {
                    assert_eq!(number, stream, "an answer to another call");
                    return match response.status {
                        Some(status) if status.code != 0 => Err(status),
                        _ => Ok(decode(&response.payload).unwrap()),
                    };
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let count = self.stream.read(&mut bytes).expect("an answer in time");
            assert!(count > 0, "{} has closed the connection", self.name());
            self.decoder.feed(&bytes[..count]);
        }
    }

    fn name(&self) -> String {
        self.peer.as_ref().map_or_else(|| "the shim".to_owned(), |program| program.display().to_string())
    }

    /// Calls the task service.
    pub fn call<M: Message>(&mut self, method: &str, message: &impl Message) -> Result<M, Status> {
        let stream = self.send(self.service, method, message);
        self.receive(stream)
    }

    pub fn create_request(&self, bundle: &Path, id: &str) -> CreateTaskRequest {
        let options =
            RuncOptions { root: self.root.clone(), binary_name: self.runtime.clone(), ..RuncOptions::default() };
        CreateTaskRequest {
            id: id.to_owned(),
            bundle: bundle.display().to_string(),
            options: Some(Any::of("containerd.runc.v1.Options", &options)),
            ..CreateTaskRequest::default()
        }
    }

    pub fn create(&mut self, bundle: &Path, id: &str, stdio: Stdio3<'_>) -> Result<u32, Status> {
        let mut asked = self.create_request(bundle, id);
        asked.terminal = stdio.terminal;
        (asked.stdin, asked.stdout, asked.stderr) = stdio.paths();
        self.call::<PidResponse>("Create", &asked).map(|response| response.pid)
    }

    pub fn start_task(&mut self, id: &str, exec: &str) -> Result<u32, Status> {
        self.call::<PidResponse>("Start", &process(id, exec)).map(|response| response.pid)
    }

    pub fn exec(&mut self, id: &str, exec: &str, args: &[&str], stdio: Stdio3<'_>) -> Result<(), Status> {
        let spec = serde_json::json!({
            "terminal": stdio.terminal, "args": args, "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "env": ["PATH=/usr/bin:/bin"]
        });
        let (stdin, stdout, stderr) = stdio.paths();
        let asked = ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            terminal: stdio.terminal,
            stdin,
            stdout,
            stderr,
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: spec.to_string().into_bytes(),
            }),
        };
        self.call::<Empty>("Exec", &asked).map(drop)
    }

    pub fn wait(&mut self, id: &str, exec: &str) -> u32 {
        self.call::<WaitResponse>("Wait", &process(id, exec)).unwrap().exit_status
    }

    pub fn state(&mut self, id: &str, exec: &str) -> Result<StateResponse, Status> {
        self.call("State", &process(id, exec))
    }

    pub fn kill(&mut self, id: &str, exec: &str, signal: i32, all: bool) -> Result<(), Status> {
        let asked = KillRequest { id: id.to_owned(), exec_id: exec.to_owned(), signal: signal.cast_unsigned(), all };
        self.call::<Empty>("Kill", &asked).map(drop)
    }

    pub fn delete(&mut self, id: &str, exec: &str) -> Result<DeleteResponse, Status> {
        self.call("Delete", &process(id, exec))
    }

    pub fn pid(&mut self, id: &str) -> i32 {
        self.call::<ConnectResponse>("Connect", &process(id, "")).unwrap().shim_pid.cast_signed()
    }

    /// Kills a container and deletes it.
    pub fn end(&mut self, id: &str) {
        self.kill(id, "", libc::SIGKILL, true).unwrap();
        assert_eq!(self.wait(id, ""), 137);
        self.delete(id, "").unwrap();
    }

    /// Tells the shim to end, and waits until it has, and its socket is gone.
    pub fn shut_down(mut self) {
        let pid = self.pid("");
        if self.peer.is_some() {
            self.send(self.service, "Shutdown", &ShutdownRequest::default());
        } else {
            self.call::<Empty>("Shutdown", &ShutdownRequest::default()).unwrap();
        }
        wait_until("the shim's end", || {
            orlop_integration::process::reap();
            !orlop_integration::process::is_alive(pid)
        });
        assert!(fs::symlink_metadata(&self.address).is_err(), "the socket is left");
    }
}

/// The ids of a process.
pub fn process(id: &str, exec: &str) -> ProcessRequest {
    ProcessRequest { id: id.to_owned(), exec_id: exec.to_owned() }
}

/// The streams that a client gives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stdio3<'s> {
    pub stdin: Option<&'s Fifo>,
    pub stdout: Option<&'s Fifo>,
    pub stderr: Option<&'s Fifo>,
    pub uri: Option<&'s str>,
    pub terminal: bool,
}

impl Stdio3<'_> {
    fn paths(&self) -> (String, String, String) {
        let of = |fifo: Option<&Fifo>| fifo.map(|fifo| fifo.path.display().to_string()).unwrap_or_default();
        let stdout = self.uri.map_or_else(|| of(self.stdout), str::to_owned);
        (of(self.stdin), stdout, of(self.stderr))
    }
}

/// A FIFO, with the client's end of it.
#[derive(Debug)]
pub struct Fifo {
    pub path: PathBuf,
    file: Option<fs::File>,
}

impl Fifo {
    /// One whose output is read here.
    pub fn output(t: &Sandbox, name: &str) -> Self {
        let mut fifo = Self { path: Self::make(t, name), file: None };
        fifo.open();
        fifo
    }

    /// Opens it for reading, without waiting for a writer, as containerd does.
    pub fn open(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let opened = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        self.file = Some(opened.unwrap());
    }

    /// One that is written to here, once the shim has opened it.
    pub fn input(t: &Sandbox, name: &str) -> Self {
        Self { path: Self::make(t, name), file: None }
    }

    fn make(t: &Sandbox, name: &str) -> PathBuf {
        let path = t.dir.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        path
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let path = &self.path;
        let file = self.file.get_or_insert_with(|| fs::File::options().write(true).open(path).unwrap());
        file.write_all(bytes).unwrap();
    }

    pub fn close(&mut self) {
        self.file = None;
    }

    /// Reads until the other side closes.
    pub fn read_all(&mut self) -> Vec<u8> {
        self.read_until(|_| false)
    }

    /// Reads until the other side closes, or what came is enough.
    pub fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let file = self.file.as_mut().unwrap();
        let end = Instant::now() + PATIENCE;
        let (mut all, mut bytes) = (Vec::new(), [0; 65536]);
        loop {
            match file.read(&mut bytes) {
                Ok(0) => return all,
                Ok(count) => {
                    all.extend_from_slice(&bytes[..count]);
                    if enough(&all) {
                        return all;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < end, "no end of the output: {:?}", String::from_utf8_lossy(&all));
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
