//! The bridge and the devices of containers.

use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::base::{Error, Kind, Result, Step};
use crate::network::namespace::Namespaces;
use crate::network::netlink::Netlink;
use crate::network::{BRIDGE, Lease, Subnets};

/// What the device is called in the container.
const INSIDE: &str = "eth0";

/// What the other end of it is called on the host.
fn outside(lease: &Lease) -> String {
    format!("orlopv{}", lease.number)
}

/// The hardware address of a container: a local one, out of its IPv4 address. Others remember it for an address that another
/// container had before, and would send into the void for a minute if it were a new one.
fn hardware(lease: &Lease) -> [u8; 6] {
    let [a, b, c, d] = lease.ipv4.octets();
    [0x02, 0x6f, a, b, c, d]
}

/// The bridge, for who connects a container to it.
pub(super) struct Bridge {
    netlink: Netlink,
    index: u32,
}

/// Makes the bridge, unless it is there.
pub(super) fn bridge(subnets: &Subnets) -> Result<Bridge> {
    let failed = |errno| refused(BRIDGE, errno);
    let mut netlink = Netlink::open().map_err(failed)?;
    match netlink.add_bridge(BRIDGE) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let index = netlink.index(BRIDGE).map_err(failed)?;
    sysctl(&format!("ipv6/conf/{BRIDGE}/accept_ra"), "0").ok();
    addresses(&mut netlink, index, subnets, 1).map_err(failed)?;
    netlink.set_up(index).map_err(failed)?;
    forward(subnets)?;
    Ok(Bridge { netlink, index })
}

/// Removes the bridge, if it is there.
pub(super) fn remove_bridge() -> Result<()> {
    remove(BRIDGE)
}

/// Makes the devices of a container, and gives its own addresses and routes.
pub(super) fn connect(bridge: &mut Bridge, lease: &Lease, subnets: &Subnets, namespaces: &Namespaces) -> Result<()> {
    let name = outside(lease);
    let failed = |errno| refused(&name, errno);
    let netns = namespaces.container().as_fd();
    let mut add = || bridge.netlink.add_veth(&name, bridge.index, INSIDE, hardware(lease), netns);
    match add() {
        // One that a container left behind which had this number: the lease is ours now.
        Err(Errno::EEXIST) => remove(&name).and_then(|()| add().map_err(failed))?,
        added => added.map_err(failed)?,
    }
    let mut inside = namespaces.inside(open_inside).map_err(failed)?;
    let configured = inside.index(INSIDE).and_then(|index| {
        let loopback = inside.index("lo")?;
        inside.set_up(loopback)?;
        addresses(&mut inside, index, subnets, lease.number)?;
        inside.set_up(index)?;
        let gateways = [Some(IpAddr::V4(subnets.ipv4(1))), subnets.ipv6(1).map(IpAddr::V6)];
        gateways.into_iter().flatten().try_for_each(|gateway| inside.add_default_route(index, gateway))
    });
    configured.map_err(|errno| refused(INSIDE, errno))
}

/// Removes the devices of a container: with one end goes the other.
pub(super) fn disconnect(lease: &Lease) -> Result<()> {
    remove(&outside(lease))
}

fn remove(name: &str) -> Result<()> {
    let removed = Netlink::open().and_then(|mut netlink| {
        let index = netlink.index(name)?;
        netlink.remove(index)
    });
    match removed {
        Ok(()) | Err(Errno::ENODEV) => Ok(()),
        Err(errno) => Err(refused(name, errno)),
    }
}

fn addresses(netlink: &mut Netlink, index: u32, subnets: &Subnets, number: u32) -> nix::Result<()> {
    let ipv4 = (IpAddr::V4(subnets.ipv4(number)), Subnets::PREFIX4);
    let ipv6 = subnets.ipv6(number).map(|address| (IpAddr::V6(address), Subnets::PREFIX6));
    for (address, prefix) in std::iter::once(ipv4).chain(ipv6) {
        match netlink.add_address(index, address, prefix) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A socket of the calling thread's namespace, where the device is: it stays there.
fn open_inside() -> nix::Result<Netlink> {
    // The device would wait two seconds for others with its link-local address.
    for setting in ["disable_ipv6", "accept_dad", "accept_ra"] {
        sysctl(&format!("ipv6/conf/{INSIDE}/{setting}"), "0").ok();
    }
    Netlink::open()
}

/// Has the kernel forward packets, as every bridge with containers needs. It stays so: others may rely on it by the time that
/// the last container ends.
fn forward(subnets: &Subnets) -> Result<()> {
    on("ipv4/ip_forward")?;
    const ALL: &str = "ipv6/conf/all/forwarding";
    if subnets.ipv6(1).is_none() || is_on(ALL) {
        return Ok(());
    }
    // A router takes no routes from advertisements, unless it is told to: the host must not lose its own.
    let devices = std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    for device in devices {
        let setting = format!("ipv6/conf/{}/accept_ra", device.file_name().to_string_lossy());
        let text = std::fs::read_to_string(format!("/proc/sys/net/{setting}")).unwrap_or_default();
        if text.trim() == "1" && device.file_name() != BRIDGE {
            sysctl(&setting, "2").ok();
        }
    }
    on(ALL)
}

fn is_on(setting: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/net/{setting}")).is_ok_and(|text| text.trim() != "0")
}

fn on(setting: &str) -> Result<()> {
    if is_on(setting) {
        return Ok(());
    }
    let path = format!("/proc/sys/net/{setting}");
    sysctl(setting, "1").map_err(|error| {
        let hint = format!("sysctl -w net.{}=1, or --network host", setting.replace('/', "."));
        Error::io(Step::Network, &error).object_is(path).hint_is(hint)
    })
}

/// Lets 127.0.0.1 of the host lead into the bridge, where a port is published that needs it.
pub(super) fn route_loopback(wanted: bool) -> Result<()> {
    let setting = format!("ipv4/conf/{BRIDGE}/route_localnet");
    sysctl(&setting, if wanted { "1" } else { "0" })
        .map_err(|error| Error::io(Step::Network, &error).object_is(format!("/proc/sys/net/{setting}")))
}

fn sysctl(setting: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/sys/net/{setting}"), value)
}

fn refused(name: &str, errno: Errno) -> Error {
    let error = Error::os(Step::Network, errno as i32).object_is(name);
    match errno {
        Errno::EPERM => {
            error.kind_is(Kind::Denied).hint_is("a bridge needs CAP_NET_ADMIN: run as root, or --network none")
        }
        Errno::EOPNOTSUPP => error.kind_is(Kind::Unsupported).hint_is("modprobe bridge veth"),
        _ => error,
    }
}
