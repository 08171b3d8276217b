//! The commands: each file holds its block of the table and carries it out.

#[cfg(feature = "criu")]
pub(crate) mod checkpoint;
pub(crate) mod completion;
pub(crate) mod create;
#[cfg(feature = "criu")]
mod criu;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod gc;
pub(crate) mod image;
pub(crate) mod kill;
mod launch;
pub(crate) mod list;
pub(crate) mod man;
mod matching;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod ps;
#[cfg(feature = "criu")]
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod seccomp_dump;
pub(crate) mod seccomp_explain;
pub(crate) mod seccomp_profile;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod try_;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod version;

use crate::failure::Failure;

/// Writes `text` to standard output. Unbuffered: the program ends without flushing anything.
pub(crate) fn print(text: &str) -> Result<u8, Failure> {
    let stdout = std::io::stdout();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match nix::unistd::write(&stdout, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Failure::os("write to standard output", errno)),
        }
    }
    Ok(0)
}
