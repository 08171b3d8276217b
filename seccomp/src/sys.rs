//! The few operations of this crate that the compiler cannot check (a view of plain memory, seccomp(2), and the ioctls of a listener),
//! and the calls of an agent's socket.
#![allow(unsafe_code, reason = "views of plain memory and raw system calls live here and nowhere else")]
use crate::bpf::SockFilter;
use libc::{c_int, c_long, c_void};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{self, RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The memory of some instructions.
pub(crate) fn bytes(instructions: &[SockFilter]) -> &[u8] {
    let length = size_of_val(instructions);
    // SAFETY: the slice is live for the returned lifetime and `length` bytes long; `SockFilter` is `repr(C)` of
    // u16, u8, u8, u32 and so has no padding, and any byte is a valid u8 at any alignment.
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), length) }
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn checked(result: c_long) -> Result<c_int, Errno> {
    if result < 0 { Err(last()) } else { Ok(c_int::try_from(result).unwrap_or(c_int::MAX)) }
}

/// seccomp(2), `SECCOMP_SET_MODE_FILTER`. Linux 3.17; the result is 0, a listener, or the thread that TSYNC could not
/// bring along.
pub(crate) fn set_filter(program: &[SockFilter], flags: u32) -> Result<c_int, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
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
    result < 0 && last() == Errno::FAULT
}

/// seccomp(2), `SECCOMP_GET_ACTION_AVAIL`. Linux 4.14.
pub(crate) fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32, live for the call.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
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
    checked(result.into())?;
    Ok(notification)
}

/// ioctl `SECCOMP_IOCTL_NOTIF_SEND`. Linux 5.0.
pub(crate) fn respond(listener: BorrowedFd<'_>, mut response: libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: the kernel reads one `seccomp_notif_resp`, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_SEND), &raw mut response) };
    checked(result.into())?;
    Ok(())
}

/// ioctl `SECCOMP_IOCTL_NOTIF_ID_VALID`. Linux 5.0.
pub(crate) fn is_valid(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_ID_VALID), &raw const id) };
    checked(result.into())?;
    Ok(())
}

/// ioctl `SECCOMP_IOCTL_NOTIF_ADDFD`. Linux 5.9; sending the answer with it, 5.14.
pub(crate) fn add_fd(listener: BorrowedFd<'_>, addfd: libc::seccomp_notif_addfd) -> io::Result<c_int> {
    // SAFETY: the kernel reads one `seccomp_notif_addfd`, live for the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), request!(SECCOMP_IOCTL_NOTIF_ADDFD), &raw const addfd) };
    Ok(checked(result.into())?)
}

/// poll(2) on one descriptor: its events, or none when `timeout` has passed; `None` waits for ever.
pub(crate) fn poll(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<PollFlags> {
    // What is too long for the kernel's type is as good as for ever.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut entry = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    rustix::event::poll(&mut entry, timeout.as_ref())?;
    Ok(entry[0].revents())
}

/// A Unix stream socket, connected to `path` within `timeout`; later writes have the same limit each.
///
/// Unlike `UnixStream::connect` this cannot wait for ever on an agent that does not accept.
pub(crate) fn connect(path: &str, timeout: Duration) -> io::Result<UnixStream> {
    // The kernel would take 108 bytes without a NUL, too; who binds such a path with the C library names another one.
    let fits = Some(path).filter(|path| path.len() < 108);
    let address = fits.and_then(|path| net::SocketAddrUnix::new(path).ok()).ok_or(Errno::NAMETOOLONG)?;
    let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    // The send timeout holds for connect(2) as well.
    stream.set_write_timeout(Some(timeout.max(Duration::from_millis(1))))?;
    net::connect(&stream, &address)?;
    Ok(stream)
}

/// The most descriptors sent or received with one message.
pub(crate) const MOST_FDS: usize = 8;

/// Room for the control message of that many.
type Control = [MaybeUninit<u8>; rustix::cmsg_space!(ScmRights(MOST_FDS))];

/// sendmsg(2) with descriptors; the number of bytes sent.
pub(crate) fn send_with(stream: &UnixStream, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut room: Control = [MaybeUninit::uninit(); size_of::<Control>()];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL.into());
    }
    Ok(net::sendmsg(stream, &[IoSlice::new(data)], &mut control, net::SendFlags::NOSIGNAL)?)
}

/// recvmsg(2) with descriptors: the number of bytes received, and the descriptors, close-on-exec.
pub(crate) fn receive_with(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room: Control = [MaybeUninit::uninit(); size_of::<Control>()];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let message = net::recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, net::RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = received {
            fds.extend(rights);
        }
    }
    if message.flags.contains(net::ReturnFlags::CTRUNC) {
        // Descriptors were lost; those received are closed.
        return Err(Errno::MSGSIZE.into());
    }
    Ok((message.bytes, fds))
}
