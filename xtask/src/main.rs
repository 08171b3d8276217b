//! Chores of this workspace: `cargo xtask NAME`. Only std and `serde_json`, since this is built before anything else.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]

mod count;
mod licences;
mod miri;
mod programs;
mod promises;
mod setup;
mod worlds;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "cargo xtask NAME, of which there are
  test [ARGUMENT...]  setup, then cargo test --workspace with these arguments
  setup               install what the tests need (as root on Debian), or say what is missing
  count FILE          add up what the steps in FILE report; see .ci/run
  programs TARGET OPTION...  compile the test programs that these options of cargo select for TARGET, and print their paths
  worlds [OPTION...]  the life of a container called from every world, as a table; options of integration/worlds/run
  promises            check that every test which SECURITY.md names is there
  miri                run the tests of parsers, codecs, plans and the shared block in Rust's interpreter, which finds undefined behaviour
  licences            check licences, sources and versions of what is depended on, by deny.toml
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", arguments @ ..] => setup::prepare(&workspace()).and_then(|()| test(arguments)),
        ["setup"] => setup::prepare(&workspace()),
        ["count", file] => count::report(Path::new(file)),
        ["programs", target, options @ ..] => programs::print(target, options),
        ["worlds", options @ ..] => worlds::run(&workspace(), options),
        ["promises"] => promises::check(&workspace()),
        ["miri"] => miri::run(&workspace()),
        ["licences"] => licences::check(&workspace()),
        _ => Err(HELP.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{}", problem.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// `cargo` as it called this program.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Becomes `cargo test`.
fn test(arguments: &[&str]) -> Result<(), String> {
    let error = cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments).exec();
    Err(format!("cannot execute cargo: {error}"))
}
