//! `orlop completion`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "completion: bash|zsh|fish
print a completion script for a shell
",
    "
$ source <(orlop completion bash)
  for this shell only
$ orlop completion bash > /etc/bash_completion.d/orlop
$ orlop completion zsh > /usr/share/zsh/vendor-completions/_orlop
$ orlop completion fish > /etc/fish/completions/orlop.fish
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let shell = args.operand()?.to_string_lossy();
    match crate::completion::script(&shell, &(session.catalogue)()) {
        Some(script) => super::print(&script),
        None => Err(Failure::usage(format!("{shell:?}: not bash, zsh or fish"))),
    }
}
