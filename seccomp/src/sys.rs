//! The few operations of this crate that the compiler cannot check: a view of plain memory and raw system calls.
#![allow(unsafe_code, reason = "views of plain memory and raw system calls live here and nowhere else")]
use crate::bpf::SockFilter;
use libc::{c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The memory of some instructions.
pub(crate) fn bytes(instructions: &[SockFilter]) -> &[u8] {
    let length = size_of_val(instructions);
    // SAFETY: the slice is live for the returned lifetime and `length` bytes long; `SockFilter` is `repr(C)` of
    // u16, u8, u8, u32 and so has no padding, and any byte is a valid u8 at any alignment.
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), length) }
}

fn checked(result: c_long) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(c_int::try_from(result).unwrap_or(c_int::MAX)) }
}

/// seccomp(2), `SECCOMP_SET_MODE_FILTER`. Linux 3.17; the result is 0, a listener, or the thread that TSYNC could not
/// bring along.
pub(crate) fn set_filter(program: &[SockFilter], flags: u32) -> io::Result<c_int> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // `sock_filter` of libc and ours are both the kernel's; the kernel only reads.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `program` points to `len` instructions, all live for the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    checked(result)
}

/// Whether the kernel knows all of `flags`: it looks at them before it finds that there is no program.
pub(crate) fn knows_flags(flags: u32) -> bool {
    // SAFETY: the null pointer is never followed; the kernel answers EFAULT.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<c_void>()) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// seccomp(2), `SECCOMP_GET_ACTION_AVAIL`. Linux 4.14.
pub(crate) fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32, live for the call.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// prctl(2), `PR_SET_NO_NEW_PRIVS`. Linux 3.5.
pub(crate) fn set_no_new_privileges() -> io::Result<()> {
    let (one, zero): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) }.into()).map(drop)
}

/// Takes over a descriptor number that the kernel has just returned.
pub(crate) fn own(fd: c_int) -> OwnedFd {
    // SAFETY: callers pass what the kernel has just returned to them alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A request number as this C library's ioctl takes it.
macro_rules! request {
    ($name:ident) => {{
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the type differs between C libraries")]
        {
            libc::$name as _
        }
    }};
}

/// ioctl `SECCOMP_IOCTL_NOTIF_RECV`. Linux 5.0.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<libc::seccomp_notif> {
    // SAFETY: all fields are integers, for which zero is valid; the kernel requires zeroes.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif`, live for the call.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_RECV), &raw mut notification) };
    checked(result.into()).map(|_| notification)
}

/// ioctl `SECCOMP_IOCTL_NOTIF_SEND`. Linux 5.0.
pub(crate) fn respond(listener: BorrowedFd<'_>, mut response: libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: the kernel reads one `seccomp_notif_resp`, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_SEND), &raw mut response) };
    checked(result.into()).map(drop)
}

/// ioctl `SECCOMP_IOCTL_NOTIF_ID_VALID`. Linux 5.0.
pub(crate) fn is_valid(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_ID_VALID), &raw const id) };
    checked(result.into()).map(drop)
}

/// ioctl `SECCOMP_IOCTL_NOTIF_ADDFD`. Linux 5.9; sending the answer with it, 5.14.
pub(crate) fn add_fd(listener: BorrowedFd<'_>, addfd: libc::seccomp_notif_addfd) -> io::Result<c_int> {
    // SAFETY: the kernel reads one `seccomp_notif_addfd`, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_ADDFD), &raw const addfd) };
    checked(result.into())
}

/// poll(2) on one descriptor: its events, or none when `timeout` milliseconds have passed (-1 waits for ever).
pub(crate) fn poll(fd: BorrowedFd<'_>, timeout: c_int) -> io::Result<i16> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, live for the call.
    checked(unsafe { libc::poll(&raw mut entry, 1, timeout) }.into()).map(|_| entry.revents)
}

/// A Unix stream socket, connected to `path` within `milliseconds`; later writes have the same limit each.
///
/// Unlike `UnixStream::connect` this cannot wait for ever on an agent that does not accept.
pub(crate) fn connect(path: &str, milliseconds: u32) -> io::Result<UnixStream> {
    // SAFETY: takes numbers only.
    let fd = checked(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    let socket = own(fd);
    let stream = UnixStream::from(socket);
    // The send timeout holds for connect(2) as well.
    stream.set_write_timeout(Some(std::time::Duration::from_millis(milliseconds.max(1).into())))?;
    let mut address = libc::sockaddr_un { sun_family: 0, sun_path: [0; 108] };
    #[expect(clippy::cast_possible_truncation, reason = "AF_UNIX is 1")]
    {
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    }
    if path.len() >= address.sun_path.len() || path.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a fixed 110 bytes")]
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: an address of `length` bytes, live for the call, its path terminated by what is left of the zeroes.
    checked(unsafe { libc::connect(stream.as_raw_fd(), (&raw const address).cast(), length) }.into())?;
    Ok(stream)
}

/// Room for the control message of up to eight descriptors, aligned as its header.
type Control = [u64; 16];
/// The most descriptors sent or received with one message.
pub(crate) const MOST_FDS: usize = 8;

/// sendmsg(2) with descriptors; the number of bytes sent.
pub(crate) fn send_with(stream: &UnixStream, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MOST_FDS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut control: Control = [0; 16];
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: pointers and integers only, for which zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let payload = c_uint::try_from(size_of::<c_int>() * fds.len()).unwrap_or(0);
    if payload > 0 {
        message.msg_control = (&raw mut control).cast();
        // SAFETY: pure arithmetic.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(payload) } as _;
        // SAFETY: the control buffer is live, aligned, zeroed and at least a header long.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: CMSG_SPACE(8 descriptors) is below the buffer's 128 bytes, so the header lies inside it.
        let header = unsafe { &mut *header };
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: pure arithmetic.
        header.cmsg_len = unsafe { libc::CMSG_LEN(payload) } as _;
        // SAFETY: the header lies in the buffer, and its data follows it there.
        let data: *mut c_int = unsafe { libc::CMSG_DATA(header) }.cast();
        for (index, fd) in fds.iter().enumerate() {
            // SAFETY: at most eight, for which there is room.
            let slot = unsafe { data.add(index) };
            // SAFETY: inside the buffer; written without a demand on alignment.
            unsafe { slot.write_unaligned(fd.as_raw_fd()) };
        }
    }
    // SAFETY: the message points to live buffers of the lengths it states.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// recvmsg(2) with descriptors: the number of bytes received, and the descriptors, close-on-exec.
pub(crate) fn receive_with(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control: Control = [0; 16];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: pointers and integers only, for which zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    #[allow(clippy::cast_possible_truncation, reason = "128, for a field whose type differs between C libraries")]
    {
        message.msg_controllen = size_of::<Control>() as _;
    }
    // SAFETY: the message points to live buffers of the lengths it states, not otherwise borrowed.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer, which is live and aligned.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: null, or a header inside the control buffer.
    while let Some(current) = unsafe { header.as_ref() } {
        if current.cmsg_level == libc::SOL_SOCKET && current.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: pure arithmetic.
            let start = unsafe { libc::CMSG_LEN(0) } as usize;
            #[allow(clippy::unnecessary_cast, reason = "the type differs between C libraries")]
            let count = (current.cmsg_len as usize).saturating_sub(start) / size_of::<c_int>();
            // SAFETY: the header lies in the buffer, and its data follows it there.
            let data: *const c_int = unsafe { libc::CMSG_DATA(header) }.cast();
            for index in 0..count {
                // SAFETY: the kernel's length covers `count` descriptors.
                let slot = unsafe { data.add(index) };
                // SAFETY: as before; read without a demand on alignment.
                let fd = unsafe { slot.read_unaligned() };
                fds.push(own(fd));
            }
        }
        // SAFETY: as for the first header.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        // Descriptors were lost; those received are closed.
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok((received, fds))
}
