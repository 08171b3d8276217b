//! Compiles `orlop-init`, the program that the library carries and executes inside containers.
//!
//! It is built by rustc directly, since Cargo cannot make one package's program an input of another: two invocations, for a crate
//! without dependencies. It is linked by the linker that comes with Rust, so that no C compiler is needed for any target.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a build script reports to Cargo by printing and panicking"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let source = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("set by Cargo")).join("init/src");
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    let library = out.join("liborlop_init.rlib");
    let program = out.join("orlop-init");
    rustc(&["--crate-type", "rlib", "--crate-name", "orlop_init"], &source.join("lib.rs"), &library);
    let mut external = std::ffi::OsString::from("orlop_init=");
    external.push(&library);
    let link = [
        "--crate-type",
        "bin",
        "--crate-name",
        "orlop_init_program",
        "-C",
        "linker=rust-lld",
        "-C",
        "linker-flavor=ld.lld",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "link-self-contained=no",
        "-C",
        "strip=symbols",
        "-C",
        "default-linker-libraries=no",
        // One segment for headers, constants and code, and no other: each of the init's processes faults it in at once. Nothing is
        // writable and executable.
        "-C",
        "link-args=-nostdlib -static --no-pie --no-rosegment -z noseparate-code -z norelro --build-id=none --no-eh-frame-hdr --gc-sections",
        "--extern",
        external.to_str().expect("a path in UTF-8"),
    ];
    rustc(&link, &source.join("main.rs"), &program);
    let size = std::fs::metadata(&program).expect("just built").len();
    assert!(size < 64 * 1024, "orlop-init has {size} bytes: something large was linked in");
}

fn rustc(arguments: &[&str], source: &Path, output: &Path) {
    let rustc = env::var_os("RUSTC").expect("set by Cargo");
    // The program never starts a C library, so the gnu and musl variants of a target are the same; musl's is the static one.
    let target = env::var("TARGET").expect("set by Cargo");
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--target", &target])
        .args([
            "-C",
            "opt-level=2",
            "-C",
            "panic=abort",
            "-C",
            "codegen-units=1",
            "-C",
            "debuginfo=0",
            "-C",
            "overflow-checks=off",
        ])
        // At a fixed address and without relocations: no table of addresses, which would be a segment of its own.
        .args([
            "-C",
            "relocation-model=static",
            "-C",
            "relro-level=off",
            "-C",
            "force-unwind-tables=no",
            "-C",
            "embed-bitcode=no",
        ])
        // Atomic operations inline: functions for them ask a C library for the processor's features.
        .args(if target.starts_with("aarch64") { &["-C", "target-feature=-outline-atomics"][..] } else { &[] })
        .args(arguments)
        .arg("-o")
        .arg(output)
        .arg(source)
        .status()
        .expect("rustc runs");
    assert!(status.success(), "rustc failed on {}", source.display());
}
