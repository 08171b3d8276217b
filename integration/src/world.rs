//! Where the runtime is called from: what its caller may do. A case names what it needs ([`crate::Case::needs`]) and is marked with the
//! reason where the caller has not got it; the config that cases start from is one that such a caller would write.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{leak, sys};

/// The inode of the initial user namespace (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Something that a case needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Need {
    /// Containers at all: namespaces may be made.
    Containers = 1,
    /// `CAP_SYS_ADMIN`, for mounts, namespaces and filters of the case's own.
    Admin = 2,
    /// Control groups.
    ControlGroups = 4,
    /// Ids beside the caller's own, a few hundred thousand of them.
    Ids = 8,
    /// Root of the host's user namespace: device nodes, kernel settings, other people's files, higher limits.
    Host = 16,
    /// The user namespace of the caller for the container, too, when the case asks for no other.
    SameUsers = 32,
}

/// How the reason of a case begins that cannot hold where the runtime is called from.
const MARKED: &str = "not in this world";

const NEEDS: [(Need, &str); 6] = [
    (Need::Containers, "no namespace can be made by this caller"),
    (Need::Admin, "this caller has not CAP_SYS_ADMIN"),
    (Need::ControlGroups, "this caller may make no control groups"),
    (Need::Ids, "this caller has no ids but its own"),
    (Need::Host, "this caller is not root of the host's user namespace"),
    (Need::SameUsers, "containers of this caller have a user namespace"),
];

/// What the caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    has: u8,
    user: u32,
}

/// The sum of the needs that hold.
fn those(found: &[(Need, bool)]) -> u8 {
    found.iter().filter(|(_, holds)| *holds).fold(0, |sum, (need, _)| sum | *need as u8)
}

/// Whether a directory can be made in every v1 hierarchy, or in the v2 tree where there is none.
fn makes_cgroups() -> bool {
    let name = format!("orlopit-{}-made", std::process::id());
    let is_v1 = |place: &&PathBuf| !place.with_file_name("cgroup.controllers").is_file();
    let all = leak::cgroup_places(&name);
    let v1: Vec<_> = all.iter().filter(is_v1).collect();
    let places = if v1.is_empty() { all.iter().collect() } else { v1 };
    let made = |place: &PathBuf| fs::create_dir(place).and_then(|()| fs::remove_dir(place));
    !places.is_empty() && places.into_iter().all(|place| made(place).is_ok())
}

/// How many ids this process's user namespace has.
fn ids() -> u64 {
    let text = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

impl World {
    /// Asks the kernel.
    #[must_use]
    pub fn of_this_process() -> Self {
        use nix::sched::CloneFlags;
        let user = nix::unistd::geteuid().as_raw();
        let initial = fs::metadata("/proc/self/ns/user").is_ok_and(|found| found.ino() == INITIAL_USER_NAMESPACE);
        let has = those(&[
            (
                Need::Containers,
                sys::may_unshare(CloneFlags::CLONE_NEWUSER) || sys::may_unshare(CloneFlags::CLONE_NEWPID),
            ),
            (Need::Admin, sys::may_unshare(CloneFlags::CLONE_NEWNS)),
            (Need::ControlGroups, makes_cgroups()),
            (Need::Ids, user == 0 && ids() > 500_000),
            (Need::Host, user == 0 && initial),
            (Need::SameUsers, user == 0),
        ]);
        Self { has, user }
    }

    /// Whether the caller has it.
    #[must_use]
    pub fn has(self, need: Need) -> bool {
        self.has & need as u8 != 0
    }

    /// Why a case with these needs (their sum) cannot hold here.
    #[must_use]
    pub fn lacks(self, needs: u8) -> Option<String> {
        let lacking = NEEDS.iter().find(|(need, _)| needs & *need as u8 != 0 && !self.has(*need));
        lacking.map(|(_, reason)| format!("{MARKED}: {reason}"))
    }

    /// Makes a config one that this caller would write, as `spec --rootless` does.
    pub fn adapt(self, spec: &mut Value) {
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        if !self.has(Need::Ids) {
            for options in mounts.iter_mut().filter_map(|mount| mount["options"].as_array_mut()) {
                options.retain(|option| option != "gid=5");
            }
        }
        if !self.has(Need::ControlGroups) {
            mounts.retain(|mount| mount["type"] != "cgroup");
            spec["linux"].as_object_mut().expect("linux").remove("resources");
            spec["linux"].as_object_mut().expect("linux").remove("cgroupsPath");
        }
        if self.user != 0 {
            // Rules for devices need a program of the kernel's (CAP_BPF).
            spec["linux"].as_object_mut().expect("linux").remove("resources");
            if let Some(path) = spec["linux"]["cgroupsPath"].as_str() {
                spec["linux"]["cgroupsPath"] = json!(format!("{}{path}", leak::cgroup_parent()));
            }
            let own = json!([{ "containerID": 0, "hostID": self.user, "size": 1 }]);
            spec["linux"]["uidMappings"] = own.clone();
            spec["linux"]["gidMappings"] = own;
            spec["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
        }
    }
}
