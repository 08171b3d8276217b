//! Looking into the root file system of a container, and preparing it, without mounting it.

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::base::{Cancel, Dir, Error, Kind, Result, Step};
use crate::layer::{Limits, Name, by_descriptor};
use crate::snapshot::merged::{Directory, Found, failed, is_link};
use crate::snapshot::{Made, Snapshot, copy, layers, settle};

impl Snapshot {
    /// The root file system as the container would see it.
    fn view(&self) -> Result<Directory> {
        match self.record.made {
            Made::Copy => Ok(Directory::new(vec![self.written()?], self.xattrs)),
            Made::Overlay => {
                let mut parts = vec![self.written()?];
                parts.extend(layers::open(&self.layers)?);
                Ok(Directory::new(parts, self.xattrs))
            }
        }
    }

    /// The contents of the regular file `path`, over links within the root; `None` if there is none. A file of more than
    /// `limit` bytes is an error.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let view = self.view()?;
        let mut name = name_of(path)?;
        for _ in 0..40 {
            let Some(resolved) = view.resolve(&name)? else { return Ok(None) };
            let Found::Other(_, status) = &resolved.found else { return Ok(None) };
            if is_link(status) {
                let Some(target) = resolved.target(&view)? else { return Ok(None) };
                name = target;
                continue;
            }
            if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                return Ok(None);
            }
            let Some(file) = resolved.open(&view, OFlags::PATH)? else { return Ok(None) };
            return read_regular(file, limit)
                .map_err(|error| error.object_is(format!("{path} of the image")))
                .map(Some);
        }
        Ok(None)
    }

    /// Makes the directory `path` and those above it where they are missing; they belong to root.
    pub fn make_directory(&self, path: &str) -> Result<()> {
        let name = name_of(path)?;
        let view = self.view()?;
        let mut place = self.written()?;
        // What the image has on the way is followed as far as it goes; the rest is made below.
        let components = name.components();
        let mut there = Vec::new();
        let mut known = 0;
        for length in (0..=components.len()).rev() {
            let prefix = Name::of(components.get(..length).unwrap_or_default().to_vec());
            if let Some(chain) = view.directory(&prefix)? {
                (there, known) = (chain, length);
                break;
            }
        }
        for below in &there {
            place = settle::open_like(place, below)?;
        }
        for component in components.iter().skip(known) {
            place = make(place, component).map_err(|error| error.object_is(format!("{path} of the image")))?;
        }
        Ok(())
    }

    /// Copies what is in the directory `path` into the empty directory `to`; `false` if there is no such directory.
    pub fn copy_directory(&self, path: &str, to: &Dir) -> Result<bool> {
        let view = self.view()?;
        let Some(mut chain) = view.directory(&name_of(path)?)? else { return Ok(false) };
        let directory = chain.pop().unwrap_or(view);
        copy::tree(&directory, to.as_fd(), &Cancel::new())?;
        Ok(true)
    }
}

fn name_of(path: &str) -> Result<Name> {
    Name::parse(path.as_bytes(), &Limits::default()).map_err(|error| {
        let reason = error.reason().unwrap_or("not a path").to_owned();
        Error::new(Kind::InvalidArgument, Step::Bundle).object_is(format!("{path:?}")).reason_is(reason)
    })
}

/// Reads what `file` (opened with `O_PATH`, known to be a regular file) is on.
fn read_regular(file: OwnedFd, limit: u64) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(by_descriptor(file.as_fd()), flags, Mode::empty()).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(Step::Bundle, &error))?;
    if bytes.len() as u64 > limit {
        let error = Error::new(Kind::Limit, Step::Bundle);
        return Err(error.reason_is(format!("a file of more than {limit} bytes")));
    }
    Ok(bytes)
}

fn make(parent: OwnedFd, component: &[u8]) -> Result<OwnedFd> {
    const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    match rustix::fs::mkdirat(&parent, component, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let made = rustix::fs::openat(&parent, component, DIRECTORY, Mode::empty()).map_err(failed)?;
            // Whatever the mask of this process is.
            rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
            Ok(made)
        }
        Err(Errno::EXIST) => rustix::fs::openat(&parent, component, DIRECTORY, Mode::empty()).map_err(failed),
        Err(errno) => Err(failed(errno)),
    }
}
