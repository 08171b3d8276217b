//! Readers of the kernel's file formats. Pure functions, but for those that take a directory.

use std::collections::BTreeMap;

use super::{BlkioEntry, Pressure, Psi, RdmaStats};
use crate::dir::Dir;
use crate::error::Result;

/// A single number; `max` is the largest one.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        // Some v1 counters are shown as -1 when they have no limit.
        text if text.starts_with('-') => text.parse::<i64>().ok().map(|_| u64::MAX),
        text => text.parse().ok(),
    }
}

pub(super) fn file_number(dir: &Dir, file: &str) -> Result<Option<u64>> {
    let Some(text) = dir.read_if_there(file)? else { return Ok(None) };
    number(&text).map(Some).ok_or_else(|| dir.malformed(file, &text))
}

/// Lines of `key value`; other lines are passed over.
pub(super) fn key_values(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value)?))
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let target = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *target = pressure(words);
    }
    psi
}

fn pressure<'a>(words: impl Iterator<Item = &'a str>) -> Pressure {
    let mut pressure = Pressure::default();
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => pressure.avg10 = value.parse().unwrap_or_default(),
            "avg60" => pressure.avg60 = value.parse().unwrap_or_default(),
            "avg300" => pressure.avg300 = value.parse().unwrap_or_default(),
            "total" => pressure.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    pressure
}

pub(super) fn file_psi(dir: &Dir, file: &str) -> Result<Option<Psi>> {
    Ok(dir.read_if_there(file)?.map(|text| psi(&text)))
}

/// `8:0 Read 123`, or `8:0 123` without an operation; the `Total` line of all devices has two words and is passed over.
pub(super) fn blkio(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
            let (major, minor, op, value) = match words.as_slice() {
                [major, minor, value] => (major, minor, "", value),
                [major, minor, op, value] => (major, minor, *op, value),
                _ => return None,
            };
            Some(BlkioEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: op.to_owned(),
                value: value.parse().ok()?,
            })
        })
        .collect()
}

/// `0-2,7` as numbers.
pub(crate) fn list(text: &str) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((from, to)) => all.extend(from.parse::<u16>().ok()?..=to.parse().ok()?),
            None => all.push(part.parse().ok()?),
        }
    }
    Some(all)
}

/// `mlx5_0 hca_handle=2 hca_object=2000` from `rdma.current` and `rdma.max`.
pub(super) fn rdma(current: &str, limits: &str) -> BTreeMap<String, RdmaStats> {
    let mut all: BTreeMap<String, RdmaStats> = BTreeMap::new();
    let mut each = |text: &str, set: fn(&mut RdmaStats, &str, u64)| {
        for line in text.lines() {
            let Some((device, rest)) = line.split_once(' ') else { continue };
            let stats = all.entry(device.to_owned()).or_default();
            for (key, value) in rest.split_whitespace().filter_map(|word| word.split_once('=')) {
                if let Some(value) = number(value) {
                    set(stats, key, value);
                }
            }
        }
    };
    each(current, |stats, key, value| match key {
        "hca_handle" => stats.hca_handles = value,
        "hca_object" => stats.hca_objects = value,
        _ => {}
    });
    each(limits, |stats, key, value| match key {
        "hca_handle" => stats.hca_handles_limit = value,
        "hca_object" => stats.hca_objects_limit = value,
        _ => {}
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists() {
        for (text, expected) in
            [("5\n", Some(5)), ("max\n", Some(u64::MAX)), ("-1\n", Some(u64::MAX)), ("x", None), ("", None)]
        {
            assert_eq!(number(text), expected, "{text:?}");
        }
        for (text, expected) in [("0-2,7\n", Some(vec![0, 1, 2, 7])), ("\n", Some(vec![])), ("a", None), ("3-", None)] {
            assert_eq!(list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn pressure_lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let psi = psi(text);
        assert_eq!(psi.some, Pressure { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 123 });
        assert_eq!(psi.full.total, 7);
    }

    #[test]
    fn block_lines() {
        let text = "8:0 Read 10\n8:0 Total 10\n253:1 5\nTotal 10\n";
        let found: Vec<_> = blkio(text).into_iter().map(|one| (one.major, one.minor, one.op, one.value)).collect();
        assert_eq!(found, [(8, 0, "Read".to_owned(), 10), (8, 0, "Total".to_owned(), 10), (253, 1, String::new(), 5)]);
    }

    #[test]
    fn rdma_lines() {
        let all = rdma("mlx hca_handle=2 hca_object=3\n", "mlx hca_handle=max hca_object=2000\n");
        let expected =
            RdmaStats { hca_handles: 2, hca_objects: 3, hca_handles_limit: u64::MAX, hca_objects_limit: 2000 };
        assert_eq!(all["mlx"], expected);
    }
}
