//! Numbers with units, written as runc's users write them.

use std::time::Duration;

/// A number of bytes: `256m`, `1.5GiB`, `4096`; units are powers of 1024, in either case. `-1` is no limit.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..)?;
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let shift: u32 = match unit {
        "" if !lower.ends_with("ib") => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let number = digits.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || number.ends_with('.') {
        return None;
    }
    let scale = 1_u128.checked_shl(shift)?;
    // Nine decimals are more than any unit can show, and cannot overflow.
    let decimals = fraction.get(..fraction.len().min(9))?;
    let part = decimals.parse::<u128>().unwrap_or(0) * scale / 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let total = whole.parse::<u64>().map(u128::from).ok()?.checked_mul(scale)?.checked_add(part)?;
    i64::try_from(total).ok()
}

/// A duration as Go writes it: `5s`, `1m30s`, `500ms`, `1.5h`; never negative. A bare `0` is allowed.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = rest.get(..rest.len() - digits.len())?;
        let after = digits.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.');
        let unit = match digits.get(..digits.len() - after.len())? {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let count: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(count * unit).ok()?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("4096", Some(4096)),
            ("1k", Some(1024)),
            ("1K", Some(1024)),
            ("1kb", Some(1024)),
            ("1KiB", Some(1024)),
            ("256m", Some(256 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 g", Some(2 << 30)),
            ("64B", Some(64)),
            ("8191p", Some(8191 << 50)),
            ("8192p", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-2", None),
            ("", None),
            ("k", None),
            ("1.", None),
            (".5g", None),
            ("1x", None),
            ("1ib", None),
            ("0x10", None),
            ("1e3", None),
            ("1 2", None),
        ] {
            assert_eq!(bytes(text), value, "{text:?}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("5s", Some(5000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("5x", None),
            ("1..5s", None),
            ("999999999999999999999h", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
