//! What an ordinary user's commands have done in a user namespace: unpacking images, making and removing files of other owners.
//! The program starts itself anew for that, with lines that are not in the table.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command as Program;

use orlop::Runtime;
use orlop_images::base::Dir;
use orlop_images::supervise::Containers;
use orlop_images::userns::{self, IdMaps};
use orlop_images::{Cancel, Error, Kind, Step};

use crate::cli::commands;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::{self, Args};
use crate::cli::session::Session;

/// The word that each line begins with.
const WORD: &str = "in-user-namespace";
/// The line removes a container's files.
const REMOVE: &str = "remove-files";
/// The line makes a container's bundle.
const PREPARE: &str = "prepare";

/// Whether this program runs for an ordinary user.
pub(crate) fn is_rootless() -> bool {
    !nix::unistd::geteuid().is_root()
}

/// Carries out a line of this program's own, if it is one.
pub(crate) fn dispatch(words: &[OsString], usual: fn(&[OsString]) -> u8) -> Option<u8> {
    let (first, rest) = words.split_first()?;
    if first != WORD {
        return None;
    }
    if let Err(error) = userns::enter() {
        output::complain(&format!("orlop image: {error}"));
        return Some(1);
    }
    Some(match rest.split_first() {
        Some((word, rest)) if word == REMOVE => remove(rest),
        Some((word, rest)) if word == PREPARE => prepare(rest),
        _ => usual(rest),
    })
}

/// Has files that only a user namespace can remove be removed in one.
pub(crate) fn with_remover(containers: Containers) -> Containers {
    if is_rootless() { containers.with_remover(remove_files) } else { containers }
}

fn line(words: &[&OsStr], cancel: &Cancel) -> Result<u8, Error> {
    let mut program = Program::new("/proc/self/exe");
    let status = userns::run(program.arg(WORD).args(words), &IdMaps::of_this_user()?, cancel)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Carries out a whole command in a user namespace.
pub(crate) fn whole(session: &Session, command: &str, words: &[OsString]) -> Result<u8, Failure> {
    // Those that have ended unwatched are finished from here: the namespaces of containers are this user's, not each other's.
    session.containers(&session.store()?)?.all()?;
    let (state, root) = (session.state.as_os_str(), session.runtime.root.as_os_str());
    let mut line_words = [OsStr::new("--root"), state, OsStr::new("--runtime-root"), root, command.as_ref()].to_vec();
    line_words.extend(words.iter().map(OsString::as_os_str));
    Ok(line(&line_words, &session.cancel)?)
}

/// Removes the files of the container `name` below the state directory.
fn remove_files(state: &Path, name: &str) -> Result<(), Error> {
    match line(&[REMOVE.as_ref(), state.as_os_str(), name.as_ref()], &Cancel::new())? {
        0 => Ok(()),
        _ => Err(Error::new(Kind::System, Step::Supervise).object_is(name).reason_is("its files cannot be removed")),
    }
}

fn remove(words: &[OsString]) -> u8 {
    let [state, name] = words else { return 2 };
    // Nothing is asked of the runtime.
    let containers =
        Dir::open(Step::Supervise, state.as_ref()).and_then(|dir| Containers::open(&dir, Runtime::new("/nonexistent")));
    told(containers.and_then(|containers| containers.remove_files(&name.to_string_lossy())).map_err(Failure::from))
}

/// Makes the bundle of the container `name`, which was claimed; `words` are those of `run`.
pub(crate) fn prepare_container(session: &Session, name: &str, words: &[OsString]) -> Result<(), Failure> {
    let (state, root) = (session.state.as_os_str(), session.runtime.root.as_os_str());
    let mut all = vec![PREPARE.as_ref(), state, root, name.as_ref()];
    all.extend(words.iter().map(OsString::as_os_str));
    match line(&all, &session.cancel)? {
        0 => Ok(()),
        // It has told why.
        status => Err(Failure::told(status)),
    }
}

fn prepare(words: &[OsString]) -> u8 {
    let [state, root, name, words @ ..] = words else { return 2 };
    let session = Session { state: state.into(), runtime: Runtime::new(root), cancel: Cancel::new() };
    let made = parse::parse(commands::RUN, words)
        .and_then(|args: Args| commands::prepare(&session, &args, &name.to_string_lossy()));
    told(made)
}

fn told(done: Result<(), Failure>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(failure) => {
            output::complain(&format!("orlop image: {failure}"));
            1
        }
    }
}
