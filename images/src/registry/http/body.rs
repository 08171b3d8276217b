//! Bodies: how long an answer's is, and reading and writing one.

use std::io::{self, Read, Write};

use crate::registry::http::{Headers, Outgoing};
use crate::registry::wire::Stream;

/// The bytes that one write of an outgoing body takes.
const PIECE: usize = 256 << 10;

/// What is left of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes.
    Length(u64),
    /// A chunk with this many bytes left; the next begins after it.
    Chunk(u64),
    /// The next line is the size of a chunk; the flag tells whether a line end of the one before comes first.
    Between(bool),
    /// Until the connection ends.
    Close,
    /// It has been read to its end.
    Done,
}

impl Framing {
    /// The framing of an answer with `status`.
    pub(super) fn of(status: u16, headers: &Headers, head_only: bool) -> io::Result<Self> {
        if head_only || status == 204 || status == 304 {
            return Ok(Self::Done);
        }
        let encodings: Vec<_> = headers.all("transfer-encoding").collect();
        if let Some(encoding) = encodings.first() {
            if encodings.len() > 1 || !encoding.eq_ignore_ascii_case("chunked") {
                return Err(io::Error::other(format!("an unknown Transfer-Encoding: {encoding}")));
            }
            return Ok(Self::Between(false));
        }
        let mut lengths = headers.all("content-length").map(str::parse::<u64>);
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(Self::Close),
            (Some(Ok(0)), None) => Ok(Self::Done),
            (Some(Ok(length)), None) => Ok(Self::Length(length)),
            _ => Err(io::Error::other("its Content-Length is wrong, or there are two")),
        }
    }
}

/// Reads from `stream`, the bytes that came with the head first.
pub(super) fn raw(stream: &mut Stream, rest: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<usize> {
    if rest.is_empty() {
        return stream.read(buffer);
    }
    let count = rest.len().min(buffer.len());
    for (to, from) in buffer.iter_mut().zip(rest.drain(..count)) {
        *to = from;
    }
    Ok(count)
}

/// Reads one line of the chunked encoding, without its end.
pub(super) fn line(stream: &mut Stream, rest: &mut Vec<u8>) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut byte = [0];
        if raw(stream, rest, &mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match byte {
            [b'\n'] => return Ok(text),
            [b'\r'] => {}
            [byte] if text.len() < 4096 => text.push(char::from(byte)),
            _ => return Err(io::Error::other("a line of the chunked encoding is too long")),
        }
    }
}

/// Reads what stands between two chunks, after the `end` of the one before, and returns the size of the next; zero after the
/// last.
pub(super) fn between(stream: &mut Stream, rest: &mut Vec<u8>, end: bool) -> io::Result<u64> {
    if end && !line(stream, rest)?.is_empty() {
        return Err(io::Error::other("a chunk is longer than it said"));
    }
    let size = chunk_size(&line(stream, rest)?)?;
    if size == 0 {
        // Trailers say nothing that is needed; they are bounded by the number of lines.
        let mut lines = 0;
        while !line(stream, rest)?.is_empty() && lines < 64 {
            lines += 1;
        }
    }
    Ok(size)
}

/// The size at the beginning of a chunk.
pub(super) fn chunk_size(line: &str) -> io::Result<u64> {
    let digits = line.split(';').next().unwrap_or_default().trim();
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = if valid { u64::from_str_radix(digits, 16).ok() } else { None };
    size.ok_or_else(|| io::Error::other("the size of a chunk is wrong"))
}

/// Writes an outgoing body.
pub(super) fn write(stream: &mut Stream, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
    match outgoing {
        Outgoing::Nothing => {}
        Outgoing::Bytes(bytes) => stream.write_all(bytes)?,
        Outgoing::Stream(reader, length) => {
            let mut left = *length;
            let mut buffer = vec![0; PIECE];
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let count = reader.read(buffer.get_mut(..most).unwrap_or_default())?;
                if count == 0 {
                    return Err(io::Error::other("what is to be sent ended early"));
                }
                stream.write_all(buffer.get(..count).unwrap_or_default())?;
                left -= count as u64;
            }
        }
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_lengths_are_refused() {
        let of = |pairs: &[(&str, &str)]| Framing::of(200, &Headers::of(pairs), false);
        assert_eq!(of(&[("Content-Length", "7")]).unwrap(), Framing::Length(7));
        assert_eq!(of(&[("transfer-encoding", "Chunked")]).unwrap(), Framing::Between(false));
        assert_eq!(of(&[]).unwrap(), Framing::Close);
        assert!(of(&[("content-length", "7"), ("content-length", "8")]).is_err());
        assert!(of(&[("content-length", "-7")]).is_err());
        assert!(of(&[("transfer-encoding", "gzip")]).is_err());
        assert_eq!(Framing::of(204, &Headers::default(), false).unwrap(), Framing::Done);
        assert_eq!(chunk_size("1a;x=y").unwrap(), 26);
        for wrong in ["", "g", "-1", "+1", "11111111111111111"] {
            assert!(chunk_size(wrong).is_err(), "{wrong}");
        }
    }
}
