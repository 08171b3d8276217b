//! Reading an archive from a stream, entry by entry.

use std::io::BufRead;

use crate::base::{Error, Kind as ErrorKind, Result, Step};
use crate::layer::limits::Limits;
use crate::layer::name::shown;
use crate::layer::tar::entry::{Entry, Kind, Time};
use crate::layer::tar::header::{BLOCK, Block, Header, OldSparse, bad, pieces, text};
use crate::layer::tar::pax::Pax;
use crate::layer::tar::sparse::{self, Map};

/// Reads the entries of an archive. The contents of a file are read in between, in place; what is not read is skipped.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    limits: Limits,
    /// What is left of the contents of the present entry, and the padding after it.
    content: u64,
    padding: u64,
    entries: u64,
    apparent: u64,
}

/// What stands before the header proper of an entry.
#[derive(Default)]
struct Before {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `input`.
    pub fn new(input: R, limits: Limits) -> Self {
        Self { input, limits, content: 0, padding: 0, entries: 0, apparent: 0 }
    }

    /// The next entry; `None` at the end of the archive.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        self.skip()?;
        let mut before = Before::default();
        let mut block = [0; BLOCK];
        loop {
            if !self.block(&mut block, true)? {
                return self.ends(&before).map(|()| None);
            }
            let Some(header) = Header::parse(&block)? else {
                return self.ends(&before).map(|()| None);
            };
            match header.kind() {
                b'x' => {
                    let bytes = self.special(&header)?;
                    let pax = Pax::parse(&bytes, self.limits.pieces)?;
                    only_one(&mut before.pax, pax, "two extended headers in a row")?;
                }
                b'g' => Pax::check_global(&self.special(&header)?)?,
                b'L' => {
                    let path = text(&self.special(&header)?).to_vec();
                    only_one(&mut before.path, path, "two long names in a row")?;
                }
                b'K' => {
                    let link = text(&self.special(&header)?).to_vec();
                    only_one(&mut before.link, link, "two long link targets in a row")?;
                }
                _ => return self.build(&header, before).map(Some),
            }
        }
    }

    /// The next bytes of the present file's contents; none at their end. They count as read once [`Reader::consume`]
    /// says so.
    pub fn chunk(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.content).unwrap_or(usize::MAX);
        let bytes = self.input.fill_buf().map_err(|error| failed(&error))?;
        if bytes.is_empty() {
            return Err(truncated());
        }
        Ok(bytes.get(..left).unwrap_or(bytes))
    }

    /// Marks bytes of the last [`Reader::chunk`] as read.
    pub fn consume(&mut self, length: usize) {
        self.content = self.content.saturating_sub(length as u64);
        self.input.consume(length);
    }

    /// Reads what follows the archive, so that its digest is complete, and returns the stream.
    pub fn finish(mut self) -> Result<R> {
        loop {
            let length = self.input.fill_buf().map_err(|error| failed(&error))?.len();
            if length == 0 {
                return Ok(self.input);
            }
            self.input.consume(length);
        }
    }

    fn ends(&mut self, before: &Before) -> Result<()> {
        let described = before.path.is_some() || before.link.is_some() || before.pax.is_some();
        if described {
            return Err(bad("an archive that ends before the entry that its last header describes"));
        }
        // The end is two blocks of zeros; a lone one is what a few archivers leave.
        let mut block = [0; BLOCK];
        if self.block(&mut block, true)? && Header::parse(&block)?.is_some() {
            return Err(bad("an entry after the mark of the end"));
        }
        Ok(())
    }

    fn build(&mut self, header: &Header<'_>, before: Before) -> Result<Entry> {
        let mut pax = before.pax.unwrap_or_default();
        let path = pax.sparse.name.take().or(pax.path.take()).or(before.path).unwrap_or_else(|| header.path());
        let named = |error: Error| if error.object().is_none() { error.object_is(shown(&path)) } else { error };
        let link = pax.link.take().or(before.link).unwrap_or_else(|| header.link());
        self.entries += 1;
        if self.entries > self.limits.entries {
            let reason = format!("more than {} entries", self.limits.entries);
            return Err(named(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason)));
        }
        let kind = self.kind(header, &path, link, &pax).map_err(named)?;
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time { seconds: header.mtime().map_err(named)?, nanos: 0 },
        };
        Ok(Entry {
            mode: header.mode().map_err(named)?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok).map_err(named)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok).map_err(named)?,
            mtime,
            atime: pax.atime,
            xattrs: pax.xattrs,
            kind,
            path,
        })
    }

    fn kind(&mut self, header: &Header<'_>, path: &[u8], link: Vec<u8>, pax: &Pax) -> Result<Kind> {
        if matches!(header.kind(), b'1' | b'2')
            && (link.is_empty() || link.contains(&0) || link.len() > self.limits.path)
        {
            return Err(bad("a link whose target is empty, too long or has a zero byte in it"));
        }
        // What has no contents has no size either: archivers leave that of the file there.
        Ok(match header.kind() {
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' => header.device().map(|(major, minor)| Kind::CharDevice(major, minor))?,
            b'4' => header.device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // Before there was a type for them, directories were files whose name ends with a slash.
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => self.file(header, pax)?,
            b'S' => self.old_sparse(header, pax)?,
            kind => return Err(bad(format!("an entry of type {:?}, which has no place in a layer", char::from(kind)))),
        })
    }

    fn file(&mut self, header: &Header<'_>, pax: &Pax) -> Result<Kind> {
        let stored = pax.size.map_or_else(|| header.size(), Ok)?;
        self.contents_are(stored);
        if !pax.sparse.is {
            return self.sized(stored, None);
        }
        let size = pax.sparse.size.ok_or_else(|| bad("a sparse file without its size"))?;
        let pairs = match pax.sparse.version {
            None | Some((0, 0 | 1)) => sparse::pairs(&pax.sparse.numbers)?,
            Some((1, 0)) => self.map()?,
            Some((major, minor)) => return Err(bad(format!("a sparse file of version {major}.{minor}"))),
        };
        let pieces = sparse::check(pairs, size, self.content)?;
        self.sized(size, Some(pieces))
    }

    /// The map of a sparse file of version 1.0, in the blocks before its data.
    fn map(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut map = Map::default();
        let mut block = [0; BLOCK];
        loop {
            self.content = self.content.checked_sub(BLOCK as u64).ok_or_else(|| bad("a sparse map cut short"))?;
            self.block(&mut block, false)?;
            if map.take(&block, self.limits.pieces)? {
                return map.pairs();
            }
        }
    }

    fn old_sparse(&mut self, header: &Header<'_>, pax: &Pax) -> Result<Kind> {
        let stored = pax.size.map_or_else(|| header.size(), Ok)?;
        let OldSparse { pieces: mut found, size, mut more } = header.sparse()?;
        let mut block = [0; BLOCK];
        while more {
            self.block(&mut block, false)?;
            let (list, rest) = block.split_at(504);
            found.extend(pieces(list)?);
            more = rest.first().is_some_and(|&flag| flag != 0);
            if found.len() > self.limits.pieces {
                let reason = format!("a sparse file of more than {} pieces", self.limits.pieces);
                return Err(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason));
            }
        }
        self.contents_are(stored);
        let pieces = sparse::check(found, size, stored)?;
        self.sized(size, Some(pieces))
    }

    fn sized(&mut self, size: u64, pieces: Option<Vec<(u64, u64)>>) -> Result<Kind> {
        self.apparent = self.apparent.saturating_add(size);
        if self.apparent > self.limits.apparent {
            let reason = format!("files of more than {} bytes in all, holes included", self.limits.apparent);
            return Err(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason));
        }
        Ok(Kind::File { size, pieces })
    }

    fn contents_are(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The contents of a header that is none of an entry.
    fn special(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > self.limits.header {
            let reason = format!("an extended header of {size} bytes; {} are allowed", self.limits.header);
            return Err(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason));
        }
        self.contents_are(size);
        let mut bytes = Vec::new();
        loop {
            let chunk = self.chunk()?;
            let length = chunk.len();
            if length == 0 {
                self.skip()?;
                return Ok(bytes);
            }
            bytes.extend_from_slice(chunk);
            self.consume(length);
        }
    }

    /// Skips what is left of the present entry.
    fn skip(&mut self) -> Result<()> {
        self.content = self.content.saturating_add(std::mem::take(&mut self.padding));
        loop {
            let length = self.chunk()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// Fills a block; `false` if the stream ends before it, where it may.
    fn block(&mut self, block: &mut Block, may_end: bool) -> Result<bool> {
        let mut filled = 0;
        while let Some(room) = block.get_mut(filled..).filter(|room| !room.is_empty()) {
            let bytes = self.input.fill_buf().map_err(|error| failed(&error))?;
            if bytes.is_empty() {
                return if filled == 0 && may_end { Ok(false) } else { Err(truncated()) };
            }
            let length = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.input.consume(length);
            filled += length;
        }
        Ok(true)
    }
}

fn only_one<T>(place: &mut Option<T>, value: T, reason: &str) -> Result<()> {
    if place.replace(value).is_some() { Err(bad(reason)) } else { Ok(()) }
}

fn truncated() -> Error {
    bad("the archive ends within an entry")
}

/// What the stream says through an I/O error is said in full by whoever feeds it; see `pipeline`.
fn failed(error: &std::io::Error) -> Error {
    Error::io(Step::Unpack, error)
}
