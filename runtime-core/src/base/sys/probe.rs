//! Asking the kernel, or a filter in front of it, what it takes. Nothing here changes anything.

use std::ffi::CStr;
use std::path::Path;

use nix::errno::Errno;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::Resource;

use super::errno::errno;
use super::trial::in_child;

const NO_FD: libc::c_long = -1;
const NOTHING: libc::c_long = 0;

/// Whether a call answers `errno` to arguments that are none: the kernel looks at those before all else.
fn answers(wanted: i32, call: libc::c_long, [a, b, c, d, e]: [libc::c_long; 5]) -> bool {
    // SAFETY: every pointer is null, and the descriptors are none: the call cannot do anything.
    let result = unsafe { libc::syscall(call, a, b, c, d, e) };
    result == -1 && Errno::last_raw() == wanted
}

/// The calls that make mounts and are answered with `errno` whatever they are asked: by a filter around this process, or by a kernel that
/// does not have them. The kernel itself looks at the flags, and none has these.
pub(crate) fn refused_mount_calls(errno: i32) -> impl Iterator<Item = &'static str> {
    const NO_FLAGS: libc::c_long = 1 << 30;
    // Flags come third in two of them, last in one, and second in the others.
    let calls: [(&str, libc::c_long, [libc::c_long; 5]); 6] = [
        ("open_tree", libc::SYS_open_tree, [NO_FD, NOTHING, NO_FLAGS, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [NO_FD, NOTHING, NO_FD, NOTHING, NO_FLAGS]),
        ("fsopen", libc::SYS_fsopen, [NOTHING, NO_FLAGS, 0, 0, 0]),
        ("fsconfig", libc::SYS_fsconfig, [NO_FD, NO_FLAGS, NOTHING, NOTHING, 0]),
        ("fsmount", libc::SYS_fsmount, [NO_FD, NO_FLAGS, 0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, [NO_FD, NOTHING, NO_FLAGS, NOTHING, 0]),
    ];
    // These three look at who asks before they look at what is asked: without the right they say so, filter or not.
    let tells = move |name: &str| errno == libc::ENOSYS || !matches!(name, "move_mount" | "fsopen" | "fsmount");
    let told = matches!(errno, libc::EPERM | libc::ENOSYS);
    calls
        .into_iter()
        .filter(move |(name, call, arguments)| told && tells(name) && answers(errno, *call, *arguments))
        .map(|(name, _, _)| name)
}

/// The first of them.
pub(crate) fn filtered_mount_call(errno: i32) -> Option<&'static str> {
    refused_mount_calls(errno).next()
}

/// The calls that make, find and watch processes and are answered as if they were not there.
pub(crate) fn refused_process_calls() -> Vec<(&'static str, Errno)> {
    let calls: [(&str, libc::c_long, [libc::c_long; 5]); 5] = [
        ("openat2", libc::SYS_openat2, [NO_FD, NOTHING, NOTHING, 0, 0]),
        ("clone3", libc::SYS_clone3, [NOTHING, 0, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [NO_FD, 0, 0, 0, 0]),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal, [NO_FD, 0, NOTHING, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [NO_FD, NO_FD, 0, 0, 0]),
    ];
    let refused = |(name, call, arguments): (&'static str, libc::c_long, [libc::c_long; 5])| {
        [Errno::ENOSYS, Errno::EPERM]
            .into_iter()
            .find(|errno| answers(*errno as i32, call, arguments))
            .map(|errno| (name, errno))
    };
    calls.into_iter().filter_map(refused).collect()
}

/// Whether clone3(2) takes CLONE_INTO_CGROUP (Linux 5.7): it says then that the descriptor is none, and else that the flag is.
pub(crate) fn clones_into_cgroups() -> bool {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = [0u64; 11];
    if let Some(flags) = args.first_mut() {
        *flags = INTO_CGROUP;
    }
    if let Some(cgroup) = args.last_mut() {
        *cgroup = u64::from(i32::MAX.cast_unsigned());
    }
    // SAFETY: struct clone_args is eleven 64-bit words; no process is made, since the descriptor is none.
    let result = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    result == -1 && Errno::last() == Errno::EBADF
}

/// The soft and the hard limit of this process (getrlimit(2)); `u64::MAX` is none.
pub(crate) fn limits(resource: Resource) -> (u64, u64) {
    let limit = rustix::process::getrlimit(resource);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// Whether a program carries capabilities of its own (`security.capability`, xattr(7)).
pub(crate) fn has_file_capability(path: &Path) -> bool {
    let mut none: [u8; 0] = [];
    rustix::fs::getxattr(path, c"security.capability", &mut none).is_ok_and(|length| length > 0)
}

/// Whether a child can be in a new user namespace, and whether it may change its own mounts there, which some hosts let only chosen programs.
pub(crate) fn try_user_namespace() -> (Result<(), Errno>, Result<(), Errno>) {
    let act = || {
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: the target is NUL-terminated; the mounts are the child's own.
        let result = unsafe { libc::syscall(libc::SYS_mount, none, c"/".as_ptr(), none, flags, none) };
        match Errno::result(result) {
            // The root of a chroot is no mount.
            Ok(_) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    };
    match in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, &act) {
        Ok(useful) => (Ok(()), useful),
        Err(errno) => (Err(errno), Err(errno)),
    }
}

/// Tries whether a new file system of a type can be mounted in a new namespace of its kind, attached nowhere; by root of a new user
/// namespace where the caller itself has no right to mount. `None` where there can be no such child.
pub(crate) fn try_mount(namespace: libc::c_int, mounts: bool, kind: &CStr) -> Option<Result<(), Errno>> {
    let act = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(errno)?;
        fsconfig_create(&context).map_err(errno)?;
        // What locked mounts have may not be missing in a new one.
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(drop).map_err(errno)
    };
    let user = if mounts { 0 } else { libc::CLONE_NEWUSER };
    in_child(namespace | libc::CLONE_NEWNS | user, &act).ok()
}
