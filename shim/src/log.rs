//! The shim's log: lines to the FIFO `log` in the bundle, which containerd copies into its own log.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// How much is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    least: Level,
    namespace: String,
}

impl Log {
    /// Opens the bundle's FIFO. Without one, and for a containerd that does not read, lines are lost: a shim must not wait for
    /// its log.
    pub(crate) fn open(bundle: &Path, namespace: &str, debug: bool) -> Self {
        // For reading too: so it can be opened without a reader, and outlives the one there is.
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let file =
            File::options().read(true).write(true).custom_flags(flags).open(bundle.join("log")).ok().filter(is_fifo);
        let least = if debug { Level::Debug } else { Level::Info };
        Self { file, least, namespace: namespace.to_owned() }
    }

    /// The file, for the text of a panic.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub(crate) fn debug(&self, text: impl fmt::Display) {
        self.line(Level::Debug, &text);
    }

    pub(crate) fn info(&self, text: impl fmt::Display) {
        self.line(Level::Info, &text);
    }

    pub(crate) fn warn(&self, text: impl fmt::Display) {
        self.line(Level::Warning, &text);
    }

    pub(crate) fn error(&self, text: impl fmt::Display) {
        self.line(Level::Error, &text);
    }

    fn line(&self, level: Level, text: &dyn fmt::Display) {
        let Some(mut file) = self.file.as_ref().filter(|_| level >= self.least) else { return };
        let line = line(level, SystemTime::now(), &self.namespace, &text.to_string());
        // At most PIPE_BUF bytes, so that the line is written as a whole or, when nobody reads, not at all.
        let _lost_when_nobody_reads = file.write_all(line.as_bytes());
    }
}

fn is_fifo(file: &File) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.metadata().is_ok_and(|facts| facts.file_type().is_fifo())
}

/// A line in the form of containerd's own log.
fn line(level: Level, time: SystemTime, namespace: &str, text: &str) -> String {
    const LONGEST: usize = 3500;
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut line = String::new();
    let (date, clock) = calendar(seconds.as_secs());
    let (name, millis) = (level.name(), seconds.subsec_millis());
    let _writing_to_memory = write!(line, "time=\"{date}T{clock}.{millis:03}Z\" level={name} msg=\"");
    for char in text.chars().take_while({
        let mut length = 0;
        move |char| {
            length += char.len_utf8() + 1;
            length < LONGEST
        }
    }) {
        match char {
            '"' | '\\' => line.extend(['\\', char]),
            '\n' => line.push_str("\\n"),
            char if char.is_control() => line.push(' '),
            char => line.push(char),
        }
    }
    let _writing_to_memory = writeln!(line, "\" runtime=io.containerd.orlop.v2 namespace={namespace}");
    line
}

/// Date and time of day, UTC.
fn calendar(seconds: u64) -> (String, String) {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Counted from 1 March of the year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_is_one_line_in_the_form_of_containerd() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_208_000_007);
        assert_eq!(
            line(Level::Warning, time, "k8s.io", "a \"b\"\nc"),
            "time=\"2024-02-29T12:00:00.007Z\" level=warning msg=\"a \\\"b\\\"\\nc\" runtime=io.containerd.orlop.v2 namespace=k8s.io\n"
        );
        assert!(line(Level::Info, time, "n", &"\"".repeat(9000)).len() <= 4096);
    }

    #[test]
    fn the_calendar_knows_leap_years() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (4_107_542_400, "2100-03-01"),
            (1_798_761_599, "2026-12-31"),
        ] {
            assert_eq!(calendar(seconds).0, date);
        }
    }
}
