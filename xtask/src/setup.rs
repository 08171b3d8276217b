//! What the tests need besides cargo: some programs from Debian's packages, and the target that ships.

use std::path::Path;
use std::process::Command;

/// A program that the tests run, where it may be, and the package that has it.
struct Tool {
    package: &'static str,
    places: &'static [&'static str],
    purpose: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        package: "busybox-static",
        places: &["/bin/busybox", "/usr/bin/busybox"],
        purpose: "runs in the containers",
    },
    Tool { package: "runc", places: &["/usr/sbin/runc", "/usr/bin/runc"], purpose: "the tests are compared with it" },
    Tool { package: "uidmap", places: &["/usr/bin/newuidmap"], purpose: "maps ranges of ids for an ordinary user" },
    Tool { package: "iproute2", places: &["/sbin/ip", "/usr/sbin/ip", "/bin/ip"], purpose: "makes network devices" },
    Tool { package: "procps", places: &["/bin/ps", "/usr/bin/ps"], purpose: "`orlop ps` asks it" },
];

/// What ships is static; the init and the programs in the test containers always are.
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-musl";
#[cfg(not(target_arch = "aarch64"))]
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Installs what is missing where this is a Debian and the user root; else says what is.
pub(crate) fn prepare(workspace: &Path) -> Result<(), String> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_there(tool)).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if has_target()? {
        return Ok(());
    }
    println!("+ rustup target add {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(workspace).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("the Rust target {TARGET} is missing: rustup target add {TARGET}")),
    }
}

fn is_there(tool: &Tool) -> bool {
    tool.places.iter().any(|place| Path::new(place).is_file())
}

fn install(missing: &[&Tool]) -> Result<(), String> {
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let by_hand = || {
        let lines =
            missing.iter().map(|tool| format!("  {}: {}, {}\n", tool.places.join(" or "), tool.package, tool.purpose));
        format!("missing:\n{}as root on Debian: apt-get install {}", lines.collect::<String>(), packages.join(" "))
    };
    if !Path::new("/usr/bin/apt-get").is_file() || !is_root() {
        return Err(by_hand());
    }
    let quiet = ["-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"];
    for (verb, names) in [("update", &[][..]), ("install", packages.as_slice())] {
        println!("+ apt-get {verb} {}", names.join(" "));
        let mut command = Command::new("apt-get");
        command.args(quiet).arg(verb).args(names).env("DEBIAN_FRONTEND", "noninteractive");
        if verb == "install" {
            command.arg("--no-install-recommends");
        }
        let done = command.status().is_ok_and(|status| status.success());
        if !done {
            return Err(format!("apt-get {verb} failed; {}", by_hand()));
        }
    }
    let still: Vec<&str> = missing.iter().filter(|tool| !is_there(tool)).map(|tool| tool.package).collect();
    if still.is_empty() { Ok(()) } else { Err(format!("installed, and still not there: {}", still.join(", "))) }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}

fn has_target() -> Result<bool, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| format!("cannot execute rustc: {error}"))?;
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}
