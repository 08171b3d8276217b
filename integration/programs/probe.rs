//! The program that tests put into containers: it tells what it finds there as JSON, and does single operations on request.
//!
//! It is built by `build.rs` as a static musl executable from this one file, so it has no dependency but std; every kernel
//! interface that std lacks is reached through the C library's `syscall`.

#![allow(unsafe_code, reason = "a test program that talks to the kernel")]
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "kernel words are passed through unchanged"
)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::io::{Read, Write as _};

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

/// System call numbers; the names are the kernel's.
mod nr {
    #[cfg(target_arch = "x86_64")]
    mod arch {
        pub(crate) const FCNTL: i64 = 72;
        pub(crate) const GETPPID: i64 = 110;
        pub(crate) const GETSID: i64 = 124;
        pub(crate) const GETPGID: i64 = 121;
        pub(crate) const PERSONALITY: i64 = 135;
        pub(crate) const PRCTL: i64 = 157;
        pub(crate) const IOPRIO_GET: i64 = 252;
        pub(crate) const PRLIMIT64: i64 = 302;
        pub(crate) const SCHED_GETATTR: i64 = 315;
        pub(crate) const SCHED_GETAFFINITY: i64 = 204;
        pub(crate) const KEYCTL: i64 = 250;
        pub(crate) const IOCTL: i64 = 16;
        pub(crate) const UNAME: i64 = 63;
        pub(crate) const RENAMEAT2: i64 = 316;
        pub(crate) const RT_SIGPROCMASK: i64 = 14;
        pub(crate) const PAUSE: i64 = 34;
        pub(crate) const KILL: i64 = 62;
        pub(crate) const MKNODAT: i64 = 259;
        pub(crate) const OPENAT: i64 = 257;
        pub(crate) const GETUID: i64 = 102;
        pub(crate) const GETEUID: i64 = 107;
        pub(crate) const GETGID: i64 = 104;
        pub(crate) const GETEGID: i64 = 108;
        pub(crate) const GETGROUPS: i64 = 115;
        pub(crate) const GET_MEMPOLICY: i64 = 239;
        pub(crate) const PTRACE: i64 = 101;
        pub(crate) const CLOCK_GETTIME: i64 = 228;
    }
    #[cfg(not(target_arch = "x86_64"))]
    mod arch {
        pub(crate) const FCNTL: i64 = 25;
        pub(crate) const GETPPID: i64 = 173;
        pub(crate) const GETSID: i64 = 156;
        pub(crate) const GETPGID: i64 = 155;
        pub(crate) const PERSONALITY: i64 = 92;
        pub(crate) const PRCTL: i64 = 167;
        pub(crate) const IOPRIO_GET: i64 = 31;
        pub(crate) const PRLIMIT64: i64 = 261;
        pub(crate) const SCHED_GETATTR: i64 = 275;
        pub(crate) const SCHED_GETAFFINITY: i64 = 123;
        pub(crate) const KEYCTL: i64 = 219;
        pub(crate) const IOCTL: i64 = 29;
        pub(crate) const UNAME: i64 = 160;
        pub(crate) const RENAMEAT2: i64 = 276;
        pub(crate) const RT_SIGPROCMASK: i64 = 135;
        pub(crate) const PAUSE: i64 = 73; // ppoll: never returns with no descriptors and no timeout
        pub(crate) const KILL: i64 = 129;
        pub(crate) const MKNODAT: i64 = 33;
        pub(crate) const OPENAT: i64 = 56;
        pub(crate) const GETUID: i64 = 174;
        pub(crate) const GETEUID: i64 = 175;
        pub(crate) const GETGID: i64 = 176;
        pub(crate) const GETEGID: i64 = 177;
        pub(crate) const GETGROUPS: i64 = 158;
        pub(crate) const GET_MEMPOLICY: i64 = 236;
        pub(crate) const PTRACE: i64 = 117;
        pub(crate) const CLOCK_GETTIME: i64 = 113;
    }
    pub(crate) use arch::*;
}

const AT_FDCWD: i64 = -100;

/// One system call: its result, or the errno.
fn call(number: i64, args: [i64; 6]) -> Result<i64, i32> {
    // SAFETY: `syscall` takes any number and words; pointers among `args` come from the callers below, which keep the buffers
    // they point to alive and give their true sizes.
    let result = unsafe { syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(result)
}

fn address<T>(value: &mut T) -> i64 {
    std::ptr::from_mut(value) as i64
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("an argument without NUL")
}

/// A JSON value, as far as it is needed here.
enum Json {
    Null,
    Number(i128),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    fn text(value: impl AsRef<[u8]>) -> Self {
        Self::Text(String::from_utf8_lossy(value.as_ref()).into_owned())
    }

    fn number(value: impl Into<i128>) -> Self {
        Self::Number(value.into())
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Number(n) => write!(out, "{n}").unwrap(),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => write!(out, "\\u{:04x}", c as u32).unwrap(),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn read(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn read_json(path: &str) -> Json {
    read(path).map_or(Json::Null, |text| Json::Text(text.trim_end_matches(['\n', '\0']).to_owned()))
}

/// What each open descriptor below 4096 is, found before this program opens any of its own.
fn descriptors() -> Json {
    let mut found = Vec::new();
    for fd in 0..4096_i64 {
        if call(nr::FCNTL, [fd, 1, 0, 0, 0, 0]).is_ok() {
            found.push(fd);
        }
    }
    let mut map = BTreeMap::new();
    for fd in found {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .map_or(Json::Null, |path| Json::text(path.as_os_str().as_encoded_bytes()));
        map.insert(fd.to_string(), link);
    }
    Json::Map(map)
}

fn status_fields() -> BTreeMap<String, Json> {
    let wanted = [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Umask",
        "SigBlk",
        "SigIgn",
        "Groups",
        "Uid",
        "Gid",
        "Cpus_allowed_list",
        "Mems_allowed_list",
    ];
    let text = read("/proc/self/status").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| wanted.contains(key))
        .map(|(key, value)| (key.to_owned(), Json::text(value.trim())))
        .collect()
}

fn rlimits() -> Json {
    const NAMES: [&str; 16] = [
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CORE",
        "RLIMIT_RSS",
        "RLIMIT_NPROC",
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_AS",
        "RLIMIT_LOCKS",
        "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
    ];
    let mut map = BTreeMap::new();
    for (resource, name) in NAMES.iter().enumerate() {
        let mut pair = [0_u64; 2];
        if call(nr::PRLIMIT64, [0, resource as i64, 0, address(&mut pair), 0, 0]).is_ok() {
            map.insert((*name).to_owned(), Json::List(pair.iter().map(|v| Json::number(*v)).collect()));
        }
    }
    Json::Map(map)
}

fn namespaces() -> Json {
    let mut map = BTreeMap::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        if let Ok(link) = std::fs::read_link(format!("/proc/self/ns/{name}")) {
            map.insert(name.to_owned(), Json::text(link.as_os_str().as_encoded_bytes()));
        }
    }
    Json::Map(map)
}

fn mounts() -> Json {
    let text = read("/proc/self/mountinfo").unwrap_or_default();
    let list = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let mut map = BTreeMap::new();
        map.insert("id".into(), Json::text(left.first()?));
        map.insert("root".into(), Json::text(left.get(3)?));
        map.insert("dest".into(), Json::text(left.get(4)?));
        map.insert("options".into(), Json::text(left.get(5)?));
        map.insert("propagation".into(), Json::text(left.get(6..)?.join(" ")));
        map.insert("type".into(), Json::text(right.first()?));
        map.insert("source".into(), Json::text(right.get(1)?));
        map.insert("super".into(), Json::text(right.get(2)?));
        Some(Json::Map(map))
    });
    Json::List(list.collect())
}

fn scheduling(map: &mut BTreeMap<String, Json>) {
    let mut attributes = [0_u32; 14]; // struct sched_attr, 56 bytes
    if call(nr::SCHED_GETATTR, [0, address(&mut attributes), 56, 0, 0, 0]).is_ok() {
        let wide = |i: usize| i128::from(attributes[i]) | (i128::from(attributes[i + 1]) << 32);
        let mut sched = BTreeMap::new();
        sched.insert("policy".into(), Json::number(attributes[1]));
        sched.insert("flags".into(), Json::number(wide(2)));
        sched.insert("nice".into(), Json::number(attributes[4] as i32));
        sched.insert("priority".into(), Json::number(attributes[5]));
        sched.insert("runtime".into(), Json::number(wide(6)));
        sched.insert("deadline".into(), Json::number(wide(8)));
        sched.insert("period".into(), Json::number(wide(10)));
        map.insert("sched".into(), Json::Map(sched));
    }
    let priority = call(nr::IOPRIO_GET, [1, 0, 0, 0, 0, 0]).unwrap_or(-1);
    map.insert("ioprio_class".into(), Json::number(priority >> 13));
    map.insert("ioprio_level".into(), Json::number(priority & 0x1fff));
    let mut mask = [0_u64; 64];
    if call(nr::SCHED_GETAFFINITY, [0, 512, address(&mut mask), 0, 0, 0]).is_ok() {
        let cpus = (0..4096_usize).filter(|cpu| mask[cpu / 64] >> (cpu % 64) & 1 == 1);
        map.insert("affinity".into(), Json::List(cpus.map(|cpu| Json::number(cpu as i64)).collect()));
    }
    let mut policy = 0_i32;
    let mut nodes = [0_u64; 16];
    if call(nr::GET_MEMPOLICY, [address(&mut policy), address(&mut nodes), 1024, 0, 0, 0]).is_ok() {
        map.insert("mempolicy".into(), Json::number(policy));
        map.insert("mempolicy_nodes".into(), Json::number(nodes[0]));
    }
}

fn identity(map: &mut BTreeMap<String, Json>) {
    let numbers = [
        ("uid", nr::GETUID),
        ("euid", nr::GETEUID),
        ("gid", nr::GETGID),
        ("egid", nr::GETEGID),
        ("ppid", nr::GETPPID),
        ("sid", nr::GETSID),
        ("pgid", nr::GETPGID),
    ];
    for (name, number) in numbers {
        map.insert(name.into(), Json::number(call(number, [0; 6]).unwrap_or(-1)));
    }
    map.insert("pid".into(), Json::number(std::process::id()));
    let mut groups = [0_u32; 1024];
    let count = call(nr::GETGROUPS, [1024, address(&mut groups), 0, 0, 0, 0]).unwrap_or(0) as usize;
    map.insert("groups".into(), Json::List(groups[..count].iter().map(|g| Json::number(*g)).collect()));
}

fn names(map: &mut BTreeMap<String, Json>) {
    let mut uts = [[0_u8; 65]; 6];
    if call(nr::UNAME, [address(&mut uts), 0, 0, 0, 0, 0]).is_ok() {
        let text = |i: usize| {
            let bytes: &[u8; 65] = &uts[i];
            Json::text(&bytes[..bytes.iter().position(|b| *b == 0).unwrap_or(65)])
        };
        map.insert("hostname".into(), text(1));
        map.insert("domainname".into(), text(5));
        map.insert("machine".into(), text(4));
    }
}

fn terminal(map: &mut BTreeMap<String, Json>) {
    let mut size = [0_u16; 4];
    for fd in 0..3_i64 {
        let is_tty = call(nr::IOCTL, [fd, 0x5413, address(&mut size), 0, 0, 0]).is_ok();
        map.insert(format!("tty{fd}"), Json::number(u8::from(is_tty)));
        if is_tty {
            map.insert("rows".into(), Json::number(size[0]));
            map.insert("columns".into(), Json::number(size[1]));
        }
    }
}

fn facts() -> Json {
    let mut map = BTreeMap::new();
    map.insert("fds".into(), descriptors());
    map.insert("status".into(), Json::Map(status_fields()));
    identity(&mut map);
    names(&mut map);
    terminal(&mut map);
    scheduling(&mut map);
    map.insert("rlimits".into(), rlimits());
    map.insert("namespaces".into(), namespaces());
    map.insert("mounts".into(), mounts());
    let cwd = std::env::current_dir().map_or(Json::Null, |path| Json::text(path.as_os_str().as_encoded_bytes()));
    map.insert("cwd".into(), cwd);
    map.insert("args".into(), Json::List(std::env::args_os().map(|a| Json::text(a.as_encoded_bytes())).collect()));
    let env = std::env::vars_os().map(|(key, value)| {
        let mut text = key.as_encoded_bytes().to_vec();
        text.push(b'=');
        text.extend_from_slice(value.as_encoded_bytes());
        Json::text(text)
    });
    map.insert("env".into(), Json::List(env.collect()));
    map.insert("personality".into(), Json::number(call(nr::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]).unwrap_or(-1)));
    map.insert("dumpable".into(), Json::number(call(nr::PRCTL, [3, 0, 0, 0, 0, 0]).unwrap_or(-1)));
    map.insert("session_keyring".into(), Json::number(call(nr::KEYCTL, [0, -3, 0, 0, 0, 0]).unwrap_or(-1)));
    for (name, path) in [
        ("oom_score_adj", "/proc/self/oom_score_adj"),
        ("timens_offsets", "/proc/self/timens_offsets"),
        ("cgroup", "/proc/self/cgroup"),
        ("uid_map", "/proc/self/uid_map"),
        ("gid_map", "/proc/self/gid_map"),
        ("setgroups", "/proc/self/setgroups"),
        ("label", "/proc/self/attr/current"),
    ] {
        map.insert(name.into(), read_json(path));
    }
    let mut time = [0_i64; 2];
    if call(nr::CLOCK_GETTIME, [7, address(&mut time), 0, 0, 0, 0]).is_ok() {
        map.insert("boottime".into(), Json::number(time[0]));
    }
    Json::Map(map)
}

fn print(json: &Json) {
    let mut text = String::new();
    json.write(&mut text);
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes()).expect("stdout");
}

fn outcome(result: Result<i64, i32>) {
    match result {
        Ok(value) => println!("ok {value}"),
        Err(errno) => println!("errno {errno}"),
    }
}

fn number(text: &str) -> i64 {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).expect("a hexadecimal number"),
        None => text.parse().expect("a number"),
    }
}

/// `renameat2(a, b, RENAME_EXCHANGE)` for ever: the attacker of the symlink races.
fn exchange(a: &str, b: &str) -> ! {
    let (a, b) = (c_string(a), c_string(b));
    loop {
        let _ = call(nr::RENAMEAT2, [AT_FDCWD, a.as_ptr() as i64, AT_FDCWD, b.as_ptr() as i64, 2, 0]);
    }
}

/// Tries for ever to open the descriptors and the executable of every other process that appears, and tells each success.
fn pry(seconds: u64) {
    let own = std::process::id();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while std::time::Instant::now() < until {
        let Ok(entries) = std::fs::read_dir("/proc") else { continue };
        for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if pid == own || pid == 1 {
                continue;
            }
            if let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
                for fd in fds.flatten() {
                    let name = fd.file_name().into_string().unwrap_or_default();
                    if let Ok(target) = std::fs::read_link(fd.path())
                        && number(&name) > 2
                    {
                        println!("fd {pid} {name} {}", target.display());
                    }
                }
            }
            if call(nr::PTRACE, [16, i64::from(pid), 0, 0, 0, 0]).is_ok() {
                let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                println!("ptrace {pid} {}", exe.display());
                let _ = call(nr::KILL, [i64::from(pid), 9, 0, 0, 0, 0]);
            }
        }
    }
}

/// Says a number every tenth of a second over a TCP connection to itself, and writes down what arrives.
fn converse(path: &str) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 5000)).expect("port 5000");
    let mut near = std::net::TcpStream::connect(("127.0.0.1", 5000)).expect("a connection");
    let (mut far, _) = listener.accept().expect("accept");
    let mut file = std::fs::File::create(path).expect("a file");
    for word in 1_u64.. {
        near.write_all(&word.to_be_bytes()).expect("send");
        let mut bytes = [0; 8];
        far.read_exact(&mut bytes).expect("receive");
        writeln!(file, "{}", u64::from_be_bytes(bytes)).expect("write");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        [] | ["facts"] => print(&facts()),
        ["exit", code] => std::process::exit(number(code) as i32),
        ["echo", rest @ ..] => println!("{}", rest.join(" ")),
        ["cat", path] => {
            let mut text = Vec::new();
            std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text)).expect("readable");
            std::io::stdout().write_all(&text).expect("stdout");
        }
        // Waits to be killed, with the default actions of signals; pid 1 therefore only dies by SIGKILL.
        ["pause"] => loop {
            let _ = call(nr::PAUSE, [0; 6]);
        },
        ["syscall", nr, rest @ ..] => {
            let mut words = [0_i64; 6];
            for (slot, text) in words.iter_mut().zip(rest) {
                *slot = number(text);
            }
            outcome(call(number(nr), words));
        }
        ["open", path, flags] => {
            let path = c_string(path);
            outcome(call(nr::OPENAT, [AT_FDCWD, path.as_ptr() as i64, number(flags), 0o644, 0, 0]));
        }
        ["mknod", path, mode, major, minor] => {
            let device = (number(major) << 8) | number(minor);
            let path = c_string(path);
            let mode = i64::from_str_radix(mode, 8).expect("an octal mode");
            outcome(call(nr::MKNODAT, [AT_FDCWD, path.as_ptr() as i64, mode, device, 0, 0]));
        }
        // Joins or makes a session keyring of this name, lets everybody search it, and says which it is.
        ["join-keyring", name, file] => {
            let name = c_string(name);
            let keyring = call(nr::KEYCTL, [1, name.as_ptr() as i64, 0, 0, 0, 0]).expect("a keyring");
            call(nr::KEYCTL, [5, keyring, 0x3f3f_3f3f, 0, 0, 0]).expect("to set its permissions");
            std::fs::write(file, keyring.to_string()).expect(file);
        }
        // The security label of the session keyring: keyctl(KEYCTL_GET_SECURITY, KEY_SPEC_SESSION_KEYRING, …).
        ["keyring-label"] => {
            let mut label = [0_u8; 256];
            let length = call(nr::KEYCTL, [17, -3, address(&mut label), 256, 0, 0]).expect("a label");
            println!("{}", String::from_utf8_lossy(&label[..length as usize]).trim_end_matches('\0'));
        }
        ["exchange", a, b] => exchange(a, b),
        ["pry", seconds] => pry(number(seconds) as u64),
        ["signals"] => {
            let mut mask = 0_u64;
            let _ = call(nr::RT_SIGPROCMASK, [0, 0, address(&mut mask), 8, 0, 0]);
            println!("{mask:x}");
        }
        ["converse", path] => converse(path),
        ["notify", text] => {
            let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
            let path = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
            socket.send_to(text.as_bytes(), &path).expect(&path);
        }
        ["alloc", bytes] => {
            let mut memory = vec![0_u8; number(bytes) as usize];
            for page in memory.chunks_mut(4096) {
                page[0] = 1;
            }
            println!("held {}", memory.iter().map(|b| usize::from(*b)).sum::<usize>());
        }
        other => {
            eprintln!("probe: unknown request {other:?}");
            std::process::exit(64);
        }
    }
}
