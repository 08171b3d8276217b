//! The `procfs` crate as a second opinion on mountinfo: the same text, read by both.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use orlop_cgroups::mountinfo;
use procfs::FromRead;
use procfs::process::MountInfos;

/// As the kernel writes a name; the other reader leaves names so.
fn escaped(name: &str) -> String {
    let octal = |c: char| match c {
        ' ' | '\t' | '\n' | '\\' | '#' => format!("\\{:03o}", u32::from(c)),
        other => other.to_string(),
    };
    name.chars().map(octal).collect()
}

/// What both say of a text; the number of mounts.
fn compare(text: &str) -> usize {
    let theirs = MountInfos::from_read(text.as_bytes()).unwrap();
    let ours: Vec<_> = mountinfo::mounts(text).collect();
    assert_eq!(ours.len(), theirs.0.len(), "{text}");
    for (our, their) in ours.iter().zip(&theirs.0) {
        let same = |name: &str, raw: &str| name == raw || escaped(name) == raw;
        assert!(same(&our.root, &their.root), "{our:?} {their:?}");
        assert!(same(&our.point, their.mount_point.to_str().unwrap()), "{our:?} {their:?}");
        assert_eq!(our.filesystem, their.fs_type);
        let options: BTreeSet<&str> = our.options.split(',').collect();
        let of_them = their.super_options.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        assert_eq!(options, of_them.collect::<BTreeSet<_>>().iter().map(String::as_str).collect(), "{our:?}");
    }
    ours.len()
}

#[test]
fn both_read_the_same_from_this_process() {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(compare(&text), text.lines().count());
}

#[test]
fn both_read_the_same_from_lines_of_all_kinds() {
    let text = "\
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n\
29 22 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
30 22 0:27 / /sys/fs/cgroup/systemd rw shared:9 master:2 propagate_from:3 - cgroup cgroup rw,xattr,name=systemd\n\
31 22 0:28 /docker/a\\040b /sys/fs/cgroup/unified ro,relatime unbindable - cgroup2 none rw,nsdelegate\n\
40 28 8:1 /@/home\\134x /srv/tab\\011end rw,noatime shared:1 - btrfs /dev/sda1 rw,compress=zstd:3,subvolid=257,subvol=/@\n\
41 28 0:44 net:[4026532281] /run/netns/blue rw shared:25 - nsfs nsfs rw\n\
42 28 0:45 / /run/user/1000/\\303\\274ber rw - fuse.portal portal rw,user_id=1000,group_id=1000\n";
    // The other reader leaves the escaped letters of the last as they are, too.
    let plain = text.replace("\\303\\274", "ü");
    assert_eq!(compare(&plain), 7);
    let last = mountinfo::mounts(text).last().unwrap();
    assert_eq!(last.point, "/run/user/1000/über");
}
