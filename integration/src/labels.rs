//! AppArmor profiles and SELinux labels of the tests' own.

use std::fs;

use crate::Sandbox;

/// The label of a container in the tests' SELinux policy.
pub const LABEL: &str = "system_u:system_r:container_t:s0:c0,c1";
/// Another one.
pub const OTHER: &str = "system_u:system_r:container2_t:s0:c0,c1";

/// Skips the case where SELinux does not enforce the tests' policy.
pub fn needs_selinux(t: &Sandbox) {
    let enforcing = fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1");
    let policy = enforcing && fs::write("/sys/fs/selinux/context", LABEL).is_ok();
    t.need_promised("selinux", policy, "SELinux does not enforce the tests' policy on this kernel");
}

/// A profile of this case's own, in the kernel until the case ends.
#[derive(Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    file: String,
}

impl Profile {
    /// Everything is allowed but writing to `denied`.
    ///
    /// # Panics
    /// When it cannot be loaded.
    #[must_use]
    pub fn load(t: &Sandbox, name: &str, denied: &str) -> Self {
        let enabled =
            fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
        t.need_promised("apparmor", enabled, "AppArmor is not enabled on this kernel");
        let name = format!("{}-{name}", t.tag);
        let file = t.dir.join(&name).display().to_string();
        let rules = "capability, network, mount, umount, pivot_root, signal, ptrace, unix, file,";
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  {rules}\n  deny {denied} wl,\n}}\n"
        );
        fs::write(&file, text).unwrap();
        let _ = t.program("/usr/sbin/apparmor_parser", &["--skip-cache", "--replace", &file]).run().ok();
        Self { name, file }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let mut parser = std::process::Command::new("/usr/sbin/apparmor_parser");
        let status = parser.args(["--remove", &self.file]).status().expect("apparmor_parser");
        assert!(status.success() || std::thread::panicking(), "the profile {} cannot be removed", self.name);
    }
}
