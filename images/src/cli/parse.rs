//! Splits a command line by the table.
//!
//! Accepted: `--flag value`, `--flag=value`, `-f value`, `-f=value`, `-fvalue`, switches joined as `-it`, `--switch=false`,
//! and `--` to end the flags. A scalar given twice: the last one counts.
//!
//! A command gets at its operands only through [`Args::operands`], which refuses every given flag that the command has not
//! read: no flag can be accepted and then ignored.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::failure::Failure;
use crate::cli::table::{Command, Flag};

/// One flag as it was given.
#[derive(Debug)]
struct Given {
    flag: Flag,
    value: OsString,
    /// A switch that was given as `=false` counts as not set.
    on: bool,
    read: Cell<bool>,
}

/// A command's flags and operands.
#[derive(Debug)]
pub(crate) struct Args {
    command: Command,
    given: Vec<Given>,
    operands: Vec<OsString>,
}

/// Splits `words` into the flags and operands of `command`.
pub(crate) fn parse(command: Command, words: &[OsString]) -> Result<Args, Failure> {
    let mut args = Args { command, given: Vec::new(), operands: Vec::new() };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if word == "-" || !word.as_bytes().starts_with(b"-") {
            args.operands.push(word.clone());
            if command.ends_at_operand() {
                break;
            }
            continue;
        }
        args.flag(word, &mut rest)?;
    }
    args.operands.extend(rest.cloned());
    Ok(args)
}

impl Args {
    /// The same line again, for this program in another process, which reads all of it.
    pub(crate) fn again(&self) -> Vec<OsString> {
        let flag = |given: &Given| {
            let mut word = OsString::from(format!("--{}=", given.flag.long));
            word.push(match given.flag.value {
                Some(_) => given.value.as_os_str(),
                None => OsStr::new(if given.on { "true" } else { "false" }),
            });
            word
        };
        let flags = self.given.iter().map(flag);
        flags.chain([OsString::from("--")]).chain(self.operands.iter().cloned()).collect()
    }

    fn flag<'a>(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = &'a OsString>) -> Result<(), Failure> {
        let bytes = word.as_bytes();
        if let Some(body) = bytes.strip_prefix(b"--") {
            let at = body.iter().position(|&byte| byte == b'=').unwrap_or(body.len());
            let (name, value) = body.split_at_checked(at).unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            let found = self.command.flags().find(|flag| flag.long == name);
            let flag = found.ok_or_else(|| self.unknown(word))?;
            return self.take(flag, value.get(1..).map(OsStr::from_bytes), rest);
        }
        let body = bytes.get(1..).unwrap_or_default();
        for (at, &byte) in body.iter().enumerate() {
            let found = self.command.flags().find(|flag| flag.short == Some(char::from(byte)));
            let flag = found.ok_or_else(|| self.unknown(word))?;
            let tail = body.get(at + 1..).filter(|tail| !tail.is_empty());
            if flag.value.is_some() || tail.is_some_and(|tail| tail.starts_with(b"=")) {
                let value = tail.map(|tail| tail.strip_prefix(b"=").unwrap_or(tail));
                return self.take(flag, value.map(OsStr::from_bytes), rest);
            }
            self.take(flag, None, rest)?;
        }
        Ok(())
    }

    fn take<'a>(
        &mut self,
        flag: Flag,
        value: Option<&OsStr>,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), Failure> {
        let (value, on) = match (flag.value, value) {
            (None, None) => (OsString::new(), true),
            (None, Some(value)) => (value.to_owned(), switch(flag, value)?),
            (Some(_), Some(value)) => (value.to_owned(), true),
            (Some(wanted), None) => match rest.next() {
                Some(value) => (value.clone(), true),
                None => return Err(Failure::usage(format!("--{} needs a value: {wanted}", flag.long))),
            },
        };
        self.given.push(Given { flag, value, on, read: Cell::new(false) });
        Ok(())
    }

    fn unknown(&self, word: &OsStr) -> Failure {
        let word = word.to_string_lossy();
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        match nearest(name, self.command.flags().map(|flag| flag.long)) {
            Some(near) => Failure::usage(format!("unknown flag {word}, did you mean --{near}?")),
            None => Failure::usage(format!("unknown flag {word}")),
        }
    }

    fn each(&self, name: &str) -> impl Iterator<Item = &Given> {
        debug_assert!(self.command.flags().any(|flag| flag.long == name), "{} has no --{name}", self.command.name());
        let mine = self.given.iter().filter(move |given| given.flag.long == name);
        mine.inspect(|given| given.read.set(true))
    }

    /// Whether the switch `name` is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.each(name).last().is_some_and(|given| given.on)
    }

    /// The last value of `name` as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        self.each(name).last().map(|given| utf8(name, &given.value)).transpose()
    }

    /// All values of `name` as text.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        self.each(name).map(|given| utf8(name, &given.value).map(str::to_owned)).collect()
    }

    /// The last value of `name` as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.each(name).last().map(|given| PathBuf::from(&given.value))
    }

    /// The last value of `name` as a number.
    pub(crate) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = |_| Failure::usage(format!("--{name} {text:?}: not a number of the allowed range"));
        text.parse().map(Some).map_err(wrong)
    }

    /// Whether `--help` was given.
    pub(crate) fn help(&self) -> bool {
        self.switch("help")
    }

    /// The operands, once every given flag has been read and their number is right.
    pub(crate) fn operands(&self) -> Result<&[OsString], Failure> {
        self.all_read()?;
        let (least, most) = self.command.arity();
        let count = self.operands.len();
        if count < least || most.is_some_and(|most| count > most) {
            let wanted = match most {
                Some(most) if most == least => format!("{least}"),
                Some(most) => format!("{least} to {most}"),
                None => format!("{least} or more"),
            };
            return Err(Failure::usage(format!("{wanted} argument(s) wanted, got {count}")));
        }
        Ok(&self.operands)
    }

    /// The operands as text.
    pub(crate) fn words_as_text(&self) -> Result<Vec<&str>, Failure> {
        self.operands()?.iter().map(|word| utf8("", word)).collect()
    }

    /// Refuses a given flag that nothing has asked for.
    pub(crate) fn all_read(&self) -> Result<(), Failure> {
        match self.given.iter().find(|given| !given.read.get()) {
            Some(ignored) => Err(Failure::usage(format!("--{} has no effect here", ignored.flag.long))),
            None => Ok(()),
        }
    }

    /// The operands without any check.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.operands
    }
}

fn utf8<'a>(name: &str, value: &'a OsStr) -> Result<&'a str, Failure> {
    let place = if name.is_empty() { String::new() } else { format!("--{name} ") };
    value.to_str().ok_or_else(|| Failure::usage(format!("{place}{value:?}: not UTF-8")))
}

fn switch(flag: Flag, value: &OsStr) -> Result<bool, Failure> {
    match value.to_str() {
        Some("1" | "t" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "false" | "FALSE" | "False") => Ok(false),
        _ => Err(Failure::usage(format!("--{} {value:?}: neither true nor false", flag.long))),
    }
}

/// The candidate that differs from `name` by the fewest edits, if it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = if name.len() < 4 { 1 } else { 2 };
    candidates.map(|near| (edits(name, near), near)).filter(|&(edits, _)| edits <= limit).min().map(|(_, near)| near)
}

fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, &above) in b.bytes().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: Command = Command(
        "run: IMAGE [ARGUMENT...]\nx\n\n-i, --interactive | x\n-t, --tty | x\n-e, --env NAME=VALUE... | x\n-m, --memory SIZE | x\n",
    );

    fn split(line: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let args = parse(COMMAND, &words).map_err(|failure| failure.to_string())?;
        let shown = |given: &Given| {
            given.read.set(true);
            let value = if given.flag.value.is_some() {
                given.value.to_string_lossy().into_owned()
            } else {
                given.on.to_string()
            };
            format!("{}={value}", given.flag.long)
        };
        let given = args.given.iter().map(shown).collect();
        let operands = args.operands().map_err(|failure| failure.to_string())?;
        Ok((given, operands.iter().map(|word| word.to_string_lossy().into_owned()).collect()))
    }

    #[test]
    fn command_lines_are_split_as_docker_splits_them() {
        for (line, flags, operands) in [
            ("-it img sh -c x", "interactive=true tty=true", "img sh -c x"),
            ("--env A=b -eC=d -e=E img", "env=A=b env=C=d env=E", "img"),
            ("--memory=1g -m 2g img -- --x", "memory=1g memory=2g", "img -- --x"),
            ("--tty=false -- img", "tty=false", "img"),
            ("-im5 img", "interactive=true memory=5", "img"),
        ] {
            let (given, rest) = split(line).unwrap();
            assert_eq!((given.join(" ").as_str(), rest.join(" ").as_str()), (flags, operands), "{line}");
        }
        for (line, reason) in [
            ("--ttyy img", "unknown flag --ttyy, did you mean --tty?"),
            ("-x img", "unknown flag -x"),
            ("--tty=maybe img", "neither true nor false"),
            ("img --memory", ""),
            ("-m", "--memory needs a value: SIZE"),
            ("-t", "1 or more argument(s) wanted, got 0"),
        ] {
            match split(line) {
                Err(message) => assert!(!reason.is_empty() && message.contains(reason), "{line}: {message}"),
                Ok(_) => assert!(reason.is_empty(), "{line}"),
            }
        }
    }

    #[test]
    fn a_flag_that_nobody_reads_is_an_error() {
        let args = parse(COMMAND, &["-t".into(), "img".into()]).unwrap();
        assert_eq!(args.operands().unwrap_err().to_string(), "--tty has no effect here");
        assert!(args.switch("tty") && args.operands().is_ok());
    }
}
