//! The shape of a config as text, for the paths that may be slow: saying exactly where a file is wrong, and which of its fields
//! are unknown.
//!
//! `schema.txt` lists the objects, separated by blank lines: the object's name, then a line per field with the field's type:
//! `string`, `bool`, `u32` and so on, the name of another object, or `=Set` for a closed set of [`super::names`].
//! After the type stand `[]` for a list, `{}` for a map (`{Set}`: with the keys of a closed set), `!` for a field that must be
//! there, `?` where the empty string means absent. It is text and not a table of structs so that nothing of it has to be
//! relocated when the program starts; a test holds it equal to the structs of [`super::model`].

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::names::{
    Clock, DeviceType, IoPriorityClass, MemoryPolicyFlag, MemoryPolicyMode, Named, NamespaceType, PersonalityDomain,
    Propagation, Rlimit, SchedulerFlag, SchedulerPolicy,
};

const SCHEMA: &str = include_str!("schema.txt");

/// A place in a file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) pointer: String,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
}

/// A field of the file that this version of runtime-spec does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// The known field of the same object that is most like it.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field {}", self.pointer)?;
        match self.nearest {
            Some(name) => write!(f, " (did you mean {name:?}?)"),
            None => Ok(()),
        }
    }
}

/// What a walk through a file against the schema finds.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) unknown: Vec<UnknownField>,
}

/// Compares the JSON in `bytes` with the schema's object `root`.
///
/// # Errors
/// The parser's own words when it is not JSON at all.
pub(super) fn compare(bytes: &[u8], root: &'static str) -> Result<Report, serde_json::Error> {
    let mut report = Report::default();
    let mut path = String::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Walk { kind: Kind::Object(root), place: Place::Element, path: &mut path, report: &mut report }
        .deserialize(&mut json)?;
    json.end()?;
    Ok(report)
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Text,
    Set(&'static str),
    Unsigned(u32),
    Signed(u32),
    Object(&'static str),
    List(&'static str),
    Map { value: &'static str, keys: &'static str },
}

impl Kind {
    fn parse(text: &'static str) -> Self {
        if let Some(element) = text.strip_suffix("[]") {
            return Self::List(element);
        }
        if let Some((value, keys)) = text.strip_suffix('}').and_then(|rest| rest.split_once('{')) {
            return Self::Map { value, keys };
        }
        match text {
            "bool" => Self::Bool,
            "string" => Self::Text,
            "u16" => Self::Unsigned(16),
            "u32" => Self::Unsigned(32),
            "u64" => Self::Unsigned(64),
            "i32" => Self::Signed(32),
            "i64" => Self::Signed(64),
            _ => text.strip_prefix('=').map_or(Self::Object(text), Self::Set),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Text => f.write_str("a string"),
            Self::Set(set) => {
                let what = closed_set(set).0;
                let article = if what.starts_with(['I', 'e']) { "an" } else { "a" };
                write!(f, "{article} {what}")
            }
            Self::Unsigned(bits) => write!(f, "an unsigned {bits}-bit number"),
            Self::Signed(bits) => write!(f, "a signed {bits}-bit number"),
            Self::Object(_) | Self::Map { .. } => f.write_str("an object"),
            Self::List(_) => f.write_str("a list"),
        }
    }
}

/// What the set is called and the names in it.
fn closed_set(name: &str) -> (&'static str, Vec<&'static str>) {
    fn of<T: Named>() -> (&'static str, Vec<&'static str>) {
        (T::WHAT, T::ALL.iter().map(|(name, _)| *name).collect())
    }
    match name {
        "Clock" => of::<Clock>(),
        "DeviceType" => of::<DeviceType>(),
        "IoPriorityClass" => of::<IoPriorityClass>(),
        "MemoryPolicyFlag" => of::<MemoryPolicyFlag>(),
        "MemoryPolicyMode" => of::<MemoryPolicyMode>(),
        "NamespaceType" => of::<NamespaceType>(),
        "PersonalityDomain" => of::<PersonalityDomain>(),
        "Propagation" => of::<Propagation>(),
        "Rlimit" => of::<Rlimit>(),
        "SchedulerFlag" => of::<SchedulerFlag>(),
        "SchedulerPolicy" => of::<SchedulerPolicy>(),
        _ => ("name", Vec::new()),
    }
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
    /// The empty string means absent.
    may_be_empty: bool,
}

fn fields(object: &str) -> impl Iterator<Item = Field> + use<> {
    let block = SCHEMA.split("\n\n").find_map(|block| {
        let (name, lines) = block.split_once('\n')?;
        (name == object).then_some(lines)
    });
    block.unwrap_or_default().lines().filter_map(|line| {
        let (name, text) = line.split_once(' ')?;
        let required = text.ends_with('!');
        let may_be_empty = text.ends_with('?');
        Some(Field { name, kind: Kind::parse(text.trim_end_matches(['!', '?'])), required, may_be_empty })
    })
}

/// All fields of a config as patterns of JSON pointers, a `*` standing for an index or a key, in the order of the schema.
pub fn field_patterns() -> Vec<String> {
    fn add(prefix: &str, kind: Kind, all: &mut Vec<String>) {
        match kind {
            Kind::Object(name) => {
                for field in fields(name) {
                    let pointer = format!("{prefix}/{}", field.name);
                    all.push(pointer.clone());
                    add(&pointer, field.kind, all);
                }
            }
            Kind::List(element) => add(&format!("{prefix}/*"), Kind::parse(element), all),
            Kind::Map { value, .. } => add(&format!("{prefix}/*"), Kind::parse(value), all),
            _ => {}
        }
    }
    let mut all = Vec::new();
    add("", Kind::Object("Config"), &mut all);
    all
}

/// The name most like `wrong`, when it is like it at all: it holds it, or at most a third of the letters differ.
pub(super) fn nearest(wrong: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let wrong = wrong.to_ascii_lowercase();
    let far = |name: &str| {
        let name = name.to_ascii_lowercase();
        if wrong.len() >= 3 && name.contains(&wrong) { 0 } else { distance(&wrong, &name) }
    };
    known
        .map(|name| (far(name), name))
        .min_by_key(|(far, _)| *far)
        .filter(|(far, name)| *far < name.len() && *far <= name.len().max(3) / 3)
        .map(|(_, name)| name)
}

/// How many bytes have to be put in, left out or changed to turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let here = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            left = here;
            *cell = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Appends `token` to a JSON pointer, escaped as RFC 6901 wants it.
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            _ => pointer.push(c),
        }
    }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a list or a map, or it is the whole file.
    Element,
    /// It is a field's value: `null` means that the field is absent.
    Field(Field),
}

/// Whether what stands at this place may be a secret, which no message repeats.
fn may_be_secret(pointer: &str) -> bool {
    pointer.split('/').any(|token| matches!(token, "args" | "env" | "annotations" | "sysctl" | "commandLine"))
}

/// A walk through one value of the file: reports every fault and goes on.
struct Walk<'w> {
    kind: Kind,
    place: Place,
    path: &'w mut String,
    report: &'w mut Report,
}

impl Walk<'_> {
    fn fault(&mut self, detail: String, hint: Option<String>) {
        self.report.faults.push(Fault { pointer: self.path.clone(), detail, hint });
    }

    fn wrong(&mut self, found: impl fmt::Display) {
        let detail = match may_be_secret(self.path) {
            true => format!("expected {}, found another type", self.kind),
            false => format!("expected {}, found {found}", self.kind),
        };
        self.fault(detail, None);
    }

    fn text(&mut self, text: &str) {
        match self.kind {
            Kind::Text => {}
            Kind::Set(set) => self.name_of(set, text),
            // A long string would hide the message.
            _ => match text.char_indices().nth(40) {
                Some((end, _)) => self.wrong(format_args!("string {:?}…", text.get(..end).unwrap_or_default())),
                None => self.wrong(format_args!("string {text:?}")),
            },
        }
    }

    fn name_of(&mut self, set: &str, text: &str) {
        let (what, names) = closed_set(set);
        if names.contains(&text) {
            return;
        }
        let hint = match nearest(text, names.iter().copied()) {
            Some(name) => format!("did you mean {name:?}?"),
            None => format!("known: {}", names.join(", ")),
        };
        self.fault(format!("invalid {what} {text:?}"), Some(hint));
    }

    fn whole(&mut self, number: i128) {
        let fits = match self.kind {
            Kind::Unsigned(bits) => (0..1i128 << bits).contains(&number),
            Kind::Signed(bits) => (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&number),
            _ => false,
        };
        if !fits {
            self.wrong(format_args!("{number}"));
        }
    }

    /// Runs `walk` at the place `token` below this one.
    fn below<T>(&mut self, token: &str, kind: Kind, place: Place, walk: impl FnOnce(Walk<'_>) -> T) -> T {
        let length = self.path.len();
        push_token(self.path, token);
        let result = walk(Walk { kind, place, path: self.path, report: self.report });
        self.path.truncate(length);
        result
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, name: &'static str, mut map: A) -> Result<(), A::Error> {
        let known: Vec<Field> = fields(name).collect();
        let mut seen = vec![false; known.len()];
        while let Some(key) = map.next_key::<String>()? {
            let found = known.iter().zip(seen.iter_mut()).find(|(field, _)| field.name == key);
            let Some((field, seen)) = found else {
                map.next_value::<IgnoredAny>()?;
                let nearest = nearest(&key, known.iter().map(|field| field.name));
                self.below(&key, self.kind, self.place, |at| {
                    at.report.unknown.push(UnknownField { pointer: at.path.clone(), nearest });
                });
                continue;
            };
            let twice = std::mem::replace(seen, true);
            self.below(&key, field.kind, Place::Field(*field), |mut at| {
                if twice {
                    at.fault("written twice".into(), None);
                }
                map.next_value_seed(at)
            })?;
        }
        for (field, _) in known.iter().zip(&seen).filter(|(field, seen)| field.required && !**seen) {
            self.below(field.name, field.kind, Place::Field(*field), |mut at| at.missing());
        }
        Ok(())
    }

    fn missing(&mut self) {
        let detail = match self.kind {
            Kind::Set(set) => format!("invalid {}: none is given", closed_set(set).0),
            kind => format!("required, but missing: {kind}"),
        };
        self.fault(detail, None);
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        if self.kind != Kind::Bool {
            self.wrong(value);
        }
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.whole(value.into());
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.whole(value.into());
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.wrong(format_args!("{value:?}"));
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        match self.place {
            Place::Field(Field { may_be_empty: true, .. }) if value.is_empty() => {}
            _ => self.text(value),
        }
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        match self.place {
            Place::Element => self.wrong("null"),
            Place::Field(field) if field.required => self.missing(),
            Place::Field(_) => {}
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let Kind::List(element) = self.kind else {
            self.wrong("a list");
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let kind = Kind::parse(element);
        let mut index = 0usize;
        while self.below(&index.to_string(), kind, Place::Element, |at| list.next_element_seed(at))?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        match self.kind {
            Kind::Object(name) => self.object(name, map),
            Kind::Map { value, keys } => {
                let kind = Kind::parse(value);
                while let Some(key) = map.next_key::<String>()? {
                    if !keys.is_empty() {
                        self.below(&key, Kind::Set(keys), Place::Element, |mut at| at.text(&key));
                    }
                    self.below(&key, kind, Place::Element, |at| map.next_value_seed(at))?;
                }
                Ok(())
            }
            _ => {
                self.wrong("an object");
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest value of `kind` that has every field.
    fn full(kind: Kind) -> String {
        match kind {
            Kind::Bool => "true".into(),
            Kind::Text => "\"x\"".into(),
            Kind::Set(set) => format!("{:?}", closed_set(set).1[0]),
            Kind::Unsigned(_) | Kind::Signed(_) => "1".into(),
            Kind::List(element) => format!("[{}]", full(Kind::parse(element))),
            Kind::Map { value, keys } => {
                let key = if keys.is_empty() { "x" } else { closed_set(keys).1[0] };
                format!("{{{key:?}:{}}}", full(Kind::parse(value)))
            }
            Kind::Object(name) => {
                let fields: Vec<String> = fields(name).map(|f| format!("{:?}:{}", f.name, full(f.kind))).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    /// The place in [`full`] that a pattern of a pointer means.
    fn concrete(pattern: &str) -> String {
        let pointer = pattern.replace("/timeOffsets/*", "/timeOffsets/monotonic");
        pointer.replace("/netDevices/*", "/netDevices/x").replace("/rdma/*", "/rdma/x").replace('*', "0")
    }

    /// Every object that the schema speaks of.
    fn objects() -> Vec<&'static str> {
        SCHEMA.split("\n\n").filter_map(|block| block.split_once('\n')).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_object_that_is_named_is_there() {
        for object in objects() {
            for field in fields(object) {
                let inner = match field.kind {
                    Kind::List(element) => Kind::parse(element),
                    Kind::Map { value, .. } => Kind::parse(value),
                    kind => kind,
                };
                match inner {
                    Kind::Object(name) => assert!(objects().contains(&name), "{object}/{}: {name}", field.name),
                    Kind::Set(set) => assert!(!closed_set(set).1.is_empty(), "{object}/{}: {set}", field.name),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn the_model_takes_the_schemas_fields_and_no_others() {
        let text = full(Kind::Object("Config"));
        let config = crate::config::load(text.as_bytes()).unwrap();
        assert!(!config.has_unknown_fields, "a field of schema.txt is not in the model: {text}");
        // The other way round serde says which fields a struct of the model has: `Probe` collects them.
        for (object, fields_of_model) in crate::config::model::field_names() {
            let of_schema: Vec<&str> = fields(object).map(|field| field.name).collect();
            let mut missing: Vec<&&str> = fields_of_model.iter().filter(|name| !of_schema.contains(name)).collect();
            missing.sort();
            assert!(missing.is_empty(), "fields of {object} that schema.txt lacks: {missing:?}");
        }
    }

    #[test]
    fn model_and_schema_refuse_the_same_values() {
        let text = full(Kind::Object("Config"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wrong = [
            "null",
            "true",
            "-1",
            "1",
            "65536",
            "4294967296",
            "18446744073709551615",
            "1e400",
            "0.5",
            "\"\"",
            "\"zero\"",
            "[]",
            "{}",
            "[null]",
            "[[]]",
            "[{}]",
            "{\"x\":null}",
            "{\"x\":[]}",
        ];
        let mut tried = 0;
        for pattern in field_patterns() {
            let pointer = concrete(&pattern);
            for value in wrong {
                let mut changed = json.clone();
                let place = changed.pointer_mut(&pointer).unwrap_or_else(|| panic!("{pointer}"));
                let Ok(value) = serde_json::from_str(value) else { continue };
                *place = value;
                let changed = changed.to_string();
                let model = crate::config::load(changed.as_bytes());
                let report = compare(changed.as_bytes(), "Config").unwrap();
                let agreed = model.is_ok() == report.faults.is_empty();
                assert!(agreed, "{pointer}: {:?} but {:?}\n{changed}", model.as_ref().err(), report.faults);
                if let Ok(config) = model {
                    assert_eq!(config.has_unknown_fields, !report.unknown.is_empty(), "{changed}");
                }
                tried += 1;
            }
        }
        assert!(tried > 2000, "{tried}");
    }

    #[test]
    fn model_and_schema_need_the_same_fields() {
        let text = full(Kind::Object("Config"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for pattern in field_patterns() {
            if pattern.ends_with('*') {
                continue;
            }
            let pointer = concrete(&pattern);
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut changed = json.clone();
            changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
            let changed = changed.to_string();
            let model = crate::config::load(changed.as_bytes());
            let report = compare(changed.as_bytes(), "Config").unwrap();
            assert_eq!(model.is_ok(), report.faults.is_empty(), "{pointer}: {:?} but {:?}", model.err(), report.faults);
        }
    }

    #[test]
    fn unknown_fields_come_with_their_nearest_name() {
        let unknown = |text: &str| -> Vec<String> {
            compare(text.as_bytes(), "Config").unwrap().unknown.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            unknown(
                r#"{"ociVersion":"1","root":{"path":"r","readOnly":true},"linux":{"a/b~c":{"deep":[1]}},"hostName":1}"#
            ),
            [
                "unknown field /root/readOnly (did you mean \"readonly\"?)",
                "unknown field /linux/a~1b~0c",
                "unknown field /hostName (did you mean \"hostname\"?)",
            ]
        );
    }

    #[test]
    fn distance_counts_edits() {
        for (a, b, far) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0), ("abc", "acb", 2)]
        {
            assert_eq!(distance(a, b), far, "{a} {b}");
        }
    }
}
