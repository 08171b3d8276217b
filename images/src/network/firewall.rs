//! The rules: addresses that are translated, ports that are published, who may reach whom. They are loaded whole, by one
//! transaction of nft(8), into a table of our own.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::base::{Error, Kind, Result, Step};
use crate::network::{BRIDGE, Lease, Port, Subnets, link};

/// Makes the rules those for `leases`.
pub(super) fn load(subnets: &Subnets, leases: &[Lease]) -> Result<()> {
    let attached: Vec<&Lease> = leases.iter().filter(|lease| lease.attached).collect();
    // Before the setting is on, the rule that keeps it from containers is there.
    nft(&rules(subnets, &attached))?;
    link::route_loopback(attached.iter().any(|lease| lease.ports.iter().any(Port::is_on_loopback)))
}

/// Takes the table away, if it is there.
pub(super) fn clear() -> Result<()> {
    nft("table inet orlop\ndelete table inet orlop\n")
}

/// The whole table, in the place of the one that is there.
fn rules(subnets: &Subnets, leases: &[&Lease]) -> String {
    let (ipv4, ipv6) = subnets.text();
    let families: Vec<(&str, String)> = std::iter::once(("ip", ipv4)).chain(ipv6.map(|text| ("ip6", text))).collect();
    let published: String =
        leases.iter().flat_map(|lease| lease.ports.iter().flat_map(|port| translations(lease, port))).collect();
    let mut outgoing = String::new();
    for (family, subnet) in &families {
        outgoing += &format!("    {family} saddr {subnet} oifname != \"{BRIDGE}\" masquerade\n");
        // A container that reaches another, or itself, by a published port must get its answer from here.
        outgoing += &format!("    {family} saddr {subnet} {family} daddr {subnet} ct status dnat masquerade\n");
    }
    format!(
        "table inet orlop
delete table inet orlop
table inet orlop {{
  chain loopback {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"{BRIDGE}\" ip daddr 127.0.0.0/8 drop
  }}
  chain published {{
{published}  }}
  chain incoming {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump published
  }}
  chain own {{
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump published
  }}
  chain outgoing {{
    type nat hook postrouting priority srcnat; policy accept;
{outgoing}    ip saddr 127.0.0.0/8 oifname \"{BRIDGE}\" masquerade
  }}
  chain between {{
    type filter hook forward priority filter; policy accept;
    oifname != \"{BRIDGE}\" accept
    iifname \"{BRIDGE}\" accept
    ct state established,related accept
    ct status dnat accept
    drop
  }}
}}
"
    )
}

/// The rules of one published port, one line each. A range is kept where its numbers are, and else goes port by port.
fn translations(lease: &Lease, port: &Port) -> Vec<String> {
    let targets = [Some(IpAddr::V4(lease.ipv4)), lease.ipv6.map(IpAddr::V6)].into_iter().flatten();
    let mut lines = Vec::new();
    for target in targets.filter(|target| port.serves(target.is_ipv4())) {
        let family = if target.is_ipv4() { "ip" } else { "ip6" };
        let only = match port.address {
            Some(address) if !address.is_unspecified() => format!("{family} daddr {address}"),
            _ => format!("meta nfproto {}", if target.is_ipv4() { "ipv4" } else { "ipv6" }),
        };
        let protocol = port.protocol.name();
        let mut line = |numbers: String, to: String| {
            lines.push(format!("    {only} {protocol} dport {numbers} dnat {family} to {to}\n"))
        };
        let to =
            |number: u16| if target.is_ipv4() { format!("{target}:{number}") } else { format!("[{target}]:{number}") };
        if port.count > 1 && port.host == port.container {
            line(format!("{}-{}", port.host, port.host + (port.count - 1)), target.to_string());
        } else {
            (0..port.count).for_each(|offset| line((port.host + offset).to_string(), to(port.container + offset)));
        }
    }
    lines
}

/// Where programs are looked for: nft lies where the PATH of users does not lead.
fn path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}

fn nft(script: &str) -> Result<()> {
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::Unsupported, Step::Network)
            .object_is("nft")
            .reason_is("the program is not installed")
            .hint_is("apt-get install nftables, or --network host"),
        _ => Error::io(Step::Network, error).object_is("nft"),
    };
    let mut program = Command::new("nft");
    program.env("PATH", path()).args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = program.spawn().map_err(|error| failed(&error))?;
    // Dropped at once: the end of the input is what nft waits for. One that dies first tells why by itself.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return written.map_err(|error| failed(&error));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().next().unwrap_or("it says nothing").trim().to_owned();
    let error = Error::new(Kind::Command, Step::Network).object_is("nft").reason_is(reason);
    Err(error
        .hint_is("it needs CAP_NET_ADMIN, and the kernel's nf_tables with nat and fib; --network host does without"))
}

/// Other tables that drop what is forwarded: no rule of ours can undo that.
pub(super) fn obstacles() -> Vec<String> {
    let listing = Command::new("nft")
        .env("PATH", path())
        .args(["-j", "list", "chains"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    listing.map(|output| dropping(&output.stdout)).unwrap_or_default()
}

fn dropping(listing: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(listing) else { return Vec::new() };
    let items = value.get("nftables").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let text = |chain: &serde_json::Value, name: &str| {
        chain.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let chains: Vec<_> = items.iter().filter_map(|item| item.get("chain")).collect();
    let drops = |chain: &&&serde_json::Value| {
        text(chain, "hook") == "forward" && text(chain, "policy") == "drop" && text(chain, "table") != "orlop"
    };
    let message = |chain: &&serde_json::Value| {
        let (family, table, name) = (text(chain, "family"), text(chain, "table"), text(chain, "name"));
        let has_docker =
            chains.iter().any(|other| text(other, "name") == "DOCKER-USER" && text(other, "family") == family);
        let chain = if has_docker { "DOCKER-USER".to_owned() } else { name.clone() };
        format!(
            "the chain {name} of the table {family} {table} drops what is forwarded, this container's packets among it \
             (nft insert rule {family} {table} {chain} iifname {BRIDGE} accept; nft insert rule {family} {table} {chain} \
             oifname {BRIDGE} accept)"
        )
    };
    chains.iter().filter(drops).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_one_rule_for_each_family() {
        let lease = |ports: &[&str]| Lease {
            name: "web".to_owned(),
            aliases: Vec::new(),
            number: 2,
            ipv4: "10.88.0.2".parse().unwrap(),
            ipv6: Some("fd00::2".parse().unwrap()),
            ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
            hosts_file: std::path::PathBuf::new(),
            attached: true,
        };
        let lines = |text: &str| {
            let lease = lease(&[text]);
            translations(&lease, &lease.ports[0]).concat().replace("    ", "")
        };
        assert_eq!(
            lines("8080:80"),
            "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.88.0.2:80\n\
             meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::2]:80\n"
        );
        assert_eq!(lines("127.0.0.1:53:53/udp"), "ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.88.0.2:53\n");
        assert_eq!(lines("0.0.0.0:80-90:80-90"), "meta nfproto ipv4 tcp dport 80-90 dnat ip to 10.88.0.2\n");
        assert_eq!(
            lines("0.0.0.0:80-81:90-91"),
            "meta nfproto ipv4 tcp dport 80 dnat ip to 10.88.0.2:90\nmeta nfproto ipv4 tcp dport 81 dnat ip to 10.88.0.2:91\n"
        );
    }

    #[test]
    fn who_drops_what_is_forwarded_is_named_with_the_remedy() {
        let listing = br#"{"nftables": [{"metainfo": {}}, {"chain": {"family": "ip", "table": "filter", "name": "FORWARD",
            "hook": "forward", "policy": "drop"}}, {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}},
            {"chain": {"family": "inet", "table": "orlop", "name": "between", "hook": "forward", "policy": "accept"}}]}"#;
        let found = dropping(listing);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("FORWARD of the table ip filter"), "{found:?}");
        assert!(found[0].contains("nft insert rule ip filter DOCKER-USER iifname orlop0 accept"), "{found:?}");
        assert!(dropping(b"").is_empty() && dropping(b"{}").is_empty());
    }
}
