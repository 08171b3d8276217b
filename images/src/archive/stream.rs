//! Compressed streams: told by their first bytes.

use std::io::{BufRead, BufReader, Read};

use crate::base::{Error, Kind, Result, Step};
use crate::model::Compression;

/// How a stream that begins with `bytes` is compressed; an error for what cannot be decompressed.
pub(super) fn compression(bytes: &[u8]) -> Result<Compression> {
    let known = [
        (&b"\x1f\x8b"[..], Ok(Compression::Gzip)),
        (b"\x28\xb5\x2f\xfd", Ok(Compression::Zstd)),
        (b"\xfd7zXZ", Err("xz")),
        (b"BZh", Err("bzip2")),
    ];
    match known.into_iter().find(|(magic, _)| bytes.starts_with(magic)) {
        None => Ok(Compression::None),
        Some((_, Ok(compression))) => Ok(compression),
        Some((_, Err(name))) => Err(Error::new(Kind::Unsupported, Step::ReadArchive)
            .reason_is(format!("it is compressed by {name}"))
            .hint_is("decompress it first, or compress it by gzip or zstd")),
    }
}

/// `input` decompressed, and how it was compressed.
pub(super) fn plain<'a>(input: &'a mut (dyn Read + 'a)) -> Result<(Box<dyn BufRead + 'a>, Compression)> {
    let failed = |error: std::io::Error| Error::io(Step::ReadArchive, &error);
    let mut input = BufReader::with_capacity(128 << 10, input);
    let compression = compression(input.fill_buf().map_err(failed)?)?;
    let plain: Box<dyn BufRead> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(buffered(flate2::bufread::MultiGzDecoder::new(input))),
        Compression::Zstd => Box::new(buffered(zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?)),
    };
    Ok((plain, compression))
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(128 << 10, reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decompressed_is_named() {
        assert_eq!(compression(b"\x1f\x8b\x08").unwrap(), Compression::Gzip);
        assert_eq!(compression(b"").unwrap(), Compression::None);
        assert!(compression(b"\xfd7zXZ\0").unwrap_err().to_string().contains("compressed by xz"));
    }
}
