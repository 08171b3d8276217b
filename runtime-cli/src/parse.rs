//! Splits a command line by the table, the way runc's parser does.
//!
//! Accepted: `--flag value`, `--flag=value`, the same with one dash, `-f value`, `-f=value`, `-fvalue`, switches joined as
//! `-dt`, `--switch=false`, and `--` to end the flags. A scalar given twice: the last one counts.
//!
//! A verb gets at its operands only through [`Args::operands`], which refuses every given flag that the verb has not read:
//! no flag can be accepted and then ignored.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;
use crate::table::{Command, Flag, HELP_NAME, Name};

/// One flag as it was given.
#[derive(Debug)]
struct Given<'a> {
    flag: Flag,
    value: &'a OsStr,
    /// A switch that was given as `=false` counts as not set.
    on: bool,
    read: Cell<bool>,
}

/// A command's flags and operands.
#[derive(Debug)]
pub(crate) struct Args<'a> {
    command: Command,
    given: Vec<Given<'a>>,
    operands: Vec<&'a OsStr>,
}

/// Splits `words` into the flags and operands of `command`. A command whose operands end in `...` takes everything from its
/// first operand on as it stands.
pub(crate) fn parse<'a>(command: Command, words: &[&'a OsStr]) -> Result<Args<'a>, Failure> {
    let mut args = Args { command, given: Vec::new(), operands: Vec::new() };
    let stop = command.arity().most.is_none();
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if !is_flag(word) {
            args.operands.push(word);
            if stop {
                break;
            }
            continue;
        }
        args.flag(word, &mut rest)?;
    }
    args.operands.extend(rest);
    Ok(args)
}

/// `-` is a file name, and `-9` is a signal or a number, since no flag is a digit.
fn is_flag(word: &OsStr) -> bool {
    match word.as_bytes() {
        [b'-', second, ..] => !second.is_ascii_digit(),
        _ => false,
    }
}

impl<'a> Args<'a> {
    fn flag(&mut self, word: &'a OsStr, rest: &mut impl Iterator<Item = &'a OsStr>) -> Result<(), Failure> {
        let bytes = word.as_bytes();
        let body = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
        let (name, value) = match body.iter().position(|&byte| byte == b'=') {
            Some(at) => {
                let (name, value) = body.split_at(at);
                (name, value.get(1..).map(OsStr::from_bytes))
            }
            None => (body, None),
        };
        let name = String::from_utf8_lossy(name);
        if let Some(flag) = self.named(&name) {
            return self.take(flag, value, rest);
        }
        if bytes.starts_with(b"--") || name.is_empty() {
            return Err(self.unknown(&word.to_string_lossy()));
        }
        self.cluster(word, body, rest)
    }

    /// A long name, or a single letter with one or two dashes (runc's parser makes no difference).
    fn named(&self, name: &str) -> Option<Flag> {
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => self.command.short(letter),
            _ => self.command.long(name),
        }
    }

    /// `-dt`, `-b/bundle`, `-db /bundle`.
    fn cluster(
        &mut self,
        word: &OsStr,
        body: &'a [u8],
        rest: &mut impl Iterator<Item = &'a OsStr>,
    ) -> Result<(), Failure> {
        for (at, &byte) in body.iter().enumerate() {
            let Some(flag) = self.command.short(char::from(byte)) else {
                return Err(self.unknown(&word.to_string_lossy()));
            };
            let tail = body.get(at + 1..).filter(|tail| !tail.is_empty());
            if flag.value.is_some() {
                return self.take(flag, tail.map(OsStr::from_bytes), rest);
            }
            if tail.is_some_and(|tail| tail.starts_with(b"=")) {
                return self.take(flag, tail.and_then(|tail| tail.get(1..)).map(OsStr::from_bytes), rest);
            }
            self.take(flag, None, rest)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        flag: Flag,
        value: Option<&'a OsStr>,
        rest: &mut impl Iterator<Item = &'a OsStr>,
    ) -> Result<(), Failure> {
        if flag.refused {
            return Err(Failure::usage(format!("--{} is not supported: {}", flag.long, flag.help)));
        }
        let (value, on) = match (flag.value, value) {
            (None, None) => (OsStr::new(""), true),
            (None, Some(value)) => (value, switch(flag, value)?),
            (Some(_), Some(value)) => (value, true),
            (Some(wanted), None) => match rest.next() {
                Some(value) => (value, true),
                None => return Err(Failure::usage(format!("--{} needs a value: {wanted}", flag.long))),
            },
        };
        self.given.push(Given { flag, value, on, read: Cell::new(false) });
        Ok(())
    }

    fn unknown(&self, word: &str) -> Failure {
        // The value that follows may be a secret: it is not repeated.
        let word = word.split_once('=').filter(|(name, _)| *name != "--").map_or(word, |(name, _)| name);
        let name = word.trim_start_matches('-');
        let candidates = self.command.flags().filter(|flag| !flag.refused).map(|flag| flag.long);
        match nearest(name, candidates) {
            Some(near) => Failure::usage(format!("unknown flag {word}, did you mean --{near}?")),
            None => Failure::usage(format!("unknown flag {word}")),
        }
    }

    /// The last value given for the flag `name`; marks the flag as read.
    pub(crate) fn value(&self, name: Name) -> Option<&'a OsStr> {
        self.each(name).last()
    }

    /// All values given for the flag `name`, in their order; marks the flag as read.
    pub(crate) fn each(&self, name: Name) -> impl Iterator<Item = &'a OsStr> {
        debug_assert!(self.command.long(name.as_str()).is_some(), "{} does not declare {name}", self.command.name());
        let mine = self.given.iter().filter(move |given| given.flag.long == name.as_str());
        mine.inspect(|given| given.read.set(true)).map(|given| given.value)
    }

    /// Whether the switch `name` is on.
    pub(crate) fn switch(&self, name: Name) -> bool {
        self.setting(name).unwrap_or(false)
    }

    /// What the switch `name` was set to, if it was given.
    pub(crate) fn setting(&self, name: Name) -> Option<bool> {
        debug_assert!(self.command.long(name.as_str()).is_some(), "{} does not declare {name}", self.command.name());
        let mine = self.given.iter().filter(|given| given.flag.long == name.as_str());
        mine.inspect(|given| given.read.set(true)).last().map(|given| given.on)
    }

    /// The value of `name` as text.
    pub(crate) fn text(&self, name: Name) -> Result<Option<&'a str>, Failure> {
        self.value(name).map(|value| utf8(name, value)).transpose()
    }

    /// All values of `name` as text.
    pub(crate) fn texts(&self, name: Name) -> Result<Vec<String>, Failure> {
        self.each(name).map(|value| utf8(name, value).map(str::to_owned)).collect()
    }

    /// The value of `name` as a path. An empty one counts as not given, as runc has it.
    pub(crate) fn path(&self, name: Name) -> Option<PathBuf> {
        self.value(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The value of `name` as a number.
    pub(crate) fn number<N: FromStr>(&self, name: Name) -> Result<Option<N>, Failure> {
        self.value(name).map(|value| number(name, value)).transpose()
    }

    /// All values of `name` as numbers.
    pub(crate) fn numbers<N: FromStr>(&self, name: Name) -> Result<Vec<N>, Failure> {
        self.each(name).map(|value| number(name, value)).collect()
    }

    /// The value of `name`, which must be one of the words of its placeholder (`table|json`).
    pub(crate) fn choice(&self, name: Name) -> Result<Option<&'a str>, Failure> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let words = self.command.long(name.as_str()).and_then(|flag| flag.value).unwrap_or_default();
        if words.split('|').any(|word| word == value) {
            return Ok(Some(value));
        }
        Err(Failure::usage(format!("{name} {value:?}: not one of {}", words.replace('|', ", "))))
    }

    /// Whether `--help` was given.
    pub(crate) fn help(&self) -> bool {
        self.switch(HELP_NAME)
    }

    /// The operands, once every given flag has been read and their number is right.
    pub(crate) fn operands(&self) -> Result<&[&'a OsStr], Failure> {
        self.all_read()?;
        let arity = self.command.arity();
        let count = self.operands.len();
        let wrong = |bound: &str, number: usize| {
            let name = self.command.name();
            Err(Failure::usage(format!("{name:?} requires {bound} {number} argument(s), got {count}")))
        };
        match arity.most {
            Some(most) if most == arity.least && count != most => wrong("exactly", most),
            _ if count < arity.least => wrong("a minimum of", arity.least),
            Some(most) if count > most => wrong("a maximum of", most),
            _ => Ok(&self.operands),
        }
    }

    /// The only operand of a command that takes exactly one.
    pub(crate) fn operand(&self) -> Result<&'a OsStr, Failure> {
        self.operands().map(|operands| operands.first().copied().unwrap_or_default())
    }

    /// Refuses a given flag that nothing has asked for.
    pub(crate) fn all_read(&self) -> Result<(), Failure> {
        match self.given.iter().find(|given| !given.read.get()) {
            Some(ignored) => Err(Failure::usage(format!("--{} has no effect here", ignored.flag.long))),
            None => Ok(()),
        }
    }

    /// The operands without any check.
    pub(crate) fn words(&self) -> &[&'a OsStr] {
        &self.operands
    }

    /// The first operand, for naming the object in messages.
    pub(crate) fn object(&self) -> Option<&'a OsStr> {
        self.operands.first().copied()
    }
}

fn utf8(name: Name, value: &OsStr) -> Result<&str, Failure> {
    // The value may be a secret of the container's environment: it is not repeated.
    value.to_str().ok_or_else(|| Failure::usage(format!("{name}: its value is not UTF-8")))
}

fn number<N: FromStr>(name: Name, value: &OsStr) -> Result<N, Failure> {
    // Rust's own parser takes a leading plus sign; the kernel and runc take it too, so nothing is checked here beyond the range.
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Failure::usage(format!("{name} {value:?}: not a number of the allowed range")))
}

/// The words that Go's strconv.ParseBool knows, since engines and scripts were written against it.
fn switch(flag: Flag, value: &OsStr) -> Result<bool, Failure> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
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
    use crate::{commands, session};

    /// A command's name, its flags with their values, its operands.
    type Split = (String, Vec<(String, String)>, Vec<String>);

    /// Splits `line` at spaces and parses it as one command line: global flags, command, its flags and operands.
    fn split(line: &str) -> Result<Split, String> {
        let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
        let global = parse(session::COMMAND, &words).map_err(|failure| failure.to_string())?;
        let first = global.words()[0].to_str().unwrap();
        let verb = commands::find(first, global.words().get(1).and_then(|word| word.to_str())).unwrap();
        let name = verb.command.name().to_owned();
        let args =
            parse(verb.command, &global.words()[name.split(' ').count()..]).map_err(|failure| failure.to_string())?;
        let given = global.given.iter().chain(&args.given);
        let given = given.map(|each| {
            each.read.set(true);
            let value =
                if each.flag.value.is_some() { each.value.to_str().unwrap().to_owned() } else { each.on.to_string() };
            (each.flag.long.to_owned(), value)
        });
        let given = given.collect();
        let operands = args.operands().map_err(|failure| failure.to_string())?;
        Ok((name, given, operands.iter().map(|word| word.to_str().unwrap().to_owned()).collect()))
    }

    #[test]
    fn what_engines_send_is_understood() {
        // (command line, flags in order, operands): as captured from containerd's shim, conmon, Podman, CRI-O and Buildah.
        let prefix = "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json";
        let globals = "root=/run/containerd/runc/k8s.io log=/b/log.json log-format=json";
        for (line, flags, operands) in [
            (
                "create --bundle /b --pid-file /b/init.pid --console-socket /tmp/pty/p.sock web1",
                "bundle=/b pid-file=/b/init.pid console-socket=/tmp/pty/p.sock",
                "web1",
            ),
            ("start web1", "", "web1"),
            (
                "exec --process /tmp/p --console-socket /s --detach --pid-file /b/1.pid web1",
                "process=/tmp/p console-socket=/s detach=true pid-file=/b/1.pid",
                "web1",
            ),
            ("kill web1 9", "", "web1 9"),
            ("kill --all web1 9", "all=true", "web1 9"),
            ("kill web1 KILL", "", "web1 KILL"),
            ("delete web1", "", "web1"),
            ("delete --force web1", "force=true", "web1"),
            ("delete web1 --force", "force=true", "web1"),
            ("pause web1", "", "web1"),
            ("resume web1", "", "web1"),
            ("ps --format json web1", "format=json", "web1"),
            ("update --resources=- web1", "resources=-", "web1"),
            ("update --resources - web1", "resources=-", "web1"),
            ("update --resources=/tmp/r.json web1", "resources=/tmp/r.json", "web1"),
            (
                "exec --pid-file /p --process /f --detach --tty --console-socket /s --preserve-fds 2 web1",
                "pid-file=/p process=/f detach=true tty=true console-socket=/s preserve-fds=2",
                "web1",
            ),
            ("create --bundle /b --pid-file /p buildah-buildah123", "bundle=/b pid-file=/p", "buildah-buildah123"),
            (
                "create --no-pivot --no-new-keyring --preserve-fds 1 --bundle /b --pidfd-socket /s x",
                "no-pivot=true no-new-keyring=true preserve-fds=1 bundle=/b pidfd-socket=/s",
                "x",
            ),
        ] {
            let (name, given, words) =
                split(&format!("{prefix} {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(line.starts_with(&name));
            let given: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(given.join(" "), format!("{globals} {flags}").trim_end(), "{line}");
            assert_eq!(words.join(" "), operands, "{line}");
        }
    }

    #[test]
    fn flags_may_be_written_in_every_way_that_the_peers_take() {
        for (line, flags, operands) in [
            ("--root=/r --systemd-cgroup --rootless=true list", "root=/r systemd-cgroup=true rootless=true", ""),
            ("-root /r --systemd-cgroup=false -debug list", "root=/r systemd-cgroup=false debug=true", ""),
            ("--log-format=json --log /l list -q", "log-format=json log=/l quiet=true", ""),
            ("list -qfjson", "quiet=true format=json", ""),
            ("list -qf json", "quiet=true format=json", ""),
            ("list -f=json", "format=json", ""),
            ("run -db /b x", "detach=true bundle=/b", "x"),
            ("run -bundle /b -detach=0 x", "bundle=/b detach=false", "x"),
            ("run -b/b x -d", "bundle=/b detach=true", "x"),
            ("run -d -- -x", "detach=true", "-x"),
            ("exec -te A=1 -e B=2 web1 sh -c -e --tty", "tty=true env=A=1 env=B=2", "web1 sh -c -e --tty"),
            ("exec --cgroup cpu,cpuacct:sub --cgroup pids:/ web1 x", "cgroup=cpu,cpuacct:sub cgroup=pids:/", "web1 x"),
            (
                "exec -u 0:0 -g 1 -g 2 -c CAP_KILL -p - web1",
                "user=0:0 additional-gids=1 additional-gids=2 cap=CAP_KILL process=-",
                "web1",
            ),
            ("ps web1 -o pid,cmd", "", "web1 -o pid,cmd"),
            ("kill web1 -9", "", "web1 -9"),
            ("update --memory-swap -1 --cpu-quota=-1 x", "memory-swap=-1 cpu-quota=-1", "x"),
            ("update -r - x", "resources=-", "x"),
            ("seccomp dump --format json /p", "format=json", "/p"),
            ("seccomp explain /p clone 0x10 -1", "", "/p clone 0x10 -1"),
        ] {
            let (_, given, words) = split(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let given: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!((given.join(" "), words.join(" ")), (flags.to_owned(), operands.to_owned()), "{line}");
        }
    }

    #[test]
    fn wrong_command_lines_are_refused_by_name() {
        for (line, message) in [
            ("create", "\"create\" requires exactly 1 argument(s), got 0"),
            ("create a b", "\"create\" requires exactly 1 argument(s), got 2"),
            ("kill", "\"kill\" requires a minimum of 1 argument(s), got 0"),
            ("kill a 9 b", "\"kill\" requires a maximum of 2 argument(s), got 3"),
            ("exec", "\"exec\" requires a minimum of 1 argument(s), got 0"),
            ("list x", "\"list\" requires exactly 0 argument(s), got 1"),
            ("create --bundel /b x", "unknown flag --bundel, did you mean --bundle?"),
            ("create --zzz x", "unknown flag --zzz"),
            ("run -dkb /b x", "unknown flag -dkb"),
            ("create --=x y", "unknown flag --=x"),
            ("create x --bundle", "--bundle needs a value: DIR"),
            ("list --quiet=maybe", "--quiet \"maybe\": neither true nor false"),
            ("--criu /usr/sbin/criu list", "--criu is not supported: criu is looked up in PATH"),
            ("restore --no-pivot x", "--no-pivot is not supported: CRIU changes the root by pivot_root in any case"),
        ] {
            assert_eq!(split(line).unwrap_err(), message, "{line}");
        }
    }

    #[test]
    fn values_are_checked_where_they_are_read() {
        let update = commands::find("update", None).unwrap().command;
        let words = ["--pids-limit", "x", "--blkio-weight=70000", "--cpu-idle=2", "--memory", "", "id"].map(OsStr::new);
        let args = parse(update, &words).unwrap();
        assert!(args.number::<i64>(Name::of("--pids-limit ")).is_err());
        assert!(args.number::<u16>(Name::of("--blkio-weight ")).is_err());
        assert!(args.choice(Name::of("--cpu-idle ")).is_err());
        assert_eq!(args.path(Name::of("--memory ")), None);
        assert_eq!(args.operand().unwrap(), "id");
    }

    #[test]
    fn a_flag_that_no_code_reads_is_refused() {
        let update = commands::find("update", None).unwrap().command;
        let args = parse(update, &["--memory", "1", "--pids-limit", "2", "id"].map(OsStr::new)).unwrap();
        assert_eq!(args.text(Name::of("--memory ")).unwrap(), Some("1"));
        assert_eq!(args.operands().unwrap_err().to_string(), "--pids-limit has no effect here");
    }

    #[test]
    fn the_last_of_two_values_counts_and_lists_keep_all() {
        let exec = commands::find("exec", None).unwrap().command;
        let args = parse(
            exec,
            &["--cwd", "/a", "--cwd", "/b", "-t", "--tty=false", "-e", "A", "-e", "B", "x", "y"].map(OsStr::new),
        );
        let args = args.unwrap();
        assert_eq!(args.text(Name::of("--cwd ")).unwrap(), Some("/b"));
        assert_eq!(args.setting(Name::of("--tty ")), Some(false));
        assert_eq!(args.texts(Name::of("--env ")).unwrap(), ["A", "B"]);
    }

    #[test]
    fn no_words_whatever_make_the_parser_panic() {
        let bits = [
            "-",
            "--",
            "---",
            "=",
            "-=",
            "--=",
            "-b",
            "--bundle",
            "=x",
            "-d=",
            "-dt",
            "\u{fc}",
            "-\u{fc}",
            "--\u{fc}=",
            "9",
            "-9",
            "",
            " ",
        ];
        let mut seed = 1_u32;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            usize::try_from(seed >> 16).unwrap() % below
        };
        for command in commands::all().chain([session::COMMAND]) {
            for _ in 0..300 {
                let words: Vec<Vec<u8>> = (0..next(6))
                    .map(|_| {
                        let mut word = (0..=next(3)).map(|_| bits[next(bits.len())]).collect::<String>().into_bytes();
                        // Arguments need not be UTF-8.
                        if next(4) == 0 {
                            word.push(0xff);
                        }
                        word
                    })
                    .collect();
                let words: Vec<&OsStr> = words.iter().map(|word| OsStr::from_bytes(word)).collect();
                if let Ok(args) = parse(command, &words) {
                    let taken = args.given.len() + args.words().len();
                    assert!(taken <= words.iter().map(|word| word.len().max(1)).sum(), "{words:?} became {args:?}");
                }
            }
        }
    }
}
