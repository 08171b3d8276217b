//! `orlop pause`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;

command! {
    "pause: ID
suspend all processes of a container
",
    "
$ orlop pause web1
$ orlop resume web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    orlop::pause(&session.runtime, &container_id(args.operand()?)?)?;
    Ok(0)
}
