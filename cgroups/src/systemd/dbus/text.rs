//! Values in GVariant's text format, as the annotations `org.systemd.property.*` have them: `true`, `5`, `uint64 5`, `'text'`,
//! `['a', 'b']`, `@as []`, `('a', 5)`, `<'variant'>`, `{'k': 1}`.

use super::value::{Value, split};

/// Reads one value. An error says what was expected.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text.trim_start(), depth: 0 };
    let value = parser.value(None)?;
    if parser.rest.trim().is_empty() {
        Ok(value)
    } else {
        Err(format!("unexpected {:?} after the value", parser.rest.trim()))
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

impl<'a> Parser<'a> {
    fn eat(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} before {:?}", self.rest)) }
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// A value, of the type `wanted` if that is known.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > 16 {
            return Err("nested too deeply".to_owned());
        }
        let value = self.value_inside(wanted)?;
        self.depth -= 1;
        match wanted {
            Some(wanted) if value.signature() != wanted => Err(format!("expected a value of type {wanted:?}")),
            _ => Ok(value),
        }
    }

    fn value_inside(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            None => Err("expected a value".to_owned()),
            Some('@') => {
                self.eat('@');
                let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                let (signature, rest) = self.rest.split_at(end);
                if split(signature).is_none_or(|(_, more)| !more.is_empty()) {
                    return Err(format!("{signature:?} is not a type"));
                }
                self.rest = rest;
                self.value(Some(signature))
            }
            Some('\'' | '"') => {
                let text = self.quoted()?;
                Ok(match wanted {
                    Some("o") => Value::ObjectPath(text),
                    Some("g") => Value::Signature(text),
                    _ => Value::String(text),
                })
            }
            Some('[') => self.array(wanted),
            Some('(') => self.tuple(wanted),
            Some('{') => self.dict(wanted),
            Some('<') => {
                self.eat('<');
                let value = self.value(None)?;
                self.expect('>')?;
                Ok(Value::variant(value))
            }
            Some(_) => self.simple(wanted),
        }
    }

    fn simple(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let word = self.word();
        match word {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if let Some((_, signature)) = KEYWORDS.iter().find(|(keyword, _)| *keyword == word) {
            return self.value(Some(signature));
        }
        number(word, wanted.unwrap_or("")).ok_or_else(|| format!("{word:?} is not a value"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            match chars.next() {
                None => return Err("a string has no end".to_owned()),
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                    other => return Err(format!("unknown escape {other:?}")),
                },
                end if end == quote => break,
                Some(other) => text.push(other),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.expect('[')?;
        let mut element = wanted.and_then(|wanted| wanted.strip_prefix('a')).map(str::to_owned);
        let mut items = Vec::new();
        if !self.eat(']') {
            loop {
                let item = self.value(element.as_deref())?;
                element.get_or_insert_with(|| item.signature());
                items.push(item);
                if self.eat(']') {
                    break;
                }
                self.expect(',')?;
            }
        }
        let element = element.ok_or("the type of an empty array is unknown: write @as []")?;
        Ok(Value::Array(element, items))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.expect('(')?;
        let mut types = wanted.and_then(|wanted| wanted.strip_prefix('(')?.strip_suffix(')')).unwrap_or("");
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() {
                self.expect(',')?;
                if self.eat(')') {
                    break;
                }
            }
            let wanted = split(types).map(|(one, rest)| {
                types = rest;
                one
            });
            fields.push(self.value(wanted)?);
        }
        if fields.is_empty() {
            Err("an empty tuple is no value of D-Bus".to_owned())
        } else {
            Ok(Value::Struct(fields))
        }
    }

    fn dict(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.expect('{')?;
        let inner = wanted.and_then(|wanted| wanted.strip_prefix("a{")?.strip_suffix('}')).and_then(split);
        let (mut key, mut value) = (inner.map(|two| two.0.to_owned()), inner.map(|two| two.1.to_owned()));
        let mut entries = Vec::new();
        if !self.eat('}') {
            loop {
                let one = self.value(key.as_deref())?;
                self.expect(':')?;
                let two = self.value(value.as_deref())?;
                key.get_or_insert_with(|| one.signature());
                value.get_or_insert_with(|| two.signature());
                entries.push(Value::DictEntry(Box::new((one, two))));
                if self.eat('}') {
                    break;
                }
                self.expect(',')?;
            }
        }
        match (key, value) {
            (Some(key), Some(value)) => Ok(Value::Array(format!("{{{key}{value}}}"), entries)),
            _ => Err("the type of an empty dictionary is unknown: write @a{ss} {}".to_owned()),
        }
    }
}

/// A number in decimal, hexadecimal (0x) or octal (0) notation; without a type, `int32` or `double` as GVariant has it.
fn number(word: &str, signature: &str) -> Option<Value> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        i128::from_str_radix(digits, 8).ok()
    } else {
        digits.parse().ok()
    };
    let integer = magnitude.map(|magnitude| if negative { -magnitude } else { magnitude });
    match signature {
        "y" => u8::try_from(integer?).ok().map(Value::Byte),
        "n" => i16::try_from(integer?).ok().map(Value::Int16),
        "q" => u16::try_from(integer?).ok().map(Value::Uint16),
        "u" => u32::try_from(integer?).ok().map(Value::Uint32),
        "x" => i64::try_from(integer?).ok().map(Value::Int64),
        "t" => u64::try_from(integer?).ok().map(Value::Uint64),
        "i" => i32::try_from(integer?).ok().map(Value::Int32),
        "d" => word.parse().ok().map(Value::Double),
        _ => match integer {
            Some(integer) => i32::try_from(integer).ok().map(Value::Int32),
            None => word.parse().ok().map(Value::Double),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_values() {
        let strings =
            |items: &[&str]| Value::Array("s".to_owned(), items.iter().map(|item| Value::string(*item)).collect());
        let table = [
            ("true", Value::Bool(true)),
            (" 5 ", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("1.5", Value::Double(1.5)),
            ("uint64 18446744073709551615", Value::Uint64(u64::MAX)),
            ("@t 7", Value::Uint64(7)),
            ("byte 0xff", Value::Byte(255)),
            ("'it\\'s'", Value::string("it's")),
            ("\"two words\"", Value::string("two words")),
            ("['a', 'b']", strings(&["a", "b"])),
            ("@as []", strings(&[])),
            ("@au [1, 2]", Value::Array("u".to_owned(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("('a', uint32 5)", Value::Struct(vec![Value::string("a"), Value::Uint32(5)])),
            ("<'v'>", Value::variant(Value::string("v"))),
            (
                "@a(ss) [('/dev/null', 'rw')]",
                Value::Array(
                    "(ss)".to_owned(),
                    vec![Value::Struct(vec![Value::string("/dev/null"), Value::string("rw")])],
                ),
            ),
            (
                "{'k': 1}",
                Value::Array(
                    "{si}".to_owned(),
                    vec![Value::DictEntry(Box::new((Value::string("k"), Value::Int32(1))))],
                ),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in
            ["", "nonsense", "'open", "[1, 'a']", "[]", "byte 256", "5 6", "@zz 5", "{}", "()", "[1", "0x", "uint64 -1"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100)).is_err());
    }
}
