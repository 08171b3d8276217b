//! One block of 512 bytes: the header of an entry, in the formats of v7, ustar and GNU.

use crate::base::{Error, Kind, Result, Step};
use crate::layer::name::shown;

/// The size of a header, and what contents are padded to.
pub(super) const BLOCK: usize = 512;
pub(super) type Block = [u8; BLOCK];

/// Which fields a header has besides those of v7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
}

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct Header<'a> {
    block: &'a Block,
    pub(super) format: Format,
}

/// An error about an archive.
pub(super) fn bad(reason: impl Into<String>) -> Error {
    Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason)
}

impl<'a> Header<'a> {
    /// Reads a block; `None` for one of zeros, which marks the end.
    pub(super) fn parse(block: &'a Block) -> Result<Option<Self>> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let stored = number(field(block, 148, 8), "checksum")?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        // Old archivers summed up signed characters.
        if stored != unsigned && stored != signed {
            return Err(bad("a header with a wrong checksum: not a tar archive, or a damaged one"));
        }
        let format = match field(block, 257, 8) {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            // Some archivers leave the version out; what they write is ustar.
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        };
        Ok(Some(Self { block, format }))
    }

    /// The name, with the prefix of ustar.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(field(self.block, 0, 100));
        match (self.format, text(field(self.block, 345, 155))) {
            (Format::Ustar, prefix) if !prefix.is_empty() => [prefix, name].join(&b'/'),
            _ => name.to_vec(),
        }
    }

    /// The target of a link.
    pub(super) fn link(&self) -> Vec<u8> {
        text(field(self.block, 157, 100)).to_vec()
    }

    pub(super) fn kind(&self) -> u8 {
        self.byte(156)
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // Archivers put the type of the file into the bits above, which say nothing that the type flag does not.
        small(number(field(self.block, 100, 8), "mode")? & 0o7777, "mode")
    }

    pub(super) fn uid(&self) -> Result<u32> {
        small(number(field(self.block, 108, 8), "uid")?, "uid")
    }

    pub(super) fn gid(&self) -> Result<u32> {
        small(number(field(self.block, 116, 8), "gid")?, "gid")
    }

    pub(super) fn size(&self) -> Result<u64> {
        let size = number(field(self.block, 124, 12), "size")?;
        u64::try_from(size).map_err(|_| bad("a negative size"))
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        number(field(self.block, 136, 12), "mtime")
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Result<(u32, u32)> {
        if self.format == Format::V7 {
            return Err(bad("a device without a number"));
        }
        let major = small(number(field(self.block, 329, 8), "major number")?, "major number")?;
        let minor = small(number(field(self.block, 337, 8), "minor number")?, "minor number")?;
        // What makedev(3) takes without loss in the kernel's own format.
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(bad(format!("a device numbered {major}:{minor}, which Linux has not")));
        }
        Ok((major, minor))
    }

    /// What a header says of an old GNU sparse file.
    pub(super) fn sparse(&self) -> Result<OldSparse> {
        let size = u64::try_from(number(field(self.block, 483, 12), "size of a sparse file")?);
        Ok(OldSparse {
            pieces: pieces(field(self.block, 386, 96))?,
            size: size.map_err(|_| bad("a negative size"))?,
            more: self.byte(482) != 0,
        })
    }

    fn byte(&self, at: usize) -> u8 {
        self.block.get(at).copied().unwrap_or_default()
    }
}

/// The beginning of a sparse file in GNU's old format.
pub(super) struct OldSparse {
    pub(super) pieces: Vec<(u64, u64)>,
    /// Its size with the holes.
    pub(super) size: u64,
    /// Whether blocks with more pieces follow.
    pub(super) more: bool,
}

/// Pairs of offset and length, twelve digits each; an empty one ends the list.
pub(super) fn pieces(bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for pair in bytes.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        if offset.first() == Some(&0) {
            break;
        }
        let value = |bytes| u64::try_from(number(bytes, "sparse map")?).map_err(|_| bad("a negative offset"));
        found.push((value(offset)?, value(length)?));
    }
    Ok(found)
}

fn field(block: &Block, from: usize, length: usize) -> &[u8] {
    block.get(from..from + length).unwrap_or_default()
}

/// Up to the first zero byte.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number that fits 32 bits, as ids and modes do.
pub(super) fn small(value: i64, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| bad(format!("a {what} of {value}")))
}

/// A number in octal digits, or in binary if the first bit is set (GNU).
fn number(bytes: &[u8], what: &str) -> Result<i64> {
    let wrong = || bad(format!("a {what} of {:?}", shown(bytes)));
    if let Some((&first, rest)) = bytes.split_first().filter(|(first, _)| *first & 0x80 != 0) {
        // Two's complement with the uppermost bit as a mark; the one below it is the sign.
        let start = if first & 0x40 == 0 { i64::from(first & 0x3f) } else { i64::from(first.cast_signed()) };
        return rest
            .iter()
            .try_fold(start, |value, &byte| Some(value.checked_mul(256)? + i64::from(byte)))
            .ok_or_else(wrong);
    }
    let digits = text(bytes).trim_ascii();
    digits.iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + i64::from(digit - b'0')).ok_or_else(wrong),
        _ => Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (bytes, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"  12 \0\0\0", 0o12),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777777\0", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
        ] {
            assert_eq!(number(bytes, "x").unwrap(), value, "{bytes:?}");
        }
        for bytes in [&b"8"[..], b"-1", b"0x1", b"1 1", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(number(bytes, "x").is_err(), "{bytes:?}");
        }
    }
}
