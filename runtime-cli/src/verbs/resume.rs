//! `orlop resume`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;

command! {
    "resume: ID
let a paused container go on
",
    "
$ orlop pause web1
$ orlop resume web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    orlop::resume(&session.runtime, &container_id(args.operand()?)?)?;
    Ok(0)
}
