//! A blob on its way from a registry: it stays when the process is killed, and the next one goes on.
//!
//! The file is appended to and nothing else, so its length says how much is there; what is there is hashed again when the
//! download goes on. A crash of the machine may have lost some of it: then the digest at the end does not match, and the
//! download begins anew.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use crate::base::{Digest, Error, Hasher, Kind, Lock, Result, Step, sys};
use crate::model::Descriptor;
use crate::store::Store;

/// How long another process may take for a blob that we want as well.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// After how many bytes the kernel is asked to begin writing them to disk.
const WRITEBACK: u64 = 8 << 20;

/// What [`Store::begin`] found.
#[derive(Debug)]
pub enum Begun<'s> {
    /// The blob is in the store; another process may have put it there just now.
    There,
    /// It is to be fetched, from [`Partial::length`] on. No other process does so.
    Partial(Box<Partial<'s>>),
}

/// A blob of which the beginning is there.
#[derive(Debug)]
pub struct Partial<'s> {
    store: &'s Store,
    lock: Lock,
    name: String,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    begun: u64,
}

impl Store {
    /// Begins to fetch `blob`, or goes on where another process stopped, or waits for one that is at it.
    pub fn begin(&self, blob: &Descriptor) -> Result<Begun<'_>> {
        let name = format!("{}-{}.part", blob.digest.algorithm().name(), blob.digest.hex());
        let failed = |error: Error| error.digest_is(&blob.digest);
        loop {
            if self.has(blob)? {
                return Ok(Begun::There);
            }
            let flags = OFlag::O_RDWR | OFlag::O_CREAT;
            let Some(file) = self.ingest().file(Step::WriteBlob, &name, flags).map_err(failed)? else { continue };
            let what = self.ingest().path().join(&name).display().to_string();
            let lock = Lock::take(file, true, &what, PATIENCE, &self.cancel).map_err(failed)?;
            // While we waited, the other process may have completed the file and moved it away, or removed it.
            let mine = fstat(lock.file()).map_err(|errno| failed(Error::os(Step::WriteBlob, errno as i32)))?;
            let named = self.ingest().stat(Step::WriteBlob, &name)?;
            if named.is_none_or(|named| (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)) {
                continue;
            }
            let hasher = Hasher::new(blob.digest.algorithm());
            let (digest, size) = (blob.digest, blob.size);
            let mut partial = Partial { store: self, lock, name, digest, size, hasher, begun: 0 };
            partial.take_up()?;
            return Ok(Begun::Partial(Box::new(partial)));
        }
    }
}

impl Partial<'_> {
    /// How many bytes are there.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// How many bytes it will have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is complete and its bytes are those of the digest.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.length() == self.size && self.hasher.clone().finish() == self.digest
    }

    fn error(&self, error: &std::io::Error) -> Error {
        Error::io(Step::WriteBlob, error).digest_is(&self.digest)
    }

    /// Hashes what an earlier process has left.
    fn take_up(&mut self) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.store.cancel.check(Step::Download)?;
            let count = self.lock.file_mut().read(&mut buffer).map_err(|error| self.error(&error))?;
            if count == 0 {
                break;
            }
            self.hasher.update(buffer.get(..count).unwrap_or_default());
        }
        self.begun = self.length();
        if self.length() > self.size { self.restart() } else { Ok(()) }
    }

    /// Begins anew: what is there is wrong.
    pub fn restart(&mut self) -> Result<()> {
        self.hasher = Hasher::new(self.digest.algorithm());
        self.begun = 0;
        let file = self.lock.file_mut();
        let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        emptied.map(|_| ()).map_err(|error| self.error(&error))
    }

    /// Appends what came.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.length() + bytes.len() as u64 > self.size {
            return Err(Error::new(Kind::InvalidContent, Step::Download)
                .digest_is(&self.digest)
                .reason_is(format!("more than its {} bytes came", self.size)));
        }
        self.lock.file_mut().write_all(bytes).map_err(|error| self.error(&error).hint_is("is the disk full?"))?;
        self.hasher.update(bytes);
        if self.length() - self.begun >= WRITEBACK {
            sys::begin_writeback(self.lock.file(), self.begun, self.length() - self.begun);
            self.begun = self.length();
        }
        Ok(())
    }

    /// Ends the download: the bytes must be those of the digest, and get their name. If they are not, they are dropped.
    pub fn commit(mut self) -> Result<()> {
        let digest = self.hasher.clone().finish();
        if digest == self.digest && self.length() == self.size {
            return self.store.place(self.lock.file(), &self.name, &self.digest);
        }
        let error = Error::new(Kind::InvalidContent, Step::Download).digest_is(&self.digest);
        let error = error.reason_is(format!("the {} bytes that came have the digest {digest}", self.length()));
        self.restart()?;
        Err(error)
    }
}
