//! Decompression: gzip by zlib-rs, zstd by the reference implementation, and nothing.
//!
//! What was measured, in MB of output per second of one processor, on a tar archive of 250 MB of programs, libraries and
//! texts: zlib-rs 330, ISA-L 500, libdeflate 505, zune-inflate 300, zstd 660. ISA-L wants nasm and the autotools to build;
//! libdeflate wants the whole blob and the whole archive in memory.

use std::io::{BufRead, Read};

use crate::base::{Error, Kind, Result, Step};
use crate::layer::limits::Limits;
use crate::layer::queue::Output;
use crate::layer::source::Source;
use crate::model::Compression;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Decompresses `input` into `output`.
pub(super) fn run<R: Read>(
    mut input: Source<'_, R>,
    compression: Compression,
    limits: &Limits,
    output: Output<'_>,
) -> Result<()> {
    let result = decompress(&mut input, compression, limits, output);
    match input.failure() {
        Some(failure) => Err(failure),
        None => result,
    }
}

fn decompress<R: Read>(
    input: &mut Source<'_, R>,
    compression: Compression,
    limits: &Limits,
    mut output: Output<'_>,
) -> Result<()> {
    check_magic(input, compression)?;
    let ended = match compression {
        Compression::None => decode("tar", &mut |buffer| Ok((input.read(buffer)?, 0)), limits, &mut output)?,
        Compression::Gzip => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(&mut *input);
            let mut read = |buffer: &mut [u8]| {
                let length = decoder.read(buffer)?;
                Ok((length, decoder.get_ref().passed()))
            };
            decode("gzip", &mut read, limits, &mut output)?
        }
        Compression::Zstd => {
            let wrong = |error: std::io::Error| Error::new(Kind::System, Step::Unpack).reason_is(error.to_string());
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut *input).map_err(wrong)?;
            decoder.window_log_max(limits.window_log).map_err(wrong)?;
            let mut read = |buffer: &mut [u8]| {
                let length = decoder.read(buffer)?;
                Ok((length, decoder.get_ref().passed()))
            };
            decode("zstd", &mut read, limits, &mut output)?
        }
    };
    // Whoever stopped reading the archive says why.
    if ended { input.finish() } else { Ok(()) }
}

/// A blob that is compressed in another way than its media type says is refused: tools differ in which of the two they
/// believe.
fn check_magic(input: &mut impl BufRead, compression: Compression) -> Result<()> {
    let begin = input.fill_buf().map_err(|error| Error::io(Step::Unpack, &error))?;
    let found = if begin.starts_with(GZIP) {
        Compression::Gzip
    } else if begin.starts_with(ZSTD) || begin.get(1..4) == Some(b"\x2a\x4d\x18") {
        Compression::Zstd
    } else {
        Compression::None
    };
    if found == compression || begin.is_empty() {
        return Ok(());
    }
    let reason = format!("its media type says {}, its contents are {}", named(compression), named(found));
    Err(Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason))
}

fn named(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "not compressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// Reads into a buffer, and says how many bytes it got and how much of the blob it has used.
type ReadInto<'a> = &'a mut dyn FnMut(&mut [u8]) -> std::io::Result<(usize, u64)>;

/// Fills buffers by `read`; `false` if nobody wants the rest.
fn decode(format: &str, read: ReadInto<'_>, limits: &Limits, output: &mut Output<'_>) -> Result<bool> {
    loop {
        let Ok(mut buffer) = output.buffer() else { return Ok(false) };
        let mut filled = 0;
        let mut used = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            let (length, passed) = read(room).map_err(|error| damaged(format, &error))?;
            used = passed;
            if length == 0 {
                break;
            }
            filled += length;
        }
        if filled == 0 {
            return Ok(true);
        }
        buffer.truncate(filled);
        output.send(buffer);
        check_size(used, output.bytes(), limits)?;
    }
}

fn damaged(format: &str, error: &std::io::Error) -> Error {
    let reason = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => format!("the {format} stream ends too early"),
        _ => format!("the {format} stream is damaged: {error}"),
    };
    Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason)
}

/// Compares the size of the archive with the limits; `used` bytes of the blob became `bytes`.
fn check_size(used: u64, bytes: u64, limits: &Limits) -> Result<()> {
    let limit = |reason| Err(Error::new(Kind::Limit, Step::Unpack).reason_is(reason));
    if bytes > limits.archive {
        return limit(format!("an archive of more than {} bytes", limits.archive));
    }
    if used > 0 && bytes > limits.ratio_from && bytes / used > limits.ratio {
        return limit(format!("{used} bytes become {bytes}, more than {} times as many", limits.ratio));
    }
    Ok(())
}
