//! Which addresses a network has.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::base::{Error, Kind, Result, Step};
use crate::network::netlink::Netlink;

/// The subnets of the bridge: a /16 of IPv4, and a /64 of IPv6 where the host has it. The bridge has the first address of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    /// The network address of the /16.
    ipv4: Ipv4Addr,
    /// The network address of the /64.
    ipv6: Option<Ipv6Addr>,
}

impl Subnets {
    /// How many addresses the smaller one has.
    pub(super) const HOSTS: u32 = 65_535;
    pub(super) const PREFIX4: u8 = 16;
    pub(super) const PREFIX6: u8 = 64;

    /// Subnets that no route of this network namespace leads to.
    pub(super) fn free() -> Result<Self> {
        let failed = |errno: nix::errno::Errno| Error::os(Step::Network, errno as i32).object_is("the host's routes");
        let routes = Netlink::open().and_then(|mut netlink| netlink.routes4()).map_err(failed)?;
        let ipv4 = free_of(&routes).ok_or_else(|| {
            let error = Error::new(Kind::Unsupported, Step::Network).object_is("10.88.0.0/16 to 10.127.0.0/16");
            error.reason_is("the host has routes into all of them").hint_is("--network host uses the host's own")
        })?;
        let ipv6 = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
        let ipv6 = ipv6.is_ok_and(|text| text.trim() == "0").then(unique_local).transpose()?;
        Ok(Self { ipv4, ipv6 })
    }

    /// The address `number` of the IPv4 subnet.
    #[must_use]
    pub fn ipv4(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.ipv4) | (number & 0xffff))
    }

    /// The address `number` of the IPv6 subnet.
    #[must_use]
    pub fn ipv6(&self, number: u32) -> Option<Ipv6Addr> {
        self.ipv6.map(|prefix| Ipv6Addr::from(u128::from(prefix) | u128::from(number)))
    }

    #[cfg(test)]
    pub(super) fn of(ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) -> Self {
        Self { ipv4, ipv6 }
    }
}

/// The first of our /16 networks that overlaps none of `routes`, which are addresses with the lengths of their prefixes. The
/// default route leads everywhere and says nothing.
fn free_of(routes: &[(Ipv4Addr, u8)]) -> Option<Ipv4Addr> {
    let overlaps = |network: Ipv4Addr, (route, length): &(Ipv4Addr, u8)| {
        let shared = u32::from((*length).min(Subnets::PREFIX4));
        let mask = u32::MAX.checked_shl(32 - shared).unwrap_or(0);
        *length > 0 && (u32::from(network) ^ u32::from(*route)) & mask == 0
    };
    let candidates = (88..128).map(|second| Ipv4Addr::new(10, second, 0, 0));
    candidates.into_iter().find(|network| routes.iter().all(|route| !overlaps(*network, route)))
}

/// A /64 of fd00::/8 with 40 random bits, as RFC 4193 wants them.
fn unique_local() -> Result<Ipv6Addr> {
    let mut bytes = [0; 16];
    let random = ring::rand::SystemRandom::new();
    let filled = ring::rand::SecureRandom::fill(&random, bytes.get_mut(1..6).unwrap_or_default());
    filled.map_err(|_| Error::new(Kind::System, Step::Network).reason_is("the kernel gives no random numbers"))?;
    bytes[0] = 0xfd;
    Ok(Ipv6Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_that_a_route_leads_into_is_passed_over() {
        let route = |text: &str, length| (text.parse::<Ipv4Addr>().unwrap(), length);
        let free = |routes: &[_]| free_of(routes).map(|network| network.to_string());
        assert_eq!(free(&[route("0.0.0.0", 0), route("192.168.0.0", 16)]).as_deref(), Some("10.88.0.0"));
        assert_eq!(free(&[route("10.88.7.0", 24)]).as_deref(), Some("10.89.0.0"));
        assert_eq!(free(&[route("10.88.0.0", 15), route("10.90.1.2", 32)]).as_deref(), Some("10.91.0.0"));
        assert_eq!(free(&[route("10.0.0.0", 8)]), None);
    }

    #[test]
    fn addresses_are_numbered() {
        let subnets = Subnets::of(Ipv4Addr::new(10, 88, 0, 0), Some("fd00:1::".parse().unwrap()));
        assert_eq!(subnets.ipv4(258).to_string(), "10.88.1.2");
        assert_eq!(subnets.ipv6(258).unwrap().to_string(), "fd00:1::102");
        assert_eq!(unique_local().unwrap().octets()[0], 0xfd);
    }
}
