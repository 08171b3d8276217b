//! The user's terminal in the foreground: raw mode and window size.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::termios::{
    LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr,
};

use orlop::config::ConsoleSize;

use crate::failure::Failure;
use crate::sys::{self, WindowSize};

/// What the terminal was like before, kept where a panic can find it: with `panic = "abort"` no destructor runs.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Standard input is a terminal in raw mode until this value is dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode; `None` if there is none.
    pub(crate) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno| Failure::os("put the terminal into raw mode", errno);
        let before = tcgetattr(stdin.as_fd()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Line breaks are completed here, once, for what the container's terminal passes on as it is (see `orlop::CreateOptions::console`).
        raw.output_flags.insert(OutputFlags::OPOST);
        let kept =
            stdin.as_fd().try_clone_to_owned().map_err(|error| Failure::io("duplicate standard input", &error))?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((kept, before));
        restore_on_panic();
        let guard = Self(());
        // All signals are blocked by now, SIGTTOU included: this works from a background process group too.
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Some(guard))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some((tty, before)) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // TCSADRAIN: what the container wrote is shown under the settings it was written for. A terminal that is gone (hung
        // up) needs no restoring, so a failure means nothing.
        tcsetattr(tty.as_fd(), SetArg::TCSADRAIN, &before).ok();
    }
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            report(info);
        }));
    });
}

/// The window size of the user's terminal: of whichever standard stream is one. `None` also where it is not known.
fn size() -> Option<WindowSize> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let sizes =
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().find_map(|stream| sys::window_size(stream).ok());
    sizes.filter(|size| size.ws_row > 0 || size.ws_col > 0)
}

/// The same in the terms of the OCI config.
pub(crate) fn console_size() -> Option<ConsoleSize> {
    size().map(|size| ConsoleSize { height: size.ws_row, width: size.ws_col })
}

/// Gives the container's terminal the window size of the user's.
pub(crate) fn copy_size(to: BorrowedFd<'_>) {
    if let Some(size) = size() {
        // The size is a courtesy: if the terminal vanishes at this moment, its end is noticed elsewhere.
        sys::set_window_size(to, size).ok();
    }
}

/// What must be typed into the terminal `tty` so that its reader sees the end of input; `None` if it is in a raw mode, where
/// nothing has that meaning. `mid_line`: something was typed since the last line break, so that the first one only ends that.
pub(crate) fn end_of_input(tty: BorrowedFd<'_>, mid_line: bool) -> Option<Vec<u8>> {
    let settings = tcgetattr(tty).ok()?;
    if !settings.local_flags.contains(LocalFlags::ICANON) {
        return None;
    }
    let key = settings.control_chars.get(SpecialCharacterIndices::VEOF as usize).copied()?;
    Some(vec![key; if mid_line { 2 } else { 1 }])
}
