//! Writing an archive: ustar headers, with a pax header before those that it cannot describe.

use std::io::{Read, Write};

use crate::layer::tar::entry::{Entry, Kind, Time};
use crate::layer::tar::header::{BLOCK, Block};

/// Writes entries to a stream.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes an entry; for a file, its contents are read from `content`, which must have as many bytes as the entry says.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> std::io::Result<()> {
        let size = match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        };
        let records = records(entry, size);
        if !records.is_empty() {
            let header = Fields { path: b"PaxHeaders", kind: b'x', size: records.len() as u64, ..Fields::default() };
            self.output.write_all(&header.block())?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&Fields::of(entry, size).block())?;
        if size > 0 {
            let copied = std::io::copy(&mut content.take(size), &mut self.output)?;
            if copied != size {
                return Err(std::io::Error::other("the file became shorter while it was read"));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.output.write_all(&[0; BLOCK * 2])?;
        Ok(self.output)
    }

    fn pad(&mut self, size: u64) -> std::io::Result<()> {
        let missing = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        self.output.write_all([0; BLOCK].get(..missing).unwrap_or_default())
    }
}

/// The fields of a header, as far as they fit; what does not is in a pax header before.
#[derive(Default)]
struct Fields<'a> {
    path: &'a [u8],
    link: &'a [u8],
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: (u32, u32),
}

impl<'a> Fields<'a> {
    fn of(entry: &'a Entry, size: u64) -> Self {
        let (kind, link, device): (u8, &[u8], _) = match &entry.kind {
            Kind::File { .. } => (b'0', b"", (0, 0)),
            Kind::HardLink(target) => (b'1', target, (0, 0)),
            Kind::Symlink(target) => (b'2', target, (0, 0)),
            Kind::CharDevice(major, minor) => (b'3', b"", (*major, *minor)),
            Kind::BlockDevice(major, minor) => (b'4', b"", (*major, *minor)),
            Kind::Directory => (b'5', b"", (0, 0)),
            Kind::Fifo => (b'6', b"", (0, 0)),
        };
        let mtime = entry.mtime.seconds;
        Self { path: &entry.path, link, kind, mode: entry.mode, uid: entry.uid, gid: entry.gid, size, mtime, device }
    }

    fn block(&self) -> Block {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in block.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, self.path.get(..100).unwrap_or(self.path));
        put(100, octal(u64::from(self.mode), 7).as_bytes());
        put(108, octal(u64::from(self.uid), 7).as_bytes());
        put(116, octal(u64::from(self.gid), 7).as_bytes());
        put(124, octal(self.size, 11).as_bytes());
        put(136, octal(u64::try_from(self.mtime).unwrap_or_default(), 11).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.get(..100).unwrap_or(self.link));
        put(257, b"ustar\x0000");
        put(329, octal(u64::from(self.device.0), 7).as_bytes());
        put(337, octal(u64::from(self.device.1), 7).as_bytes());
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        for (to, from) in block.iter_mut().skip(148).zip(octal(sum, 6).as_bytes().iter().chain(b"\0 ")) {
            *to = *from;
        }
        block
    }
}

/// `digits` octal digits; all sevens for what does not fit, where a pax record has the number.
fn octal(value: u64, digits: usize) -> String {
    let value = value.min((1 << (digits * 3)) - 1);
    format!("{value:0digits$o}")
}

/// The pax records that an entry needs.
fn records(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    if entry.path.len() > 100 || !entry.path.is_ascii() {
        add(b"path", &entry.path);
    }
    if let Kind::HardLink(target) | Kind::Symlink(target) = &entry.kind
        && (target.len() > 100 || !target.is_ascii())
    {
        add(b"linkpath", target);
    }
    if size >= 1 << 33 {
        add(b"size", size.to_string().as_bytes());
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if id >= 1 << 21 {
            add(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if entry.mtime.nanos != 0 || !(0..1 << 33).contains(&entry.mtime.seconds) {
        add(b"mtime", decimal(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

fn decimal(time: Time) -> String {
    if time.seconds >= 0 || time.nanos == 0 {
        return format!("{}.{:09}", time.seconds, time.nanos);
    }
    format!("-{}.{:09}", -(time.seconds + 1), 1_000_000_000 - time.nanos)
}

/// `LENGTH KEY=VALUE\n`; the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::limits::Limits;
    use crate::layer::tar::Reader;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        let mtime = Time { seconds: 1_700_000_000, nanos: 0 };
        Entry { path: path.to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime, atime: None, xattrs: Vec::new() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = [b'x'; 150];
        let mut odd = entry(&long, Kind::File { size: 5, pieces: None });
        odd.uid = 3_000_000_000;
        odd.mtime = Time { seconds: -5, nanos: 250_000_000 };
        odd.xattrs = vec![(b"user.a".to_vec(), b"\0=\n".to_vec()), (b"user.b".to_vec(), Vec::new())];
        let entries = [
            entry(b"d", Kind::Directory),
            odd,
            entry("d/é".as_bytes(), Kind::Symlink(long.to_vec())),
            entry(b"d/hard", Kind::HardLink(b"d/file".to_vec())),
            entry(b"d/null", Kind::CharDevice(1, 3)),
            entry(b"d/disk", Kind::BlockDevice(259, 100_000)),
            entry(b"d/pipe", Kind::Fifo),
            entry(b"d/empty", Kind::File { size: 0, pieces: None }),
        ];
        let mut writer = Writer::new(Vec::new());
        for entry in &entries {
            writer.entry(entry, &mut &b"hello"[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..], Limits::default());
        for wanted in &entries {
            assert_eq!(&reader.entry().unwrap().unwrap(), wanted);
            if matches!(wanted.kind, Kind::File { size: 5, .. }) {
                assert_eq!(reader.chunk().unwrap(), b"hello");
            }
        }
        assert_eq!(reader.entry().unwrap(), None);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut writer = Writer::new(Vec::new());
        let file = entry(b"f", Kind::File { size: 5, pieces: None });
        assert!(writer.entry(&file, &mut &b"hell"[..]).is_err());
    }
}
