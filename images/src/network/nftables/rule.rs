//! Rules of nf_tables: what must be true of a packet, and what becomes of it, as the expressions that the kernel computes.

use std::net::IpAddr;

use crate::network::netlink::{Request, octets};
use crate::network::nftables::{nested, number};

/// The registers that a rule computes with. Both have 16 bytes.
const FIRST: u32 = libc::NFT_REG_1.cast_unsigned();
const SECOND: u32 = libc::NFT_REG_2.cast_unsigned();
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// States of a connection (NF_CT_STATE_BIT of IP_CT_ESTABLISHED and IP_CT_RELATED).
pub(in crate::network) const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// IPS_DST_NAT.
const CONNECTION_DST_NAT: u32 = 1 << 5;
/// NFT_FIB_RESULT_ADDRTYPE, and NFTA_FIB_F_DADDR.
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 1 << 1;

// The attributes of linux/netfilter/nf_tables.h.
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub(in crate::network) enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(&'static str),
}

/// The expressions of a rule, one after the other: what must be true of a packet, then what becomes of it.
pub(in crate::network) struct Rule {
    expressions: Request,
}

impl Rule {
    pub(in crate::network) fn new() -> Self {
        Self { expressions: Request::new(0, 0) }
    }

    /// As the value of an attribute.
    pub(super) fn expressions(&self) -> &[u8] {
        &self.expressions.body
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Request)) -> Self {
        nested(&mut self.expressions, LIST_ELEMENT, |element| {
            element.text(NFTA_EXPR_NAME, name);
            nested(element, NFTA_EXPR_DATA, fill);
        });
        self
    }

    fn compare(self, operator: libc::c_int, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            number(data, NFTA_CMP_SREG, FIRST);
            number(data, NFTA_CMP_OP, operator.cast_unsigned());
            nested(data, NFTA_CMP_DATA, |inner| inner.attribute(DATA_VALUE, value));
        })
    }

    fn meta(self, key: libc::c_int) -> Self {
        self.expression("meta", |data| {
            number(data, NFTA_META_DREG, FIRST);
            number(data, NFTA_META_KEY, key.cast_unsigned());
        })
    }

    fn payload(self, base: libc::c_int, offset: u32, length: usize) -> Self {
        self.expression("payload", |data| {
            number(data, NFTA_PAYLOAD_DREG, FIRST);
            number(data, NFTA_PAYLOAD_BASE, base.cast_unsigned());
            number(data, NFTA_PAYLOAD_OFFSET, offset);
            number(data, NFTA_PAYLOAD_LEN, u32::try_from(length).unwrap_or_default());
        })
    }

    fn device(self, key: libc::c_int, operator: libc::c_int, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.resize(libc::IFNAMSIZ, 0);
        self.meta(key).compare(operator, &value)
    }

    /// It came in by this device.
    pub(in crate::network) fn comes_by(self, name: &str) -> Self {
        self.device(libc::NFT_META_IIFNAME, libc::NFT_CMP_EQ, name)
    }

    /// It goes out by this device.
    pub(in crate::network) fn goes_by(self, name: &str) -> Self {
        self.device(libc::NFT_META_OIFNAME, libc::NFT_CMP_EQ, name)
    }

    /// It goes out by another device.
    pub(in crate::network) fn goes_not_by(self, name: &str) -> Self {
        self.device(libc::NFT_META_OIFNAME, libc::NFT_CMP_NEQ, name)
    }

    /// It is of IPv4, or of IPv6.
    pub(in crate::network) fn family(self, ipv4: bool) -> Self {
        self.meta(libc::NFT_META_NFPROTO).compare(libc::NFT_CMP_EQ, &[family(ipv4)])
    }

    /// Its source is in the network of the first `prefix` bits of `address`. The family must have been looked at.
    pub(in crate::network) fn from(self, address: IpAddr, prefix: u8) -> Self {
        let offset = if address.is_ipv4() { 12 } else { 8 };
        self.address(offset, address, prefix)
    }

    /// The same of its destination.
    pub(in crate::network) fn to(self, address: IpAddr, prefix: u8) -> Self {
        let offset = if address.is_ipv4() { 16 } else { 24 };
        self.address(offset, address, prefix)
    }

    /// All prefixes here are whole bytes, so nothing has to be masked.
    fn address(self, offset: u32, address: IpAddr, prefix: u8) -> Self {
        let octets = octets(address);
        let value = octets.get(..usize::from(prefix / 8)).unwrap_or(&octets);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, value.len()).compare(libc::NFT_CMP_EQ, value)
    }

    /// It is of this protocol of the transport layer, and goes to one of these ports.
    pub(in crate::network) fn at_ports(self, protocol: libc::c_int, first: u16, last: u16) -> Self {
        let protocol = [u8::try_from(protocol).unwrap_or_default()];
        let rule = self.meta(libc::NFT_META_L4PROTO).compare(libc::NFT_CMP_EQ, &protocol);
        let rule = rule.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
        if first == last {
            return rule.compare(libc::NFT_CMP_EQ, &first.to_be_bytes());
        }
        rule.compare(libc::NFT_CMP_GTE, &first.to_be_bytes()).compare(libc::NFT_CMP_LTE, &last.to_be_bytes())
    }

    /// Its destination is an address of this host.
    pub(in crate::network) fn for_this_host(self) -> Self {
        let rule = self.expression("fib", |data| {
            number(data, NFTA_FIB_DREG, FIRST);
            number(data, NFTA_FIB_RESULT, FIB_RESULT_ADDRTYPE);
            number(data, NFTA_FIB_FLAGS, FIB_DADDR);
        });
        rule.compare(libc::NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// Its connection has one of these states.
    pub(in crate::network) fn state(self, bits: u32) -> Self {
        self.connection(libc::NFT_CT_STATE, bits)
    }

    /// Its connection's destination has been translated.
    pub(in crate::network) fn translated(self) -> Self {
        self.connection(libc::NFT_CT_STATUS, CONNECTION_DST_NAT)
    }

    fn connection(self, key: libc::c_int, bits: u32) -> Self {
        let rule = self.expression("ct", |data| {
            number(data, NFTA_CT_DREG, FIRST);
            number(data, NFTA_CT_KEY, key.cast_unsigned());
        });
        let rule = rule.expression("bitwise", |data| {
            number(data, NFTA_BITWISE_SREG, FIRST);
            number(data, NFTA_BITWISE_DREG, FIRST);
            number(data, NFTA_BITWISE_LEN, 4);
            nested(data, NFTA_BITWISE_MASK, |inner| inner.attribute(DATA_VALUE, &bits.to_ne_bytes()));
            nested(data, NFTA_BITWISE_XOR, |inner| inner.attribute(DATA_VALUE, &[0; 4]));
        });
        rule.compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Its source becomes the address of the device that it goes out by.
    pub(in crate::network) fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Its destination becomes this.
    pub(in crate::network) fn translate(self, address: IpAddr, port: Option<u16>) -> Self {
        let rule = self.load(FIRST, &octets(address));
        let rule = match port {
            Some(port) => rule.load(SECOND, &port.to_be_bytes()),
            None => rule,
        };
        rule.expression("nat", |data| {
            number(data, NFTA_NAT_TYPE, libc::NFT_NAT_DNAT.cast_unsigned());
            number(data, NFTA_NAT_FAMILY, family(address.is_ipv4()).into());
            number(data, NFTA_NAT_REG_ADDR_MIN, FIRST);
            if port.is_some() {
                number(data, NFTA_NAT_REG_PROTO_MIN, SECOND);
            }
        })
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |data| {
            number(data, NFTA_IMMEDIATE_DREG, register);
            nested(data, NFTA_IMMEDIATE_DATA, |inner| inner.attribute(DATA_VALUE, value));
        })
    }

    pub(in crate::network) fn verdict(self, verdict: Verdict) -> Self {
        let (code, chain) = match verdict {
            Verdict::Drop => (libc::NF_DROP, None),
            Verdict::Accept => (libc::NF_ACCEPT, None),
            Verdict::Return => (libc::NFT_RETURN, None),
            Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        };
        self.expression("immediate", |data| {
            number(data, NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT.cast_unsigned());
            nested(data, NFTA_IMMEDIATE_DATA, |inner| {
                nested(inner, DATA_VERDICT, |verdict| {
                    number(verdict, NFTA_VERDICT_CODE, code.cast_unsigned());
                    if let Some(chain) = chain {
                        verdict.text(NFTA_VERDICT_CHAIN, chain);
                    }
                });
            });
        })
    }
}

fn family(ipv4: bool) -> u8 {
    let family = if ipv4 { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 };
    family.try_into().unwrap_or_default()
}
