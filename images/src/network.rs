//! Networks of containers: a bridge, addresses, published ports. Knows nothing of images.
//!
//! One bridge, [`BRIDGE`], serves all containers of a host's network namespace. What exists is described by one file in the
//! state directory, and made from it: the lease of a container is on disk before anything else of it is, so that whoever
//! finds the container gone can take everything away with [`Networks::release`]. All changes happen under one lock.
//!
//! ```text
//! DIR/lock           held while anything changes
//! DIR/network.json   the subnets and the leases
//! ```

mod firewall;
mod forward;
mod hosts;
mod link;
mod namespace;
mod netlink;
mod nftables;
pub mod pasta;
mod port;
mod subnet;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::base::{Cancel, Dir, Error, Kind, Lock, Result, Step};

pub use forward::Forwarder;
pub use namespace::Connection;
use namespace::Namespaces;
pub use port::{Port, Protocol};
pub use subnet::Subnets;

/// The bridge.
pub const BRIDGE: &str = "orlop0";
/// The file of the state directory.
const FILE: &str = "network.json";
/// How long another process may be at it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a container asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The container's name, under which others reach it.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// The ports of it that are published.
    pub ports: Vec<Port>,
    /// Its /etc/hosts on the host, which is kept up to date.
    pub hosts_file: PathBuf,
}

/// What a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The container's name.
    pub name: String,
    /// Other names of it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Which address of the subnets it has.
    number: u32,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, where the host has IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// The ports of it that are published, each with a number on the host.
    pub ports: Vec<Port>,
    /// Its /etc/hosts on the host.
    pub hosts_file: PathBuf,
    /// Whether there are rules for it, and others know its name.
    #[serde(default)]
    ready: bool,
}

impl Lease {
    /// Stands for ports that a program of this host serves on 127.0.0.1.
    #[must_use]
    pub fn on_loopback(name: &str, ports: &[Port]) -> Self {
        // One with an address of its own is served there, and nowhere else.
        let ports = ports.iter().filter(|port| port.address.is_none());
        Self {
            name: name.to_owned(),
            aliases: Vec::new(),
            number: 0,
            ipv4: Ipv4Addr::LOCALHOST,
            ipv6: None,
            ports: ports.map(|port| Port { container: port.host, ..port.clone() }).collect(),
            hosts_file: PathBuf::new(),
            ready: false,
        }
    }
}

/// What is on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    subnets: Option<Subnets>,
    leases: Vec<Lease>,
}

/// The network of one host, or of one network namespace.
#[derive(Debug)]
pub struct Networks {
    dir: Dir,
}

impl Networks {
    /// Opens that whose state is in the directory `path`, and makes it where it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { dir: Dir::make(Step::Network, path)? })
    }

    /// Gives a container its addresses. Nothing is made yet: [`Connection::connect`] is next.
    pub fn reserve(&self, request: Request) -> Result<Lease> {
        let (_lock, mut state) = self.read()?;
        if state.leases.iter().any(|lease| lease.name == request.name) {
            let error = Error::new(Kind::AlreadyExists, Step::Network).object_is(request.name);
            return Err(error.reason_is("it has an address already"));
        }
        let subnets = match state.subnets {
            Some(subnets) => subnets,
            None => *state.subnets.insert(Subnets::free()?),
        };
        let taken = |number: u32| state.leases.iter().any(|lease| lease.number == number);
        let number = (2..Subnets::HOSTS).find(|number| !taken(*number)).ok_or_else(|| {
            Error::new(Kind::Limit, Step::Network).object_is(BRIDGE).reason_is("all of its addresses are taken")
        })?;
        let others: Vec<&Lease> = state.leases.iter().collect();
        let lease = Lease {
            ports: port::claim(&request.ports, &others)?,
            name: request.name,
            aliases: request.aliases,
            number,
            ipv4: subnets.ipv4(number),
            ipv6: subnets.ipv6(number),
            hosts_file: request.hosts_file,
            ready: false,
        };
        state.leases.push(lease.clone());
        self.write(&state)?;
        Ok(lease)
    }

    /// Connects the namespace of a container that has a lease: the bridge, its device `eth0`, its routes, the rules for its
    /// ports. Returns what the user should know of what stands in the way.
    fn join(&self, name: &str, namespaces: &Namespaces) -> Result<Vec<String>> {
        let (_lock, mut state) = self.read()?;
        let (subnets, lease) = of(&mut state, name)?;
        lease.ready = true;
        let lease = lease.clone();
        self.write(&state)?;
        let mut bridge = link::bridge(&subnets)?;
        link::connect(&mut bridge, &lease, &subnets, namespaces).map_err(|error| error.reference_is(name))?;
        let notes = firewall::obstacles();
        firewall::load(&subnets, &state.leases)?;
        Ok(notes)
    }

    /// Writes the names of all into the hosts files of all: that of a new container must be there by now.
    pub fn announce(&self) -> Result<()> {
        let (_lock, state) = self.read()?;
        hosts::update(&state.leases);
        Ok(())
    }

    /// Takes away what a container has; that it has nothing is no error. With the last one, the bridge and the rules go.
    pub fn release(&self, name: &str) -> Result<()> {
        let (_lock, mut state) = self.read()?;
        let Some(at) = state.leases.iter().position(|lease| lease.name == name) else { return Ok(()) };
        let lease = state.leases.remove(at);
        link::disconnect(&lease)?;
        match state.subnets {
            Some(subnets) if !state.leases.is_empty() => firewall::load(&subnets, &state.leases)?,
            _ => {
                firewall::clear()?;
                link::remove_bridge()?;
            }
        }
        // The lease goes last: after a kill before this line, all of it is done again.
        self.write(&state)?;
        hosts::update(&state.leases);
        Ok(())
    }

    /// The lease of one container.
    pub fn lease(&self, name: &str) -> Result<Option<Lease>> {
        Ok(self.leases()?.into_iter().find(|lease| lease.name == name))
    }

    /// All leases.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        Ok(self.read()?.1.leases)
    }

    fn read(&self) -> Result<(Lock, State)> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let what = self.dir.path().join("lock").display().to_string();
        let file = self.dir.file(Step::Network, "lock", flags)?;
        let file = file.ok_or_else(|| Error::os(Step::Network, libc::ENOENT).object_is(&what))?;
        // What is begun here is carried through, so it is not cancelled.
        let lock = Lock::take(file, true, &what, PATIENCE, &Cancel::new())?;
        let Some(text) = self.dir.read(Step::Network, FILE, 16 << 20)? else { return Ok((lock, State::default())) };
        if text.is_empty() {
            // The machine crashed before it was on disk.
            return Ok((lock, State::default()));
        }
        let damaged = |error: serde_json::Error| {
            let error = Error::new(Kind::Damaged, Step::Network).reason_is(error.to_string());
            error.object_is(self.dir.path().join(FILE).display().to_string())
        };
        Ok((lock, serde_json::from_slice(&text).map_err(damaged)?))
    }

    fn write(&self, state: &State) -> Result<()> {
        // With nobody left, other subnets may be better the next time.
        let state = if state.leases.is_empty() { &State::default() } else { state };
        let text = serde_json::to_vec(state);
        let text = text.map_err(|error| Error::new(Kind::System, Step::Network).reason_is(error.to_string()))?;
        // All of it is of this boot.
        self.dir.replace_for_now(Step::Network, FILE, &text)
    }
}

/// The lease of `name`, and the subnets that it is of.
fn of<'a>(state: &'a mut State, name: &str) -> Result<(Subnets, &'a mut Lease)> {
    let subnets = state.subnets;
    let lease = state.leases.iter_mut().find(|lease| lease.name == name);
    subnets
        .zip(lease)
        .ok_or_else(|| Error::new(Kind::NotFound, Step::Network).object_is(name).reason_is("it has no address"))
}
