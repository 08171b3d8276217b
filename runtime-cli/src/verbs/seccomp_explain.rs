//! `orlop seccomp explain`.

use orlop::seccomp::{Options, report};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;
use crate::verbs::seccomp_profile::{text, wrong};

command! {
    "seccomp explain: PROFILE SYSCALL [ARGUMENT...]
say what a seccomp profile does with one system call
",
    "
SYSCALL is a name or a number, ARGUMENTs are numbers (0x for hexadecimal); those not given are 0. One
line is printed for each architecture of the profile.

$ orlop seccomp explain profile.json clone 0x10000000
$ orlop seccomp explain config.json keyctl
"
}

pub(crate) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let [file, name, arguments @ ..] = args.operands()? else {
        return Err(Failure::usage("which profile and which system call?"));
    };
    let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let (name, arguments) = (word(name), arguments.iter().map(|each| word(each)).collect::<Vec<String>>());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let document = text(file)?;
    let profile = report::read(&document).map_err(|error| wrong(&error))?;
    super::print(&report::explain(&profile, &Options::default(), &name, &arguments).map_err(|error| wrong(&error))?)
}
