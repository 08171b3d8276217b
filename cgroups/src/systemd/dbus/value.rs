//! D-Bus values and their wire format (D-Bus specification, "Marshaling"), little endian on the way out.

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// The signature of the elements, and the elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    DictEntry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(crate) fn variant(value: Self) -> Self {
        Self::Variant(Box::new(value))
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".to_owned(), bytes.iter().copied().map(Self::Byte).collect())
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::ObjectPath(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".to_owned(),
            Self::Bool(_) => "b".to_owned(),
            Self::Int16(_) => "n".to_owned(),
            Self::Uint16(_) => "q".to_owned(),
            Self::Int32(_) => "i".to_owned(),
            Self::Uint32(_) => "u".to_owned(),
            Self::Int64(_) => "x".to_owned(),
            Self::Uint64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::String(_) => "s".to_owned(),
            Self::ObjectPath(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => format!("({})", fields.iter().map(Self::signature).collect::<String>()),
            Self::DictEntry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Self::Variant(_) => "v".to_owned(),
        }
    }
}

/// The alignment of a type by the first letter of its signature.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

pub(crate) fn pad(buffer: &mut Vec<u8>, alignment: usize) {
    while !buffer.len().is_multiple_of(alignment) {
        buffer.push(0);
    }
}

fn length(count: usize) -> [u8; 4] {
    // A message is limited to 128 MiB, and the ones sent here have some kilobytes.
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// Appends `value` to `buffer`, which starts at an offset of 8 or a multiple of it.
pub(crate) fn write(buffer: &mut Vec<u8>, value: &Value) {
    pad(buffer, alignment(&value.signature()));
    match value {
        Value::Byte(byte) => buffer.push(*byte),
        Value::Bool(flag) => buffer.extend(u32::from(*flag).to_le_bytes()),
        Value::Int16(number) => buffer.extend(number.to_le_bytes()),
        Value::Uint16(number) => buffer.extend(number.to_le_bytes()),
        Value::Int32(number) => buffer.extend(number.to_le_bytes()),
        Value::Uint32(number) => buffer.extend(number.to_le_bytes()),
        Value::Int64(number) => buffer.extend(number.to_le_bytes()),
        Value::Uint64(number) => buffer.extend(number.to_le_bytes()),
        Value::Double(number) => buffer.extend(number.to_le_bytes()),
        Value::String(text) | Value::ObjectPath(text) => {
            buffer.extend(length(text.len()));
            buffer.extend(text.as_bytes());
            buffer.push(0);
        }
        Value::Signature(text) => write_signature(buffer, text),
        Value::Array(element, items) => {
            let at = buffer.len();
            buffer.extend([0; 4]);
            pad(buffer, alignment(element));
            let start = buffer.len();
            items.iter().for_each(|item| write(buffer, item));
            let size = length(buffer.len() - start);
            if let Some(place) = buffer.get_mut(at..at + 4) {
                place.copy_from_slice(&size);
            }
        }
        Value::Struct(fields) => fields.iter().for_each(|field| write(buffer, field)),
        Value::DictEntry(entry) => {
            write(buffer, &entry.0);
            write(buffer, &entry.1);
        }
        Value::Variant(inner) => {
            write_signature(buffer, &inner.signature());
            write(buffer, inner);
        }
    }
}

fn write_signature(buffer: &mut Vec<u8>, signature: &str) {
    buffer.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    buffer.extend(signature.as_bytes());
    buffer.push(0);
}

/// Reads values from a message body. Every failure is `None`: the message is malformed.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian, depth: 0 }
    }

    pub(crate) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(part)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N);
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let count = usize::try_from(self.u32()?).ok()?;
        let text = std::str::from_utf8(self.take(count)?).ok()?.to_owned();
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let count = usize::from(*self.take(1)?.first()?);
        let text = std::str::from_utf8(self.take(count)?).ok()?.to_owned();
        self.take(1)?;
        Some(text)
    }

    /// All values of `signature`.
    pub(crate) fn values(&mut self, signature: &str) -> Option<Vec<Value>> {
        let mut rest = signature;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (one, next) = split(rest)?;
            values.push(self.value(one)?);
            rest = next;
        }
        Some(values)
    }

    /// One value of the single complete type `signature`.
    pub(crate) fn value(&mut self, signature: &str) -> Option<Value> {
        self.depth += 1;
        if self.depth > 32 {
            return None;
        }
        let value = self.value_inside(signature);
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self, signature: &str) -> Option<Value> {
        Some(match signature.as_bytes().first()? {
            b'y' => Value::Byte(*self.take(1)?.first()?),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' | b'h' => Value::Uint32(self.u32()?),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' => Value::String(self.text()?),
            b'o' => Value::ObjectPath(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => {
                let element = signature.get(1..)?;
                let size = usize::try_from(self.u32()?).ok()?;
                self.align(alignment(element));
                let end = self.at.checked_add(size).filter(|end| *end <= self.bytes.len())?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(element)?);
                }
                Value::Array(element.to_owned(), items)
            }
            b'(' => {
                self.align(8);
                Value::Struct(self.values(signature.strip_prefix('(')?.strip_suffix(')')?)?)
            }
            b'{' => {
                self.align(8);
                let mut two = self.values(signature.strip_prefix('{')?.strip_suffix('}')?)?.into_iter();
                Value::DictEntry(Box::new((two.next()?, two.next()?)))
            }
            b'v' => {
                let inner = self.signature()?;
                Value::variant(self.value(&inner)?)
            }
            _ => return None,
        })
    }
}

/// Splits the first complete type off a signature.
pub(crate) fn split(signature: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (index, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.checked_sub(1)?,
            b'a' => continue,
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => {}
            _ => return None,
        }
        if depth == 0 {
            return signature.split_at_checked(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_wire() {
        let pair = Value::Struct(vec![Value::string("/dev/null"), Value::string("rw")]);
        let values = [
            Value::Byte(7),
            Value::Bool(true),
            Value::Int16(-2),
            Value::Uint64(u64::MAX),
            Value::Double(1.5),
            Value::string("grüße"),
            Value::ObjectPath("/a/b".to_owned()),
            Value::Signature("a(ss)".to_owned()),
            Value::bytes(&[1, 2, 3]),
            Value::Array("(ss)".to_owned(), vec![pair.clone(), pair]),
            Value::Array("(ss)".to_owned(), Vec::new()),
            Value::variant(Value::Array("u".to_owned(), vec![Value::Uint32(5)])),
            Value::Array(
                "{sv}".to_owned(),
                vec![Value::DictEntry(Box::new((Value::string("k"), Value::variant(Value::Int32(-1)))))],
            ),
        ];
        let mut buffer = Vec::new();
        let mut signature = String::new();
        for value in &values {
            write(&mut buffer, value);
            signature.push_str(&value.signature());
        }
        assert_eq!(Reader::new(&buffer, false).values(&signature).unwrap(), values);
        // Nothing panics on a message cut short anywhere.
        for cut in 0..buffer.len() {
            assert_eq!(Reader::new(&buffer[..cut], false).values(&signature), None);
        }
    }

    #[test]
    fn signatures_split_into_complete_types() {
        let table = [
            ("a(sv)u", Some(("a(sv)", "u"))),
            ("s", Some(("s", ""))),
            ("(s", None),
            ("a", None),
            (")", None),
            ("z", None),
        ];
        for (signature, expected) in table {
            assert_eq!(split(signature), expected, "{signature}");
        }
    }
}
