//! `orlop seccomp explain`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "seccomp explain: PROFILE SYSCALL [ARGUMENT...]
say what a seccomp profile does with one system call

SYSCALL is a name or a number, ARGUMENTs are numbers (0x for hexadecimal); those not given are 0.

$ orlop seccomp explain profile.json clone 0x10000000
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
