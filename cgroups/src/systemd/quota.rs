//! CPU quotas as systemd keeps them: in whole percents of a CPU.
//!
//! It writes `cpu.max` from its own number, at once and whenever it reloads. A finer value in the file would hold until then only,
//! so the files get what systemd will write.

use crate::resources::Resources;
use crate::writes::Write;

/// The kernel's and systemd's period, in microseconds, where none is given.
const PERIOD: u64 = 100_000;
const SECOND: u64 = 1_000_000;
/// One percent of a CPU for a second.
const STEP: u64 = SECOND / 100;

/// The microseconds per second that `quota` in `period` comes to: rounded up, so that it is never less than what was asked for.
/// None for more than can be said.
pub(super) fn per_second(quota: u64, period: Option<u64>) -> Option<u64> {
    let period = period.unwrap_or(PERIOD);
    // A period of 0 is left to the kernel to refuse.
    if period == 0 { None } else { quota.checked_mul(SECOND)?.div_ceil(period).checked_next_multiple_of(STEP) }
}

/// `quota` as systemd will write it.
fn kept(quota: u64, period: Option<u64>) -> Option<u64> {
    let quota = u128::from(per_second(quota, period)?) * u128::from(period.unwrap_or(PERIOD)) / u128::from(SECOND);
    u64::try_from(quota).ok()
}

/// Makes the quotas in `list`, the files for `resources`, those that systemd has from [`per_second`].
pub(super) fn settle(resources: &Resources<'_>, list: &mut [Write<'_>]) {
    let period = resources.cpu.as_ref().and_then(|cpu| cpu.period).filter(|period| *period != 0);
    for write in list {
        let value = match write.file.as_ref() {
            "cpu.cfs_quota_us" => {
                write.value.parse().ok().and_then(|quota| kept(quota, period)).map(|quota| quota.to_string())
            }
            "cpu.max" => kept_line(&write.value),
            _ => None,
        };
        if let Some(value) = value {
            write.value = value.into();
        }
    }
}

/// A line of `cpu.max` with its quota as systemd will write it; none where it has no number for one.
fn kept_line(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let quota = words.next()?.parse().ok()?;
    match words.next().map(str::parse).transpose().ok()? {
        Some(period) => Some(format!("{} {period}", kept(quota, Some(period))?)),
        None => kept(quota, None).map(|quota| quota.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writes::{Mounts, writes_for};

    fn settled(json: &str, v2: bool) -> Vec<String> {
        let resources: Resources<'_> = serde_json::from_str(json).unwrap();
        let mut list = writes_for(&resources, Mounts { v1: &|_| !v2, unified: v2 }).unwrap();
        settle(&resources, &mut list);
        list.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn the_file_has_the_quota_that_systemd_writes() {
        let table: [(&str, &[&str], &[&str]); 6] = [
            (
                r#"{"cpu":{"quota":500000,"period":900000}}"#,
                &["cpu.cfs_period_us=900000", "cpu.cfs_quota_us=504000"],
                &["cpu.max=504000 900000"],
            ),
            (r#"{"cpu":{"quota":12345}}"#, &["cpu.cfs_quota_us=13000"], &["cpu.max=13000"]),
            (
                r#"{"cpu":{"quota":50000,"period":100000}}"#,
                &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"],
                &["cpu.max=50000 100000"],
            ),
            (r#"{"cpu":{"quota":-1}}"#, &["cpu.cfs_quota_us=-1"], &["cpu.max=max"]),
            (r#"{"cpu":{"period":50000}}"#, &["cpu.cfs_period_us=50000"], &["cpu.max=max 50000"]),
            (r#"{"pids":{"limit":12345}}"#, &["pids.max=12345"], &["pids.max=12345"]),
        ];
        for (json, v1, v2) in table {
            assert_eq!(settled(json, false), v1, "{json}");
            assert_eq!(settled(json, true), v2, "{json}");
        }
        for (value, expected) in [
            ("500000 900000", "504000 900000"),
            ("12345", "13000"),
            ("max 100000", "max 100000"),
            ("max", "max"),
            ("5 lots", "5 lots"),
            ("5 0", "5 0"),
        ] {
            let json = format!(r#"{{"unified":{{"cpu.max":"{value}"}}}}"#);
            assert_eq!(settled(&json, true), [format!("cpu.max={expected}")]);
        }
    }

    #[test]
    fn rounding_again_changes_nothing() {
        for period in [1_000, 3_333, 100_000, 700_007, 999_999, 1_000_000] {
            for quota in [1_000, 1_001, 70_001, 333_333, 1_234_567] {
                let once = kept(quota, Some(period)).unwrap();
                assert_eq!(kept(once, Some(period)), Some(once), "{quota} in {period}");
                assert_eq!(per_second(once, Some(period)), per_second(quota, Some(period)), "{quota} in {period}");
            }
        }
    }

    #[test]
    fn what_is_out_of_reach_stays_for_the_kernel_to_refuse() {
        for (quota, period) in [(u64::MAX, Some(1)), (u64::MAX / SECOND + 1, Some(1)), (u64::MAX, None)] {
            assert_eq!(kept(quota, period), None, "{quota} in {period:?}");
        }
    }
}
