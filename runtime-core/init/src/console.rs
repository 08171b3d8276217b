//! The container's terminal.

use crate::abi::{
    DEVPTS_SUPER_MAGIC, EPERM, O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_PATH, O_RDWR, ONLCR, TCGETS, TCSETS, TIOCGPTPEER,
    TIOCSCTTY, TIOCSPTLCK, TIOCSWINSZ,
};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::mounts;
use crate::place::Place;
use crate::resolve::{self, Make};
use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::detail;

impl Executor<'_> {
    /// Opens a terminal of the container's own devpts and hands its master to the socket.
    ///
    /// The other end comes from the master itself (TIOCGPTPEER), never from a path: CVE-2025-52565.
    ///
    /// `plain_lines`: line breaks go to the master as they are, for a caller that shows them itself.
    pub(crate) fn console(
        &mut self,
        socket: Fd,
        size: (u16, u16),
        bind: bool,
        plain_lines: bool,
        uid: u32,
    ) -> Result<(), Failure> {
        let mut master = Fd(-1);
        // Looked at before it is opened for good: the image's could be any device.
        for flags in [O_PATH, O_RDWR | O_NOCTTY] {
            master = resolve::open_no_links(self.root, CStr::new(b"dev/pts/ptmx\0"), flags)
                .map_err(|errno| Failure::new(errno, detail::TARGET))?;
            if sys::filesystem(master)? != DEVPTS_SUPER_MAGIC {
                return Err(Failure::new(Errno(EPERM), detail::NOT_DEVPTS));
            }
            if flags == O_PATH {
                sys::close(master)?;
            }
        }
        let mut unlocked = 0i32;
        // SAFETY: TIOCSPTLCK reads an int.
        unsafe { sys::ioctl_with(master, TIOCSPTLCK, &mut unlocked) }?;
        let peer = Fd(sys::ioctl(master, TIOCGPTPEER, (O_RDWR | O_NOCTTY | O_CLOEXEC) as usize)? as i32);
        if size != (0, 0) {
            let mut size = [size.0, size.1, 0u16, 0u16];
            // SAFETY: TIOCSWINSZ reads four shorts.
            unsafe { sys::ioctl_with(master, TIOCSWINSZ, &mut size) }?;
        }
        if plain_lines {
            pass_line_breaks(peer)?;
        }
        if uid != 0 {
            sys::fchown(peer, uid, u32::MAX)?;
        }
        if bind {
            self.bind_console(peer)?;
        }
        sys::send_fd(socket, master, b"/dev/ptmx").map_err(|errno| Failure::new(errno, detail::SEND))?;
        sys::close(master)?;
        self.console = Some(peer);
        Ok(())
    }

    fn bind_console(&self, peer: Fd) -> Result<(), Failure> {
        let path = CStr::new(b"/dev/console\0");
        let target = match resolve::open_no_links(self.root, path, O_PATH | O_NOFOLLOW) {
            Err(Errno(crate::abi::ENOENT)) => resolve::open_or_make(self.root, path, Make::File),
            other => other,
        }
        .map_err(|errno| Failure::new(errno, detail::TARGET))?;
        let tree = mounts::clone_tree(peer, CStr::EMPTY, 0)?;
        Place::At(target).attach(tree)?;
        sys::close(tree)?;
        sys::close(target)?;
        Ok(())
    }

    /// Makes the terminal the controlling one and the standard streams.
    pub(crate) fn use_console(&self) -> Result<(), Failure> {
        let Some(peer) = self.console else { return Ok(()) };
        sys::ioctl(peer, TIOCSCTTY, 0)?;
        for fd in 0..3 {
            sys::dup3(peer, Fd(fd), 0)?;
        }
        Ok(())
    }
}

/// The kernel's `struct termios`, the same on every architecture here.
#[repr(C)]
struct Termios {
    iflag: u32,
    oflag: u32,
    cflag: u32,
    lflag: u32,
    line: u8,
    cc: [u8; 19],
}

fn pass_line_breaks(tty: Fd) -> sys::Result<()> {
    let mut settings = Termios { iflag: 0, oflag: 0, cflag: 0, lflag: 0, line: 0, cc: [0; 19] };
    // SAFETY: TCGETS writes a struct termios.
    unsafe { sys::ioctl_with(tty, TCGETS, &mut settings) }?;
    settings.oflag &= !ONLCR;
    // SAFETY: TCSETS reads a struct termios.
    unsafe { sys::ioctl_with(tty, TCSETS, &mut settings) }?;
    Ok(())
}
