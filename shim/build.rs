//! Leaves unwind tables out of the program that ships: the static release build, which aborts on a panic.
#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind-tables.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let ships = is("PROFILE", "release") && is("CARGO_CFG_TARGET_ENV", "musl");
    // Its profile says to abort on a panic (Cargo.toml), which a build script is not told.
    if let Some(directory) = env::var("CARGO_MANIFEST_DIR").ok().filter(|_| ships) {
        println!("cargo::rustc-link-arg-bins=-T{directory}/no-unwind-tables.ld");
        println!("cargo::rustc-link-arg-bins=--no-eh-frame-hdr");
    }
}
