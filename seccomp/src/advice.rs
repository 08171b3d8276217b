//! What a profile says and most probably does not mean.
//!
//! The kernel gives a filter whole registers of 64 bits, and then takes many arguments as numbers of 32: whoever sets the upper half
//! calls `socket(AF_VSOCK)` with a first argument that is not equal to 40. Profiles compare all 64 bits unless they say otherwise, as
//! with libseccomp, and so a rule that lets pass all but a value can be got around (CVE-2026-123876).

mod narrow;

use crate::condition::{Condition, Operator};
use crate::profile::Profile;
use crate::{Action, Arch};

/// A field of a profile that most probably does not do what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    field: String,
    reason: String,
    hint: String,
}

impl Advice {
    /// The field, as a JSON pointer relative to the seccomp section: `/syscalls/3/args/0`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What would say what was meant.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// Looks for comparisons that the caller of a system call gets around by setting the upper half of an argument's register.
///
/// A rule is told of where that brings more than was allowed: one that lets a call pass unless an argument is some value, or above
/// one; and in a profile that lets pass what no rule names, one that catches a call by a value. What cannot be read is left to
/// [`compile`](crate::compile()), which refuses it.
#[must_use]
pub fn advise(profile: &Profile<'_>) -> Vec<Advice> {
    let Ok(default) = Action::parse(&profile.default_action, profile.default_errno_ret) else { return Vec::new() };
    let mut all = Vec::new();
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let Ok(action) = Action::parse(&rule.action, rule.errno_ret) else { continue };
        for (position, condition) in rule.args.iter().enumerate() {
            let Ok(parsed) = Condition::parse(index, position, condition) else { continue };
            let Some(name) = rule.names.iter().find(|name| takes_narrow(name, parsed.argument)) else { continue };
            if is_got_around(&parsed, passes(action), passes(default)) {
                all.push(advice(index, position, name, &parsed));
            }
        }
    }
    all
}

fn takes_narrow(name: &str, argument: u8) -> bool {
    narrow::all().any(|(known, bits)| known == name && bits >> argument & 1 == 1)
}

/// Whether the call is carried out.
fn passes(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log)
}

fn is_got_around(condition: &Condition, passes: bool, default_passes: bool) -> bool {
    let looks_above = condition.mask >> 32 != 0;
    match condition.operator {
        Operator::NotEqual | Operator::Greater | Operator::GreaterOrEqual => looks_above && passes,
        Operator::Equal | Operator::Less | Operator::LessOrEqual | Operator::MaskedEqual => {
            looks_above && !passes && default_passes
        }
    }
}

fn advice(rule: usize, position: usize, name: &str, condition: &Condition) -> Advice {
    let argument = condition.argument;
    let meant = condition.value & 0xffff_ffff;
    Advice {
        field: format!("/syscalls/{rule}/args/{position}"),
        reason: format!(
            "compares all 64 bits, but the kernel takes argument {argument} of {name} as a number of 32 bits: setting the upper half gets around this rule"
        ),
        hint: format!(
            "say which values are let pass, with SCMP_CMP_MASKED_EQ, value 4294967295 and valueTwo the number (here {meant})"
        ),
    }
}

/// The names of system calls with arguments of 32 bits, and which those are; for tests against the kernel's own words.
#[doc(hidden)]
pub fn narrow_arguments(arch: Arch) -> impl Iterator<Item = (&'static str, u8)> {
    narrow::all().filter(move |(name, _)| arch.syscalls().any(|(known, _)| known == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(default: &str, action: &str, name: &str, index: u32, op: &str, value: u64) -> Vec<String> {
        let json = format!(
            r#"{{"defaultAction":"{default}","syscalls":[{{"names":["getpid","{name}"],"action":"{action}",
                "args":[{{"index":{index},"value":{value},"valueTwo":1,"op":"{op}"}}]}}]}}"#
        );
        advise(&serde_json::from_str(&json).unwrap()).iter().map(|one| one.field().to_owned()).collect()
    }

    #[test]
    fn what_the_upper_half_gets_around_is_told() {
        let (errno, allow) = ("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW");
        for (default, action, op, told) in [
            (errno, allow, "SCMP_CMP_NE", true),
            (errno, "SCMP_ACT_LOG", "SCMP_CMP_GT", true),
            (errno, allow, "SCMP_CMP_GE", true),
            (errno, allow, "SCMP_CMP_EQ", false),
            (errno, allow, "SCMP_CMP_LT", false),
            (errno, errno, "SCMP_CMP_NE", false),
            (errno, "SCMP_ACT_KILL", "SCMP_CMP_EQ", false),
            (allow, errno, "SCMP_CMP_EQ", true),
            (allow, errno, "SCMP_CMP_LE", true),
            (allow, "SCMP_ACT_NOTIFY", "SCMP_CMP_LT", true),
            (allow, errno, "SCMP_CMP_NE", false),
        ] {
            let found = fields(default, action, "socket", 0, op, 40);
            assert_eq!(found, if told { vec!["/syscalls/0/args/0"] } else { vec![] }, "{default} {action} {op}");
        }
        // A mask of the lower half is what is advised, one of all bits compares all.
        assert!(fields(allow, errno, "socket", 0, "SCMP_CMP_MASKED_EQ", 0xffff_ffff).is_empty());
        assert_eq!(fields(allow, errno, "socket", 0, "SCMP_CMP_MASKED_EQ", u64::MAX).len(), 1);
        // These are as wide as the register.
        assert!(fields(errno, allow, "clone", 0, "SCMP_CMP_NE", 1).is_empty());
        assert!(fields(errno, allow, "ioctl", 2, "SCMP_CMP_NE", 1).is_empty());
        assert_eq!(fields(errno, allow, "ioctl", 1, "SCMP_CMP_NE", 1).len(), 1);
        // What is refused anyway is not spoken of.
        assert!(fields(errno, "SCMP_ACT_NONE", "socket", 0, "SCMP_CMP_NE", 1).is_empty());
        assert!(fields(errno, allow, "socket", 9, "SCMP_CMP_NE", 1).is_empty());
        assert!(fields(errno, allow, "socket", 0, "SCMP_CMP_XX", 1).is_empty());
    }

    #[test]
    fn the_advice_says_what_to_write() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":0,"value":40,"op":"SCMP_CMP_NE"}]}]}"#;
        let all = advise(&serde_json::from_str(json).unwrap());
        assert!(all[0].reason().contains("argument 0 of socket as a number of 32 bits"), "{}", all[0].reason());
        assert!(all[0].hint().contains("SCMP_CMP_MASKED_EQ"), "{}", all[0].hint());
    }

    #[test]
    fn the_table_is_in_order_and_of_known_calls() {
        let names: Vec<_> = narrow::all().map(|(name, _)| name).collect();
        assert_eq!(names.len(), narrow::NARROW.split(' ').count());
        assert!(names.is_sorted_by(|left, right| left < right));
        assert!(names.iter().all(|name| crate::tables::find(name).is_some()), "{names:?}");
    }
}
