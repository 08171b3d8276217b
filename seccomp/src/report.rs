//! What a profile does, as a text or a JSON document: the work behind `orlop seccomp dump` and `orlop seccomp explain`.
//!
//! ```
//! let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
//! let mut options = orlop_seccomp::Options::default();
//! options.native = Some(orlop_seccomp::Arch::X86_64);
//! let profile = orlop_seccomp::report::read(profile)?;
//! println!("{}", orlop_seccomp::report::dump(&profile, &options, orlop_seccomp::report::Format::Json)?);
//! let explained = orlop_seccomp::report::explain(&profile, &options, "write", &[])?;
//! assert!(explained.contains("SCMP_ACT_ERRNO(1)"));
//! # Ok::<(), orlop_seccomp::Error>(())
//! ```
use crate::disassemble::Disassembly;
use crate::error::{Error, Kind};
use crate::{Arch, Call, Filter, Options, Profile, compile, emulate};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// How [`dump`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A listing.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

const READ: &str = "read the seccomp profile";
const DUMP: &str = "dump the seccomp filter";
const EXPLAIN: &str = "explain a system call";

/// Reads a profile: a bare seccomp section, or the one of a whole `config.json`.
///
/// # Errors
/// [`Kind::InvalidJson`] and [`Kind::NoProfile`].
pub fn read(document: &str) -> Result<Profile<'_>, Error> {
    #[derive(Deserialize)]
    struct Config<'a> {
        #[serde(borrow)]
        linux: Option<Linux<'a>>,
    }
    #[derive(Deserialize)]
    struct Linux<'a> {
        #[serde(borrow)]
        seccomp: Option<Profile<'a>>,
    }
    let broken = |error| Error::json(READ, error);
    let missing = || Error::in_step(Kind::NoProfile, READ, "the document holds no seccomp profile");
    let profile = match serde_json::from_str::<Config<'_>>(document).map_err(broken)?.linux {
        Some(linux) => linux.seccomp.ok_or_else(missing)?,
        None => serde_json::from_str(document).map_err(broken)?,
    };
    if profile.is_disabled() { Err(missing()) } else { Ok(profile) }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dump<'a> {
    instructions: usize,
    architectures: Vec<&'static str>,
    flags: Vec<&'static str>,
    default_action: String,
    notify: bool,
    unknown_syscalls: Vec<&'a str>,
    /// Calls of the native architecture allowed without a look at their arguments: the kernel never runs the filter for
    /// them.
    always_allowed: usize,
    /// `[code, jt, jf, k]` of each instruction.
    program: Vec<(u16, u8, u8, u32)>,
}

/// The compiled program and what is to know about it.
///
/// The JSON object has at least `instructions` (their number), `architectures` and `program`.
///
/// # Errors
/// Those of [`compile()`].
pub fn dump(profile: &Profile<'_>, options: &Options, format: Format) -> Result<String, Error> {
    let filter = compile(profile, options)?;
    let architectures: Vec<&str> = filter.architectures.iter().map(|arch| arch.name()).collect();
    let allowed = always_allowed(&filter);
    let unknown: Vec<&str> = filter.unknown_syscalls.iter().map(|unknown| unknown.name.as_str()).collect();
    match format {
        Format::Json => {
            let dump = Dump {
                instructions: filter.instructions.len(),
                architectures,
                flags: filter.flags.names().collect(),
                default_action: profile.default_action.to_string(),
                notify: filter.notify,
                unknown_syscalls: unknown,
                always_allowed: allowed,
                program: filter.instructions.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect(),
            };
            serde_json::to_string(&dump).map_err(|error| Error::json(DUMP, error))
        }
        Format::Text => {
            let mut text = String::new();
            let mut line = |name: &str, value: &str| {
                if !value.is_empty() {
                    text.push_str(name);
                    text.push_str(": ");
                    text.push_str(value);
                    text.push('\n');
                }
            };
            line("instructions", &filter.instructions.len().to_string());
            line("architectures", &architectures.join(", "));
            line("flags", &filter.flags.to_string());
            line("always allowed, without running the filter", &format!("{allowed} calls"));
            line("unknown and left out", &unknown.join(", "));
            if let Some(&native) = filter.architectures.first() {
                text.push('\n');
                text.push_str(&Disassembly::new(&filter.instructions, native).to_string());
            }
            Ok(text)
        }
    }
}

fn always_allowed(filter: &Filter) -> usize {
    let Some(&native) = filter.architectures.first() else { return 0 };
    let constant = |number| {
        let outcome = emulate::run(&filter.instructions, &Call::numbered(native, number, &[]));
        !outcome.looked_further && crate::Action::from_raw(outcome.answer) == crate::Action::Allow
    };
    native.syscalls().filter(|&(_, number)| constant(number)).count()
}

/// The verdict for one call on every architecture of the filter, one line each. `syscall` is a name or a number,
/// `arguments` are decimal, hexadecimal (`0x…`) or negative; absent ones are 0.
///
/// # Errors
/// Those of [`compile()`], [`Kind::UnknownSyscall`] and [`Kind::BadArgument`].
pub fn explain(profile: &Profile<'_>, options: &Options, syscall: &str, arguments: &[&str]) -> Result<String, Error> {
    let filter = compile(profile, options)?;
    let refuse = |kind, reason: String| Error::in_step(kind, EXPLAIN, reason).with_object(syscall);
    if arguments.len() > 6 {
        return Err(refuse(Kind::BadArgument, "a system call has no more than six arguments".to_owned()));
    }
    let not_a_number = |text: &str| {
        let notations = "arguments are decimal, hexadecimal after 0x, or negative";
        refuse(Kind::BadArgument, format!("{text:?} is not a number: {notations}"))
    };
    let values =
        arguments.iter().map(|text| number(text).ok_or_else(|| not_a_number(text))).collect::<Result<Vec<u64>, _>>()?;
    let mut text = String::new();
    for &arch in &filter.architectures {
        let call = match number(syscall).and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Some(Call::numbered(arch, number, &values)),
            None => Call::named(arch, syscall, &values),
        };
        if let Some(call) = call {
            line(&mut text, &filter, arch, &call);
        }
    }
    if text.is_empty() {
        let reason = format!("{syscall:?} is no system call of the filter's architectures");
        return Err(refuse(Kind::UnknownSyscall, reason));
    }
    Ok(text)
}

fn line(text: &mut String, filter: &Filter, arch: Arch, call: &Call) {
    let outcome = emulate::run(&filter.instructions, call);
    let action = crate::Action::from_raw(outcome.answer);
    let name = arch.syscall_name(call.number).unwrap_or("(no such call)");
    let how = match (outcome.looked_further, action) {
        (true, _) => "by its arguments",
        (false, crate::Action::Allow) => "always; the kernel does not run the filter for it",
        (false, _) => "always",
    };
    // Writing to a string cannot fail.
    let written =
        writeln!(text, "{arch} {name} ({}): {action}, {how}, after {} instructions", call.number, outcome.steps);
    debug_assert!(written.is_ok());
}

fn number(text: &str) -> Option<u64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    value.ok().map(|value| if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        {"names": ["read", "nosuchcall"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;

    fn options() -> Options {
        Options { native: Some(Arch::X86_64), ..Options::default() }
    }

    #[test]
    fn numbers_in_all_notations() {
        for (text, value) in [("0", 0), ("17", 17), ("0x1f", 31), ("-1", u64::MAX), ("-0x2", u64::MAX - 1)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "-", "0x", "1k", "18446744073709551616", "--1", " 1"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_whole_config_and_a_bare_section_are_the_same() {
        let config = format!(r#"{{"ociVersion": "1.2.0", "linux": {{"seccomp": {PROFILE}}}}}"#);
        assert_eq!(read(&config).unwrap(), read(PROFILE).unwrap());
        for (document, kind) in
            [(r#"{"linux": {}}"#, Kind::NoProfile), ("{}", Kind::NoProfile), ("{", Kind::InvalidJson)]
        {
            assert_eq!(read(document).unwrap_err().kind(), kind, "{document}");
        }
    }

    #[test]
    fn dump_as_json_has_the_promised_members() {
        let profile = read(PROFILE).unwrap();
        let json = dump(&profile, &options(), Format::Json).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["architectures"], serde_json::json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!(value["instructions"], value["program"].as_array().unwrap().len());
        assert_eq!(value["unknownSyscalls"], serde_json::json!(["nosuchcall"]));
        assert_eq!(value["alwaysAllowed"], 1);
        let text = dump(&profile, &options(), Format::Text).unwrap();
        assert!(text.contains("load   argument 0 low"), "{text}");
    }

    #[test]
    fn explain_speaks_of_every_architecture() {
        let profile = read(PROFILE).unwrap();
        let text = explain(&profile, &options(), "socket", &["0x1"]).unwrap();
        assert!(text.starts_with("SCMP_ARCH_X86_64 socket (41): SCMP_ACT_ALLOW, by its arguments, after"), "{text}");
        assert_eq!(text.lines().count(), 2);
        let text = explain(&profile, &options(), "read", &[]).unwrap();
        assert!(text.contains("SCMP_ACT_ALLOW, always; the kernel does not run the filter for it"), "{text}");
        assert!(explain(&profile, &options(), "41", &[]).unwrap().contains("socket (41): SCMP_ACT_ERRNO(1)"));
        let wrong = |name: &str, arguments: &[&str]| explain(&profile, &options(), name, arguments).unwrap_err();
        assert_eq!(wrong("nosuchcall", &[]).kind(), Kind::UnknownSyscall);
        assert_eq!(wrong("read", &["x"]).kind(), Kind::BadArgument);
        assert_eq!(wrong("read", &["1"; 7]).to_string(), "a system call has no more than six arguments");
    }
}
