//! The socket that a shim serves: a path in a directory of its owner's, never an abstract name, which any process of the network
//! namespace could reach.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;

use crate::sha256;

/// Where containerd's shims have their sockets.
pub(crate) const DIRECTORY: &str = "/run/containerd/s";
/// The longest path of a socket (unix(7), less the final NUL).
const LONGEST: usize = 107;
const SCHEME: &str = "unix://";

/// What `start` got.
#[derive(Debug)]
pub(crate) enum Bound {
    /// A new socket, already listening.
    New(OwnedFd),
    /// A shim of the group is serving it.
    Served,
}

/// The socket of a group of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Its name says which containerd, namespace and group it is for.
    ///
    /// # Errors
    /// When the directory's path is too long for the address of a socket.
    pub(crate) fn of_group(dir: &str, containerd: &str, namespace: &str, group: &str) -> io::Result<Self> {
        let dir = if dir.is_empty() { DIRECTORY } else { dir };
        let name = sha256::hex(format!("orlop\0{containerd}\0{namespace}\0{group}").as_bytes());
        let path = Path::new(dir).join(name);
        if path.as_os_str().len() > LONGEST {
            let text = format!("the path of the socket {} is longer than {LONGEST} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { path })
    }

    /// The socket at an address that an earlier `start` gave.
    pub(crate) fn at(address: &str) -> Option<Self> {
        address.strip_prefix(SCHEME).map(|path| Self { path: path.into() })
    }

    /// The address as containerd takes it.
    pub(crate) fn address(&self) -> String {
        format!("{SCHEME}{}", self.path.display())
    }

    /// Makes the socket, unless a shim is serving it already. One that nobody serves any more is taken away first.
    ///
    /// # Errors
    /// When the directory is not safe, or the socket cannot be made.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        let _lock = self.lock()?;
        if UnixStream::connect(&self.path).is_ok() {
            return Ok(Bound::Served);
        }
        self.unlink()?;
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&self.path);
        umask(before);
        Ok(Bound::New(bound.map_err(|error| self.named("bind", &error))?.into()))
    }

    /// Takes the socket away, when nobody serves it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove_if_unserved(&self) -> io::Result<()> {
        let _lock = match self.lock() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            lock => lock?,
        };
        match UnixStream::connect(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.unlink(),
            _ => Ok(()),
        }
    }

    /// Takes the socket away, for the shim that serves it and is still listening: so it is this socket, and not that of another
    /// shim, which could only be there if nobody answered here.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        let _lock = self.lock()?;
        self.unlink()
    }

    fn unlink(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.named("remove", &error)),
            _ => Ok(()),
        }
    }

    /// Between two that start a shim for the same group, one comes first.
    fn lock(&self) -> io::Result<Flock<File>> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("the directory of sockets {}: {error}", dir.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(named)?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let opened = File::options().read(true).custom_flags(flags).open(dir).map_err(named)?;
        let facts = opened.metadata().map_err(named)?;
        if facts.uid() != Uid::effective().as_raw() || facts.mode() & 0o022 != 0 {
            let text = "is not its owner's alone to write: only a directory of this user, mode 0700, is used";
            return Err(named(io::Error::new(io::ErrorKind::PermissionDenied, text)));
        }
        // Held by others for the time of a connect and a bind, both of which do not wait.
        Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, errno)| named(errno.into()))
    }

    fn named(&self, step: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{step} the socket {}: {error}", self.path.display()))
    }
}

/// Whether the peer of a connection runs as the user of this process.
pub(crate) fn is_same_user(connection: impl AsFd) -> bool {
    getsockopt(&connection, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == Uid::effective().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("orlop-shim-{name}-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&path).unwrap();
            Self(path)
        }

        fn socket(&self, group: &str) -> Socket {
            Socket::of_group(self.0.to_str().unwrap(), "/c.sock", "n", group).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_group_has_one_socket_and_a_dead_one_is_replaced() {
        let scratch = Scratch::new("socket");
        let socket = scratch.socket("pod");
        assert_ne!(socket, scratch.socket("pod2"));
        let Bound::New(listener) = socket.bind().unwrap() else { panic!("served by nobody") };
        assert_eq!(std::fs::metadata(&socket.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(socket.bind().unwrap(), Bound::Served));
        socket.remove_if_unserved().unwrap();
        assert!(socket.path.symlink_metadata().is_ok(), "it is served");
        drop(listener);
        assert!(matches!(socket.bind().unwrap(), Bound::New(_)));
        socket.remove_if_unserved().unwrap();
        assert!(socket.path.symlink_metadata().is_err());
        assert_eq!(Socket::at(&socket.address()), Some(socket));
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let scratch = Scratch::new("open");
        std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = scratch.socket("pod").bind().unwrap_err();
        assert!(error.to_string().contains("0700"), "{error}");
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let error = Socket::of_group(&format!("/{}", "d".repeat(60)), "a", "n", "g").unwrap_err();
        assert!(error.to_string().contains("longer than 107 bytes"), "{error}");
    }
}
