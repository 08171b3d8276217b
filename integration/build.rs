//! Compiles the programs that tests put into containers, as static executables: `programs/*.rs`, one file each, std only.
#![allow(clippy::panic, reason = "how a build script fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: &[&str] = &["probe", "floor", "neighbour"];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| "x86_64".into());
    let (target, linker_args): (String, &[&str]) = match arch.as_str() {
        "riscv64" => ("riscv64gc-unknown-linux-musl".into(), &["-Ctarget-feature=+crt-static"]),
        other => (format!("{other}-unknown-linux-musl"), &[]),
    };
    for name in PROGRAMS {
        let source = PathBuf::from("programs").join(format!("{name}.rs"));
        println!("cargo:rerun-if-changed={}", source.display());
        let program = out.join(name);
        compile(&source, &program, &target, linker_args);
        println!("cargo:rustc-env=ORLOP_PROGRAM_{}={}", name.to_uppercase(), program.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn compile(source: &Path, program: &Path, target: &str, linker_args: &[&str]) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=bin", "-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["-Clinker=rust-lld", "-Ctarget-feature=+crt-static", "-Crelocation-model=static", "--target", target])
        .args(linker_args)
        .arg("-o")
        .arg(program)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("cannot compile {} ({other:?}); try `rustup target add {target}`", source.display()),
    }
}
