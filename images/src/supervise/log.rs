//! The log of a container: one line of text for each of its own, as Kubernetes' runtimes write them:
//! `2026-01-02T03:04:05.678901234Z stdout F the line`, with `P` for a part of a line that was too long.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How large a log grows before it is put aside, in the place of the one before.
const LARGEST: u64 = 10 << 20;
/// How long a line may be before it is divided.
const LINE: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// Writes a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    file: File,
    size: u64,
    largest: u64,
    /// What has come of a line, for each stream.
    out: Vec<u8>,
    err: Vec<u8>,
}

impl LogWriter {
    /// Goes on with the log in the directory `dir`.
    pub(super) fn open(dir: &Path) -> std::io::Result<Self> {
        Self::with_limit(dir, LARGEST)
    }

    fn with_limit(dir: &Path, largest: u64) -> std::io::Result<Self> {
        let (file, size) = open(dir)?;
        Ok(Self { dir: dir.to_owned(), file, size, largest, out: Vec::new(), err: Vec::new() })
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// Takes what has come from a stream, and writes its complete lines.
    pub(super) fn take(&mut self, stream: Stream, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let pending = self.pending(stream);
            let room = LINE - pending.len();
            let window = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            let (used, full) = match window.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, Some(true)),
                None => (window.len(), (window.len() == room).then_some(false)),
            };
            pending.extend_from_slice(bytes.get(..used - usize::from(full == Some(true))).unwrap_or_default());
            bytes = bytes.get(used..).unwrap_or_default();
            if let Some(whole) = full {
                self.write(stream, whole)?;
            }
        }
        Ok(())
    }

    /// Writes what has come without a line break.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        for stream in [Stream::Out, Stream::Err] {
            if !self.pending(stream).is_empty() {
                self.write(stream, false)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, stream: Stream, whole: bool) -> std::io::Result<()> {
        let line = std::mem::take(self.pending(stream));
        let name = if stream == Stream::Out { "stdout" } else { "stderr" };
        let mut text =
            format!("{} {name} {} ", orlop::rfc3339(SystemTime::now()), if whole { 'F' } else { 'P' }).into_bytes();
        text.extend_from_slice(&line);
        text.push(b'\n');
        if self.size > 0 && self.size + text.len() as u64 > self.largest {
            std::fs::rename(self.dir.join("log"), self.dir.join("log.1"))?;
            (self.file, self.size) = open(&self.dir)?;
        }
        self.file.write_all(&text)?;
        self.size += text.len() as u64;
        // Its room is used again.
        *self.pending(stream) = line;
        self.pending(stream).clear();
        Ok(())
    }
}

fn open(dir: &Path) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join("log"))?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it came, as RFC 3339 has it.
    pub time: String,
    /// Where it came from.
    pub stream: Stream,
    /// What it says, with its line break if it had one.
    pub text: Vec<u8>,
}

/// Reads a log from its beginning, and goes on when it has grown or was put aside.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    file: Option<BufReader<File>>,
    partial: Vec<u8>,
}

impl LogReader {
    /// Opens the log in the directory `dir`. There may be none yet.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let first = ["log.1", "log"].iter().find_map(|name| File::open(dir.join(name)).ok());
        Self { dir: dir.to_owned(), file: first.map(BufReader::new), partial: Vec::new() }
    }

    /// The next line that is there.
    pub fn next_line(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let Some(file) = &mut self.file else {
                match File::open(self.dir.join("log")) {
                    Ok(file) => self.file = Some(BufReader::new(file)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
                continue;
            };
            // A line has a bounded length, and one that does not is cut.
            let count = file.take(2 * LINE as u64).read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                match parse(&std::mem::take(&mut self.partial)) {
                    Some(line) => return Ok(Some(line)),
                    None => continue,
                }
            }
            if count > 0 {
                continue;
            }
            // At the end: if there is a newer file, this one is complete.
            let now = std::fs::metadata(self.dir.join("log")).ok();
            let mine = file.get_ref().metadata()?;
            if now.is_none_or(|now| now.ino() == mine.ino()) || file.stream_position()? < mine.len() {
                return Ok(None);
            }
            self.file = None;
        }
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Out,
        b"stderr" => Stream::Err,
        _ => return None,
    };
    let whole = parts.next()? == b"F";
    let mut text = parts.next()?.to_vec();
    if whole {
        text.push(b'\n');
    }
    Some(Line { time, stream, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("orlop-log-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn all(reader: &mut LogReader) -> Vec<(Stream, Vec<u8>)> {
        std::iter::from_fn(|| reader.next_line().unwrap()).map(|line| (line.stream, line.text)).collect()
    }

    #[test]
    fn what_was_written_is_read_whatever_the_pieces() {
        let scratch = Scratch::new("pieces");
        let mut log = LogWriter::open(&scratch.0).unwrap();
        let mut reader = LogReader::open(&scratch.0);
        log.take(Stream::Out, b"one\ntw").unwrap();
        log.take(Stream::Err, b"bad\n").unwrap();
        assert_eq!(all(&mut reader), [(Stream::Out, b"one\n".to_vec()), (Stream::Err, b"bad\n".to_vec())]);
        log.take(Stream::Out, b"o\n\nlast").unwrap();
        log.finish().unwrap();
        let rest = [b"two\n".to_vec(), b"\n".to_vec(), b"last".to_vec()];
        assert_eq!(all(&mut reader), rest.map(|text| (Stream::Out, text)));
        let long = vec![b'x'; LINE * 2 + 5];
        log.take(Stream::Out, &long).unwrap();
        log.take(Stream::Out, b"\n").unwrap();
        let parts: Vec<u8> = all(&mut reader).into_iter().flat_map(|(_, text)| text).collect();
        assert_eq!(parts, [&long[..], b"\n"].concat());
    }

    #[test]
    fn a_log_has_a_limit_and_a_reader_follows_it() {
        let scratch = Scratch::new("limit");
        let mut log = LogWriter::with_limit(&scratch.0, 1000).unwrap();
        let mut reader = LogReader::open(&scratch.0);
        let mut read = Vec::new();
        for number in 0..200 {
            log.take(Stream::Out, format!("line {number}\n").as_bytes()).unwrap();
            read.extend(all(&mut reader));
        }
        assert_eq!(read.len(), 200);
        assert_eq!(read[199].1, b"line 199\n");
        let size: u64 = ["log", "log.1"].iter().map(|name| scratch.0.join(name).metadata().unwrap().len()).sum();
        assert!(size <= 2000, "{size}");
        let late = all(&mut LogReader::open(&scratch.0));
        assert!(late.len() > 20 && late.len() < 200 && late.last() == read.last(), "{}", late.len());
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        for line in [&b""[..], b"\n", b"x y\n", b"t stdin F x\n", b"t stdout F\n"] {
            assert_eq!(parse(line), None);
        }
    }
}
