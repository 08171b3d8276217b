//! Lists of numbers as the kernel writes them: `0-3,7`.

use std::ops::RangeInclusive;

/// The ranges of a list of CPUs or NUMA nodes, in the order of the text.
///
/// # Errors
/// What is wrong with it, in words: not numbers and ranges separated by commas, a range that goes down, or a number above `last`.
pub fn parse_list(text: &str, last: u32) -> Result<Vec<RangeInclusive<u32>>, String> {
    text.split(',').map(|part| parse_range(part.trim_ascii(), last)).collect()
}

fn parse_range(text: &str, last: u32) -> Result<RangeInclusive<u32>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let range = parse_number(low, last)?..=parse_number(high, last)?;
    if range.is_empty() {
        return Err(format!("range {text:?} goes down"));
    }
    Ok(range)
}

fn parse_number(text: &str, last: u32) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a number"));
    }
    match text.parse() {
        Ok(number) if number <= last => Ok(number),
        _ => Err(format!("{text} is above {last}")),
    }
}

/// How many different numbers the ranges hold.
pub(super) fn count(ranges: &[RangeInclusive<u32>]) -> u64 {
    let mut sorted: Vec<(u32, u32)> = ranges.iter().map(|range| (*range.start(), *range.end())).collect();
    sorted.sort_unstable();
    let mut total = 0;
    let mut next = 0u64;
    for (low, high) in sorted {
        let low = u64::from(low).max(next);
        let end = u64::from(high) + 1;
        total += end.saturating_sub(low);
        next = next.max(end);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_strict() {
        assert_eq!(parse_list("0-3,7", 9), Ok(vec![0..=3, 7..=7]));
        assert_eq!(parse_list("0, 2", 9), Ok(vec![0..=0, 2..=2]));
        for wrong in ["", ",", "1,", "-1", "1-", "3-1", "a", "0x1", "+1", "10", "4294967296", "1-2-3", "1 - 2"] {
            assert!(parse_list(wrong, 9).is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlapping_ranges_count_once() {
        assert_eq!(count(&[0..=7]), 8);
        assert_eq!(count(&[0..=3, 2..=5, 5..=5, 9..=9]), 7);
        assert_eq!(count(&[0..=u32::MAX]), 1 << 32);
    }
}
