//! `orlop image logs`.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, SystemTime};

use orlop_images::supervise::{Line, LogReader, Stream};
use serde_json::{Value, json};

use crate::cli::commands::ps;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "logs: NAME
show what a container in the background has written

-f, --follow | go on until the container ends
--since WHEN | from then on: 10m, 2h30m, or 2026-01-02T03:04:05Z
-n, --tail N | the last N lines only
-t, --timestamps | show when each line came
--json | print a line of JSON for each: log, stream and time, as Docker's log files have them

$ orlop image logs -f web
$ orlop image logs --since 10m --tail 100 web
",
);

/// How often a log is looked at that is followed.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let follow = args.switch("follow");
    let form = match (args.switch("json"), args.switch("timestamps")) {
        (true, _) => Form::Json,
        (false, true) => Form::Stamped,
        (false, false) => Form::Plain,
    };
    let since = args.text("since")?.map(since).transpose()?;
    let tail = args.number::<usize>("tail")?;
    let words = args.words_as_text()?;
    let name = words.first().copied().unwrap_or_default();
    let containers = session.containers(&session.store()?)?;
    let seen = containers.get(name)?;
    if !seen.record.background {
        return Err(Failure::new(format!("{name} was run in the foreground, which keeps no log (run -d does)")));
    }
    ps::renew(&containers, &seen, "logs");
    let mut reader = LogReader::open(&containers.log(name));
    let wanted = |line: &Line| since.as_ref().is_none_or(|since| line.time >= *since);
    let mut next = || reader.next_line().map_err(|error| Failure::new(format!("read the log of {name}: {error}")));
    let mut last = VecDeque::new();
    while let Some(line) = next()? {
        match tail {
            _ if !wanted(&line) => {}
            None => show(&line, form)?,
            Some(most) => {
                last.push_back(line);
                if last.len() > most {
                    last.pop_front();
                }
            }
        }
    }
    last.iter().try_for_each(|line| show(line, form))?;
    if !follow {
        return Ok(0);
    }
    loop {
        // Before the log is read to its end: nothing comes after that.
        let over = containers.record(name).map_or(true, |record| record.state.is_over());
        let seen = containers.get(name).ok();
        seen.iter().for_each(|seen| ps::renew(&containers, seen, "logs"));
        let over = over || !seen.is_some_and(|seen| seen.watched || seen.is_unsupervised());
        while let Some(line) = next()? {
            if wanted(&line) {
                show(&line, form)?;
            }
        }
        if over {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
    }
}

/// How a line is shown.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    Stamped,
    Json,
}

fn show(line: &Line, form: Form) -> Result<(), Failure> {
    let mut text = match form {
        Form::Plain => Vec::new(),
        Form::Stamped => format!("{} ", line.time).into_bytes(),
        // Both streams in one: whoever reads it tells them apart by the field.
        Form::Json => return output::print(&format!("{}\n", value(line))),
    };
    text.extend_from_slice(&line.text);
    let written = match line.stream {
        Stream::Out => std::io::stdout().write_all(&text).and_then(|()| std::io::stdout().flush()),
        Stream::Err => std::io::stderr().write_all(&text),
    };
    written.map_err(|error| Failure::new(format!("write the log: {error}")))
}

fn value(line: &Line) -> Value {
    let stream = match line.stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
    };
    json!({ "log": String::from_utf8_lossy(&line.text), "stream": stream, "time": line.time })
}

/// A point in time in the form of the log, which sorts as text: a duration before now, or itself.
fn since(text: &str) -> Result<String, Failure> {
    if let Some(duration) = duration(text) {
        return Ok(orlop::rfc3339(SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH)));
    }
    let date = text.len() >= 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    if date {
        // The seconds may have a fraction; what is compared ends before it, so that 05Z is before 05.1Z.
        return Ok(text.trim_end_matches('Z').to_owned());
    }
    Err(Failure::usage(format!("--since {text:?}: a duration such as 10m, or a time such as 2026-01-02T03:04:05Z")))
}

fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at_checked(at)?;
        let seconds = match unit.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total += Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
        rest = unit.get(1..)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_or_dates() {
        assert_eq!(duration("2h30m"), Some(Duration::from_secs(9000)));
        assert_eq!(duration("1d5s"), Some(Duration::from_secs(86_405)));
        for text in ["", "m", "5", "5x", "-5m"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(since("2026-01-02T03:04:05Z").ok().unwrap(), "2026-01-02T03:04:05");
        assert!(since("yesterday").is_err() && since("10m").is_ok());
    }
}
