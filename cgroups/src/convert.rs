//! Conversions from the v1 values of the OCI specification to v2 values. Pure functions.

use crate::error::{Error, Result};

/// The v2 `cpu.weight` (1 to 10000) for v1 CPU shares (2 to 262144); none for 0, which means unset.
///
/// The curve is quadratic in the logarithms, so that both ends and the two defaults (1024 shares, weight 100) meet: the formula of
/// runc since 1.3.2, of crun since 1.23 and of Kubernetes.
#[must_use]
pub fn cpu_weight(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            #[allow(clippy::cast_precision_loss, reason = "shares are below 2^18 here")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the result lies between 1 and 10000"
            )]
            Some(10_f64.powf(exponent).ceil() as u64)
        }
    }
}

/// The v2 `io.weight` (1 to 10000) for a v1 block I/O weight (10 to 1000), linear; none for 0, which means unset.
#[must_use]
pub fn io_weight(weight: u16) -> Option<u64> {
    match weight {
        0 => None,
        weight => Some(1 + (u64::from(weight.max(10)) - 10) * 9999 / 990),
    }
}

/// What to write to `memory.swap.max` for the specification's limit of memory and swap together.
///
/// `None` leaves the file alone. -1 is no limit; a memory limit of -1 without a swap value lifts the swap limit too, as on v1.
///
/// # Errors
/// [`InvalidResources`](crate::Kind::InvalidResources) when there is no memory limit to subtract, or the sum is below it.
pub fn swap_max(memory: Option<i64>, swap: Option<i64>) -> Result<Option<SwapMax>> {
    const POINTER: &str = "/memory/swap";
    let memory = memory.unwrap_or(0);
    let swap = swap.unwrap_or(0);
    match (memory, swap) {
        (-1, 0) | (_, -1) => Ok(Some(SwapMax::Unlimited)),
        (_, 0) => Ok(None),
        (_, ..=-2) => Err(Error::resources(POINTER, format!("{swap} is neither a size nor -1"))),
        (-1, swap) => Ok(Some(SwapMax::Bytes(swap))),
        (0, _) => Err(Error::resources(POINTER, "a swap limit needs a memory limit beside it on cgroup v2")),
        (..=-2, _) => Err(Error::resources("/memory/limit", format!("{memory} is neither a size nor -1"))),
        (memory, swap) if swap < memory => Err(Error::resources(
            POINTER,
            format!("{swap} is below the memory limit {memory}; it is the limit of memory and swap together"),
        )),
        (memory, swap) => Ok(Some(SwapMax::Bytes(swap - memory))),
    }
}

/// A value for `memory.swap.max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapMax {
    /// `max`.
    Unlimited,
    /// A number of bytes; 0 forbids swapping.
    Bytes(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_on_the_quadratic_curve() {
        // The values of runc's own table.
        let table = [
            (0, None),
            (1, Some(1)),
            (2, Some(1)),
            (3, Some(2)),
            (100, Some(17)),
            (512, Some(59)),
            (1023, Some(100)),
            (1024, Some(100)),
            (262_143, Some(10_000)),
            (262_144, Some(10_000)),
            (u64::MAX, Some(10_000)),
        ];
        for (shares, weight) in table {
            assert_eq!(cpu_weight(shares), weight, "{shares} shares");
        }
    }

    #[test]
    fn block_weights_scale_linearly() {
        for (weight, expected) in
            [(0, None), (5, Some(1)), (10, Some(1)), (100, Some(910)), (500, Some(4950)), (1000, Some(10_000))]
        {
            assert_eq!(io_weight(weight), expected, "weight {weight}");
        }
    }

    #[test]
    fn swap_is_what_the_sum_leaves() {
        let table = [
            (None, None, Some(None)),
            (Some(-1), None, Some(Some(SwapMax::Unlimited))),
            (Some(0), Some(0), Some(None)),
            (Some(100), Some(-1), Some(Some(SwapMax::Unlimited))),
            (None, Some(-1), Some(Some(SwapMax::Unlimited))),
            (Some(-1), Some(70), Some(Some(SwapMax::Bytes(70)))),
            (Some(100), Some(250), Some(Some(SwapMax::Bytes(150)))),
            (Some(100), Some(100), Some(Some(SwapMax::Bytes(0)))),
            (None, Some(70), None),
            (Some(-2), Some(70), None),
            (Some(100), Some(99), None),
            (Some(100), Some(-3), None),
        ];
        for (memory, swap, expected) in table {
            assert_eq!(swap_max(memory, swap).ok(), expected, "memory {memory:?} swap {swap:?}");
        }
    }
}
