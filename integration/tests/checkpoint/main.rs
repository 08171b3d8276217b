//! Checkpoint and restore: with a double in CRIU's place, which shows what is asked of it and fails in every way; and with CRIU
//! itself, where there is one that works on this kernel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    clippy::too_many_lines,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]
#![allow(missing_docs, reason = "the cases are named after what they check")]

mod double;
mod images;
mod real;
mod restoring;
mod saving;

fn main() -> std::process::ExitCode {
    // This program itself stands in CRIU's place, started as `criu swrk FD`.
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("swrk") {
        return double::serve(args.next().and_then(|number| number.parse().ok()).expect("a descriptor"));
    }
    let groups =
        [("saving", saving::CASES), ("restoring", restoring::CASES), ("images", images::CASES), ("real", real::CASES)];
    orlop_integration::run("checkpoint", &groups)
}
