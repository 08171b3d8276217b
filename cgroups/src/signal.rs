//! The signals that are sent to a cgroup's processes.

/// A signal: 1 to 64, real-time ones included, or 0, which only asks whether it might be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// The signal with this number; `None` when there is none.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        (0..=64).contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_kernels_numbers() {
        assert_eq!(Signal::new(34).map(Signal::number), Some(34));
        assert_eq!((Signal::new(9), Signal::new(64).is_some()), (Some(Signal::KILL), true));
        assert_eq!((Signal::new(-1), Signal::new(65)), (None, None));
    }
}
