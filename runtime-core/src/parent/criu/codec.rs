//! The part of the protocol buffers encoding that CRIU's messages use: numbers, strings and messages in messages.

/// What is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A field's value as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'b> {
    /// Any number or boolean.
    Number(u64),
    /// A string or a message.
    Bytes(&'b [u8]),
    /// Eight or four bytes, which no message of CRIU has.
    Fixed,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Appends a number in groups of seven bits, the least significant first.
fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

/// Appends a field that is a number. Negative ones take ten bytes, as 64-bit two's complement.
pub(super) fn put_number(to: &mut Vec<u8>, field: u32, number: i64) {
    put_varint(to, u64::from(field) << 3 | VARINT);
    put_varint(to, number.cast_unsigned());
}

/// Appends a field that is a string or a message.
pub(super) fn put_bytes(to: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(to, u64::from(field) << 3 | BYTES);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// The fields of a message, in their order; ends with [`Malformed`] where it is not one.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Raw<'b>), Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number != 0).ok_or(Malformed)?;
        let value = match key & 7 {
            VARINT => Raw::Number(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Raw::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Raw::Fixed)?,
            FIXED32 => self.take(4).map(|_| Raw::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Raw<'b>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl Raw<'_> {
    /// A 32-bit number, which is sent with its sign extended to 64 bits.
    pub(super) fn int32(self) -> Result<i32, Malformed> {
        match self {
            Self::Number(number) => Ok((number & 0xffff_ffff) as u32 as i32),
            _ => Err(Malformed),
        }
    }

    /// A boolean.
    pub(super) fn flag(self) -> Result<bool, Malformed> {
        match self {
            Self::Number(number) => Ok(number != 0),
            _ => Err(Malformed),
        }
    }
}

impl<'b> Raw<'b> {
    /// A string or a message.
    pub(super) fn bytes(self) -> Result<&'b [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// A string; what is not UTF-8 in it is replaced, since it is only shown or compared.
    pub(super) fn text(self) -> Result<String, Malformed> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u32, number: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, field, number);
        bytes
    }

    /// The examples of the encoding's documentation, and the edges.
    #[test]
    fn numbers_and_strings_have_the_documented_bytes() {
        for (field, value, expected) in [
            (1, 150, &[0x08, 0x96, 0x01][..]),
            (1, 0, &[0x08, 0x00]),
            (16, 1, &[0x80, 0x01, 0x01]),
            (1, -2, &[0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(number(field, value), expected, "{field} {value}");
        }
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 2, b"testing");
        assert_eq!(bytes, b"\x12\x07testing");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut inner = Vec::new();
        put_number(&mut inner, 64, 3);
        for value in [0, 1, 127, 128, 300, -1, i64::from(i32::MAX), i64::from(i32::MIN)] {
            let mut bytes = number(9, value);
            put_bytes(&mut bytes, 37, &inner);
            put_bytes(&mut bytes, 13, "/a b".as_bytes());
            let fields: Vec<_> = Fields(&bytes).collect::<Result<_, _>>().unwrap();
            assert_eq!(fields.len(), 3);
            assert_eq!((fields[0].0, fields[0].1.int32()), (9, Ok(i32::try_from(value).unwrap())));
            assert_eq!((fields[1].0, fields[1].1.bytes()), (37, Ok(&inner[..])));
            assert_eq!((fields[2].0, fields[2].1.text().unwrap()), (13, "/a b".to_owned()));
        }
    }

    #[test]
    fn garbage_is_refused_and_ends_the_reading() {
        for bytes in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 0x05, b'a'],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0xff; 11],
            &[0x0b],
            &[0x00, 0x00],
            &[0x09, 0x00],
        ] {
            let fields: Vec<_> = Fields(bytes).collect();
            assert_eq!(fields.last(), Some(&Err(Malformed)), "{bytes:?}");
        }
        assert_eq!(Raw::Fixed.int32(), Err(Malformed));
        assert_eq!(Raw::Number(1).text(), Err(Malformed));
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut seed = 0x1234_5678_u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 17;
                    seed ^= seed << 5;
                    (seed & 0xff) as u8
                })
                .collect();
            assert!(Fields(&bytes).count() <= bytes.len());
        }
    }
}
