//! `orlop exec`.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;

use orlop::{Capability, ContainerId, ExecOptions, ExecProcess, SubCgroup, Terminal, User};

use crate::failure::Failure;
use crate::foreground;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::signals::Signals;
use crate::table::command;
use crate::terminal;

command! {
    "exec: ID [COMMAND...]
execute a further command in a running container
",
    [
        CONSOLE_SOCKET = "--console-socket SOCKET | send the terminal's master to this Unix socket",
        PIDFD_SOCKET = "--pidfd-socket SOCKET | send a pidfd of the process to this Unix socket",
        CWD = "--cwd PATH | the working directory in the container",
        ENV = "-e, --env KEY=VALUE... | set a variable of the environment",
        TTY = "-t, --tty | give the command a terminal",
        USER = "-u, --user UID[:GID] | the user, and the group, by number",
        ADDITIONAL_GIDS = "-g, --additional-gids GID... | a further group of the user, by number",
        PROCESS = "-p, --process FILE | take the process from this JSON file (the process object of the OCI configuration)",
        DETACH = "-d, --detach | return as soon as the command has been executed",
        PID_FILE = "--pid-file FILE | write the pid of the process to this file",
        PROCESS_LABEL = "--process-label LABEL | the SELinux label of the process",
        APPARMOR = "--apparmor PROFILE-NAME | the AppArmor profile of the process",
        NO_NEW_PRIVS = "--no-new-privs | let no command gain privileges by being executed (no_new_privs)",
        CAP = "-c, --cap CAPABILITY... | add a capability",
        PRESERVE_FDS = "--preserve-fds N | let the command inherit N further file descriptors",
        CGROUP = "--cgroup [CONTROLLER:]PATH... | put the process into this existing sub-cgroup of the container's",
        IGNORE_PAUSED = "--ignore-paused | execute even if the container is paused; the command then waits until it is resumed",
    ],
    "
The command is executed with the user, environment, capabilities and limits of the container's own process,
changed by the flags. Flags end at ID; what follows belongs to the command. The exit status is the command's
own in the foreground (128+N when signal N ended it); 255 means that it could not be executed.

$ orlop exec web1 ps -ef
$ orlop exec -t -e TERM=$TERM web1 sh
$ orlop exec --user 1000:1000 --cwd /srv web1 id
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let mut options = options(args)?;
    let detach = args.switch(DETACH);
    let (id, command) = args.operands()?.split_first().ok_or_else(|| Failure::usage("which container?"))?;
    let id = container_id(id)?;
    // Many write `exec ID -- COMMAND`; no program is called `--`.
    let command = command.strip_prefix(&[OsStr::new("--")]).unwrap_or(command);
    if let ExecProcess::Args(words) = &mut options.process {
        *words = words_of(command)?;
    } else if !command.is_empty() {
        return Err(Failure::usage("either a command or --process, not both"));
    }
    if detach {
        let process = orlop::exec(&session.runtime, &id, options)?;
        session.tell(&process);
        return Ok(0);
    }
    attended(session, &id, options)
}

/// What the flags say.
fn options(args: &Args<'_>) -> Result<ExecOptions, Failure> {
    let process = args.path(PROCESS).map_or_else(|| ExecProcess::Args(Vec::new()), ExecProcess::File);
    let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    if args.setting(NO_NEW_PRIVS) == Some(false) {
        return Err(Failure::usage("--no-new-privs=false: it can be switched on, not off"));
    }
    Ok(ExecOptions::new(process)
        .cwd(owned(args.text(CWD)?))
        .env(args.texts(ENV)?.iter().map(|pair| variable(pair)).collect::<Result<Vec<_>, _>>()?)
        .tty(args.switch(TTY))
        // One that is empty is refused like any other that is no number: it must not mean the container's own user.
        .user(args.text(USER)?.map(str::parse::<User>).transpose()?)
        .additional_gids(args.numbers(ADDITIONAL_GIDS)?)
        .capabilities(parsed::<Capability>(&args.texts(CAP)?)?)
        .no_new_privs(args.switch(NO_NEW_PRIVS))
        .process_label(owned(args.text(PROCESS_LABEL)?))
        .apparmor(owned(args.text(APPARMOR)?))
        .sub_cgroups(parsed::<SubCgroup>(&args.texts(CGROUP)?)?)
        .ignore_paused(args.switch(IGNORE_PAUSED))
        .terminal(args.path(CONSOLE_SOCKET).map_or(Terminal::None, Terminal::Socket))
        .pidfd_socket(args.path(PIDFD_SOCKET))
        .pid_file(args.path(PID_FILE))
        .preserve_fds(args.number(PRESERVE_FDS)?.unwrap_or(0_u32)))
}

/// `NAME=VALUE`; a value may be a secret, so it is not repeated.
fn variable(pair: &str) -> Result<(String, String), Failure> {
    match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Failure::usage("--env: invalid environment variable: missing '='")),
    }
}

fn parsed<T: std::str::FromStr<Err = orlop::Error>>(texts: &[String]) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| text.parse().map_err(Failure::from)).collect()
}

/// The command's words. They go into JSON state and C strings alike, so they must be UTF-8.
pub(super) fn words_of(command: &[&OsStr]) -> Result<Vec<String>, Failure> {
    // Named by its place, since it may be a secret.
    let word = |(index, word): (usize, &&OsStr)| match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::usage(format!("argument {index} of the command is not UTF-8"))),
    };
    match command {
        [] => Err(Failure::usage("what shall be executed? give a COMMAND or --process")),
        _ => command.iter().enumerate().map(word).collect(),
    }
}

fn attended(session: &Session<'_>, id: &ContainerId, options: ExecOptions) -> Result<u8, Failure> {
    if !matches!(options.terminal, Terminal::None) {
        return Err(Failure::usage("--console-socket is for --detach: in the foreground the terminal is this one"));
    }
    let (signals, cancel) = Signals::take()?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| Failure::io("make a socket pair", &error))?;
    let options = options.terminal(Terminal::connected(theirs)).terminal_size(terminal::console_size()).cancel(cancel);
    let process = orlop::exec(&session.runtime, id, options)?;
    session.tell(&process);
    Ok(foreground::attend(session, &signals, &process, &ours, None)?.shell_code())
}
