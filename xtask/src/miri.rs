//! Miri, Rust's interpreter: what undefined behaviour there is in tests that need no kernel.

use std::path::Path;
use std::process::Command;

/// A package, and the modules whose tests make no system call that Miri lacks (none: all); tests among them that do.
struct Part {
    package: &'static str,
    modules: &'static [&'static str],
    skipped: &'static [&'static str],
}

const PARTS: [Part; 4] = [
    Part { package: "orlop-init", modules: &[], skipped: &[] },
    Part { package: "orlop-seccomp", modules: &[], skipped: &[] },
    Part {
        package: "orlop-cgroups",
        modules: &[
            "convert",
            "devices",
            "error",
            "layout",
            "mountinfo",
            "path",
            "plan::",
            "present",
            "resources",
            "rights",
            "stats",
            "systemd::dbus",
            "systemd::properties",
            "systemd::quota",
            "writes",
        ],
        skipped: &["both_ways_of_looking_find_the_same", "a_mount_may_show_a_part_of_the_tree"],
    },
    Part {
        package: "orlop",
        modules: &[
            "base::error",
            "base::id",
            "base::signal",
            "config::",
            "parent::criu::codec",
            "parent::criu::credentials",
            "parent::criu::external",
            "parent::criu::log",
            "parent::criu::message",
            "parent::launch::idmaps",
            "parent::launch::report",
            "parent::net_devices::netlink",
            "parent::verify",
            "plan::",
            "state::timestamp",
            "verbs::exec::options",
            "verbs::update",
        ],
        // The loopback device is the kernel's; whole configs take the interpreter too long.
        skipped: &["the_loopback_device_is_found", "config::schema", "config::check", "config::default"],
    },
];

pub(crate) fn run(workspace: &Path) -> Result<(), String> {
    for Part { package, modules, skipped } in PARTS {
        println!("--- {package}");
        let status = Command::new("cargo")
            .args(["+nightly", "miri", "test", "-p", package, "--lib", "--"])
            .args(modules)
            .args(skipped.iter().flat_map(|name| ["--skip", name]))
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .current_dir(workspace)
            .status()
            .map_err(|error| format!("cannot execute cargo: {error}"))?;
        if !status.success() {
            return Err(format!(
                "miri: {package} failed ({status}); a toolchain that lacks it gets it by `rustup toolchain install nightly --component miri,rust-src`"
            ));
        }
    }
    Ok(())
}
