//! `orlop seccomp explain`.

use std::ffi::OsStr;

use orlop::seccomp::{Arch, Call};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;
use crate::verbs::seccomp_profile;

pub(super) const COMMAND: Command = Command(
    "seccomp explain: PROFILE SYSCALL [ARGUMENT...]
say what a seccomp profile does with one system call

--arch NAME | the architecture the call is made on (default: this machine's)

SYSCALL is a name or a number, ARGUMENTs are numbers (0x for hexadecimal); those not given are 0.

$ orlop seccomp explain profile.json clone 0x10000000
$ orlop seccomp explain --arch aarch64 config.json keyctl
",
);

pub(super) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let wanted = args.text("arch")?.map(arch).transpose()?;
    let [file, name, arguments @ ..] = args.operands()? else {
        return Err(Failure::usage("which profile and which call?"));
    };
    let arguments = arguments.iter().map(|word| number(word)).collect::<Result<Vec<u64>, Failure>>()?;
    if arguments.len() > 6 {
        return Err(Failure::usage(format!("a system call has at most 6 arguments, not {}", arguments.len())));
    }
    let filter = seccomp_profile::compile(file)?;
    let arch = wanted.or_else(Arch::native).ok_or_else(|| Failure::usage("which architecture? give --arch"))?;
    let call = match number(name) {
        Ok(number) => u32::try_from(number).ok().map(|number| Call::numbered(arch, number, &arguments)),
        Err(_) => name.to_str().and_then(|name| Call::named(arch, name, &arguments)),
    };
    let call = call.ok_or_else(|| Failure::new(format!("{} has no system call {}", arch.name(), name.display())))?;
    super::print(&format!("{}\n", filter.verdict(&call)))
}

fn arch(name: &str) -> Result<Arch, Failure> {
    let long = format!("SCMP_ARCH_{}", name.to_ascii_uppercase());
    let known = Arch::from_name(name).or_else(|| Arch::from_name(&long));
    known.ok_or_else(|| Failure::usage(format!("--arch {name:?}: not an architecture of the OCI specification")))
}

/// A number as C writes it: decimal, or hexadecimal after 0x; a negative one as the kernel sees it.
fn number(word: &OsStr) -> Result<u64, Failure> {
    let text = word.to_str().unwrap_or_default();
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned)),
    };
    parsed.ok_or_else(|| Failure::usage(format!("{word:?}: not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbers_as_c_writes_them() {
        for (text, value) in
            [("0", Some(0)), ("0x10", Some(16)), ("-1", Some(u64::MAX)), ("x", None), ("0xg", None), ("", None)]
        {
            assert_eq!(number(text.as_ref()).ok(), value, "{text}");
        }
        assert_eq!(arch("x86_64").unwrap(), arch("SCMP_ARCH_X86_64").unwrap());
        assert!(arch("z80").is_err());
    }
}
