//! The log that engines read: one line per message, as text or JSON in the shape that logrus gives runc's log.
//!
//! containerd's shim shows its user the last JSON line whose `level` is `error`; Podman reads `msg` the same way. Without
//! `--log`, messages go to standard error, for a person: `orlop: error: create web1: …`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::Failure;

/// How grave a message is; also the least grave that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level in syslog(3)'s numbers.
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    /// The level called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Error, Self::Warning, Self::Info, Self::Debug].into_iter().find(|level| level.name() == name)
    }
}

/// How a message is written to a file or to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug)]
enum Target {
    Stderr,
    File(File),
    Journal { socket: UnixDatagram, name: String },
    Syslog { socket: UnixDatagram, name: String },
}

/// Where messages go and which.
#[derive(Debug)]
pub(crate) struct Log {
    target: Target,
    format: Format,
    level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { target: Target::Stderr, format: Format::Text, level: Level::Warning }
    }
}

/// systemd-journald's socket for its own protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The local syslog daemon's socket.
const SYSLOG: &str = "/dev/log";

impl Log {
    /// Opens `target`: a file (appended to), `journald:NAME`, `syslog:NAME`, or standard error when `None`.
    pub(crate) fn open(target: Option<&OsStr>, format: Format, level: Level) -> Result<Self, Failure> {
        let target = match target.filter(|target| !target.is_empty()) {
            None => Target::Stderr,
            Some(target) => {
                let text = target.to_str().unwrap_or_default();
                if let Some(name) = text.strip_prefix("journald:") {
                    Target::Journal { socket: connect(JOURNAL)?, name: name.to_owned() }
                } else if let Some(name) = text.strip_prefix("syslog:") {
                    Target::Syslog { socket: connect(SYSLOG)?, name: name.to_owned() }
                } else {
                    Target::File(append(target)?)
                }
            }
        };
        Ok(Self { target, format, level })
    }

    /// Whether debug messages are wanted, for those that cost something to make.
    pub(crate) fn debugs(&self) -> bool {
        self.level >= Level::Debug
    }

    /// Writes the message that ends the command: to the log, and for the user to standard error as well.
    pub(crate) fn fail(&self, message: &str) {
        let message = &*one_line(message);
        self.write(Level::Error, message);
        if !matches!(self.target, Target::Stderr) {
            to_stderr(&human(Level::Error, message));
        }
    }

    /// Writes a message, if it is grave enough.
    pub(crate) fn write(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let message = &*one_line(message);
        let failed = match &self.target {
            // Debug messages are for tools and keep their time.
            Target::Stderr if self.format == Format::Text && level < Level::Debug => {
                to_stderr(&human(level, message));
                return;
            }
            Target::Stderr => {
                to_stderr(&line(self.format, level, message));
                return;
            }
            // One write for the whole line: with O_APPEND, lines of several processes do not mix.
            Target::File(file) => {
                let mut file = file;
                file.write_all(line(self.format, level, message).as_bytes()).err()
            }
            Target::Journal { socket, name } => socket.send(&journal(name, level, message)).err(),
            Target::Syslog { socket, name } => {
                // 24: the facility "daemon" (3), shifted by the three bits of the priority.
                let text = format!("<{}>{name}[{}]: {message}", 24 + level.priority(), std::process::id());
                socket.send(text.as_bytes()).err()
            }
        };
        if let Some(error) = failed {
            to_stderr(&human(Level::Warning, &format!("cannot write the log: {error}")));
            to_stderr(&human(level, message));
        }
    }
}

/// Like `eprint!`, but a closed standard error is no reason to fail: there is nobody left to tell.
fn to_stderr(text: &str) {
    let stderr = std::io::stderr();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match nix::unistd::write(stderr.as_fd(), rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn append(path: &OsStr) -> Result<File, Failure> {
    // O_SYNC: the engine reads the file as soon as this process is gone, maybe because the machine is going down.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_SYNC | libc::O_NOCTTY);
    options.open(path).map_err(|error| Failure::io(format_args!("open log file {}", path.display()), &error))
}

fn connect(path: &str) -> Result<UnixDatagram, Failure> {
    let refused = |error: std::io::Error| Failure::io(format_args!("connect to {path} for --log"), &error);
    let socket = UnixDatagram::unbound().map_err(refused)?;
    socket.connect(path).map_err(refused)?;
    Ok(socket)
}

/// The message on one line: an id or a hook's output with a line break may neither forge a second entry nor steer a terminal.
fn one_line(message: &str) -> Cow<'_, str> {
    if !message.contains(char::is_control) {
        return Cow::Borrowed(message);
    }
    let mut line = String::with_capacity(message.len() + 8);
    for character in message.trim_end().chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    Cow::Owned(line)
}

fn human(level: Level, message: &str) -> String {
    format!("orlop: {}: {message}\n", level.name())
}

fn line(format: Format, level: Level, message: &str) -> String {
    // To the second, as logrus has it.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = orlop::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
    match format {
        Format::Text => format!("time=\"{time}\" level={} msg={}\n", level.name(), quoted(message)),
        Format::Json => {
            format!("{{\"level\":\"{}\",\"msg\":{},\"time\":\"{time}\"}}\n", level.name(), json(message))
        }
    }
}

/// The message as Go's `%q` writes it: logrus quotes what has more than plain characters.
fn quoted(message: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !message.is_empty() && message.chars().all(plain) { message.to_owned() } else { json(message) }
}

fn json(message: &str) -> String {
    serde_json::Value::from(message).to_string()
}

/// One entry of journald's protocol: `KEY=VALUE` lines, so a line break in the message must go.
fn journal(name: &str, level: Level, message: &str) -> Vec<u8> {
    let message = message.replace('\n', " ");
    format!("MESSAGE={message}\nPRIORITY={}\nSYSLOG_IDENTIFIER={name}\n", level.priority()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_one_line_whatever_the_message() {
        let text = line(Format::Json, Level::Error, "a \"b\"\n\u{1}ü");
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "a \"b\"\n\u{1}ü");
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_lines_look_like_those_of_logrus() {
        let text = line(Format::Text, Level::Warning, "exec: \"x\"");
        assert!(text.starts_with("time=\"2"), "{text}");
        assert!(text.ends_with("Z\" level=warning msg=\"exec: \\\"x\\\"\"\n"), "{text}");
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn messages_below_the_level_are_dropped() {
        let dir = std::env::temp_dir().join(format!("orlop-log-{}", std::process::id()));
        let log = Log::open(Some(dir.as_os_str()), Format::Json, Level::Warning).unwrap();
        log.write(Level::Debug, "no");
        log.write(Level::Warning, "yes");
        let text = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert!(!text.contains("no\"") && text.contains("\"msg\":\"yes\""), "{text}");
    }
}
