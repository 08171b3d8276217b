//! The commands: each file holds its block of the table and carries it out.

mod checkpoint;
mod completion;
mod create;
mod criu;
mod delete;
mod events;
mod exec;
mod features;
mod gc;
mod kill;
mod launch;
mod list;
mod man;
mod matching;
mod pause;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod seccomp_dump;
mod seccomp_explain;
mod seccomp_profile;
mod spec;
mod start;
mod state;
mod try_;
mod update;
mod validate;
mod version;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

/// Carries out a command; the number is the process's exit status.
pub(crate) type Run = fn(&Session<'_>, &Args<'_>) -> Result<u8, Failure>;

/// A command and the code behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    /// Its block of the table.
    pub(crate) command: Command,
    /// What carries it out.
    pub(crate) run: Run,
}

/// The program itself: the flags that come before the command.
pub(crate) const GLOBAL: Command = Command(
    "orlop: [FLAGS] COMMAND [ARGUMENT...]
run OCI containers, with the command line of runc

--root DIR | where containers are kept (default: /run/orlop, or $XDG_RUNTIME_DIR/orlop when not root)
--log FILE | append messages to this file, or to journald:NAME or syslog:NAME, and not to standard error
--log-format text|json | how messages are written (default: text)
--log-level error|warning|info|debug | the least grave messages to write (default: warning)
--debug | the same as --log-level debug
--systemd-cgroup | have systemd make the cgroups; cgroupsPath is then SLICE:PREFIX:NAME
--cgroup-manager cgroupfs|systemd|disabled | who makes the cgroups (crun's name for --systemd-cgroup)
--rootless true|false|auto | make do without the right to set up cgroups (default: auto)
--criu PATH ! criu is looked up in PATH
-v, --version | show the version

A container is made from a bundle: a directory with a config.json (OCI runtime specification) and a root
file system. \"orlop spec\" writes a config.json to begin with; \"orlop try\" needs neither.

Exit status: that of the container's command for run and exec in the foreground (128+N when signal N ended
it); 0 for success; 1 for a failure, 255 for one of exec.

$ orlop try
  a shell in a container that sees a copy of this machine's own files
$ orlop run -b /srv/web web1
  run the container web1 from the bundle /srv/web
$ orlop list
$ orlop help run
",
);

/// All commands in the order of the help.
const NAMES: &str = "create start run exec kill delete state list ps pause resume update events spec features \
                     try plan validate gc seccomp.dump seccomp.explain checkpoint restore completion man version";

/// All commands, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = Command> {
    NAMES
        .split_whitespace()
        .filter_map(|name| match name.split_once('.') {
            Some((first, second)) => find(first, Some(second)),
            None => find(name, None),
        })
        .map(|verb| verb.command)
}

/// The command called `first`, or `first second` for those of two words.
pub(crate) fn find(first: &str, second: Option<&str>) -> Option<Verb> {
    let (command, run): (Command, Run) = match (first, second) {
        ("create", _) => (create::COMMAND, create::run),
        ("start", _) => (start::COMMAND, start::run),
        ("run", _) => (run::COMMAND, run::run),
        ("exec", _) => (exec::COMMAND, exec::run),
        ("kill", _) => (kill::COMMAND, kill::run),
        ("delete", _) => (delete::COMMAND, delete::run),
        ("state", _) => (state::COMMAND, state::run),
        ("list", _) => (list::COMMAND, list::run),
        ("ps", _) => (ps::COMMAND, ps::run),
        ("pause", _) => (pause::COMMAND, pause::run),
        ("resume", _) => (resume::COMMAND, resume::run),
        ("update", _) => (update::COMMAND, update::run),
        ("events", _) => (events::COMMAND, events::run),
        ("spec", _) => (spec::COMMAND, spec::run),
        ("features", _) => (features::COMMAND, features::run),
        ("try", _) => (try_::COMMAND, try_::run),
        ("plan", _) => (plan::COMMAND, plan::run),
        ("validate", _) => (validate::COMMAND, validate::run),
        ("gc", _) => (gc::COMMAND, gc::run),
        ("seccomp", Some("dump")) => (seccomp_dump::COMMAND, seccomp_dump::run),
        ("seccomp", Some("explain")) => (seccomp_explain::COMMAND, seccomp_explain::run),
        ("checkpoint", _) => (checkpoint::COMMAND, checkpoint::run),
        ("restore", _) => (restore::COMMAND, restore::run),
        ("completion", _) => (completion::COMMAND, completion::run),
        ("man", _) => (man::COMMAND, man::run),
        ("version", _) => (version::COMMAND, version::run),
        _ => return None,
    };
    Some(Verb { command, run })
}

pub(crate) use version::text as version;

/// Writes `text` to standard output. Unbuffered: the program ends without flushing anything.
pub(crate) fn print(text: &str) -> Result<u8, Failure> {
    let stdout = std::io::stdout();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match nix::unistd::write(&stdout, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Failure::os("write to standard output", errno)),
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::log::Log;
    use crate::parse::parse;
    use crate::table::Flag;

    fn sample(flag: Flag) -> Option<&'static str> {
        flag.value.map(|value| match value {
            "DURATION" => "1s",
            "NAMESPACE" => "network",
            "ADDRESS:PORT" => "127.0.0.1:1",
            "TYPE:NAME" => "selinux:x",
            choice if choice.contains('|') => choice.split('|').next().unwrap(),
            _ => "1",
        })
    }

    /// Runs each command with each of its flags and a wrong number of operands, so that nothing is carried out: a flag that the
    /// command does not read is reported before the operands are.
    #[test]
    fn every_flag_of_the_table_is_read_by_its_command() {
        let log = Log::default();
        let global = parse(GLOBAL, &[]).unwrap();
        let session = Session::new(&global, &log).unwrap();
        let mut checked = 0;
        for command in all() {
            let words: Vec<&str> = command.name().split(' ').collect();
            let verb = find(words[0], words.get(1).copied()).unwrap();
            let arity = command.arity();
            let operands = match (arity.least, arity.most) {
                (0, Some(most)) => most + 1,
                (0, None) => continue,
                _ => 0,
            };
            for flag in command.flags().filter(|flag| !flag.refused) {
                let name = format!("--{}", flag.long);
                let mut line: Vec<&OsStr> = vec![name.as_ref()];
                line.extend(sample(flag).map(OsStr::new));
                line.extend(std::iter::repeat_n(OsStr::new("x"), operands));
                let failure = (verb.run)(&session, &parse(command, &line).unwrap()).unwrap_err().to_string();
                assert!(failure.contains("argument(s), got"), "{} {line:?}: {failure}", command.name());
                checked += 1;
            }
        }
        assert!(checked > 70, "only {checked} flags were checked");
    }

    #[test]
    fn every_global_flag_is_read() {
        let flags = GLOBAL.flags().filter(|flag| !flag.refused && flag.long != "version" && flag.long != "log");
        for flag in flags {
            let name = format!("--{}", flag.long);
            let mut line: Vec<&OsStr> = vec![name.as_ref()];
            line.extend(sample(flag).map(OsStr::new));
            let global = parse(GLOBAL, &line).unwrap();
            let log = Session::open_log(&global).unwrap();
            assert!(Session::new(&global, &log).is_ok(), "{name}");
            assert!(global.all_read().is_ok(), "{name}");
        }
    }
}
