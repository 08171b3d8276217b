//! Checkpoint and restore: with a double in CRIU's place, which shows what is asked of it and fails in every way; and with CRIU
//! itself, where there is one that works on this kernel.

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
