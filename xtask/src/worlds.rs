//! The life of a container, called from every world: see `integration/worlds/run`.

use std::path::Path;

/// Static: what runs in a container or for another user needs nothing of this machine.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds the runtime, unless `ORLOP_RUNTIME` names one, and the test program, and hands over to the script.
pub(crate) fn run(workspace: &Path, options: &[&str]) -> Result<(), String> {
    let runtime = match std::env::var("ORLOP_RUNTIME") {
        Ok(named) if !named.is_empty() => named,
        _ => build(workspace)?,
    };
    // With the packages that the guest's programs come from, so that their dependencies have the same features and are compiled once.
    let packages = ["-p", "orlop", "-p", "orlop-cgroups", "-p", "orlop-integration"];
    let programs = crate::programs::compile(TARGET, &[&packages[..], &["--test", "lifecycle"]].concat())?;
    let mut script = std::process::Command::new(workspace.join("integration/worlds/run"));
    let status = script.args(options).arg(runtime).args(programs).status();
    let status = status.map_err(|error| format!("cannot execute integration/worlds/run: {error}"))?;
    if status.success() { Ok(()) } else { Err("there are failures".to_owned()) }
}

fn build(workspace: &Path) -> Result<String, String> {
    let built = crate::cargo().args(["build", "--release", "--locked", "-p", "orlop-cli", "--target", TARGET]).status();
    match built {
        Ok(status) if status.success() => {
            Ok(workspace.join(format!("target/{TARGET}/release/orlop")).display().to_string())
        }
        Ok(_) => Err("the runtime cannot be built".to_owned()),
        Err(error) => Err(format!("cannot execute cargo: {error}")),
    }
}
