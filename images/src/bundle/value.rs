//! Values of flags, in Docker's syntax.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::base::{Error, Result, Step};
use crate::bundle::options::{Device, wrong};

/// `true` or `false`, as Go writes and takes them.
pub(super) fn boolean(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(format!("{text:?} is neither true nor false"))),
    }
}

/// Bytes, with an optional `b`, `k`, `m`, `g` or `t` that counts in 1024.
pub(super) fn bytes(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = lower.split_at(lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len()));
    let factor = match unit {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => 0,
    };
    let value = digits.parse::<u64>().ok().filter(|_| factor > 0).and_then(|value| value.checked_mul(factor));
    value.ok_or_else(|| wrong(format!("{text:?} is no size: digits, and b, k, m or g")))
}

/// A limit of memory.
pub(super) fn memory(text: &str) -> Result<u64> {
    match bytes(text)? {
        0 => Err(wrong("a limit of nothing")),
        value if i64::try_from(value).is_err() => Err(wrong(format!("{text:?} is more than the kernel counts"))),
        value => Ok(value),
    }
}

/// A decimal fraction such as 1.5, in thousandths.
pub(super) fn thousandths(text: &str) -> Result<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let bad = || wrong(format!("{text:?} is no number of processors such as 1.5"));
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(bad());
    }
    let milli: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole = if whole.is_empty() { "0" } else { whole };
    let value = whole.parse::<u64>().ok().filter(|whole| *whole <= 1_000_000).zip(milli.parse::<u64>().ok());
    // Below a hundredth the kernel takes no quota.
    let value = value.map(|(whole, milli)| whole * 1000 + milli).filter(|&value| value >= 10);
    value.ok_or_else(bad)
}

/// A limit of processes; 0 and −1 mean none.
pub(super) fn pids(text: &str) -> Result<i64> {
    match text.parse::<i64>() {
        Ok(0 | -1) => Ok(-1),
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err(wrong(format!("{text:?} is no number of processes"))),
    }
}

/// `HOST:ADDRESS` or `HOST=ADDRESS`; IPv6 may stand in brackets.
pub(super) fn host(text: &str) -> Result<(String, IpAddr)> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (host, address) = split.ok_or_else(|| wrong(format!("{text:?} is not HOST:ADDRESS")))?;
    if address == "host-gateway" {
        return Err(wrong("host-gateway depends on the network; give the address"));
    }
    let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::from).ok(),
        None => address.parse().ok(),
    };
    let address = parsed.ok_or_else(|| wrong(format!("{address:?} is no address")))?;
    Ok((hostname(host)?, address))
}

/// A name that a host may have: what goes into /etc/hosts and sethostname(2).
pub(super) fn hostname(text: &str) -> Result<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let right = !text.is_empty() && text.len() <= 64 && !text.starts_with(['-', '.']) && text.bytes().all(good);
    if right { Ok(text.to_owned()) } else { Err(wrong(format!("{text:?} is no host name"))) }
}

/// `NAME=VALUE`, or `NAME` for that of this process; none if that is not set.
pub(super) fn variable(text: &str) -> Result<Option<String>> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() || text.contains('\0') {
        return Err(wrong(format!("{text:?} is not NAME=VALUE")));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    match std::env::var(name) {
        Ok(value) => Ok(Some(format!("{name}={value}"))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(wrong(format!("{name} is not UTF-8 here"))),
    }
}

/// The variables of a file: a line each, `#` begins a comment, nothing is unquoted.
pub(super) fn variables_of(path: &str) -> Result<Vec<String>> {
    let failed = |error: &std::io::Error| Error::io(Step::Bundle, error).object_is(format!("--env-file {path}"));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            let place = format!("--env-file {path}, line {}", number + 1);
            return Err(wrong(format!("the name {name:?} has a blank in it")).object_is(place));
        }
        found.extend(variable(line)?);
    }
    Ok(found)
}

/// `SOURCE[:TARGET[:ACCESS]]`, or `SOURCE:ACCESS`.
pub(super) fn device(text: &str) -> Result<Device> {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let is_access = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| b"rwm".contains(&byte));
    let (target, access) = match rest[..] {
        [] => (source, "rwm"),
        [access] if is_access(access) => (source, access),
        [target] => (target, "rwm"),
        [target, access] if is_access(access) => (target, access),
        _ => return Err(wrong(format!("{text:?} is not SOURCE:TARGET:rwm"))),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        let reason = format!("{text:?} is no device file; devices by a vendor's name (CDI) are not supported");
        return Err(wrong(reason));
    }
    Ok(Device { source: PathBuf::from(source), target: target.to_owned(), access: access.to_owned() })
}

/// `NAME=SOFT[:HARD]`; −1 means no limit.
pub(super) fn ulimit(text: &str) -> Result<(String, u64, u64)> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || wrong(format!("{text:?} is not NAME=SOFT:HARD with one of the names {}", NAMES.join(", ")));
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse::<u64>().ok() };
    let (Some(soft), Some(hard)) = (number(soft), number(hard)) else { return Err(bad()) };
    if !NAMES.contains(&name) || soft > hard {
        return Err(bad());
    }
    Ok((format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard))
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String)> {
    let found = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = found.ok_or_else(|| wrong(format!("{text:?} is not NAME=VALUE")))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// An absolute path in the container, cleaned of `.` and `..`.
pub(super) fn directory(text: &str) -> Result<String> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err(wrong(format!("{text:?} is no absolute path")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in
            [("10", 10), ("1k", 1024), ("16M", 16 << 20), ("2gb", 2 << 30), ("7b", 7), ("1GiB", 1 << 30)]
        {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for text in ["", "k", "1.5g", "-1", "1x", "99999999999g", "1 k"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(memory("0").is_err() && memory("9223372036854775808").is_err());
        for (text, value) in [("1", 1000), ("1.5", 1500), (".5", 500), ("0.01", 10), ("2.12345", 2123)] {
            assert_eq!(thousandths(text).unwrap(), value, "{text}");
        }
        for text in ["", ".", "0", "-1", "1.5.5", "1e3", "0.001", "9999999"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
        assert_eq!((pids("0").unwrap(), pids("-1").unwrap(), pids("5").unwrap()), (-1, -1, 5));
        assert!(pids("-2").is_err() && pids("x").is_err());
    }

    #[test]
    fn hosts_devices_and_limits() {
        assert_eq!(host("db:10.0.0.1").unwrap().0, "db");
        assert_eq!(host("db:::1").unwrap().1.to_string(), "::1");
        assert_eq!(host("db=[fe80::1]").unwrap().1.to_string(), "fe80::1");
        for text in ["db", "db:", ":1.1.1.1", "a b:1.1.1.1", "a\n1.1.1.1 b:1.1.1.1", "db:host-gateway", "db:[1.1.1.1]"]
        {
            assert!(host(text).is_err(), "{text:?}");
        }
        assert_eq!(device("/dev/sda:r").unwrap().access, "r");
        assert_eq!(device("/dev/sda:/dev/x").unwrap().target, "/dev/x");
        assert_eq!(device("/dev/sda:/dev/x:rw").unwrap().access, "rw");
        for text in ["", "sda", "nvidia.com/gpu=all", "/dev/a:/dev/b:x", "/dev/a:b", "/dev/a:/b:r:w"] {
            assert!(device(text).is_err(), "{text}");
        }
        assert_eq!(ulimit("nofile=10:-1").unwrap(), ("RLIMIT_NOFILE".to_owned(), 10, u64::MAX));
        for text in ["nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-2"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_and_paths() {
        assert_eq!(variable("A=b=c").unwrap().unwrap(), "A=b=c");
        assert_eq!(variable("ORLOP_NOT_SET_ANYWHERE").unwrap(), None);
        assert!(variable("=x").is_err() && variable("").is_err());
        assert_eq!(directory("/a/./b/../c//").unwrap(), "/a/c");
        assert_eq!(directory("/../..").unwrap(), "/");
        assert!(directory("a").is_err());
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
