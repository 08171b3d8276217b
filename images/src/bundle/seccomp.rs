//! Docker's default seccomp profile, as tables and the rule that makes the `linux.seccomp` of a config of them.
//!
//! Whatever is not named gets EPERM. Three things differ from the profile's source, to the safe side:
//! - `socket` is compared in the 32 bits that the kernel looks at. With all 64, a set bit above them lets AF_ALG (38) and
//!   AF_VSOCK (40) pass.
//! - `socketcall`, by which 32-bit x86 programs make the same sockets past that rule, is for images of that architecture.
//! - The newest kernel needs no rule about its version.

use serde_json::{Value, json};

/// What every container may call.
const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get
    ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
    lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
    mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
    pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
    semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketpair splice stat stat64 statfs
    statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
";

/// What a capability allows besides.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// What one architecture has that others have not.
const BY_ARCHITECTURE: [(&str, &str); 4] = [
    ("amd64", "arch_prctl modify_ldt"),
    ("386", "modify_ldt socketcall"),
    ("arm64", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    ("riscv64", "riscv_flush_icache"),
];

/// The architectures of a kernel for one kind of image.
const ARCHITECTURES: [(&str, &[&str]); 4] = [
    ("amd64", &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("386", &["SCMP_ARCH_X86"]),
    ("arm64", &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
    ("riscv64", &["SCMP_ARCH_RISCV64"]),
];

/// Address families for `socket`, as masks and values: all that Linux has but 38 and 40.
const FAMILIES: [(u32, u32); 8] = [
    (!31, 0), // 0 to 31
    (!3, 32), // 32 to 35
    (!1, 36), // 36 and 37
    (!0, 39),
    (!0, 41),
    (!1, 42),  // 42 and 43
    (!3, 44),  // 44 to 47
    (!15, 48), // 48 to 63, which do not exist yet: the kernel says so itself
];

/// The domains of personality(2) that are harmless: Linux and 32-bit Linux, each also with the old uname, and the question
/// for the present one.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// All flags of clone(2) that make a namespace.
const NAMESPACES: u64 = 0x7e02_0000;

/// The profile for a container with `capabilities` of an image for `architecture` (in the words of image configs);
/// `None` for an architecture that has no profile.
#[must_use]
pub fn default_profile(architecture: &str, capabilities: &[&str]) -> Option<Value> {
    let of = |table: &[(&str, &'static str)], key: &str| {
        table.iter().find(|(name, _)| *name == key).map(|(_, names)| *names).unwrap_or_default()
    };
    let (_, architectures) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture)?;
    let mut names: Vec<&str> = ALWAYS.split_ascii_whitespace().collect();
    names.extend(of(&BY_ARCHITECTURE, architecture).split_ascii_whitespace());
    // Since Linux 4.8 what ptrace(2) does cannot get around a filter.
    names.extend(["process_vm_readv", "process_vm_writev", "ptrace"]);
    for capability in capabilities {
        names.extend(of(&BY_CAPABILITY, capability).split_ascii_whitespace());
    }
    names.sort_unstable();
    names.dedup();
    let mut syscalls = vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" })];
    syscalls.extend(FAMILIES.iter().map(|&(mask, value)| {
        json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value }] })
    }));
    syscalls.extend(PERSONALITIES.iter().map(|&domain| {
        json!({ "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": domain }] })
    }));
    if !capabilities.contains(&"CAP_SYS_ADMIN") {
        syscalls.push(json!({ "names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": NAMESPACES, "valueTwo": 0 }] }));
        // Its flags are in memory, where no filter sees them. With ENOSYS, programs take clone(2).
        syscalls.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    }
    Some(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": architectures,
        "syscalls": syscalls,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the profile says to a call with one argument that matters.
    fn allows(profile: &Value, name: &str, argument: u64) -> bool {
        let rules = profile["syscalls"].as_array().unwrap().iter();
        let mut rules = rules.filter(|rule| rule["names"].as_array().unwrap().iter().any(|each| each == name));
        rules.any(|rule| {
            let matches = rule["args"].as_array().is_none_or(|args| {
                args.iter().all(|arg| {
                    let value = arg["value"].as_u64().unwrap();
                    match arg["op"].as_str().unwrap() {
                        "SCMP_CMP_EQ" => argument == value,
                        "SCMP_CMP_MASKED_EQ" => argument & value == arg["valueTwo"].as_u64().unwrap(),
                        op => panic!("{op}"),
                    }
                })
            });
            matches && rule["action"] == "SCMP_ACT_ALLOW"
        })
    }

    #[test]
    fn sockets_are_compared_in_the_bits_that_the_kernel_looks_at() {
        let profile = default_profile("amd64", &[]).unwrap();
        for family in 0..64 {
            for high in [0, 1 << 32, 0xffff_ffff << 32] {
                assert_eq!(allows(&profile, "socket", family | high), ![38, 40].contains(&family), "{family} {high:x}");
            }
        }
    }

    #[test]
    fn what_is_dangerous_needs_its_capability() {
        let plain = default_profile("amd64", &["CAP_CHOWN"]).unwrap();
        for name in [
            "mount",
            "bpf",
            "unshare",
            "setns",
            "io_uring_setup",
            "kexec_load",
            "keyctl",
            "userfaultfd",
            "socketcall",
            "init_module",
            "clone3",
        ] {
            assert!(!allows(&plain, name, 0), "{name}");
        }
        assert!(allows(&plain, "clone", 0x11) && !allows(&plain, "clone", 0x1000_0011));
        assert!(allows(&plain, "personality", 0x2_0008) && !allows(&plain, "personality", 0x40_0000));
        let admin = default_profile("amd64", &["CAP_SYS_ADMIN", "CAP_SYS_MODULE"]).unwrap();
        for name in ["mount", "bpf", "unshare", "clone3", "init_module"] {
            assert!(allows(&admin, name, 0), "{name}");
        }
        assert!(allows(&admin, "clone", 0x1000_0011));
        assert!(!allows(&admin, "io_uring_setup", 0));
        assert!(allows(&default_profile("386", &[]).unwrap(), "socketcall", 0));
    }

    #[test]
    fn every_architecture_that_orlop_is_built_for_has_one() {
        for architecture in ["amd64", "arm64", "riscv64", "386"] {
            assert!(default_profile(architecture, &[]).is_some(), "{architecture}");
        }
        assert!(default_profile("z80", &[]).is_none());
    }
}
