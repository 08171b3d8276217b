//! Timestamps as the state file and the state JSON carry them.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in UTC as RFC 3339 with up to nine decimals of a second, as Go's `RFC3339Nano` prints it: the form in
/// which runc's users meet it.
pub(crate) fn now_rfc3339() -> String {
    rfc3339(SystemTime::now())
}

/// `time` in UTC as RFC 3339, with as many decimals of a second as it has (up to nine): the form of the times in a container's
/// state, and of Go's `RFC3339Nano`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    // A clock before 1970 is a clock nobody set; it reads as 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format_utc(since.as_secs(), since.subsec_nanos())
}

/// `seconds` and `nanos` since 1970.
fn format_utc(seconds: u64, nanos: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    let mut text = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if nanos > 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The Gregorian date `days` after 1970-01-01, by counting in eras of 400 years that begin on a first of March, so that the
/// leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_go_prints_them() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 500_000_000, "2000-02-29T00:00:00.5Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59Z"),
            (4_107_542_400, 120_000, "2100-03-01T00:00:00.00012Z"),
            (1_795_233_560, 556_803_094, "2026-11-21T03:59:20.556803094Z"),
        ] {
            assert_eq!(format_utc(seconds, nanos), text);
            let time = UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
            assert_eq!(rfc3339(time), text);
        }
    }
}
