//! A program in the place of CRIU: it serves the same requests, notes what it was asked, and behaves as `DOUBLE` says.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::socket::{MsgFlags, recv, send};
use std::os::fd::AsRawFd;

use crate::{Cmd, Sandbox};

const DUMP: u64 = 1;
const RESTORE: u64 = 2;
const PRE_DUMP: u64 = 4;
const NOTIFY: u64 = 6;
const FEATURE_CHECK: u64 = 9;
const VERSION: u64 = 10;

/// A directory for the case with the double in it, under CRIU's name: the test program itself, which [`crate::run`] turns into it.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn install(t: &Sandbox) -> PathBuf {
    let bin = t.dir.join("double");
    fs::create_dir_all(&bin).unwrap();
    let criu = bin.join("criu");
    if !criu.is_symlink() {
        symlink(std::env::current_exe().unwrap(), criu).unwrap();
    }
    bin
}

/// The command with the double as its CRIU, which behaves in this way.
#[must_use]
pub fn with(t: &Sandbox, cmd: Cmd, behaviour: &str) -> Cmd {
    let bin = install(t);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    cmd.env("PATH", path).env("DOUBLE", behaviour).env("DOUBLE_DIR", bin)
}

/// A command that kills the process that the double restored last, if there is one.
#[must_use]
pub fn kill_restored(t: &Sandbox) -> Cmd {
    let file = t.dir.join("double/restored").display().to_string();
    t.program("/bin/sh", &["-c", "test ! -e \"$0\" || kill -KILL \"$(cat \"$0\")\"", &file])
}

/// Forgets the process that was restored last: its number may become another's.
pub fn forget_restored(t: &Sandbox) {
    let _none_before_the_first = fs::remove_file(t.dir.join("double/restored"));
}

/// What the last request of a kind was (`dump`, `restore`, `pre-dump`): each option's values in words.
///
/// # Panics
/// When there was none.
#[must_use]
pub fn asked(t: &Sandbox, kind: &str) -> BTreeMap<u32, Vec<String>> {
    let text = fs::read(t.dir.join("double").join(kind)).unwrap_or_else(|_| panic!("no {kind} request was made"));
    let mut options: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (field, value) in fields(&text) {
        options.entry(field).or_default().push(value.words());
    }
    options
}

/// Whether there was a request of this kind.
#[must_use]
pub fn was_asked(t: &Sandbox, kind: &str) -> bool {
    t.dir.join("double").join(kind).exists()
}

enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl Value<'_> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => panic!("a number was expected"),
        }
    }

    /// A message as its values, with `=` between them; others as they are.
    fn words(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) if bytes.first().is_some_and(|byte| *byte == 0x0a || *byte == 0x12) => {
                fields(bytes).into_iter().map(|(_, value)| value.words()).collect::<Vec<_>>().join("=")
            }
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn fields(mut bytes: &[u8]) -> Vec<(u32, Value<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = u32::try_from(key >> 3).unwrap();
        match key & 7 {
            0 => found.push((field, Value::Number(varint(&mut bytes)))),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                found.push((field, Value::Bytes(value)));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        to.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap());
}

fn number(to: &mut Vec<u8>, field: u64, value: u64) {
    put(to, field << 3);
    put(to, value);
}

fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    put(to, field << 3 | 2);
    put(to, value.len() as u64);
    to.extend_from_slice(value);
}

fn answer(kind: u64, success: bool) -> Vec<u8> {
    let mut message = Vec::new();
    number(&mut message, 1, kind);
    number(&mut message, 2, u64::from(success));
    message
}

struct Server {
    socket: OwnedFd,
    behaviour: String,
    dir: PathBuf,
}

/// Serves one request, as CRIU does.
#[allow(unsafe_code, reason = "the descriptor comes as a number")]
pub(crate) fn serve(socket: RawFd) -> ExitCode {
    // SAFETY: the caller passes this descriptor for this use.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let behaviour = std::env::var("DOUBLE").unwrap_or_default();
    let dir = PathBuf::from(std::env::var("DOUBLE_DIR").unwrap_or_default());
    Server { socket, behaviour, dir }.serve()
}

impl Server {
    fn is(&self, behaviour: &str) -> bool {
        self.behaviour == behaviour
    }

    fn send(&self, message: &[u8]) {
        send(self.socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL).expect("send");
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("receive");
        buffer.truncate(length);
        buffer
    }

    fn serve(&self) -> ExitCode {
        let request = self.receive();
        let fields = fields(&request);
        let kind = fields.iter().find(|(field, _)| *field == 1).expect("a type").1.number();
        let options = fields.iter().find_map(|(field, value)| match (field, value) {
            (2, Value::Bytes(bytes)) => Some(*bytes),
            _ => None,
        });
        match kind {
            VERSION => self.version(),
            FEATURE_CHECK => {
                let mut features = Vec::new();
                number(&mut features, 1, u64::from(!self.is("no-features")));
                number(&mut features, 2, u64::from(!self.is("no-features")));
                let mut message = answer(kind, true);
                bytes(&mut message, 8, &features);
                self.send(&message);
                ExitCode::SUCCESS
            }
            DUMP | PRE_DUMP | RESTORE => {
                let options = options.expect("options");
                let name = [(DUMP, "dump"), (PRE_DUMP, "pre-dump"), (RESTORE, "restore")];
                let name = name.iter().find(|(number, _)| *number == kind).unwrap().1;
                fs::write(self.dir.join(name), options).unwrap();
                self.work(kind, &Options::read(options))
            }
            other => panic!("request {other}"),
        }
    }

    fn version(&self) -> ExitCode {
        match self.behaviour.as_str() {
            "version-garbage" => self.send(b"\xff\xff\xff"),
            "version-without" => self.send(&answer(VERSION, true)),
            "version-dies" => return ExitCode::from(3),
            other => {
                let mut version = Vec::new();
                let (major, minor) = if other == "old" { (3, 14) } else { (4, 2) };
                number(&mut version, 1, major);
                number(&mut version, 2, minor);
                let mut message = answer(VERSION, true);
                bytes(&mut message, 10, &version);
                self.send(&message);
            }
        }
        ExitCode::SUCCESS
    }

    fn work(&self, kind: u64, options: &Options) -> ExitCode {
        if self.is("frozen-death") {
            options.freeze();
            return self.die();
        }
        match self.behaviour.as_str() {
            "hangs" => loop {
                std::thread::sleep(std::time::Duration::from_secs(100));
            },
            "dies" => return self.die(),
            "exits" => return ExitCode::from(9),
            "garbage" => self.send(b"this is no message"),
            "long" => self.send(&vec![0x20; 50_000]),
            "other-answer" => self.send(&answer(NOTIFY + 1, true)),
            "refuses" => {
                fs::write(
                    options.log(),
                    "(00.1) Error (criu/x.c:7): cannot do the thing\n(00.2) Error (y.c:8): FAILED\n",
                )
                .unwrap();
                let mut message = answer(kind, false);
                number(&mut message, 7, 16);
                self.send(&message);
                return ExitCode::FAILURE;
            }
            _ if kind == RESTORE => return self.restore(options),
            _ => return self.dump(kind, options),
        }
        // As CRIU, which ends when its caller does.
        drop(self.receive());
        ExitCode::SUCCESS
    }

    #[allow(unsafe_code, reason = "SIGKILL of oneself")]
    fn die(&self) -> ExitCode {
        // SAFETY: takes numbers.
        unsafe { libc::raise(libc::SIGKILL) };
        ExitCode::FAILURE
    }

    /// Tells of a point; the answer.
    fn notify(&self, script: &str, pid: Option<i32>) -> bool {
        let mut point = Vec::new();
        bytes(&mut point, 1, script.as_bytes());
        if let Some(pid) = pid {
            number(&mut point, 2, u64::from(pid.unsigned_abs()));
        }
        let mut message = answer(NOTIFY, true);
        bytes(&mut message, 5, &point);
        self.send(&message);
        let answer = self.receive();
        let success = fields(&answer).iter().any(|(field, value)| *field == 3 && value.number() == 1);
        let mut log = fs::read_to_string(self.dir.join("points")).unwrap_or_default();
        log.push_str(&format!("{script} {success}\n"));
        fs::write(self.dir.join("points"), log).unwrap();
        success
    }

    fn dump(&self, kind: u64, options: &Options) -> ExitCode {
        self.notify("pre-dump", None);
        self.notify("status-ready", None);
        fs::write(options.directory(options.images).join("core-1.img"), "a process").unwrap();
        self.notify("post-dump", None);
        if kind == DUMP && !options.leave_running {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(options.pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        self.send(&answer(kind, true));
        if kind == PRE_DUMP {
            // CRIU waits for the dump that is to follow.
            assert!(self.receive().is_empty());
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    fn restore(&self, options: &Options) -> ExitCode {
        let pid = if self.is("no-process") { None } else { Some(child(self.behaviour.as_str())) };
        let pid = if self.is("wrong-process") { Some(0) } else { pid };
        if let Some(pid) = pid.filter(|pid| *pid > 1) {
            fs::write(self.dir.join("restored"), pid.to_string()).unwrap();
        }
        // The root is there, in a mount namespace of its own.
        fs::write(self.dir.join("root"), fs::read_to_string(Path::new(&options.root).join("etc/passwd")).unwrap())
            .unwrap();
        fs::write(self.dir.join("cgroup"), fs::read_to_string("/proc/self/cgroup").unwrap()).unwrap();
        let going = match pid {
            Some(pid) => self.notify("setup-namespaces", Some(pid)) && self.notify("post-restore", Some(pid)),
            None => true,
        };
        if going {
            // CRIU goes on whatever is said to this.
            self.notify("pre-resume", None);
        }
        let fails = self.is("late-failure") || !going;
        let mut message = answer(RESTORE, !fails);
        if let Some(pid) = pid {
            let mut restored = Vec::new();
            number(&mut restored, 1, u64::from(pid.unsigned_abs()));
            bytes(&mut message, 4, &restored);
        }
        self.send(&message);
        if self.is("late-exit") { ExitCode::from(4) } else { ExitCode::SUCCESS }
    }
}

/// Gives this process the rights of the tests' default config: three capabilities, and no way to others.
#[allow(unsafe_code, reason = "capset and prctl have no safe form")]
fn drop_rights() {
    const KEPT: u64 = 1 << 29 | 1 << 5 | 1 << 10;
    for number in (0..64_u64).filter(|number| KEPT >> number & 1 == 0) {
        // SAFETY: takes numbers; one that the kernel does not know is refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    }
    let header = [0x2008_0522_u32, 0];
    let low = u32::try_from(KEPT).unwrap();
    let data = [low, low, 0, 0, 0, 0];
    // SAFETY: the header and the six words are those of version 3 (capset(2)).
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }, 0, "capset");
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0, "no_new_privs");
}

/// Waits until a restored process has its rights, as CRIU does.
fn wait_for_rights(pid: i32) {
    let status = format!("/proc/{pid}/status");
    while fs::read_to_string(&status).is_ok_and(|text| text.contains("NoNewPrivs:\t0")) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A process that stands for a restored one: a child of the caller, as CRIU's are.
#[allow(unsafe_code, reason = "CLONE_PARENT has no safe form")]
fn child(behaviour: &str) -> i32 {
    let flags = u64::from((libc::CLONE_PARENT | libc::SIGCHLD).cast_unsigned());
    // SAFETY: as fork(2); this program has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        if behaviour != "more-rights" {
            drop_rights();
        }
        if behaviour == "ends" {
            std::thread::sleep(std::time::Duration::from_millis(300));
            std::process::exit(7);
        }
        loop {
            std::thread::sleep(std::time::Duration::from_secs(100));
        }
    }
    let pid = i32::try_from(pid).unwrap();
    if behaviour != "more-rights" {
        wait_for_rights(pid);
    }
    pid
}

/// The options that the double itself needs.
#[derive(Default)]
struct Options {
    images: u64,
    work: Option<u64>,
    pid: i32,
    leave_running: bool,
    root: String,
    log_file: String,
    freezer: Option<String>,
}

impl Options {
    fn read(message: &[u8]) -> Self {
        let mut options = Self::default();
        for (field, value) in fields(message) {
            match field {
                1 => options.images = value.number(),
                2 => options.pid = i32::try_from(value.number()).unwrap(),
                3 => options.leave_running = value.number() == 1,
                10 => options.log_file = value.words(),
                13 => options.root = value.words(),
                17 => options.work = Some(value.number()),
                44 => options.freezer = Some(value.words()),
                _ => {}
            }
        }
        options
    }

    /// A directory of the caller's, as CRIU opens it.
    fn directory(&self, number: u64) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{number}", std::os::unix::process::parent_id()))
    }

    fn log(&self) -> PathBuf {
        self.directory(self.work.unwrap_or(self.images)).join(&self.log_file)
    }

    fn freeze(&self) {
        let cgroup = PathBuf::from(self.freezer.as_ref().expect("a freezer"));
        let (file, word) =
            if cgroup.join("freezer.state").exists() { ("freezer.state", "FROZEN") } else { ("cgroup.freeze", "1") };
        fs::write(cgroup.join(file), word).unwrap();
    }
}
