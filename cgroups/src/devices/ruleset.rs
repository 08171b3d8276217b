//! The meaning of an ordered list of device rules: what the v1 device controller would be left with after applying them one by one.
//!
//! The controller is either in allow mode (everything but the exceptions is denied) or in deny mode (everything but the exceptions
//! is allowed). A rule for all devices switches the mode and forgets the exceptions; every other rule adds or removes an exception.
//! v2 follows the same rules here as runc has it, so that a config means the same on both.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::resources::DeviceRule;

/// Character or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeviceKind {
    Block,
    Char,
}

impl DeviceKind {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Block => 'b',
            Self::Char => 'c',
        }
    }
}

/// A set of `r`, `w`, `m`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) mknod: bool,
}

impl Access {
    fn parse(text: &str) -> Option<Self> {
        let mut access = Self::default();
        for letter in text.chars() {
            match letter {
                'r' => access.read = true,
                'w' => access.write = true,
                'm' => access.mknod = true,
                // Found in configs, and passed over by runc.
                'a' => {}
                _ => return None,
            }
        }
        (!access.is_empty()).then_some(access)
    }

    fn combine(self, other: Self, each: impl Fn(bool, bool) -> bool) -> Self {
        Self {
            read: each(self.read, other.read),
            write: each(self.write, other.write),
            mknod: each(self.mknod, other.mknod),
        }
    }

    fn without(self, other: Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn text(self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')]
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, c)| c)
            .collect()
    }
}

/// Which devices an exception is about; no number means every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) kind: DeviceKind,
}

impl Match {
    fn text(self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{} {}:{}", self.kind.letter(), number(self.major), number(self.minor))
    }

    /// The wildcard matches that cover this one, itself left out.
    fn wider(self) -> impl Iterator<Item = Self> {
        [Self { major: None, ..self }, Self { minor: None, ..self }, Self { major: None, minor: None, ..self }]
            .into_iter()
            .filter(move |wider| *wider != self)
    }
}

/// The state a list of rules leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// What happens to a device without an exception.
    pub(crate) default_allow: bool,
    exceptions: BTreeMap<Match, Access>,
}

/// One write to `devices.allow` or `devices.deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) allow: bool,
    pub(crate) line: String,
}

impl RuleSet {
    /// Applies `rules` in order to a state that denies everything.
    ///
    /// # Errors
    /// A malformed rule, or one that would punch a hole in a wildcard exception, which the v1 controller silently does not do.
    pub(crate) fn from_rules(rules: &[DeviceRule<'_>]) -> Result<Self> {
        let mut set = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            set.apply(index, rule)?;
        }
        Ok(set)
    }

    fn apply(&mut self, index: usize, rule: &DeviceRule<'_>) -> Result<()> {
        let pointer = |field: &str| format!("/devices/{index}{field}");
        let Some(access) = Access::parse(&rule.access) else {
            let detail = format!("{:?} is not a selection of r, w and m", rule.access);
            return Err(Error::resources(pointer("/access"), detail));
        };
        let kind = match rule.kind.as_ref() {
            "" | "a" => {
                *self = Self { default_allow: rule.allow, exceptions: BTreeMap::new() };
                return Ok(());
            }
            "b" => DeviceKind::Block,
            "c" | "u" => DeviceKind::Char,
            other => {
                return Err(Error::resources(pointer("/type"), format!("{other:?} is none of a, b and c")));
            }
        };
        let number = |value: Option<i64>, field: &str| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| Error::resources(pointer(field), format!("{value} is not a device number"))),
        };
        let what = Match { major: number(rule.major, "/major")?, minor: number(rule.minor, "/minor")?, kind };
        if rule.allow == self.default_allow {
            self.remove(what, access).map_err(|detail| Error::resources(pointer(""), detail))
        } else {
            self.add(what, access);
            Ok(())
        }
    }

    fn add(&mut self, what: Match, access: Access) {
        let entry = self.exceptions.entry(what).or_default();
        *entry = entry.combine(access, |a, b| a || b);
    }

    fn remove(&mut self, what: Match, access: Access) -> std::result::Result<(), String> {
        for wider in what.wider() {
            let covered = self.exceptions.get(&wider).copied().unwrap_or_default();
            if !covered.combine(access, |a, b| a && b).is_empty() {
                return Err(format!(
                    "a rule for {} cannot take away what the rule for {} gave: rules do not punch holes in wildcards",
                    what.text(),
                    wider.text()
                ));
            }
        }
        if let Some(entry) = self.exceptions.get_mut(&what) {
            *entry = entry.without(access);
            if entry.is_empty() {
                self.exceptions.remove(&what);
            }
        }
        Ok(())
    }

    /// The exceptions, ordered by major, minor and kind.
    pub(crate) fn exceptions(&self) -> impl Iterator<Item = (Match, Access)> + '_ {
        self.exceptions.iter().map(|(what, access)| (*what, *access))
    }

    /// Where every device may be used in every way.
    pub(crate) fn everything() -> Self {
        Self { default_allow: true, exceptions: BTreeMap::new() }
    }

    /// Whether every device may be used in every way.
    pub(crate) fn allows_everything(&self) -> bool {
        self.default_allow && self.exceptions.is_empty()
    }

    /// The state that a v1 `devices.list` shows. In deny mode the file shows only `a *:* rwm` and not the exceptions, so nothing is
    /// known of those.
    pub(crate) fn from_list(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for line in text.lines() {
            let mut words = line.split([' ', ':']);
            let kind = match words.next()? {
                "a" => return Some(Self::everything()),
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Char,
                _ => return None,
            };
            let mut number = || match words.next()? {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            let (major, minor) = (number()?, number()?);
            set.add(Match { major, minor, kind }, Access::parse(words.next()?)?);
        }
        Some(set)
    }

    /// The writes that lead from this state to `target` with the least disturbance: a rule for all devices, after which nothing is
    /// allowed (or denied) for a moment, is used only when the mode changes or the present exceptions are unknown.
    pub(crate) fn steps_to(&self, target: &Self) -> Vec<Step> {
        let mut steps = Vec::new();
        let nothing = BTreeMap::new();
        let mut old = &self.exceptions;
        if self.default_allow || target.default_allow {
            steps.push(Step { allow: target.default_allow, line: "a *:* rwm".to_owned() });
            old = &nothing;
        }
        let step =
            |allow, what: &Match, access: Access| Step { allow, line: format!("{} {}", what.text(), access.text()) };
        for (what, access) in old {
            let dropped = access.without(target.exceptions.get(what).copied().unwrap_or_default());
            if !dropped.is_empty() {
                steps.push(step(target.default_allow, what, dropped));
            }
        }
        for (what, access) in &target.exceptions {
            let gained = access.without(old.get(what).copied().unwrap_or_default());
            if !gained.is_empty() {
                steps.push(step(!target.default_allow, what, gained));
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<DeviceRule<'static>> {
        text.split(',')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
            .map(|rule| {
                let words: Vec<&str> = rule.split([' ', ':']).collect();
                let number = |word: Option<&&str>| word.and_then(|word| word.parse().ok());
                DeviceRule {
                    allow: words[0] == "allow",
                    kind: words[1].to_owned().into(),
                    major: if words[1] == "a" { None } else { number(words.get(2)) },
                    minor: if words[1] == "a" { None } else { number(words.get(3)) },
                    access: (*words.last().unwrap()).to_owned().into(),
                }
            })
            .collect()
    }

    fn set(text: &str) -> RuleSet {
        RuleSet::from_rules(&rules(text)).unwrap()
    }

    fn steps(from: &RuleSet, to: &RuleSet) -> Vec<String> {
        from.steps_to(to)
            .into_iter()
            .map(|step| format!("{} {}", if step.allow { "+" } else { "-" }, step.line))
            .collect()
    }

    #[test]
    fn lists_of_rules_lead_to_one_state() {
        let nothing = RuleSet::default();
        let table: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("deny a rwm, allow c 1:3 rwm", &["+ c 1:3 rwm"]),
            ("allow c 1:3 r, allow c 1:3 w", &["+ c 1:3 rw"]),
            ("allow c 1:3 rwm, deny c 1:3 w", &["+ c 1:3 rm"]),
            ("allow c 1:3 rw, deny c 1:3 rwm", &[]),
            ("allow a rwm", &["+ a *:* rwm"]),
            ("allow a rwm, deny b 8:0 w", &["+ a *:* rwm", "- b 8:0 w"]),
            ("allow c 1:* r, allow b 1:* r, allow c *:* m", &["+ c *:* m", "+ b 1:* r", "+ c 1:* r"]),
        ];
        for (text, expected) in table {
            assert_eq!(steps(&nothing, &set(text)), expected, "{text}");
        }
    }

    #[test]
    fn holes_in_wildcards_and_malformed_rules_are_refused() {
        let table = [
            ("allow c 1:* rw, deny c 1:3 w", "/devices/1"),
            ("allow c *:* m, allow c 1:5 r, deny c 1:5 rm", "/devices/2"),
            ("allow x 1:3 r", "/devices/0/type"),
            ("allow c 1:3 rx", "/devices/0/access"),
            ("allow c -2:3 r", "/devices/0/major"),
            ("allow c 1:4294967296 r", "/devices/0/minor"),
        ];
        for (text, pointer) in table {
            let error = RuleSet::from_rules(&rules(text)).unwrap_err();
            assert_eq!(error.field(), Some(pointer), "{text}: {error}");
        }
        let mut empty = rules("allow c 1:3 r");
        empty[0].access = "".into();
        assert_eq!(RuleSet::from_rules(&empty).unwrap_err().field(), Some("/devices/0/access"));
        // What the wildcard does not give can be taken away beside it.
        assert_eq!(steps(&RuleSet::default(), &set("allow c *:* m, allow c 1:5 r, deny c 1:5 r")), ["+ c *:* m"]);
    }

    #[test]
    fn a_transition_disturbs_as_little_as_it_can() {
        let table: [(&str, &str, &[&str]); 5] = [
            ("allow c 1:3 rwm", "allow c 1:3 rwm", &[]),
            ("allow c 1:3 rwm", "allow c 1:3 r, allow c 1:5 rwm", &["- c 1:3 wm", "+ c 1:5 rwm"]),
            ("allow a rwm", "allow c 1:3 rwm", &["- a *:* rwm", "+ c 1:3 rwm"]),
            ("allow c 1:3 rwm", "allow a rwm", &["+ a *:* rwm"]),
            ("allow a rwm, deny c 1:3 w", "allow a rwm", &["+ a *:* rwm"]),
        ];
        for (from, to, expected) in table {
            assert_eq!(steps(&set(from), &set(to)), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn devices_list_is_read_back() {
        assert_eq!(RuleSet::from_list("a *:* rwm\n").unwrap(), set("allow a rwm"));
        assert_eq!(RuleSet::from_list("c 1:3 rwm\nb *:* m\n").unwrap(), set("allow c 1:3 rwm, allow b *:* m"));
        assert_eq!(RuleSet::from_list("").unwrap(), RuleSet::default());
        assert_eq!(RuleSet::from_list("nonsense\n"), None);
    }
}
