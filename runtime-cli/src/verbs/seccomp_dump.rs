//! `orlop seccomp dump`.

use orlop::seccomp::Filter;
use serde_json::json;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;
use crate::verbs::seccomp_profile;

pub(super) const COMMAND: Command = Command(
    "seccomp dump: PROFILE
show the filter that a seccomp profile is compiled to

--format text|json | the program in words, or its figures as JSON (default: text)

PROFILE is a file with the linux.seccomp object of the OCI configuration, or a whole config.json; - is
standard input.

$ orlop seccomp dump profile.json
$ orlop seccomp dump --format json profile.json
",
);

pub(super) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let format = args.choice("format")?.unwrap_or("text");
    let filter = seccomp_profile::compile(args.operand()?)?;
    super::print(&if format == "json" { json(&filter) } else { text(&filter) })
}

fn json(filter: &Filter) -> String {
    let architectures: Vec<&str> = filter.architectures.iter().map(|arch| arch.name()).collect();
    let flags: Vec<&str> = filter.flags.names().collect();
    let unknown: Vec<_> =
        filter.unknown_syscalls.iter().map(|each| json!({ "name": each.name, "pointer": each.pointer() })).collect();
    let figures = json!({
        "instructions": filter.len(),
        "architectures": architectures,
        "flags": flags,
        "notify": filter.notify,
        "unknownSyscalls": unknown,
    });
    format!("{figures}\n")
}

fn text(filter: &Filter) -> String {
    let words = |list: Vec<&str>| if list.is_empty() { "none".to_owned() } else { list.join(" ") };
    let architectures = words(filter.architectures.iter().map(|arch| arch.name()).collect());
    let unknown = words(filter.unknown_syscalls.iter().map(|each| each.name.as_str()).collect());
    let flags = words(filter.flags.names().collect());
    let head =
        format!("instructions: {}\narchitectures: {architectures}\nflags: {flags}\nunknown: {unknown}\n", filter.len());
    format!("{head}\n{}", listing(filter))
}

/// The program, one instruction per line: number, code, jumps if true and if false, operand.
fn listing(filter: &Filter) -> String {
    let lines = filter.instructions.iter().enumerate();
    lines
        .map(|(at, each)| format!("{at:4}: {:#06x} {:3} {:3} {:#010x}\n", each.code, each.jt, each.jf, each.k))
        .collect()
}
