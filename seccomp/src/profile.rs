//! The OCI `linux.seccomp` section as it stands in `config.json`.
//!
//! Names of actions, operators and architectures stay text here, so that [`compile`](crate::compile()) can name the
//! rule and the field of one it does not know.
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The seccomp section. Strings are borrowed from the text it was read from wherever they hold no escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile<'a> {
    /// What happens to calls that no rule matches: `SCMP_ACT_…`.
    #[serde(borrow, default, deserialize_with = "text")]
    pub default_action: Cow<'a, str>,
    /// The errno (for `SCMP_ACT_TRACE`: the message) of the default action; EPERM when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_…`; the native one always counts as listed.
    #[serde(borrow, default, deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Cow<'a, str>>,
    /// `SECCOMP_FILTER_FLAG_…`; an absent list means [`Options::default_flags`](crate::Options).
    #[serde(borrow, default, deserialize_with = "optional_texts", skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Cow<'a, str>>>,
    /// The Unix socket of the agent that answers `SCMP_ACT_NOTIFY`.
    #[serde(borrow, default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<Cow<'a, str>>,
    /// Opaque text handed to that agent.
    #[serde(borrow, default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<Cow<'a, str>>,
    /// The rules.
    #[serde(borrow, default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<Rule<'a>>,
}

/// One entry of `syscalls`: some calls, an action, and the conditions under which it is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule<'a> {
    /// The names of the system calls.
    #[serde(borrow, default, deserialize_with = "texts")]
    pub names: Vec<Cow<'a, str>>,
    /// `SCMP_ACT_…`
    #[serde(borrow, default, deserialize_with = "text")]
    pub action: Cow<'a, str>,
    /// The errno (for `SCMP_ACT_TRACE`: the message); EPERM when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must hold, each on another argument. If two speak of the same argument, any one of all suffices.
    #[serde(borrow, default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Condition<'a>>,
}

/// One comparison of an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition<'a> {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// What it is compared with; the mask for `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What the masked argument is compared with, for `SCMP_CMP_MASKED_EQ`.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "is_zero")]
    pub value_two: u64,
    /// `SCMP_CMP_…`
    #[serde(borrow, default, deserialize_with = "text")]
    pub op: Cow<'a, str>,
}

impl Profile<'_> {
    /// Whether the section asks for no filter at all: neither a default action nor a rule, as runc reads it.
    pub fn is_disabled(&self) -> bool {
        self.default_action.is_empty() && self.syscalls.is_empty()
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Profile<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let all = |texts: Vec<Cow<'_, str>>| texts.into_iter().map(own).collect();
        Profile {
            default_action: own(self.default_action),
            default_errno_ret: self.default_errno_ret,
            architectures: all(self.architectures),
            flags: self.flags.map(all),
            listener_path: self.listener_path.map(own),
            listener_metadata: self.listener_metadata.map(own),
            syscalls: self.syscalls.into_iter().map(Rule::into_owned).collect(),
        }
    }
}

impl Rule<'_> {
    fn into_owned(self) -> Rule<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let condition = |Condition { index, value, value_two, op }: Condition<'_>| Condition {
            index,
            value,
            value_two,
            op: own(op),
        };
        Rule {
            names: self.names.into_iter().map(own).collect(),
            action: own(self.action),
            errno_ret: self.errno_ret,
            args: self.args.into_iter().map(condition).collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// JSON `null` reads as the empty value, as it does for every other runtime.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Borrowed if it can be: serde's own `Cow` inside a list or an option never is.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    optional_text(deserializer).map(Option::unwrap_or_default)
}

fn optional_text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Option::<Text<'a>>::deserialize(deserializer).map(|text| text.map(|Text(text)| text))
}

fn texts<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cow<'a, str>>, D::Error> {
    optional_texts(deserializer).map(Option::unwrap_or_default)
}

fn optional_texts<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Cow<'a, str>>>, D::Error> {
    struct ListVisitor;
    impl<'de> Visitor<'de> for ListVisitor {
        type Value = Option<Vec<Cow<'de, str>>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_seq(self)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            // A hint from the input is not trusted with memory.
            let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(512));
            while let Some(Text(text)) = items.next_element()? {
                list.push(text);
            }
            Ok(Some(list))
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Err(E::invalid_type(serde::de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_option(ListVisitor)
}
