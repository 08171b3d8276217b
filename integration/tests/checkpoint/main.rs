//! Checkpoint and restore: with a double in CRIU's place, which shows what is asked of it and fails in every way; and with CRIU
//! itself, where there is one that works on this kernel.

mod images;
mod real;
mod restoring;
mod saving;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}
