//! As much of the netlink interface of nf_tables as containers take: one batch of changes, which the kernel carries out whole or
//! not at all, and a list of chains.

mod rule;

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::network::netlink::{HEADER, LARGEST, Request, aligned, error_of, half, messages};

pub(super) use rule::{ESTABLISHED_OR_RELATED, Rule, Verdict};

/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// struct nfgenmsg.
const GENERIC: usize = 4;
/// What a socket takes without being asked for more.
const SENDABLE: usize = 64 << 10;
/// After this time no processor sees what was removed any more.
const UNSEEN: Duration = Duration::from_millis(200);
/// Marks an attribute that holds attributes.
const NESTED: u16 = 1 << 15;

// The attributes of linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;

/// Where a chain hangs.
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// NF_INET_….
    pub(super) number: libc::c_int,
    pub(super) priority: i32,
}

/// Changes of one table of the family inet.
pub(super) struct Batch {
    table: &'static str,
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    pub(super) fn new(table: &'static str) -> Self {
        let mut batch = Self { table, bytes: Vec::with_capacity(4096), sequence: 0 };
        batch.border(libc::NFNL_MSG_BATCH_BEGIN);
        batch
    }

    /// The beginning or the end.
    fn border(&mut self, kind: libc::c_int) {
        let mut request = Request::new(kind.try_into().unwrap_or_default(), 0);
        request.bytes(&[0, 0]);
        request.bytes(&SUBSYSTEM.to_be_bytes());
        self.push(request);
    }

    fn push(&mut self, request: Request) {
        self.sequence += 1;
        self.bytes.extend(request.finish(self.sequence));
    }

    fn change(&mut self, kind: libc::c_int, flags: libc::c_int, fill: impl FnOnce(&mut Request, &str)) {
        let mut request = message(kind, flags, libc::NFPROTO_INET);
        fill(&mut request, self.table);
        self.push(request);
    }

    /// Makes the table, unless it is there.
    pub(super) fn add_table(&mut self) {
        self.change(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, |request, table| {
            request.text(NFTA_TABLE_NAME, table);
        });
    }

    /// Removes the table, with all that is in it.
    pub(super) fn remove_table(&mut self) {
        // One answer is enough to know that the kernel has read it all: what fails answers by itself.
        self.change(libc::NFT_MSG_DELTABLE, libc::NLM_F_ACK, |request, table| request.text(NFTA_TABLE_NAME, table));
    }

    /// Makes a chain; one without a hook is for others to jump to.
    pub(super) fn add_chain(&mut self, name: &str, hook: Option<&Hook>) {
        self.change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, |request, table| {
            request.text(NFTA_CHAIN_TABLE, table);
            request.text(NFTA_CHAIN_NAME, name);
            if let Some(hook) = hook {
                nested(request, NFTA_CHAIN_HOOK, |inner| {
                    number(inner, NFTA_HOOK_HOOKNUM, hook.number.cast_unsigned());
                    number(inner, NFTA_HOOK_PRIORITY, hook.priority.cast_unsigned());
                });
                number(request, NFTA_CHAIN_POLICY, libc::NF_ACCEPT.cast_unsigned());
                request.text(NFTA_CHAIN_TYPE, hook.kind);
            }
        });
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.change(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, |request, table| {
            request.text(NFTA_RULE_TABLE, table);
            request.text(NFTA_RULE_CHAIN, chain);
            request.attribute(NFTA_RULE_EXPRESSIONS | NESTED, rule.expressions());
        });
    }

    /// Has the kernel carry it out. There must be a removal in it: that is what is answered.
    pub(super) fn commit(mut self) -> nix::Result<()> {
        self.border(libc::NFNL_MSG_BATCH_END);
        let fd = open()?;
        if self.bytes.len() > SENDABLE {
            setsockopt(&fd, sockopt::SndBufForce, &(2 * self.bytes.len()))?;
        }
        if send(fd.as_raw_fd(), &self.bytes, MsgFlags::empty())? != self.bytes.len() {
            return Err(Errno::EMSGSIZE);
        }
        // The kernel has done it when send(2) returns, and what it has to say lies there.
        let mut buffer = vec![0; LARGEST];
        let mut answered = false;
        loop {
            match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    for message in messages(buffer.get(..count).unwrap_or_default()) {
                        error_of(message)?;
                        answered = true;
                    }
                }
                Err(Errno::EAGAIN) if answered => break,
                Err(Errno::EAGAIN) => return Err(Errno::EBADMSG),
                Err(errno) => return Err(errno),
            }
        }
        // Closing waits until no processor can see what was removed any more, and holds what the kernel needs for each new
        // device meanwhile: a container's would wait for milliseconds. Later, there is nothing to wait for.
        let close = move || {
            std::thread::sleep(UNSEEN);
            drop(fd);
        };
        std::thread::Builder::new().name("close".to_owned()).spawn(close).ok();
        Ok(())
    }
}

/// A chain of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// `ip`, `ip6`, `inet`…, as nft(8) calls it.
    pub(super) family: &'static str,
    pub(super) table: String,
    pub(super) name: String,
    /// NF_INET_…; none for one that has no hook.
    pub(super) hook: Option<u32>,
    /// Whether it drops what none of its rules has decided on.
    pub(super) drops: bool,
}

/// The chains of all tables of this network namespace.
pub(super) fn chains() -> nix::Result<Vec<Chain>> {
    let fd = open()?;
    let request = message(libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP, libc::NFPROTO_UNSPEC).finish(1);
    send(fd.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let count = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in messages(buffer.get(..count).unwrap_or_default()) {
            match half(message, 4).map(libc::c_int::from) {
                Some(libc::NLMSG_DONE) => return Ok(found),
                Some(libc::NLMSG_ERROR) => return error_of(message).map(|()| found),
                _ => found.extend(chain(message)),
            }
        }
    }
}

fn chain(message: &[u8]) -> Option<Chain> {
    let family = match libc::c_int::from(*message.get(HEADER)?) {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_INET => "inet",
        _ => return None,
    };
    let mut chain = Chain { family, table: String::new(), name: String::new(), hook: None, drops: false };
    for (kind, value) in attributes(message.get(HEADER + GENERIC..)?) {
        match kind {
            NFTA_CHAIN_TABLE => chain.table = text(value),
            NFTA_CHAIN_NAME => chain.name = text(value),
            NFTA_CHAIN_HOOK => {
                let number = attributes(value).find(|(kind, _)| *kind == NFTA_HOOK_HOOKNUM);
                chain.hook = number.and_then(|(_, value)| value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)));
            }
            NFTA_CHAIN_POLICY => chain.drops = value == libc::NF_DROP.to_be_bytes(),
            _ => {}
        }
    }
    Some(chain)
}

/// The attributes in `bytes`, with their kinds.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let found = (half(rest, 2)? & !NESTED, rest.get(4..length)?);
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(found)
    })
}

fn text(value: &[u8]) -> String {
    CStr::from_bytes_until_nul(value).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

fn open() -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    // The kernel answers while it is asked; nobody waits for ever for what does not come.
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(10))?;
    Ok(fd)
}

fn message(kind: libc::c_int, flags: libc::c_int, family: libc::c_int) -> Request {
    let mut request = Request::new(SUBSYSTEM << 8 | u16::try_from(kind).unwrap_or_default(), flags);
    request.bytes(&[family.try_into().unwrap_or_default(), 0, 0, 0]);
    request
}

fn nested(request: &mut Request, kind: u16, fill: impl FnOnce(&mut Request)) {
    request.nested(kind | NESTED, fill);
}

/// Numbers of this interface are big-endian.
fn number(request: &mut Request, kind: u16, value: u32) {
    request.attribute(kind, &value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lists_end_the_reading() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 64], &[255; 64], &[9, 0, 1, 0, b'x', 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(chain(&[0; 19]), None);
    }

    #[test]
    fn a_chain_is_read() {
        let mut request = message(libc::NFT_MSG_NEWCHAIN, 0, libc::NFPROTO_IPV4);
        request.text(NFTA_CHAIN_TABLE, "filter");
        request.text(NFTA_CHAIN_NAME, "FORWARD");
        nested(&mut request, NFTA_CHAIN_HOOK, |inner| number(inner, NFTA_HOOK_HOOKNUM, 2));
        number(&mut request, NFTA_CHAIN_POLICY, 0);
        let (family, table, name) = ("ip", "filter".to_owned(), "FORWARD".to_owned());
        assert_eq!(chain(&request.finish(1)), Some(Chain { family, table, name, hook: Some(2), drops: true }));
    }
}
