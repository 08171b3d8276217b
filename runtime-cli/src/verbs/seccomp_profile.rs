//! Reads the profile that the seccomp commands work on.

use std::ffi::OsStr;
use std::io::Read;

use orlop::seccomp::Error;

use crate::failure::Failure;

/// The text of the file `name`; `-` is standard input.
pub(super) fn text(name: &OsStr) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(name).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|error| Failure::io(format_args!("read {}", name.display()), &error))
}

/// What is wrong with a profile or a call, on one line.
pub(super) fn wrong(error: &Error) -> Failure {
    Failure::new(error.to_string())
}
