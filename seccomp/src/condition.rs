//! Conditions on arguments: reading them from a rule, and the order in which rules on one call are tried.
use crate::error::{Error, Kind};
use crate::profile::{self, Rule};
use std::cmp::Ordering;

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

/// All operator names of the OCI specification.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_CMP_NE" => Self::NotEqual,
            "SCMP_CMP_LT" => Self::Less,
            "SCMP_CMP_LE" => Self::LessOrEqual,
            "SCMP_CMP_EQ" => Self::Equal,
            "SCMP_CMP_GE" => Self::GreaterOrEqual,
            "SCMP_CMP_GT" => Self::Greater,
            "SCMP_CMP_MASKED_EQ" => Self::MaskedEqual,
            _ => return None,
        })
    }

    /// Conditions of a higher class are tried first.
    const fn class(self) -> u8 {
        match self {
            Self::Equal | Self::NotEqual | Self::MaskedEqual => 2,
            Self::Less | Self::LessOrEqual => 1,
            Self::Greater | Self::GreaterOrEqual => 0,
        }
    }
}

/// One condition, with the value already cut to the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) operator: Operator,
    pub(crate) mask: u64,
    pub(crate) value: u64,
}

impl Condition {
    /// Reads condition `index` of rule `rule`.
    pub(crate) fn parse(rule: usize, index: usize, from: &profile::Condition<'_>) -> Result<Self, Error> {
        let argument = u8::try_from(from.index).ok().filter(|&argument| argument <= 5).ok_or_else(|| {
            let message = format!("{} is not the index of an argument: a call has six, 0 to 5", from.index);
            Error::in_rule(Kind::BadArgumentIndex, rule, &format!("/args/{index}/index"), message)
        })?;
        let operator = Operator::parse(&from.op).ok_or_else(|| {
            let message = if from.op.is_empty() {
                "no operator given".to_owned()
            } else {
                format!("unknown operator {:?}", from.op)
            };
            Error::in_rule(Kind::UnknownOperator, rule, &format!("/args/{index}/op"), message)
        })?;
        Ok(match operator {
            Operator::MaskedEqual => Self { argument, operator, mask: from.value, value: from.value_two & from.value },
            _ => Self { argument, operator, mask: u64::MAX, value: from.value },
        })
    }

    /// The condition as it is tested where only the lower half of an argument counts.
    pub(crate) const fn narrow(self) -> Self {
        const LOW: u64 = 0xffff_ffff;
        Self { mask: self.mask & LOW, value: self.value & LOW, ..self }
    }

    /// A masked comparison that looks at no bit holds for every value.
    pub(crate) const fn is_always_true(self) -> bool {
        matches!(self.operator, Operator::MaskedEqual) && self.mask == 0
    }

    fn order(&self, other: &Self) -> Ordering {
        let values = match self.operator {
            Operator::Less | Operator::LessOrEqual => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        };
        (other.argument, other.operator.class()).cmp(&(self.argument, self.operator.class())).then(values)
    }
}

/// The order in which the rules on one call are tried when more than one may match.
///
/// Profiles do not say it, and libseccomp, on which the other runtimes stand, sorts: higher arguments first, then
/// equality before less-than before greater-than, then the narrower range first. This is the same order.
pub(crate) fn order(left: &[Condition], right: &[Condition]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        match left.order(right) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    left.len().cmp(&right.len())
}

/// Whether a rule names an argument twice; then each of its conditions is a rule of its own.
pub(crate) fn repeats_an_argument(rule: &Rule<'_>) -> bool {
    let mut seen = 0_u32;
    rule.args.iter().any(|condition| {
        let bit = 1_u32.checked_shl(condition.index).unwrap_or(0);
        let repeated = seen & bit != 0;
        seen |= bit;
        repeated
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(argument: u8, operator: Operator, value: u64) -> Condition {
        Condition { argument, operator, mask: u64::MAX, value }
    }

    #[test]
    fn rules_are_ordered_as_by_libseccomp() {
        use Operator::{Equal, Greater, Less, NotEqual};
        let sorted = [
            vec![condition(2, Equal, 1)],
            vec![condition(0, Equal, 9)],
            vec![condition(0, NotEqual, 3)],
            vec![condition(0, NotEqual, 3), condition(1, Equal, 1)],
            vec![condition(0, Less, 5)],
            vec![condition(0, Less, 8)],
            vec![condition(0, Greater, 8)],
            vec![condition(0, Greater, 5)],
        ];
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        shuffled.sort_by(|left, right| order(left, right));
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn narrowing_cuts_mask_and_value() {
        let wide =
            Condition { argument: 0, operator: Operator::MaskedEqual, mask: 0xf_0000_0000, value: 0x1_0000_0000 };
        assert!(!wide.is_always_true());
        assert!(wide.narrow().is_always_true());
    }
}
