//! The binary form of protocol buffers (proto3), as far as containerd's messages need it.
//!
//! What is decoded comes from a socket: every length is checked against what is there, and nothing is allocated because a number
//! says so. Fields that are not known are passed over, as the format demands: that is how newer peers stay compatible.

use std::collections::BTreeMap;

/// Declares messages: `Name { number field: type, … }`.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($number:literal $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        #[allow(missing_docs, reason = "the fields are the protocol's")]
        pub(crate) struct $name { $(pub(crate) $field: $kind,)* }

        impl $crate::proto::wire::Message for $name {
            fn write(&self, _out: &mut Vec<u8>) {
                $($crate::proto::wire::Field::put(&self.$field, $number, _out);)*
            }

            fn take(
                &mut self,
                number: u32,
                _value: $crate::proto::wire::Value<'_>,
            ) -> Result<(), $crate::proto::wire::Malformed> {
                match number {
                    $($number => $crate::proto::wire::Field::take(&mut self.$field, _value),)*
                    _ => Ok(()),
                }
            }
        }
    )*};
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The value of one field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'v> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'v [u8]),
    Fixed32,
}

/// A message: a list of numbered fields.
pub(crate) trait Message: Default {
    /// Appends the fields that are not at their default.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes one field.
    ///
    /// # Errors
    /// When the value does not fit the field's type.
    fn take(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed>;
}

/// Something that can be a field.
pub(crate) trait Field {
    fn put(&self, number: u32, out: &mut Vec<u8>);
    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed>;
}

/// The bytes of a message.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out);
    out
}

/// The message that the bytes are.
///
/// # Errors
/// When they are none.
pub(crate) fn decode<M: Message>(bytes: &[u8]) -> Result<M, Malformed> {
    let mut message = M::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, value) = field(&mut rest)?;
        message.take(number, value)?;
    }
    Ok(message)
}

/// Splits the next field off.
fn field<'v>(rest: &mut &'v [u8]) -> Result<(u32, Value<'v>), Malformed> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
    if number == 0 {
        return Err(Malformed);
    }
    let value = match key & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => Value::Fixed64(u64::from_le_bytes(split(rest, 8)?.try_into().map_err(|_| Malformed)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Bytes(split(rest, length)?)
        }
        5 => {
            split(rest, 4)?;
            Value::Fixed32
        }
        // Groups have not been in use since proto2.
        _ => return Err(Malformed),
    };
    Ok((number, value))
}

fn split<'v>(rest: &mut &'v [u8], length: usize) -> Result<&'v [u8], Malformed> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for (place, byte) in rest.iter().take(10).enumerate() {
        let low = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if place == 9 && low > 1 {
            return Err(Malformed);
        }
        number |= low << (7 * place);
        if byte & 0x80 == 0 {
            split(rest, place + 1)?;
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_key(number: u32, kind: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | kind, out);
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_key(number, 2, out);
    put_varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

fn put_message(number: u32, message: &impl Message, out: &mut Vec<u8>) {
    put_bytes(number, &encode(message), out);
}

fn bytes(value: Value<'_>) -> Result<&[u8], Malformed> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Malformed),
    }
}

fn text(value: Value<'_>) -> Result<String, Malformed> {
    String::from_utf8(bytes(value)?.to_vec()).map_err(|_| Malformed)
}

impl Field for String {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_bytes(number, self.as_bytes(), out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        *self = text(value)?;
        Ok(())
    }
}

impl Field for Vec<u8> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_bytes(number, self, out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        *self = bytes(value)?.to_vec();
        Ok(())
    }
}

impl Field for Vec<String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for item in self {
            put_bytes(number, item.as_bytes(), out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        self.push(text(value)?);
        Ok(())
    }
}

impl<M: Message> Field for Option<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(message) = self {
            put_message(number, message, out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        // A message that comes in parts is put together.
        let mut rest = bytes(value)?;
        let message = self.get_or_insert_with(M::default);
        while !rest.is_empty() {
            let (number, value) = field(&mut rest)?;
            message.take(number, value)?;
        }
        Ok(())
    }
}

impl<M: Message> Field for Vec<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for message in self {
            put_message(number, message, out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        self.push(decode(bytes(value)?)?);
        Ok(())
    }
}

messages! {
    /// An entry of a map.
    Entry {
        1 key: String,
        2 value: String,
    }
}

impl Field for BTreeMap<String, String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for (key, value) in self {
            put_message(number, &Entry { key: key.clone(), value: value.clone() }, out);
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        let entry: Entry = decode(bytes(value)?)?;
        self.insert(entry.key, entry.value);
        Ok(())
    }
}

/// Numbers in packed form: one field for all.
impl Field for Vec<u64> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let mut packed = Vec::new();
        for item in self {
            put_varint(*item, &mut packed);
        }
        put_bytes(number, &packed, out);
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        match value {
            Value::Varint(item) => self.push(item),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    self.push(varint(&mut packed)?);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// A number type, by its conversions to and from the 64 bits that are written.
macro_rules! numbers {
    ($($kind:ty: |$number:ident| $to:expr, |$bits:ident| $from:expr;)*) => {$(
        impl Field for $kind {
            fn put(&self, number: u32, out: &mut Vec<u8>) {
                let $number = *self;
                if $number != <$kind>::default() {
                    put_key(number, 0, out);
                    put_varint($to, out);
                }
            }

            fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
                let Value::Varint($bits) = value else { return Err(Malformed) };
                *self = $from;
                Ok(())
            }
        }
    )*};
}

/// The low half: what does not fit a 32 bit number is cut, as the format demands.
fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
}

numbers! {
    bool: |on| u64::from(on), |bits| bits != 0;
    u32: |number| u64::from(number), |bits| low(bits);
    i32: |number| i64::from(number).cast_unsigned(), |bits| low(bits).cast_signed();
    u64: |number| number, |bits| bits;
    i64: |number| number.cast_unsigned(), |bits| bits.cast_signed();
}

impl Field for f64 {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if *self != 0.0 {
            put_key(number, 1, out);
            out.extend_from_slice(&self.to_bits().to_le_bytes());
        }
    }

    fn take(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        let Value::Fixed64(bits) = value else { return Err(Malformed) };
        *self = Self::from_bits(bits);
        Ok(())
    }
}
