//! `orlop-image`: container images without a daemon.
//!
//! This program turns a command line into calls of the `orlop_images` library, and the result into text and an exit status.
//! `orlop image …` is the same program.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
