//! How the program begins and ends: without the standard library's own preparations, of which only two are needed here.
//!
//! Left out are the alternate signal stack and the handlers that report a stack overflow: a dozen system calls at every start.
//! At the end nothing is freed or unwound, since the kernel takes it all back faster.
#![allow(unsafe_code, reason = "the C entry point gets its arguments as raw pointers")]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// The C library's entry into the program.
// SAFETY: no other symbol of this program is called `main`: the crate is `no_main`.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    open_standard_streams();
    set_signals();
    let words: Vec<&OsStr> = (1..usize::try_from(argc).unwrap_or(0)).map(|index| argument(argv, index)).collect();
    let status = crate::dispatch(&words);
    // SAFETY: ends the process at once; nothing is buffered in this program.
    unsafe { libc::_exit(c_int::from(status)) }
}

fn argument(argv: *const *const c_char, index: usize) -> &'static OsStr {
    // SAFETY: the kernel passes `argc` pointers, and `index` is below that.
    let place = unsafe { argv.add(index) };
    // SAFETY: `place` is one of those pointers.
    let word = unsafe { *place };
    // SAFETY: each points to a string with a zero byte at its end, which lives as long as the process.
    OsStr::from_bytes(unsafe { CStr::from_ptr(word) }.to_bytes())
}

/// What becomes of signals must not depend on the caller. A write to a closed pipe (SIGPIPE) or beyond the caller's file size limit
/// (SIGXFSZ) is an error of that write, not the end of the program; and children that nobody may wait for, as where SIGCHLD is
/// ignored, would leave without telling how they ended. Containers and hooks begin with the defaults.
fn set_signals() {
    for (signal, action) in
        [(libc::SIGPIPE, libc::SIG_IGN), (libc::SIGXFSZ, libc::SIG_IGN), (libc::SIGCHLD, libc::SIG_DFL)]
    {
        // SAFETY: neither action is a handler, so no code of this program is ever called by it.
        unsafe { libc::signal(signal, action) };
    }
}

/// A file opened while 0, 1 or 2 is free would become a standard stream: state or log would go to the container's output.
fn open_standard_streams() {
    let watch = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut streams = [watch(0), watch(1), watch(2)];
    // SAFETY: the array has three entries, as the call says.
    if unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) } <= 0 {
        return;
    }
    for stream in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // SAFETY: the path is a string with a zero byte at its end. The lowest free number is the one that is missing, since
        // they are filled in order.
        if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } != stream.fd {
            // SAFETY: without safe streams the program must not go on; this cannot return.
            unsafe { libc::abort() }
        }
    }
}
