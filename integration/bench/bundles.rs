//! The bundles that are run.

use std::fs;

use orlop_integration::spec;
use serde_json::{Value, json};

use crate::stopwatch::{Layout, Stopwatch};

/// Kinds of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// runc's default config.
    Plain,
    /// With the seccomp profile that Docker writes.
    Seccomp,
    /// With thirty more bind and tmpfs mounts.
    Mounts,
    /// In a user namespace.
    Users,
    /// The plain one, with a command that lasts.
    Lasting,
}

impl Kind {
    /// Those that are run to their end.
    pub(crate) const SHORT: [(Self, &str); 4] = [
        (Self::Plain, "run"),
        (Self::Seccomp, "run, Docker's seccomp profile"),
        (Self::Mounts, "run, 30 more mounts"),
        (Self::Users, "run, user namespace"),
    ];
}

const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime-core/tests/data/engine-configs/docker28-1.json");

/// Writes a bundle of this kind with cgroup and id `name`; gives its directory.
pub(crate) fn write(watch: &Stopwatch<'_>, kind: Kind, name: &str) -> String {
    write_with(watch, kind, name, |_| {})
}

/// The same, with a change.
pub(crate) fn write_with(watch: &Stopwatch<'_>, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let command: &[&str] = if kind == Kind::Lasting { &["/bin/probe", "pause"] } else { &["/bin/true", "nothing"] };
    let mut config = spec::default(command, name);
    config["root"]["path"] = json!(watch.bench.dir.join("rootfs"));
    // The default asks for ambient capabilities that nobody can give, of which every runtime warns each time.
    spec::remove(&mut config, "/process/capabilities/ambient");
    // `runc spec` and engines ask for a cgroup namespace on a host with v2 alone.
    if watch.bench.layout == Layout::V2 {
        spec::set(&mut config, "/linux/namespaces/-", json!({ "type": "cgroup" }));
    }
    match kind {
        Kind::Plain | Kind::Lasting => {}
        Kind::Seccomp => config["linux"]["seccomp"] = docker_profile(),
        Kind::Mounts => more_mounts(watch, &mut config),
        Kind::Users => {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            spec::set(&mut config, "/linux/namespaces/-", json!({ "type": "user" }));
        }
    }
    change(&mut config);
    let dir = watch.bench.dir.join(format!("bundle-{name}"));
    fs::create_dir_all(&dir).expect("bundle");
    fs::write(dir.join("config.json"), config.to_string()).expect("config.json");
    dir.display().to_string()
}

fn docker_profile() -> Value {
    let text = fs::read(PROFILE).expect(PROFILE);
    let config: Value = serde_json::from_slice(&text).expect("JSON");
    let profile = config["linux"]["seccomp"].clone();
    assert!(profile.is_object(), "{PROFILE} has no seccomp profile");
    profile
}

fn more_mounts(watch: &Stopwatch<'_>, config: &mut Value) {
    let source = watch.bench.dir.join("source");
    fs::create_dir_all(&source).expect("source of the mounts");
    for n in 0..30 {
        let destination = format!("/tmp/mount-{n}");
        let entry = if n % 2 == 0 {
            json!({ "type": "bind", "source": source, "destination": destination, "options": ["rbind", "ro", "nosuid"] })
        } else {
            json!({ "type": "tmpfs", "source": "tmpfs", "destination": destination, "options": ["nosuid", "size=64k"] })
        };
        spec::set(config, "/mounts/-", entry);
    }
}
