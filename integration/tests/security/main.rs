//! The standing list of what past advisories oblige every runtime to (SECURITY.md), as attacks from outside.
//!
//! `ORLOP_RACE_ROUNDS` sets how often a race is tried (default 60; a release is tested with 10000).

mod identity;
mod images;
mod neighbours;
mod races;
mod reach;
mod volumes;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}
