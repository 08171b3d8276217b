//! The files of resctrl.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, mkdirat};

use crate::base::{Error, Result, Step};

/// Where resctrl is mounted.
pub(super) const MOUNT: &str = "/sys/fs/resctrl";

/// Writes to a file of resctrl, which explains itself elsewhere.
pub(super) fn write(path: &str, content: &str) -> Result<()> {
    let outcome = OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(content.as_bytes()));
    outcome.map_err(|error| {
        let failed =
            Error::io(Step::SetUpIntelRdt, &error).with_object(format!("write {:?} to {path}", content.trim_end()));
        match read(&format!("{MOUNT}/info/last_cmd_status")) {
            Ok(status) if !matches!(status.trim(), "" | "ok") => failed.with_reason(status.trim().replace('\n', ", ")),
            _ => failed,
        }
    })
}

pub(super) fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn make_directory(path: &str) -> nix::Result<bool> {
    match mkdirat(AT_FDCWD, path, Mode::from_bits_truncate(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}
