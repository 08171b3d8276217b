//! A real registry on loopback, in a directory of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A directory that is removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("orlop-images-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", self.0.display()),
            _ => {}
        }
    }
}

/// Debian's docker-registry.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    scratch: Scratch,
}

/// A port of loopback that is free now.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    /// Starts a registry; without one on this machine, says that the test `name` is skipped.
    pub(crate) fn start(name: &str) -> Option<Self> {
        Self::start_with(name, "")
    }

    /// The same, with more lines for the `http` section of its configuration.
    pub(crate) fn start_with(name: &str, http: &str) -> Option<Self> {
        if Command::new("docker-registry").arg("--version").output().is_err() {
            println!("SKIP {name}: docker-registry is not installed");
            return None;
        }
        let scratch = Scratch::new();
        let address = free_port();
        let root = scratch.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n  secret: test\n{http}",
            root.display()
        );
        std::fs::write(scratch.path().join("config.yml"), text).unwrap();
        let child = spawn(scratch.path());
        let server = Self { child, address, scratch };
        server.ready();
        Some(server)
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it as the kernel would, and starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.child = spawn(self.scratch.path());
        self.ready();
    }

    fn ready(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn spawn(directory: &Path) -> Child {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(directory.join("config.yml")).env_remove("OTEL_TRACES_EXPORTER");
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A server that proxies restart as well. It ends with this, whoever else still holds it.
pub(crate) struct Shared(pub(crate) Arc<Mutex<Server>>);

impl Drop for Shared {
    fn drop(&mut self) {
        // A test that failed while it held the lock has poisoned it.
        let mut server = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        server.stop();
        std::fs::remove_dir_all(server.scratch.path()).unwrap();
    }
}
