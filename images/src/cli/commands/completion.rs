//! `orlop image completion`.

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "completion: bash|zsh|fish
print a completion script for a shell

$ source <(orlop image completion bash)
  for this shell only
$ orlop image completion bash > /etc/bash_completion.d/orlop-image
$ orlop image completion zsh > /usr/share/zsh/vendor-completions/_orlop-image
$ orlop image completion fish > /etc/fish/completions/orlop-image.fish
",
);

pub(super) fn run(_: &Session, args: &Args) -> Result<u8, Failure> {
    let words = args.words_as_text()?;
    let shell = words.first().copied().unwrap_or_default();
    match crate::cli::completion::script(shell) {
        Some(script) => output::print(&script).map(|()| 0),
        None => Err(Failure::usage(format!("{shell:?}: not bash, zsh or fish"))),
    }
}
