//! Numbers of the kernel's interface that the program itself needs; all others come ready-made in the operations.
#![allow(dead_code, reason = "the table is per kernel interface, not per use")]

/// System call numbers.
pub(crate) mod nr {
    #[cfg(target_arch = "x86_64")]
    mod arch {
        pub(crate) const READ: usize = 0;
        pub(crate) const WRITE: usize = 1;
        pub(crate) const CLOSE: usize = 3;
        pub(crate) const MMAP: usize = 9;
        pub(crate) const RT_SIGACTION: usize = 13;
        pub(crate) const RT_SIGPROCMASK: usize = 14;
        pub(crate) const IOCTL: usize = 16;
        pub(crate) const MADVISE: usize = 28;
        pub(crate) const GETPID: usize = 39;
        pub(crate) const SENDFILE: usize = 40;
        pub(crate) const SOCKET: usize = 41;
        pub(crate) const SOCKETPAIR: usize = 53;
        pub(crate) const WAIT4: usize = 61;
        pub(crate) const SENDMSG: usize = 46;
        pub(crate) const RECVMSG: usize = 47;
        pub(crate) const CLONE: usize = 56;
        pub(crate) const EXECVE: usize = 59;
        pub(crate) const FCNTL: usize = 72;
        pub(crate) const GETCWD: usize = 79;
        pub(crate) const CHDIR: usize = 80;
        pub(crate) const FCHDIR: usize = 81;
        pub(crate) const FCHMOD: usize = 91;
        pub(crate) const FCHOWN: usize = 93;
        pub(crate) const UMASK: usize = 95;
        pub(crate) const GETPPID: usize = 110;
        pub(crate) const SETSID: usize = 112;
        pub(crate) const SETGROUPS: usize = 116;
        pub(crate) const SETRESUID: usize = 117;
        pub(crate) const SETRESGID: usize = 119;
        pub(crate) const CAPGET: usize = 125;
        pub(crate) const CAPSET: usize = 126;
        pub(crate) const PERSONALITY: usize = 135;
        pub(crate) const FSTATFS: usize = 138;
        pub(crate) const PIVOT_ROOT: usize = 155;
        pub(crate) const PRCTL: usize = 157;
        pub(crate) const CHROOT: usize = 161;
        pub(crate) const MOUNT: usize = 165;
        pub(crate) const UMOUNT2: usize = 166;
        pub(crate) const SETHOSTNAME: usize = 170;
        pub(crate) const SETDOMAINNAME: usize = 171;
        pub(crate) const FSETXATTR: usize = 190;
        pub(crate) const SCHED_SETAFFINITY: usize = 203;
        pub(crate) const SCHED_GETAFFINITY: usize = 204;
        pub(crate) const GETDENTS64: usize = 217;
        pub(crate) const EXIT_GROUP: usize = 231;
        pub(crate) const SET_MEMPOLICY: usize = 238;
        pub(crate) const KEYCTL: usize = 250;
        pub(crate) const IOPRIO_SET: usize = 251;
        pub(crate) const PPOLL: usize = 271;
        pub(crate) const OPENAT: usize = 257;
        pub(crate) const MKDIRAT: usize = 258;
        pub(crate) const MKNODAT: usize = 259;
        pub(crate) const FCHOWNAT: usize = 260;
        pub(crate) const UNLINKAT: usize = 263;
        pub(crate) const SYMLINKAT: usize = 266;
        pub(crate) const READLINKAT: usize = 267;
        pub(crate) const FCHMODAT: usize = 268;
        pub(crate) const UNSHARE: usize = 272;
        pub(crate) const SIGNALFD4: usize = 289;
        pub(crate) const DUP3: usize = 292;
        pub(crate) const PRLIMIT64: usize = 302;
        pub(crate) const SETNS: usize = 308;
        pub(crate) const SCHED_SETATTR: usize = 314;
        pub(crate) const SECCOMP: usize = 317;
        pub(crate) const STATX: usize = 332;
    }
    #[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
    mod arch {
        pub(crate) const FSETXATTR: usize = 7;
        pub(crate) const GETCWD: usize = 17;
        pub(crate) const DUP3: usize = 24;
        pub(crate) const FCNTL: usize = 25;
        pub(crate) const IOCTL: usize = 29;
        pub(crate) const IOPRIO_SET: usize = 30;
        pub(crate) const MKNODAT: usize = 33;
        pub(crate) const MKDIRAT: usize = 34;
        pub(crate) const UNLINKAT: usize = 35;
        pub(crate) const SYMLINKAT: usize = 36;
        pub(crate) const UMOUNT2: usize = 39;
        pub(crate) const MOUNT: usize = 40;
        pub(crate) const PIVOT_ROOT: usize = 41;
        pub(crate) const FSTATFS: usize = 44;
        pub(crate) const CHDIR: usize = 49;
        pub(crate) const FCHDIR: usize = 50;
        pub(crate) const CHROOT: usize = 51;
        pub(crate) const FCHMOD: usize = 52;
        pub(crate) const FCHMODAT: usize = 53;
        pub(crate) const FCHOWNAT: usize = 54;
        pub(crate) const FCHOWN: usize = 55;
        pub(crate) const OPENAT: usize = 56;
        pub(crate) const CLOSE: usize = 57;
        pub(crate) const GETDENTS64: usize = 61;
        pub(crate) const READ: usize = 63;
        pub(crate) const WRITE: usize = 64;
        pub(crate) const SENDFILE: usize = 71;
        pub(crate) const PPOLL: usize = 73;
        pub(crate) const SIGNALFD4: usize = 74;
        pub(crate) const READLINKAT: usize = 78;
        pub(crate) const CAPGET: usize = 90;
        pub(crate) const CAPSET: usize = 91;
        pub(crate) const PERSONALITY: usize = 92;
        pub(crate) const EXIT_GROUP: usize = 94;
        pub(crate) const UNSHARE: usize = 97;
        pub(crate) const SCHED_SETAFFINITY: usize = 122;
        pub(crate) const SCHED_GETAFFINITY: usize = 123;
        pub(crate) const RT_SIGACTION: usize = 134;
        pub(crate) const RT_SIGPROCMASK: usize = 135;
        pub(crate) const SETRESUID: usize = 147;
        pub(crate) const SETRESGID: usize = 149;
        pub(crate) const SETSID: usize = 157;
        pub(crate) const SETGROUPS: usize = 159;
        pub(crate) const SETHOSTNAME: usize = 161;
        pub(crate) const SETDOMAINNAME: usize = 162;
        pub(crate) const UMASK: usize = 166;
        pub(crate) const PRCTL: usize = 167;
        pub(crate) const GETPID: usize = 172;
        pub(crate) const GETPPID: usize = 173;
        pub(crate) const SOCKET: usize = 198;
        pub(crate) const SOCKETPAIR: usize = 199;
        pub(crate) const WAIT4: usize = 260;
        pub(crate) const SENDMSG: usize = 211;
        pub(crate) const RECVMSG: usize = 212;
        pub(crate) const KEYCTL: usize = 219;
        pub(crate) const CLONE: usize = 220;
        pub(crate) const EXECVE: usize = 221;
        pub(crate) const MMAP: usize = 222;
        pub(crate) const MADVISE: usize = 233;
        pub(crate) const SET_MEMPOLICY: usize = 237;
        pub(crate) const PRLIMIT64: usize = 261;
        pub(crate) const SETNS: usize = 268;
        pub(crate) const SCHED_SETATTR: usize = 274;
        pub(crate) const SECCOMP: usize = 277;
        pub(crate) const STATX: usize = 291;
    }
    pub(crate) use arch::*;

    // From here on every architecture has the same numbers.
    pub(crate) const OPEN_TREE: usize = 428;
    pub(crate) const MOVE_MOUNT: usize = 429;
    pub(crate) const FSOPEN: usize = 430;
    pub(crate) const FSCONFIG: usize = 431;
    pub(crate) const FSMOUNT: usize = 432;
    pub(crate) const CLOSE_RANGE: usize = 436;
    pub(crate) const OPENAT2: usize = 437;
    pub(crate) const FACCESSAT2: usize = 439;
    pub(crate) const MOUNT_SETATTR: usize = 442;
}

pub(crate) const EPERM: i32 = 1;
pub(crate) const ESRCH: i32 = 3;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const EINTR: i32 = 4;
pub(crate) const EACCES: i32 = 13;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENOTDIR: i32 = 20;
pub(crate) const EISDIR: i32 = 21;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const EMFILE: i32 = 24;
pub(crate) const EROFS: i32 = 30;
pub(crate) const ERANGE: i32 = 34;
pub(crate) const ENAMETOOLONG: i32 = 36;
pub(crate) const ENOSYS: i32 = 38;
pub(crate) const ELOOP: i32 = 40;
pub(crate) const EPROTO: i32 = 71;
pub(crate) const EOPNOTSUPP: i32 = 95;
pub(crate) const ECONNRESET: i32 = 104;
pub(crate) const ESTALE: i32 = 116;

/// The longest path, with its NUL (limits.h).
pub(crate) const PATH_MAX: usize = 4096;

pub(crate) const AT_FDCWD: i32 = -100;
pub(crate) const AT_SYMLINK_NOFOLLOW: usize = 0x100;
pub(crate) const AT_RECURSIVE: usize = 0x8000;
pub(crate) const AT_EMPTY_PATH: usize = 0x1000;
pub(crate) const AT_EACCESS: usize = 0x200;

pub(crate) const O_WRONLY: u64 = 1;
pub(crate) const O_RDWR: u64 = 2;
pub(crate) const O_CREAT: u64 = 0o100;
pub(crate) const O_EXCL: u64 = 0o200;
pub(crate) const O_NOCTTY: u64 = 0o400;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_DIRECTORY: u64 = 0o40000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_NOFOLLOW: u64 = 0o100_000;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const O_DIRECTORY: u64 = 0o200_000;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const O_NOFOLLOW: u64 = 0o400_000;
pub(crate) const O_NONBLOCK: u64 = 0o4000;
pub(crate) const O_CLOEXEC: u64 = 0o2_000_000;
pub(crate) const O_PATH: u64 = 0o10_000_000;

pub(crate) const RESOLVE_NO_XDEV: u64 = 0x01;
pub(crate) const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub(crate) const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub(crate) const RESOLVE_BENEATH: u64 = 0x08;
pub(crate) const RESOLVE_IN_ROOT: u64 = 0x10;

pub(crate) const OPEN_TREE_CLONE: usize = 1;
pub(crate) const OPEN_TREE_CLOEXEC: usize = O_CLOEXEC as usize;
pub(crate) const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x04;
pub(crate) const MOVE_MOUNT_T_SYMLINKS: usize = 0x10;
pub(crate) const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
pub(crate) const FSOPEN_CLOEXEC: usize = 1;
pub(crate) const FSMOUNT_CLOEXEC: usize = 1;
pub(crate) const FSCONFIG_SET_FLAG: usize = 0;
pub(crate) const FSCONFIG_SET_STRING: usize = 1;
pub(crate) const FSCONFIG_CMD_CREATE: usize = 6;
pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 8;
pub(crate) const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

pub(crate) const MS_RDONLY: usize = 1;
pub(crate) const MS_REMOUNT: usize = 32;
pub(crate) const MS_BIND: usize = 4096;
pub(crate) const MS_MOVE: usize = 8192;
pub(crate) const MS_REC: usize = 16384;
pub(crate) const MS_SLAVE: usize = 1 << 19;
pub(crate) const MNT_DETACH: usize = 2;

pub(crate) const S_IFMT: u32 = 0o170_000;
pub(crate) const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFREG: u32 = 0o100_000;
pub(crate) const S_IFLNK: u32 = 0o120_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFBLK: u32 = 0o060_000;

pub(crate) const CLONE_NEWTIME: usize = 0x80;
pub(crate) const CLONE_NEWNET: usize = 0x4000_0000;
pub(crate) const CLONE_PARENT: u64 = 0x8000;
pub(crate) const CLONE_VFORK: u64 = 0x4000;
pub(crate) const CLONE_PARENT_SETTID: u64 = 0x0010_0000;

pub(crate) const PR_SET_PDEATHSIG: usize = 1;
pub(crate) const PR_SET_DUMPABLE: usize = 4;
pub(crate) const PR_SET_KEEPCAPS: usize = 8;
pub(crate) const PR_SET_NAME: usize = 15;
pub(crate) const PR_CAPBSET_DROP: usize = 24;
pub(crate) const PR_SET_NO_NEW_PRIVS: usize = 38;
pub(crate) const PR_CAP_AMBIENT: usize = 47;
pub(crate) const PR_CAP_AMBIENT_RAISE: usize = 2;
pub(crate) const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;

pub(crate) const SIGHUP: usize = 1;
pub(crate) const SIGINT: usize = 2;
pub(crate) const SIGQUIT: usize = 3;
pub(crate) const SIGTERM: usize = 15;
pub(crate) const SIGKILL: usize = 9;
pub(crate) const SIGURG: usize = 23;
/// How many signals there are; they count from 1.
pub(crate) const SIGNALS: usize = 64;
pub(crate) const SIGCHLD: u64 = 17;

pub(crate) const TIOCSCTTY: usize = 0x540E;
pub(crate) const TIOCSWINSZ: usize = 0x5414;
pub(crate) const TCGETS: usize = 0x5401;
pub(crate) const TCSETS: usize = 0x5402;
/// `c_oflag`: a line break is shown as carriage return and line feed.
pub(crate) const ONLCR: u32 = 0o4;
pub(crate) const TIOCSPTLCK: usize = 0x4004_5431;
pub(crate) const TIOCGPTPEER: usize = 0x5441;
pub(crate) const AF_UNIX: usize = 1;
pub(crate) const DGRAM_CLOEXEC: usize = 2 | 0o2_000_000;
/// Gives a descriptor of a socket's network namespace.
pub(crate) const SIOCGSKNS: usize = 0x894c;
pub(crate) const SIOCGIFFLAGS: usize = 0x8913;
pub(crate) const SIOCSIFFLAGS: usize = 0x8914;
pub(crate) const IFF_UP: u16 = 1;

pub(crate) const PROC_SUPER_MAGIC: i64 = 0x9fa0;
pub(crate) const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
