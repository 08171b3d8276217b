//! As much of rtnetlink(7) as moving a device takes: links and addresses, one request at a time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::base::sys;

/// The fixed header of a message (struct nlmsghdr).
const HEADER: usize = 16;
/// struct ifinfomsg.
const LINK: usize = 16;
/// struct ifaddrmsg.
const ADDRESS: usize = 8;
/// The kernel puts at most this much into one datagram of a dump.
const LARGEST: usize = 32 * 1024;

/// Flags that an address keeps: no duplicate detection, no route for its prefix.
const KEPT: u32 = libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
}

/// A permanent address of global scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// IFA_LOCAL, IFA_ADDRESS and IFA_BROADCAST as they came.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A netlink socket for one network namespace.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub(super) fn open() -> nix::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Opens one in another network namespace, to which it then belongs for ever.
    pub(super) fn open_in(namespace: BorrowedFd<'_>) -> nix::Result<Self> {
        Ok(Self { fd: sys::netlink_socket_in(namespace)?, sequence: 0 })
    }

    /// The device called `name`; ENODEV when there is none.
    pub(super) fn link(&mut self, name: &str) -> nix::Result<Link> {
        let mut request = Request::new(libc::RTM_GETLINK, 0);
        request.link(0, 0, 0);
        request.name(name);
        self.ask(request)?.iter().find_map(|message| parse_link(message)).ok_or(Errno::ENODEV)
    }

    /// All devices.
    pub(super) fn links(&mut self) -> nix::Result<Vec<Link>> {
        let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP);
        request.link(0, 0, 0);
        Ok(self.ask(request)?.iter().filter_map(|message| parse_link(message)).collect())
    }

    /// The permanent addresses of global scope of a device; others mean nothing elsewhere.
    pub(super) fn addresses(&mut self, index: u32) -> nix::Result<Vec<Address>> {
        let mut request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
        request.bytes(&[0; ADDRESS]);
        Ok(self.ask(request)?.iter().filter_map(|message| parse_address(message, index)).collect())
    }

    /// Moves a device into another namespace, under `name` there.
    pub(super) fn send_to_namespace(&mut self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> nix::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
        request.link(index, 0, 0);
        request.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        request.name(name);
        self.ask(request).map(drop)
    }

    /// Brings a device up.
    pub(super) fn set_up(&mut self, index: u32) -> nix::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
        request.link(index, up, up);
        self.ask(request).map(drop)
    }

    /// Adds an address; EEXIST when it is there.
    pub(super) fn add_address(&mut self, index: u32, address: &Address) -> nix::Result<()> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWADDR, flags);
        request.bytes(&[address.family, address.prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        request.bytes(&index.to_ne_bytes());
        request.attribute(libc::IFA_FLAGS, &(address.flags & KEPT).to_ne_bytes());
        for (kind, value) in &address.attributes {
            request.attribute(*kind, value);
        }
        self.ask(request).map(drop)
    }

    /// Sends a request and collects the messages of the answer.
    fn ask(&mut self, request: Request) -> nix::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let dump = request.flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP;
        let bytes = request.finish(self.sequence);
        let sent = send(self.fd.as_fd().as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent != bytes.len() {
            return Err(Errno::EMSGSIZE);
        }
        let mut answer = Vec::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            let count = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let datagram = buffer.get(..count).unwrap_or_default();
            for message in messages(datagram) {
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

/// A message in the create.
struct Request {
    kind: u16,
    flags: libc::c_int,
    body: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: libc::c_int) -> Self {
        Self { kind, flags: flags | libc::NLM_F_REQUEST, body: Vec::with_capacity(128) }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// struct ifinfomsg.
    fn link(&mut self, index: u32, flags: u32, change: u32) {
        self.bytes(&[0; 4]);
        for field in [index, flags, change] {
            self.bytes(&field.to_ne_bytes());
        }
    }

    fn name(&mut self, name: &str) {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(libc::IFLA_IFNAME, &bytes);
    }

    /// struct rtattr and its value, padded. Values here are names and addresses, far below 64 KiB.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes(&length.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(value);
        self.body.resize(aligned(self.body.len()), 0);
    }

    fn finish(self, sequence: u32) -> Vec<u8> {
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

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

/// The messages of a datagram, each with its header.
fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(word(rest, 0)?).ok().filter(|length| *length >= HEADER)?;
        let message = rest.get(..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes after a message's fixed part.
fn attributes(message: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(HEADER + fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let kind = half(rest, 2)?;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An error message holds a negative errno, or 0 for "done".
fn error_of(message: &[u8]) -> nix::Result<()> {
    match word(message, HEADER).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw(errno.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

fn parse_link(message: &[u8]) -> Option<Link> {
    if half(message, 4) != Some(libc::RTM_NEWLINK) {
        return None;
    }
    let (_, name) = attributes(message, LINK).find(|(kind, _)| *kind == libc::IFLA_IFNAME)?;
    Some(Link {
        index: word(message, HEADER + 4)?,
        name: String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned(),
        up: word(message, HEADER + 8)? & libc::IFF_UP.cast_unsigned() != 0,
    })
}

fn parse_address(message: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, low_flags, scope] = *message.get(HEADER..)?.first_chunk()?;
    if half(message, 4) != Some(libc::RTM_NEWADDR) || word(message, HEADER + 4) != Some(index) {
        return None;
    }
    // The flags outgrew their byte; the attribute has them all.
    let all =
        attributes(message, ADDRESS).find(|(kind, _)| *kind == libc::IFA_FLAGS).and_then(|(_, value)| word(value, 0));
    let flags = all.unwrap_or_else(|| low_flags.into());
    if scope != libc::RT_SCOPE_UNIVERSE || flags & libc::IFA_F_PERMANENT == 0 {
        return None;
    }
    let kept = [libc::IFA_LOCAL, libc::IFA_ADDRESS, libc::IFA_BROADCAST];
    let attributes = attributes(message, ADDRESS)
        .filter(|(kind, _)| kept.contains(kind))
        .map(|(kind, value)| (kind, value.to_vec()));
    Some(Address { family, prefix, flags, attributes: attributes.collect() })
}

/// Reads all that answers are read for.
#[cfg(fuzzing)]
pub(crate) fn decode_all(datagram: &[u8]) {
    for message in messages(datagram) {
        let _ = error_of(message);
        drop(parse_link(message));
        drop(parse_address(message, word(message, HEADER + 4).unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_with_its_name_and_address() {
        let mut socket = Socket::open().unwrap();
        let lo = socket.link("lo").unwrap();
        assert_eq!((lo.index, lo.name.as_str()), (1, "lo"));
        assert!(socket.links().unwrap().contains(&lo));
        // Its address has host scope and so stays where it is.
        assert_eq!(socket.addresses(lo.index), Ok(vec![]));
        assert_eq!(socket.link("no-such-device"), Err(Errno::ENODEV));
        // An ordinary user is not even told that there is no such device.
        assert!(matches!(socket.set_up(0x7fff_ffff), Err(Errno::ENODEV | Errno::EPERM)));
    }

    #[test]
    fn addresses_are_kept_when_they_are_permanent_and_global() {
        let message = |scope: u8, flags: u32| {
            let mut request = Request::new(libc::RTM_NEWADDR, 0);
            request.bytes(&[2, 24, 0x80, scope]);
            request.bytes(&7u32.to_ne_bytes());
            request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
            request.attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]);
            request.attribute(libc::IFA_LABEL, b"eth0\0");
            request.finish(1)
        };
        let permanent = libc::IFA_F_PERMANENT;
        let address = parse_address(&message(0, permanent), 7).unwrap();
        assert_eq!(address.attributes, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!((address.family, address.prefix), (2, 24));
        assert_eq!(parse_address(&message(254, permanent), 7), None);
        assert_eq!(parse_address(&message(0, 0), 7), None);
        assert_eq!(parse_address(&message(0, permanent), 8), None);
    }

    #[test]
    fn broken_messages_end_the_reading() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 64], &[255; 64], &[17, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        let mut message = Request::new(libc::RTM_NEWLINK, 0);
        message.link(1, 0, 0);
        message.bytes(&[200, 0, 3, 0, b'x']);
        assert_eq!(parse_link(&message.finish(1)), None);
    }
}
