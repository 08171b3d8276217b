//! The config.json that cases start from: what `runc spec` writes, without a terminal and with a writable root.

use serde_json::{Value, json};

/// A config that runs `args` with the default namespaces, mounts and restrictions; cgroups below `/<cgroup>`.
#[must_use]
pub fn default(args: &[&str], cgroup: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps, "ambient": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "orlopit",
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": format!("/{cgroup}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// The mounts of `runc spec`.
#[must_use]
pub fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ])
}

/// Puts `value` at a JSON pointer, making objects on the way; an index past the end of a list, or `-`, appends.
///
/// # Panics
/// When the pointer leads through a value that is neither object nor list.
pub fn set(spec: &mut Value, pointer: &str, value: Value) {
    let mut place = spec;
    for word in pointer.split('/').skip(1) {
        let word = word.replace("~1", "/").replace("~0", "~");
        if place.is_null() {
            *place = if word == "-" { json!([]) } else { json!({}) };
        }
        place = match place {
            Value::Object(map) => map.entry(word).or_insert(Value::Null),
            Value::Array(list) => {
                let index = word.parse().unwrap_or(list.len()).min(list.len());
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            other => panic!("{pointer}: {word} is below {other}"),
        };
    }
    *place = value;
}

/// Takes away what stands at a JSON pointer.
///
/// # Panics
/// When its parent is neither object nor list.
pub fn remove(spec: &mut Value, pointer: &str) {
    let (parent, word) = pointer.rsplit_once('/').expect("a JSON pointer");
    match spec.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(word);
        }
        Some(Value::Array(list)) => {
            list.remove(word.parse().expect("an index"));
        }
        other => panic!("{pointer}: parent is {other:?}"),
    }
}
