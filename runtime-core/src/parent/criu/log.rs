//! What CRIU's log says of a failure: the protocol carries no more than an errno.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::base::Error;

/// How much of the log's end is looked through.
const TAIL: u64 = 256 * 1024;
/// How many of its last errors are quoted.
const QUOTED: usize = 4;

/// Adds to `error` what the log `name` in `directory`, whose path is `path`, says, and where it is.
pub(crate) fn explain(error: Error, directory: BorrowedFd<'_>, path: &Path, name: &str) -> Error {
    let logged = read_tail(directory, name).map(|text| errors(&text)).unwrap_or_default();
    // CRIU's answer may hold the first of them.
    let said = error.reason().unwrap_or_default().to_owned();
    let further = logged.into_iter().filter(|line| !said.contains(line));
    let said =
        Some(said.clone()).filter(|said| !said.is_empty()).into_iter().chain(further).collect::<Vec<_>>().join("; ");
    let place = format!("see {}", path.join(name).display());
    let hints = error.hint().map(str::to_owned).into_iter().chain(remedy(&said).map(str::to_owned)).chain([place]);
    let hint = hints.collect::<Vec<_>>().join("; ");
    if said.is_empty() { error.with_hint(hint) } else { error.with_reason(said).with_hint(hint) }
}

/// What helps against an error that many meet.
pub(super) fn remedy(said: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 4] = [
        ("tables-restore\", ...) failed: No such file", "install iptables, or use --network-lock nftables or skip"),
        ("onnected TCP socket", "use --tcp-established, or --tcp-close for restore"),
        ("Can't lookup mount=", "the standard streams must be pipes, a terminal or /dev/null"),
        ("xternal socket is used", "use --ext-unix-sk"),
    ];
    KNOWN.iter().find(|(words, _)| said.contains(words)).map(|(_, remedy)| *remedy)
}

fn read_tail(directory: BorrowedFd<'_>, name: &str) -> Option<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty()).ok()?);
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last errors of a log, without their times: `(00.123456) Error (criu/x.c:1): it failed`.
pub(super) fn errors(text: &str) -> Vec<String> {
    let all = text.lines().filter_map(|line| line.split_once("Error (").map(|(_, rest)| rest));
    // What it could not do for itself and got over.
    let all: Vec<&str> = all.filter(|line| !line.contains("Can't setup RLIMIT_NOFILE")).collect();
    let first = all.len().saturating_sub(QUOTED);
    let plain = |line: &&str| {
        let text = line.split_once("): ").map_or(*line, |(_, text)| text);
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect::<String>()
            .trim()
            .trim_end_matches('.')
            .to_owned()
    };
    all.iter().skip(first).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_of_usual_errors_are_known() {
        let line = "exited, status=1: execvp(\"ip6tables-restore\", ...) failed: No such file or directory";
        assert_eq!(remedy(line), Some("install iptables, or use --network-lock nftables or skip"));
        assert_eq!(
            remedy("Can't lookup mount=24 for fd=0 path=/dev/null").map(|text| text.contains("pipes")),
            Some(true)
        );
        assert_eq!(remedy("Dumping FAILED"), None);
    }

    #[test]
    fn the_last_errors_are_quoted_without_times_and_places() {
        let log = "(00.000001) Version: 4.2\n\
            (00.06) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
            (00.18) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/o\n\
            (00.19) mnt: Error in a name\n\
            (00.22) pie: 1: Error (criu/cr-dump.c:1975): Dumping FAILED.\u{7}\n";
        assert_eq!(errors(log), ["Can't lookup mount=27 for fd=1 path=/tmp/o", "Dumping FAILED"]);
        assert!(errors("no such word").is_empty());
        assert_eq!(errors(&"Error (a): b\n".repeat(9)).len(), QUOTED);
    }
}
