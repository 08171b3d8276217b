//! Published ports, as Docker writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Kind, Result, Step};
use crate::network::Lease;

/// How many ports one range may have.
const LARGEST: u32 = 4096;

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of a container, or a range of them, and where it is found on the host: `[ADDRESS:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host's address; all of them if not said.
    pub address: Option<IpAddr>,
    /// The first port of the host; 0 for any that is free.
    pub host: u16,
    /// The first port of the container.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// What is carried.
    pub protocol: Protocol,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in the header of IP.
    pub(super) fn number(self) -> libc::c_int {
        match self {
            Self::Tcp => libc::IPPROTO_TCP,
            Self::Udp => libc::IPPROTO_UDP,
            Self::Sctp => libc::IPPROTO_SCTP,
        }
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            let reason = format!("{text:?} is not [ADDRESS:][HOST[-HOST]:]PORT[-PORT][/tcp|/udp|/sctp]");
            Error::new(Kind::InvalidArgument, Step::Network).object_is("--publish").reason_is(reason)
        })
    }
}

fn parse(text: &str) -> Option<Port> {
    let (text, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((text, "tcp")) => (text, Protocol::Tcp),
        Some((text, "udp")) => (text, Protocol::Udp),
        Some((text, "sctp")) => (text, Protocol::Sctp),
        Some(_) => return None,
    };
    let (rest, container) = text.rsplit_once(':').map_or((None, text), |(rest, container)| (Some(rest), container));
    let (address, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => (Some(address), host),
        },
    };
    let address = match address.unwrap_or_default() {
        "" => None,
        text => Some(text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok()?),
    };
    // 0.0.0.0 says "of IPv4", and ::  "of IPv6".
    let (container, count) = range(container)?;
    let host = match host {
        "" | "0" => 0,
        text => match range(text)? {
            (first, length) if length == count => first,
            _ => return None,
        },
    };
    if host == 0 && count != 1 {
        return None;
    }
    Some(Port { address, host, container, count, protocol })
}

/// The first number of `N` or `N-M`, and how many there are.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (first, last) = (number(first)?, number(last)?);
    let count = u32::from(last.checked_sub(first)?) + 1;
    (first > 0 && count <= LARGEST).then(|| (first, u16::try_from(count).unwrap_or(u16::MAX)))
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        let last = |first: u16| if self.count > 1 { format!("-{}", first + (self.count - 1)) } else { String::new() };
        let (host, container) = (self.host, self.container);
        write!(f, "{host}{}->{container}{}/{}", last(host), last(container), self.protocol.name())
    }
}

impl Port {
    /// Whether it is found on addresses of this family.
    pub(super) fn serves(&self, ipv4: bool) -> bool {
        self.address.is_none_or(|address| address.is_ipv4() == ipv4)
    }

    /// Whether it is found on 127.0.0.0/8.
    pub(super) fn is_on_loopback(&self) -> bool {
        match self.address {
            None => true,
            Some(IpAddr::V4(address)) => address.is_loopback() || address.is_unspecified(),
            Some(IpAddr::V6(_)) => false,
        }
    }

    /// Whether it is found on `::1`.
    pub(super) fn is_on_loopback6(&self) -> bool {
        match self.address {
            None => true,
            Some(IpAddr::V6(address)) => address.is_loopback() || address.is_unspecified(),
            Some(IpAddr::V4(_)) => false,
        }
    }

    fn collides(&self, other: &Self) -> bool {
        let apart = |one: &Self, two: &Self| u32::from(one.host) + u32::from(one.count) <= u32::from(two.host);
        let any = |port: &Self, ipv4| port.serves(ipv4) && port.address.is_none_or(|address| address.is_unspecified());
        let same = |ipv4| {
            self.serves(ipv4)
                && other.serves(ipv4)
                && (any(self, ipv4) || any(other, ipv4) || self.address == other.address)
        };
        self.protocol == other.protocol && !apart(self, other) && !apart(other, self) && (same(true) || same(false))
    }

    /// Whether a program of the host has one of the ports; the number that was free, for 0.
    fn probe(&self) -> std::io::Result<u16> {
        let addresses: Vec<IpAddr> = match self.address {
            Some(address) => vec![address],
            None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        };
        let bind = |address: IpAddr, port: u16| match self.protocol {
            Protocol::Tcp => TcpListener::bind(SocketAddr::new(address, port)).and_then(|socket| socket.local_addr()),
            Protocol::Udp => UdpSocket::bind(SocketAddr::new(address, port)).and_then(|socket| socket.local_addr()),
            // The standard library has no such sockets; the kernel's list of them is the least of all cases.
            Protocol::Sctp => Ok(SocketAddr::new(address, port)),
        };
        let mut first = self.host;
        for address in addresses {
            for offset in 0..self.count {
                match bind(address, first + offset) {
                    Ok(bound) => first = bound.port() - offset,
                    // A host without IPv6 has no such port, and an address that is yet to come has none either.
                    Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(first)
    }
}

/// Takes ports for a container, beside those that `others` have.
pub(super) fn claim(ports: &[Port], others: &[&Lease]) -> Result<Vec<Port>> {
    let mut claimed: Vec<Port> = Vec::new();
    for port in ports {
        let busy = |reason: String| {
            let error = Error::new(Kind::Busy, Step::Network).object_is(format!("port {port}")).reason_is(reason);
            error.hint_is("publish it under another number of the host")
        };
        if port.protocol == Protocol::Sctp && port.host == 0 {
            return Err(busy("a number of the host must be given for SCTP".to_owned()));
        }
        let mut port = port.clone();
        let owner = |port: &Port| others.iter().find(|other| other.ports.iter().any(|theirs| theirs.collides(port)));
        // First those whose sockets a probe would find as well, and could not name.
        if let Some(owner) = owner(&port).filter(|_| port.host != 0) {
            return Err(busy(format!("the container {} has it", owner.name)));
        }
        port.host = port.probe().map_err(|error| busy(format!("a program of this host has it: {error}")))?;
        if let Some(owner) = owner(&port) {
            return Err(busy(format!("the container {} has it", owner.name)));
        }
        if claimed.iter().any(|mine| mine.collides(&port)) {
            return Err(busy("it is published twice".to_owned()));
        }
        claimed.push(port);
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> Port {
        text.parse().unwrap()
    }

    #[test]
    fn ports_are_written_as_for_docker() {
        for (text, shown) in [
            ("80", "0->80/tcp"),
            ("8080:80", "8080->80/tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1:8080->80/udp"),
            ("[::1]:8080:80", "[::1]:8080->80/tcp"),
            ("::1:8080:80", "[::1]:8080->80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:0->80/tcp"),
            ("8000-8002:80-82/sctp", "8000-8002->80-82/sctp"),
        ] {
            assert_eq!(port(text).to_string(), shown, "{text}");
        }
        for text in [
            "",
            "0",
            "65536",
            "80/",
            "80/icmp",
            "1-2:3",
            "5-4",
            "80-81",
            "x:80",
            "1.2.3:1:2",
            "+80",
            "1-9999",
            "a:1:2",
            "80:0",
        ] {
            let error = text.parse::<Port>().unwrap_err().to_string();
            assert!(error.contains("--publish") && error.contains("is not"), "{text}: {error}");
        }
    }

    #[test]
    fn two_containers_do_not_get_one_port() {
        for (one, other, collide) in [
            ("8080:80", "8080:81", true),
            ("8080:80", "127.0.0.1:8080:80", true),
            ("127.0.0.1:8080:80", "127.0.0.2:8080:80", false),
            ("8080:80", "8080:80/udp", false),
            ("8000-8010:80-90", "8010:80", true),
            ("8000-8010:80-90", "8011:80", false),
            ("0.0.0.0:8080:80", "[::]:8080:80", false),
            ("0.0.0.0:8080:80", "127.0.0.1:8080:80", true),
        ] {
            assert_eq!(port(one).collides(&port(other)), collide, "{one} {other}");
            assert_eq!(port(other).collides(&port(one)), collide, "{other} {one}");
        }
    }

    #[test]
    fn a_port_of_a_program_is_not_taken() {
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = program.local_addr().unwrap().port();
        let error = claim(&[port(&format!("127.0.0.1:{taken}:80"))], &[]).unwrap_err().to_string();
        assert!(error.contains("a program of this host has it"), "{error}");
        assert_ne!(claim(&[port("127.0.0.1::80")], &[]).unwrap()[0].host, 0);
    }
}
