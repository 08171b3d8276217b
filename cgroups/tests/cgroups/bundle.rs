//! A bundle for another runtime, to compare with: the host's programs in a container.

use std::path::PathBuf;

use crate::sandbox::unique;

/// A bundle in a temporary folder, removed when dropped.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
}

impl Bundle {
    pub(crate) fn new(command: &[&str], cgroups_path: &str, resources: &str) -> Self {
        let dir = std::env::temp_dir().join(unique());
        let mut mounts = vec![
            serde_json::json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            serde_json::json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}),
        ];
        for name in ["bin", "lib", "lib64", "usr"] {
            std::fs::create_dir_all(dir.join("rootfs").join(name)).unwrap();
            let host = format!("/{name}");
            if std::fs::metadata(&host).is_ok() {
                mounts.push(serde_json::json!(
                    {"destination": host, "type": "bind", "source": host, "options": ["rbind", "ro"]}
                ));
            }
        }
        for name in ["proc", "dev"] {
            std::fs::create_dir_all(dir.join("rootfs").join(name)).unwrap();
        }
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {"args": command, "cwd": "/", "env": ["PATH=/usr/bin:/bin"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "mounts": mounts,
            "linux": {
                "cgroupsPath": cgroups_path,
                "namespaces": [{"type": "pid"}, {"type": "mount"}],
                "resources": serde_json::from_str::<serde_json::Value>(resources).unwrap(),
            },
        });
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        Self { dir }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Bind mounts were made in the container's own mount namespace only.
        std::fs::remove_dir_all(&self.dir).ok();
    }
}
