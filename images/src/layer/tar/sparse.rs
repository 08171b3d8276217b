//! Sparse files: where the pieces of data lie between the holes.

use crate::base::{Error, Kind, Result, Step};
use crate::layer::tar::header::bad;

/// Checks a list of pieces: in order, apart, within the file, and no longer together than what the archive holds.
pub(super) fn check(pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Vec<(u64, u64)>> {
    let (mut end, mut total) = (0u64, 0u64);
    for &(offset, length) in &pieces {
        if offset < end {
            return Err(bad("a sparse file with pieces that overlap or go backwards"));
        }
        end = offset
            .checked_add(length)
            .filter(|&end| end <= size)
            .ok_or_else(|| bad(format!("a sparse file of {size} bytes with a piece at {offset} of {length} bytes")))?;
        total += length;
    }
    if total != stored {
        return Err(bad(format!("a sparse file whose pieces are {total} bytes, where the archive holds {stored}")));
    }
    Ok(pieces)
}

/// Pairs from a list of numbers.
pub(super) fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>> {
    let pairs = numbers.chunks(2).map(|pair| match pair {
        [offset, length] => Ok((*offset, *length)),
        _ => Err(bad("a sparse map that ends within a pair")),
    });
    pairs.collect()
}

/// Reads the map of version 1.0, which stands before the data: lines of decimal numbers, the first the count of pairs.
#[derive(Debug, Default)]
pub(super) struct Map {
    count: Option<u64>,
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl Map {
    /// Takes one block; `true` once the map is complete. The rest of that block is padding.
    pub(super) fn take(&mut self, block: &[u8], pieces: usize) -> Result<bool> {
        for &byte in block {
            if byte != b'\n' {
                if self.digits.len() == 20 {
                    return Err(bad("a sparse map with a number too long"));
                }
                self.digits.push(byte);
                continue;
            }
            let number = super::pax::decimal(&self.digits, "sparse map")?;
            self.digits.clear();
            let count = match self.count {
                None => *self.count.insert(number),
                Some(count) => {
                    self.numbers.push(number);
                    count
                }
            };
            if count > pieces as u64 {
                let error = Error::new(Kind::Limit, Step::Unpack);
                return Err(error.reason_is(format!("a sparse file of {count} pieces; {pieces} are allowed")));
            }
            if self.numbers.len() as u64 == count * 2 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn pairs(&self) -> Result<Vec<(u64, u64)>> {
        pairs(&self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_in_order_and_within_the_file() {
        assert!(check(vec![(0, 10), (10, 5), (100, 0)], 100, 15).is_ok());
        for (pieces, size, stored) in [
            (vec![(10, 5), (0, 5)], 20, 10),
            (vec![(0, 10), (5, 5)], 20, 15),
            (vec![(0, 21)], 20, 21),
            (vec![(u64::MAX, 2)], u64::MAX, 2),
            (vec![(0, 5)], 20, 6),
            (vec![(0, 5)], 20, 4),
        ] {
            assert!(check(pieces.clone(), size, stored).is_err(), "{pieces:?} {size} {stored}");
        }
    }

    #[test]
    fn the_map_before_the_data() {
        let mut map = Map::default();
        assert!(!map.take(b"2\n0\n51", 10).unwrap());
        assert!(map.take(b"2\n1024\n512\n\0\0", 10).unwrap());
        assert_eq!(map.pairs().unwrap(), [(0, 512), (1024, 512)]);
        assert!(Map::default().take(b"0\n", 10).unwrap());
        assert!(Map::default().take(b"11\n", 10).is_err());
        assert!(Map::default().take(b"x\n", 10).is_err());
        assert!(Map::default().take(b"18446744073709551615\n", 10).is_err());
        assert!(Map::default().take(&[b'1'; 30], 10).is_err());
    }
}
