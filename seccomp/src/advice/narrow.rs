//! Which arguments of the kernel's calls it takes as numbers of 32 bits (or fewer): the upper half of the register does not count.

/// By name, in order: a bit for each such argument, the lowest for the first. From the kernel's own descriptions (the `format` files
/// of its system call trace events, x86_64, Linux 6.18), against which a test compares them.
///
/// One text: a slice of names would be pointers, which a position-independent program relocates at every start.
pub(super) const NARROW: &str = "\
    accept=000001 accept4=001001 access=000010 add_key=010000 alarm=000001 arch_prctl=000001 bind=000101 bpf=000101 \
    cachestat=001001 chmod=000010 chown=000110 clock_adjtime=000001 clock_getres=000001 clock_gettime=000001 \
    clock_nanosleep=000011 clock_settime=000001 close=000001 close_range=000111 connect=000101 copy_file_range=100101 \
    creat=000010 dup=000001 dup2=000011 dup3=000111 epoll_create=000001 epoll_create1=000001 epoll_ctl=000111 epoll_pwait=001101 \
    epoll_pwait2=000101 epoll_wait=001101 eventfd=000001 eventfd2=000011 execveat=010001 exit=000001 exit_group=000001 \
    faccessat=000101 faccessat2=001101 fadvise64=001001 fallocate=000011 fanotify_init=000011 fanotify_mark=001011 fchdir=000001 \
    fchmod=000011 fchmodat=000101 fchmodat2=001101 fchown=000111 fchownat=011101 fcntl=000011 fdatasync=000001 fgetxattr=000001 \
    file_getattr=010001 file_setattr=010001 flistxattr=000001 flock=000011 fremovexattr=000001 fsconfig=010011 fsetxattr=010001 \
    fsmount=000111 fsopen=000010 fspick=000101 fstat=000001 fstatfs=000001 fsync=000001 ftruncate=000001 futex=100110 \
    futex_requeue=001110 futex_wait=101000 futex_waitv=010110 futex_wake=001100 futimesat=000001 get_robust_list=000001 \
    getdents=000101 getdents64=000101 getgroups=000001 getitimer=000001 getpeername=000001 getpgid=000001 getpriority=000011 \
    getrandom=000100 getrlimit=000001 getrusage=000001 getsid=000001 getsockname=000001 getsockopt=000111 getxattrat=000101 \
    inotify_add_watch=000101 inotify_init1=000001 inotify_rm_watch=000011 io_setup=000001 io_uring_enter=001111 \
    io_uring_register=001011 io_uring_setup=000001 ioctl=000011 ioperm=000100 iopl=000001 ioprio_get=000011 ioprio_set=000111 \
    kcmp=000111 keyctl=000001 kill=000011 landlock_add_rule=001011 landlock_create_ruleset=000100 landlock_restrict_self=000011 \
    lchown=000110 linkat=010101 listen=000011 listmount=001000 listxattrat=000101 lseek=000101 lsetxattr=010000 \
    lsm_get_self_attr=001001 lsm_list_modules=000100 lsm_set_self_attr=001101 madvise=000100 mbind=100000 membarrier=000111 \
    memfd_create=000010 memfd_secret=000001 migrate_pages=000001 mkdir=000010 mkdirat=000101 mknod=000110 mknodat=001101 \
    mlock2=000100 mlockall=000001 modify_ldt=000001 mount_setattr=000101 move_mount=010101 move_pages=100001 \
    mq_getsetattr=000001 mq_notify=000001 mq_open=000110 mq_timedreceive=000001 mq_timedsend=001001 msgctl=000011 msgget=000011 \
    msgrcv=010001 msgsnd=001001 msync=000100 name_to_handle_at=010001 newfstatat=001001 open=000110 open_by_handle_at=000101 \
    open_tree=000101 open_tree_attr=000101 openat=001101 openat2=000001 perf_event_open=001110 personality=000001 \
    pidfd_getfd=000111 pidfd_open=000011 pidfd_send_signal=001011 pipe2=000010 pkey_free=000001 pkey_mprotect=001000 poll=000110 \
    ppoll=000010 prctl=000001 pread64=000001 preadv2=100000 prlimit64=000011 process_madvise=011001 process_mrelease=000011 \
    process_vm_readv=000001 process_vm_writev=000001 pselect6=000001 pwrite64=000001 pwritev2=100000 quotactl=000101 \
    quotactl_fd=000111 read=000001 readahead=000001 readlink=000100 readlinkat=001001 reboot=000111 recvfrom=001001 \
    recvmmsg=001101 recvmsg=000101 removexattrat=000101 renameat=000101 renameat2=010101 request_key=001000 rseq=001110 \
    rt_sigaction=000001 rt_sigprocmask=000001 rt_sigqueueinfo=000011 rt_tgsigqueueinfo=000111 sched_get_priority_max=000001 \
    sched_get_priority_min=000001 sched_getaffinity=000011 sched_getattr=001101 sched_getparam=000001 sched_getscheduler=000001 \
    sched_rr_get_interval=000001 sched_setaffinity=000011 sched_setattr=000101 sched_setparam=000001 sched_setscheduler=000011 \
    seccomp=000011 select=000001 semctl=000111 semget=000111 semop=000101 semtimedop=000101 sendfile=000011 sendmmsg=001101 \
    sendmsg=000101 sendto=101001 set_mempolicy=000001 setdomainname=000010 setfsgid=000001 setfsuid=000001 setgid=000001 \
    setgroups=000001 sethostname=000010 setitimer=000001 setns=000011 setpgid=000011 setpriority=000111 setregid=000011 \
    setresgid=000111 setresuid=000111 setreuid=000011 setrlimit=000001 setsockopt=010111 setuid=000001 setxattr=010000 \
    setxattrat=000101 shmat=000101 shmctl=000011 shmget=000101 shutdown=000011 signalfd=000001 signalfd4=001001 socket=000111 \
    socketpair=000111 splice=100101 statmount=001000 statx=001101 swapon=000010 symlinkat=000010 sync_file_range=001001 \
    syncfs=000001 sysfs=000001 syslog=000101 tee=001011 tgkill=000111 timer_create=000001 timer_delete=000001 \
    timer_getoverrun=000001 timer_gettime=000001 timer_settime=000011 timerfd_create=000011 timerfd_gettime=000001 \
    timerfd_settime=000011 tkill=000011 umask=000001 umount2=000010 unlinkat=000101 userfaultfd=000001 ustat=000001 \
    utimensat=001001 vmsplice=001001 wait4=000101 waitid=001011 write=000001";

/// The calls, in order, with the bits of their arguments.
pub(super) fn all() -> impl Iterator<Item = (&'static str, u8)> {
    NARROW.split(' ').filter_map(|entry| {
        let (name, bits) = entry.split_once('=')?;
        Some((name, u8::from_str_radix(bits, 2).ok()?))
    })
}
