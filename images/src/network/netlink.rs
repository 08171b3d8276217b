//! As much of rtnetlink(7) as a bridge with containers takes: one request at a time.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The fixed header of a message (struct nlmsghdr).
pub(super) const HEADER: usize = 16;
/// struct rtmsg.
const ROUTE: usize = 12;
/// The kernel puts at most this much into one datagram of a dump.
pub(super) const LARGEST: usize = 32 * 1024;
/// The other end of a veth pair, among its data.
const VETH_INFO_PEER: u16 = 1;

/// A netlink socket of one network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the calling thread's network namespace.
    pub(super) fn open() -> nix::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The index of the device `name`; ENODEV if there is none.
    pub(super) fn index(&mut self, name: &str) -> nix::Result<u32> {
        let mut request = Request::new(libc::RTM_GETLINK, 0);
        request.link(0, 0);
        request.text(libc::IFLA_IFNAME, name);
        let answer = self.ask(request)?;
        answer.iter().find_map(|message| word(message, HEADER + 4)).ok_or(Errno::ENODEV)
    }

    /// Makes a bridge.
    pub(super) fn add_bridge(&mut self, name: &str) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, CREATE);
        request.link(0, 0);
        request.text(libc::IFLA_IFNAME, name);
        request.nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
        self.ask(request).map(drop)
    }

    /// Makes a pair of devices: `name` here, up and in the bridge `master`; `peer` in the namespace `netns`, with the
    /// hardware address `address`.
    pub(super) fn add_veth(
        &mut self,
        name: &str,
        master: u32,
        peer: &str,
        address: [u8; 6],
        netns: BorrowedFd<'_>,
    ) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, CREATE);
        request.link(0, UP);
        request.text(libc::IFLA_IFNAME, name);
        request.attribute(libc::IFLA_MASTER, &master.to_ne_bytes());
        request.one_queue();
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |other| {
                    other.link(0, 0);
                    other.text(libc::IFLA_IFNAME, peer);
                    other.attribute(libc::IFLA_ADDRESS, &address);
                    other.one_queue();
                    other.attribute(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.ask(request).map(drop)
    }

    /// Removes a device.
    pub(super) fn remove(&mut self, index: u32) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_DELLINK, libc::NLM_F_ACK);
        request.link(index, 0);
        self.ask(request).map(drop)
    }

    /// Brings a device up.
    pub(super) fn set_up(&mut self, index: u32) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
        request.link(index, UP);
        self.ask(request).map(drop)
    }

    /// Adds an address, without looking for others that have it: they are ours to give.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWADDR, CREATE);
        request.bytes(&[family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        request.bytes(&index.to_ne_bytes());
        request.attribute(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &octets(address));
        request.attribute(libc::IFA_ADDRESS, &octets(address));
        self.ask(request).map(drop)
    }

    /// Adds the default route.
    pub(super) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWROUTE, CREATE);
        let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
        request.bytes(&[family(gateway), 0, 0, 0, table, protocol, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST]);
        request.bytes(&[0; 4]);
        request.attribute(libc::RTA_GATEWAY, &octets(gateway));
        request.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.ask(request).map(drop)
    }

    /// Where the routes of IPv4 lead, of all tables.
    pub(super) fn routes4(&mut self) -> nix::Result<Vec<(Ipv4Addr, u8)>> {
        let mut request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP);
        let mut fixed = [0; ROUTE];
        fixed[0] = family(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        request.bytes(&fixed);
        Ok(self.ask(request)?.iter().filter_map(|message| parse_route(message)).collect())
    }

    /// Sends a request and collects the messages of the answer.
    fn ask(&mut self, request: Request) -> nix::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let dump = request.flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP;
        let bytes = request.finish(self.sequence);
        if send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())? != bytes.len() {
            return Err(Errno::EMSGSIZE);
        }
        let mut answer = Vec::new();
        let mut buffer = vec![0; LARGEST];
        // The kernel answers within send(2), or with the next recv(2) of a dump: this never waits.
        loop {
            let count = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in messages(buffer.get(..count).unwrap_or_default()) {
                if word(message, 8) != Some(self.sequence) {
                    continue;
                }
                match half(message, 4).map(libc::c_int::from) {
                    Some(libc::NLMSG_DONE) => return Ok(answer),
                    Some(libc::NLMSG_ERROR) => return error_of(message).map(|()| answer),
                    _ => answer.push(message.to_vec()),
                }
            }
            if !dump && !answer.is_empty() {
                return Ok(answer);
            }
        }
    }
}

const CREATE: libc::c_int = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
const UP: u32 = libc::IFF_UP.cast_unsigned();

/// A message in the making.
pub(super) struct Request {
    kind: u16,
    flags: libc::c_int,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: u16, flags: libc::c_int) -> Self {
        Self { kind, flags: flags | libc::NLM_F_REQUEST, body: Vec::with_capacity(256) }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// struct ifinfomsg, with `flags` as those that change.
    fn link(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        for field in [index, flags, flags] {
            self.bytes(&field.to_ne_bytes());
        }
    }

    /// A device with one queue each way, which is what a veth uses. Without being told, the kernel makes one for each processor,
    /// and then waits until nobody sees the others any more.
    fn one_queue(&mut self) {
        self.attribute(libc::IFLA_NUM_TX_QUEUES, &1_u32.to_ne_bytes());
        self.attribute(libc::IFLA_NUM_RX_QUEUES, &1_u32.to_ne_bytes());
    }

    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// struct rtattr and its value, padded. Values here are names and addresses, far below 64 KiB.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes(&length.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(value);
        self.body.resize(aligned(self.body.len()), 0);
    }

    /// An attribute that holds attributes.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::new(0, 0);
        fill(&mut inner);
        self.attribute(kind, &inner.body);
    }

    pub(super) fn finish(self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let flags = u16::try_from(self.flags).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

/// The messages of a datagram, each with its header.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(word(rest, 0)?).ok().filter(|length| *length >= HEADER)?;
        let message = rest.get(..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// An error message holds a negative errno, or 0 for "done".
pub(super) fn error_of(message: &[u8]) -> nix::Result<()> {
    match word(message, HEADER).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw(errno.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

fn parse_route(message: &[u8]) -> Option<(Ipv4Addr, u8)> {
    let length = *message.get(HEADER + 1)?;
    let mut rest = message.get(HEADER + ROUTE..)?;
    loop {
        let size = usize::from(half(rest, 0)?);
        let value = rest.get(4..size)?;
        if half(rest, 2)? == libc::RTA_DST {
            let octets: &[u8; 4] = value.first_chunk()?;
            return Some((Ipv4Addr::from(*octets), length));
        }
        rest = rest.get(aligned(size)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_and_its_routes_are_found() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.index("lo"), Ok(1));
        assert_eq!(netlink.index("no-such-device"), Err(Errno::ENODEV));
        let routes = netlink.routes4().unwrap();
        assert!(routes.contains(&(Ipv4Addr::new(127, 0, 0, 0), 8)), "{routes:?}");
    }

    #[test]
    fn broken_messages_end_the_reading() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 64], &[255; 64], &[17, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
            assert_eq!(parse_route(bytes), None, "{bytes:?}");
        }
    }
}
