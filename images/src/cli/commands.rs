//! The commands: each file holds its block of the table and carries it out.

mod bundle;
mod commit;
mod completion;
mod diff;
mod history;
mod import;
mod inspect;
mod list;
mod load;
mod logs;
mod man;
mod prune;
mod ps;
mod pull;
mod push;
mod remove;
mod rm;
mod run;
mod save;
mod stop;
mod tag;
mod verify;
mod version;

use serde_json::{Value, json};

use orlop_images::Image;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(crate) use run::{COMMAND as RUN, own_streams, prepare};
pub(crate) use version::text as version_text;

/// Carries out a command; the number is the exit status.
pub(crate) type Run = fn(&Session, &Args) -> Result<u8, Failure>;

/// The program itself: the flags that come before the command.
pub(crate) const GLOBAL: Command = Command(
    "orlop-image: [FLAGS] COMMAND [ARGUMENT...]
pull, keep and run container images, without a daemon

--root DIR | where images and containers are kept (default: $XDG_DATA_HOME/orlop, or /var/lib/orlop for root)
--runtime-root DIR | where orlop keeps what runs (default: as orlop does)
-v, --version | show the version

REFERENCE is written as for Docker: nginx, nginx:1.27, localhost:5000/a/b@sha256:…

Exit status: 0 for success, 1 for a failure, 2 for a wrong command line, 130 after an interrupt.

$ orlop image pull nginx
  fetch an image; once again after an interruption to go on
$ orlop image list
$ orlop image help pull
",
);

/// All commands, in the order of the help.
const ALL: [(Command, Run); 23] = [
    (pull::COMMAND, pull::run),
    (push::COMMAND, push::run),
    (load::COMMAND, load::run),
    (save::COMMAND, save::run),
    (import::COMMAND, import::run),
    (list::COMMAND, list::run),
    (inspect::COMMAND, inspect::run),
    (history::COMMAND, history::run),
    (tag::COMMAND, tag::run),
    (remove::COMMAND, remove::run),
    (prune::COMMAND, prune::run),
    (verify::COMMAND, verify::run),
    (run::COMMAND, run::run),
    (ps::COMMAND, ps::run),
    (logs::COMMAND, logs::run),
    (stop::COMMAND, stop::run),
    (rm::COMMAND, rm::run),
    (bundle::COMMAND, bundle::run),
    (diff::COMMAND, diff::run),
    (commit::COMMAND, commit::run),
    (completion::COMMAND, completion::run),
    (man::COMMAND, man::run),
    (version::COMMAND, version::run),
];

/// All commands.
pub(crate) fn all() -> impl Iterator<Item = Command> {
    ALL.iter().map(|(command, _)| *command)
}

/// The command called `name`.
pub(crate) fn find(name: &str) -> Option<(Command, Run)> {
    ALL.iter().find(|(command, _)| command.name() == name).copied()
}

/// An image as JSON, for every command that prints one.
fn described(image: &Image) -> Value {
    json!({
        "reference": image.reference.as_ref().map(ToString::to_string),
        "digest": image.manifest.digest,
        "id": image.config_blob.digest,
        "platform": image.platform.to_string(),
        "created": image.config.created,
        "layers": image.layers.len(),
        "size": image.stored_size(),
    })
}

/// Tells which image there is now.
fn show(image: &Image, as_json: bool) -> Result<(), Failure> {
    if as_json { output::json(&described(image)) } else { output::print(&format!("{}\n", pinned(image))) }
}

/// `name@digest`, which names an image for good.
fn pinned(image: &Image) -> String {
    match &image.reference {
        Some(reference) if reference.digest().is_none() => format!("{reference}@{}", image.manifest.digest),
        Some(reference) => reference.to_string(),
        None => image.manifest.digest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::parse::parse;

    /// Runs each command with each of its flags and a wrong number of operands, so that nothing is carried out: a flag that
    /// the command does not read is reported before the operands are.
    #[test]
    fn every_flag_of_the_table_is_read_by_its_command() {
        let session = Session::new(&parse(GLOBAL, &[]).unwrap()).unwrap();
        let mut checked = 0;
        for (command, run) in ALL {
            let (least, most) = command.arity();
            let operands = if least > 0 { 0 } else { most.unwrap() + 1 };
            for flag in command.flags() {
                let value = flag.value.map(|value| match value {
                    "OS/ARCHITECTURE" => "linux/amd64",
                    "MODE" => "host",
                    "WHEN" if command.name() == "run" => "never",
                    "WHEN" => "1s",
                    "[ADDRESS:][HOST:]PORT[/PROTOCOL]" => "80",
                    _ => "1",
                });
                let mut line = vec![OsString::from(format!("--{}", flag.long))];
                line.extend(value.map(OsString::from));
                line.extend(std::iter::repeat_n(OsString::from("x"), operands));
                let args = parse(command, &line).unwrap();
                if flag.long == "help" {
                    assert!(args.help());
                    continue;
                }
                let failure = run(&session, &args).unwrap_err().to_string();
                assert!(failure.contains("argument(s) wanted"), "{} {line:?}: {failure}", command.name());
                checked += 1;
            }
        }
        assert!(checked > 20, "only {checked} flags were checked");
    }
}
