//! Network devices of the host that move into a container (`linux.netDevices`), by raw rtnetlink (rtnetlink(7)).

mod netlink;

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step};
use netlink::{Address, Link, Socket};

#[cfg(fuzzing)]
pub(crate) use netlink::decode_all;

/// Moves each device (its name, and its name in the container) into the network namespace of `pid`.
///
/// A device takes along its permanent addresses of global scope and is up in the end. The name is given in the same request
/// as the namespace, so that the device never stands there under another's name. When a device fails, it and those before it
/// are put back: the kernel would destroy virtual ones together with the container's namespace.
pub(crate) fn move_all<'d>(devices: impl Iterator<Item = (&'d str, &'d str)>, pid: HostPid) -> Result<()> {
    let procfs = Procfs::open()?;
    let own = procfs.open_own_namespace("net")?;
    let target = procfs.open_namespace(pid, "net")?;
    let failed = |errno: Errno| Error::os(Step::SetUpNetwork, errno as i32).with_object("open netlink sockets");
    let host = Socket::open().map_err(failed)?;
    let container = Socket::open_in(target.as_fd()).map_err(failed)?;
    let mut host = Side { socket: host, namespace: own };
    let mut container = Side { socket: container, namespace: target };
    let mut moved = Vec::new();
    for (name, wanted) in devices {
        match move_one(&mut host, &mut container, name, wanted) {
            Ok(device) => moved.push(device),
            Err(error) => return Err(put_back(&mut host, &mut container, moved, error)),
        }
    }
    Ok(())
}

/// Brings up the loopback device of the network namespace of `pid`, as it is in every new container.
#[cfg(feature = "criu")]
pub(crate) fn set_up_loopback(pid: HostPid) -> Result<()> {
    let procfs = Procfs::open()?;
    let target = procfs.open_namespace(pid, "net")?;
    let up = || {
        let mut socket = Socket::open_in(target.as_fd())?;
        let loopback = socket.link("lo")?;
        socket.set_up(loopback.index)
    };
    up().map_err(|errno: Errno| Error::os(Step::SetUpNetwork, errno as i32).with_object("bring up lo"))
}

/// A network namespace and a netlink socket in it.
struct Side {
    socket: Socket,
    namespace: OwnedFd,
}

/// A device that stands in the container's namespace, and how it was on the host.
struct Moved<'d> {
    name: &'d str,
    index: u32,
    was_up: bool,
    addresses: Vec<Address>,
}

fn move_one<'d>(host: &mut Side, container: &mut Side, name: &'d str, wanted: &str) -> Result<Moved<'d>> {
    let mut pointer = String::from("/linux/netDevices");
    crate::config::push_token(&mut pointer, name);
    let failed = |doing: &str, errno: Errno| {
        Error::os(Step::SetUpNetwork, errno as i32).with_object(format!("{doing} {name:?}")).with_field(pointer.clone())
    };
    let link = host.socket.link(name).map_err(|errno| match errno {
        Errno::ENODEV => failed("device", errno).with_hint("it must be in the runtime's network namespace"),
        errno => failed("find device", errno),
    })?;
    let addresses = host.socket.addresses(link.index).map_err(|errno| failed("read the addresses of", errno))?;
    let template = wanted.ends_with("%d");
    if !template && container.socket.link(wanted).is_ok() {
        return Err(Error::new(Kind::InvalidConfig, Step::SetUpNetwork)
            .with_object(format!("device {name:?}"))
            .with_field(format!("{pointer}/name"))
            .with_reason(format!("{wanted:?} is there already in the container's network namespace")));
    }
    let before = container.socket.links().map_err(|errno| failed("list the devices beside", errno))?;
    host.socket
        .send_to_namespace(link.index, container.namespace.as_fd(), wanted)
        .map_err(|errno| failed("move device", errno))?;
    let index = arrival(&mut container.socket, &before, wanted, template)
        .map_err(|errno| failed("find in the container device", errno))?;
    let device = Moved { name, index, was_up: link.up, addresses };
    match settle(&mut container.socket, index, &device.addresses, true) {
        Ok(()) => Ok(device),
        Err(errno) => Err(put_back(host, container, vec![device], failed("bring up device", errno))),
    }
}

/// The index of the device that has just come in.
fn arrival(socket: &mut Socket, before: &[Link], wanted: &str, template: bool) -> nix::Result<u32> {
    if !template {
        return socket.link(wanted).map(|link| link.index);
    }
    let prefix = wanted.trim_end_matches("%d");
    let known = |link: &Link| before.iter().any(|earlier| earlier.index == link.index);
    let new = socket.links()?.into_iter().find(|link| !known(link) && link.name.starts_with(prefix));
    new.map(|link| link.index).ok_or(Errno::ENODEV)
}

/// Gives a device its addresses, which the kernel takes from it on the way, and sets it up.
fn settle(socket: &mut Socket, index: u32, addresses: &[Address], up: bool) -> nix::Result<()> {
    for address in addresses {
        match socket.add_address(index, address) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    if up { socket.set_up(index) } else { Ok(()) }
}

/// Returns devices to the host; what fails is added to `error`.
fn put_back(host: &mut Side, container: &mut Side, devices: Vec<Moved<'_>>, error: Error) -> Error {
    let mut error = error;
    for device in devices.iter().rev() {
        let back = container.socket.send_to_namespace(device.index, host.namespace.as_fd(), device.name);
        let settled = back.and_then(|()| {
            let index = host.socket.link(device.name)?.index;
            settle(&mut host.socket, index, &device.addresses, device.was_up)
        });
        if let Err(errno) = settled {
            let further = Error::os(Step::SetUpNetwork, errno as i32);
            error = error.and(further.with_object(format!("put back device {:?}", device.name)));
        }
    }
    error
}
