//! Files beside config.json, and what is looked up on the host: devices, an init, a seccomp profile.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::{Error, Kind, Result, Step};
use crate::bundle::options::{ContainerOptions, Device};
use crate::bundle::{Network, Place};

/// Writes /etc/hosts, /etc/hostname and /etc/resolv.conf of the container, and returns their mounts.
pub(super) fn write(options: &ContainerOptions, place: &Place<'_>) -> Result<Vec<Value>> {
    let hostname = options.hostname.as_deref().unwrap_or(place.name);
    let files = [
        ("hosts", hosts(options, place, hostname)),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", resolv_conf(options, place)),
    ];
    let mut mounts = Vec::new();
    for (name, text) in files {
        let target = format!("/etc/{name}");
        if options.mounts.iter().any(|mount| mount.target == target) {
            continue;
        }
        let source = match place.network {
            // Who has another's network has its names too, and what becomes of them.
            Network::Shared { bundle, .. } if bundle.join(name).is_file() => bundle.join(name),
            _ => {
                place.dir.replace_for_now(Step::Bundle, name, text.as_bytes())?;
                readable(place, name)?;
                place.dir.path().join(name)
            }
        };
        mounts
            .push(json!({ "destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate"] }));
    }
    Ok(mounts)
}

/// Users who are not root read it too.
fn readable(place: &Place<'_>, name: &str) -> Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::chmodat(place.dir, name, mode, rustix::fs::AtFlags::empty())
        .map_err(|errno| Error::os(Step::Bundle, errno.raw_os_error()).object_is(name))
}

fn hosts(options: &ContainerOptions, place: &Place<'_>, hostname: &str) -> String {
    if *place.network == Network::Host {
        let text = read("/etc/hosts");
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let added = options.hosts.iter().map(|(host, address)| format!("{address}\t{host}\n"));
        return text + end + &added.collect::<String>();
    }
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    // Without an address of its own it is found on its loopback, by those who share its network too.
    let loopback = (*place.network == Network::New).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let own = place.address.or(loopback).map(|address| (hostname.to_owned(), address));
    for (host, address) in options.hosts.iter().cloned().chain(own) {
        text += &format!("{address}\t{host}\n");
    }
    text
}

/// The servers that were given, or the host's. What listens on the host's loopback is out of reach, unless the container
/// has the host's network.
fn resolv_conf(options: &ContainerOptions, place: &Place<'_>) -> String {
    if !options.dns.is_empty() {
        return options.dns.iter().fold(String::new(), |text, server| text + &format!("nameserver {server}\n"));
    }
    let host = read("/etc/resolv.conf");
    if *place.network == Network::Host {
        return host;
    }
    let kept = without_loopback(&host);
    if kept.contains("nameserver") {
        return kept;
    }
    // systemd-resolved keeps the servers that it asks itself there.
    let behind = without_loopback(&read("/run/systemd/resolve/resolv.conf"));
    if behind.contains("nameserver") { behind } else { kept }
}

/// A file of the host; a host without it has nothing to pass on.
fn read(path: &str) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
    if read.is_ok() { text } else { String::new() }
}

fn without_loopback(text: &str) -> String {
    let reachable = |line: &&str| match line.trim().strip_prefix("nameserver") {
        Some(server) => !server.trim().parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => true,
    };
    text.lines().filter(reachable).fold(String::new(), |text, line| text + line + "\n")
}

/// The entries of the config for devices, and the rules that allow them.
pub(super) fn devices(devices: &[Device]) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut entries = Vec::new();
    let mut rules = Vec::new();
    for device in devices {
        let object = format!("--device {}", device.source.display());
        let status = std::fs::metadata(&device.source);
        let status = status.map_err(|error| Error::io(Step::Bundle, &error).object_is(&object))?;
        let kind = match status.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => {
                let error = Error::new(Kind::InvalidArgument, Step::Bundle).object_is(object);
                return Err(error.reason_is("it is no device").hint_is("name the devices of a directory one by one"));
            }
        };
        let (major, minor) = (rustix::fs::major(status.rdev()), rustix::fs::minor(status.rdev()));
        entries.push(json!({
            "path": device.target, "type": kind, "major": major, "minor": minor,
            "fileMode": status.mode() & 0o777, "uid": status.uid(), "gid": status.gid(),
        }));
        rules.push(json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": device.access }));
    }
    Ok((entries, rules))
}

/// Nothing but the devices that every container has; making further nodes is allowed, using them is not.
pub(super) fn default_device_rules() -> Vec<Value> {
    let allow = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = json!({ "allow": true, "type": kind, "access": access });
        if let (Some(object), Some(major)) = (rule.as_object_mut(), major) {
            object.insert("major".to_owned(), json!(major));
            if let Some(minor) = minor {
                object.insert("minor".to_owned(), json!(minor));
            }
        }
        rule
    };
    let mut rules =
        vec![json!({ "allow": false, "access": "rwm" }), allow("c", None, None, "m"), allow("b", None, None, "m")];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(allow("c", Some(major), Some(minor), "rwm"));
    }
    rules.push(allow("c", Some(136), None, "rwm"));
    rules
}

/// The program of `--init`: what Docker or Podman has installed for it, or tini.
pub(super) fn init_program() -> Result<PathBuf> {
    const NAMES: [&str; 4] = ["docker-init", "tini-static", "catatonit", "tini"];
    const PLACES: [&str; 4] = ["/usr/bin", "/usr/libexec/podman", "/usr/local/bin", "/usr/libexec/docker"];
    let candidates = NAMES.iter().flat_map(|name| PLACES.iter().map(move |place| Path::new(place).join(name)));
    let mut found = candidates.filter(|path| std::fs::metadata(path).is_ok_and(|status| status.is_file()));
    found.next().ok_or_else(|| {
        let error = Error::new(Kind::NotFound, Step::Bundle).object_is("--init");
        error.reason_is("no init program is installed").hint_is("apt-get install tini, or catatonit")
    })
}

/// A seccomp profile from a file.
pub(super) fn profile(path: &Path) -> Result<Value> {
    let object = format!("--security-opt seccomp={}", path.display());
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(4 << 20).read_to_string(&mut text));
    read.map_err(|error| Error::io(Step::Bundle, &error).object_is(&object))?;
    let wrong = |reason: String| Error::new(Kind::InvalidContent, Step::Bundle).object_is(&object).reason_is(reason);
    let profile: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let rules = profile.get("syscalls").and_then(Value::as_array);
    let docker = |rule: &Value| rule.get("includes").is_some() || rule.get("excludes").is_some();
    if profile.get("archMap").is_some() || rules.is_some_and(|rules| rules.iter().any(docker)) {
        let reason = "a profile with archMap, includes or excludes, which depend on the engine: give one as the runtime \
                      specification has it";
        return Err(wrong(reason.to_owned()));
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_loopback_are_left_out() {
        let text = "search x\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 9.9.9.9\noptions edns0\n";
        assert_eq!(without_loopback(text), "search x\nnameserver 9.9.9.9\noptions edns0\n");
    }

    #[test]
    fn devices_are_looked_up_on_the_host() {
        let device =
            |source: &str| Device { source: source.into(), target: "/dev/x".to_owned(), access: "r".to_owned() };
        let (entries, rules) = devices(&[device("/dev/null")]).unwrap();
        assert_eq!(
            (&entries[0]["major"], &entries[0]["minor"], &entries[0]["path"]),
            (&json!(1), &json!(3), &json!("/dev/x"))
        );
        assert_eq!(rules[0]["access"], "r");
        assert!(devices(&[device("/etc")]).unwrap_err().to_string().contains("it is no device"));
        assert!(devices(&[device("/dev/none")]).is_err());
    }
}
