//! The rules: addresses that are translated, ports that are published, who may reach whom. They are loaded whole, by one
//! transaction, into a table of our own, `inet orlop`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use crate::base::{Error, Kind, Result, Step};
use crate::network::nftables::{self, Batch, Chain, ESTABLISHED_OR_RELATED, Hook, Rule, Verdict};
use crate::network::{BRIDGE, Lease, Port, Subnets, link};

const TABLE: &str = "orlop";
/// The chain of the translations that published ports are.
const PUBLISHED: &str = "published";

/// Makes the rules those for `leases`.
pub(super) fn load(subnets: &Subnets, leases: &[Lease]) -> Result<()> {
    let ready: Vec<&Lease> = leases.iter().filter(|lease| lease.ready).collect();
    // Before the setting is on, the rule that keeps it from containers is there.
    rules(subnets, &ready).commit().map_err(refused)?;
    link::route_loopback(ready.iter().any(|lease| lease.ports.iter().any(Port::is_on_loopback)))
}

/// Takes the table away, if it is there.
pub(super) fn clear() -> Result<()> {
    let mut batch = Batch::new(TABLE);
    batch.add_table();
    batch.remove_table();
    batch.commit().map_err(refused)
}

/// The whole table, in the place of the one that is there.
fn rules(subnets: &Subnets, leases: &[&Lease]) -> Batch {
    let mut batch = Batch::new(TABLE);
    batch.add_table();
    batch.remove_table();
    batch.add_table();
    batch.add_chain(PUBLISHED, None);
    for rule in leases.iter().flat_map(|lease| lease.ports.iter().flat_map(|port| translations(lease, port))) {
        batch.add_rule(PUBLISHED, &rule);
    }
    let mut chain = |name: &str, kind, number, priority, rules: Vec<Rule>| {
        batch.add_chain(name, Some(&Hook { kind, number, priority }));
        rules.iter().for_each(|rule| batch.add_rule(name, rule));
    };
    let published = || Rule::new().for_this_host().verdict(Verdict::Jump(PUBLISHED));
    let loopback = Rule::new().comes_by(BRIDGE).family(true).to(LOOPBACK, 8).verdict(Verdict::Drop);
    chain("loopback", "filter", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_RAW, vec![loopback]);
    chain("incoming", "nat", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_NAT_DST, vec![published()]);
    // The kernel leads nothing from ::1 to another device.
    let not_from_here = Rule::new().family(false).to(Ipv6Addr::LOCALHOST.into(), 128).verdict(Verdict::Return);
    chain("own", "nat", libc::NF_INET_LOCAL_OUT, libc::NF_IP_PRI_NAT_DST, vec![not_from_here, published()]);
    chain("outgoing", "nat", libc::NF_INET_POST_ROUTING, libc::NF_IP_PRI_NAT_SRC, outgoing(subnets));
    let accept = |rule: Rule| rule.verdict(Verdict::Accept);
    let between = vec![
        accept(Rule::new().goes_not_by(BRIDGE)),
        accept(Rule::new().comes_by(BRIDGE)),
        accept(Rule::new().state(ESTABLISHED_OR_RELATED)),
        accept(Rule::new().translated()),
        Rule::new().verdict(Verdict::Drop),
    ];
    chain("between", "filter", libc::NF_INET_FORWARD, libc::NF_IP_PRI_FILTER, between);
    batch
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What gets an address of the host for its source.
fn outgoing(subnets: &Subnets) -> Vec<Rule> {
    let mut rules = Vec::new();
    let ipv6 = subnets.ipv6(0).map(|address| (IpAddr::V6(address), Subnets::PREFIX6));
    for (subnet, prefix) in std::iter::once((IpAddr::V4(subnets.ipv4(0)), Subnets::PREFIX4)).chain(ipv6) {
        let inside = || Rule::new().family(subnet.is_ipv4()).from(subnet, prefix);
        rules.push(inside().goes_not_by(BRIDGE).masquerade());
        // A container that reaches another, or itself, by a published port must get its answer from here.
        rules.push(inside().to(subnet, prefix).translated().masquerade());
    }
    rules.push(Rule::new().family(true).from(LOOPBACK, 8).goes_by(BRIDGE).masquerade());
    rules
}

/// The rules of one published port. A range is kept where its numbers are, and else goes port by port.
fn translations(lease: &Lease, port: &Port) -> Vec<Rule> {
    let targets = [Some(IpAddr::V4(lease.ipv4)), lease.ipv6.map(IpAddr::V6)].into_iter().flatten();
    let mut rules = Vec::new();
    for target in targets.filter(|target| port.serves(target.is_ipv4())) {
        let mut rule = |first: u16, last: u16, to: Option<u16>| {
            let rule = Rule::new().family(target.is_ipv4());
            let rule = match port.address {
                Some(address) if !address.is_unspecified() => rule.to(address, 128),
                _ => rule,
            };
            rules.push(rule.at_ports(port.protocol.number(), first, last).translate(target, to));
        };
        if port.count > 1 && port.host == port.container {
            rule(port.host, port.host + (port.count - 1), None);
        } else {
            (0..port.count).for_each(|at| rule(port.host + at, port.host + at, Some(port.container + at)));
        }
    }
    rules
}

fn refused(errno: Errno) -> Error {
    let error = Error::os(Step::Network, errno as i32).object_is("the table inet orlop");
    match errno {
        Errno::EPERM => error.kind_is(Kind::Denied).hint_is("rules need CAP_NET_ADMIN: run as root, or --network none"),
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EINVAL => error
            .kind_is(Kind::Unsupported)
            .hint_is("modprobe nf_tables nft_nat nft_masq nft_ct nft_fib_inet; --network host does without"),
        _ => error,
    }
}

/// Other tables that drop what is forwarded: no rule of ours can undo that.
pub(super) fn obstacles() -> Vec<String> {
    nftables::chains().map(|chains| dropping(&chains)).unwrap_or_default()
}

fn dropping(chains: &[Chain]) -> Vec<String> {
    let forward = Some(libc::NF_INET_FORWARD.cast_unsigned());
    let drops = |chain: &&Chain| chain.hook == forward && chain.drops && chain.table != TABLE;
    let message = |chain: &Chain| {
        let Chain { family, table, name, .. } = chain;
        let has_docker = chains.iter().any(|other| other.name == "DOCKER-USER" && other.family == *family);
        let place = if has_docker { "DOCKER-USER" } else { name };
        format!(
            "the chain {name} of the table {family} {table} drops what is forwarded, this container's packets among it \
             (nft insert rule {family} {table} {place} iifname {BRIDGE} accept; nft insert rule {family} {table} {place} \
             oifname {BRIDGE} accept)"
        )
    };
    chains.iter().filter(drops).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(ports: &[&str]) -> Lease {
        Lease {
            name: "web".to_owned(),
            aliases: Vec::new(),
            number: 2,
            ipv4: "10.88.0.2".parse().unwrap(),
            ipv6: Some("fd00::2".parse().unwrap()),
            ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
            hosts_file: std::path::PathBuf::new(),
            ready: true,
        }
    }

    /// The same table as nft(8) writes it.
    const TEXT: &str = "
        table inet orlop {
          chain published {
            meta nfproto ipv4 tcp dport 8080 dnat ip to 10.88.0.2:80
            meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::2]:80
            ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.88.0.2:53
            ip6 daddr 2001:db8::1 sctp dport 7 dnat ip6 to [fd00::2]:7
            meta nfproto ipv4 tcp dport 80-90 dnat ip to 10.88.0.2
            meta nfproto ipv4 tcp dport 180 dnat ip to 10.88.0.2:90
            meta nfproto ipv4 tcp dport 181 dnat ip to 10.88.0.2:91
          }
          chain loopback {
            type filter hook prerouting priority raw; policy accept;
            iifname \"orlop0\" ip daddr 127.0.0.0/8 drop
          }
          chain incoming {
            type nat hook prerouting priority dstnat; policy accept;
            fib daddr type local jump published
          }
          chain own {
            type nat hook output priority -100; policy accept;
            ip6 daddr ::1 return
            fib daddr type local jump published
          }
          chain outgoing {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr 10.88.0.0/16 oifname != \"orlop0\" masquerade
            ip saddr 10.88.0.0/16 ip daddr 10.88.0.0/16 ct status dnat masquerade
            ip6 saddr fd00::/64 oifname != \"orlop0\" masquerade
            ip6 saddr fd00::/64 ip6 daddr fd00::/64 ct status dnat masquerade
            ip saddr 127.0.0.0/8 oifname \"orlop0\" masquerade
          }
          chain between {
            type filter hook forward priority filter; policy accept;
            oifname != \"orlop0\" accept
            iifname \"orlop0\" accept
            ct state established,related accept
            ct status dnat accept
            drop
          }
        }";

    fn nft(words: &[&str]) -> String {
        let output = std::process::Command::new("/usr/sbin/nft").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// In a network namespace of a thread's own.
    #[test]
    fn the_table_is_what_nft_makes_of_the_same_text() {
        if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/usr/sbin/nft").is_file() {
            eprintln!("SKIP the_table_is_what_nft_makes_of_the_same_text: it needs root and nftables");
            return;
        }
        let ports = [
            "8080:80",
            "127.0.0.1:53:53/udp",
            "[2001:db8::1]:7:7/sctp",
            "0.0.0.0:80-90:80-90",
            "0.0.0.0:180-181:90-91",
        ];
        let (subnets, lease) =
            (Subnets::of("10.88.0.0".parse().unwrap(), Some("fd00::".parse().unwrap())), lease(&ports));
        let check = move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            nft(&[TEXT]);
            let wanted = nft(&["list", "ruleset"]);
            // Twice: the second takes the place of the first.
            (0..2).for_each(|_| rules(&subnets, &[&lease]).commit().unwrap());
            assert_eq!(nft(&["list", "ruleset"]), wanted);
            // More than a socket takes without being asked.
            let many = Lease { ports: vec!["1000-3999:2000-4999".parse().unwrap()], ..lease };
            rules(&subnets, &[&many]).commit().unwrap();
            let listed = nft(&["list", "ruleset"]);
            assert!(listed.contains("tcp dport 3999 dnat ip6 to [fd00::2]:4999"));
            // What the kernel refuses changes nothing.
            let mut wrong = rules(&subnets, &[]);
            wrong.add_rule("no-such-chain", &Rule::new().verdict(Verdict::Drop));
            assert_eq!(wrong.commit(), Err(Errno::ENOENT));
            assert_eq!(nft(&["list", "ruleset"]), listed);
            nft(&["add table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"]);
            let found = obstacles();
            assert!(found.len() == 1 && found[0].contains("FORWARD of the table ip filter"), "{found:?}");
            (0..2).for_each(|_| clear().unwrap());
            assert!(!nft(&["list", "ruleset"]).contains("orlop"));
        };
        std::thread::spawn(check).join().unwrap();
    }

    #[test]
    fn who_drops_what_is_forwarded_is_named_with_the_remedy() {
        let chain = |family, table: &str, name: &str, hook, drops| Chain {
            family,
            table: table.to_owned(),
            name: name.to_owned(),
            hook,
            drops,
        };
        let chains = [
            chain("ip", "filter", "FORWARD", Some(2), true),
            chain("ip", "filter", "DOCKER-USER", None, false),
            chain("ip", "filter", "INPUT", Some(1), true),
            chain("inet", "orlop", "between", Some(2), false),
        ];
        let found = dropping(&chains);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("FORWARD of the table ip filter"), "{found:?}");
        assert!(found[0].contains("nft insert rule ip filter DOCKER-USER iifname orlop0 accept"), "{found:?}");
    }
}
