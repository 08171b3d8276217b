//! Trying again: bounded, with growing pauses, and as long as the registry says.

use std::time::{Duration, Instant};

use crate::base::Event;
use crate::base::{Cancel, Error, Kind, Progress, Result, Step};

/// How often, and how long in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many attempts in a row may fail without any progress.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause, also where the registry asks for a longer one.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 6, pause: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

/// A failure, and whether another attempt makes sense.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) error: Error,
    pub(crate) again: bool,
    /// How long the registry asks to wait.
    pub(crate) after: Option<Duration>,
}

impl Attempt {
    /// No further attempt.
    pub(crate) fn last(error: Error) -> Self {
        Self { error, again: false, after: None }
    }

    /// A failure of the network: worth another attempt, unless it was cancelled or refused for good.
    pub(crate) fn network(error: Error) -> Self {
        let again = matches!(error.kind(), Kind::Network | Kind::Timeout);
        Self { error, again, after: None }
    }
}

/// Counts failed attempts and waits between them.
#[derive(Debug)]
pub(crate) struct Attempts {
    patience: Patience,
    failed: u32,
}

impl Attempts {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, failed: 0 }
    }

    /// There was progress: the count begins anew.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt, or returns why there is none.
    pub(crate) fn wait(&mut self, attempt: Attempt, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        self.failed += 1;
        if !attempt.again {
            return Err(attempt.error);
        }
        if self.failed >= self.patience.attempts {
            let count = self.failed;
            let hint = format!("gave up after {count} attempts; the same command goes on where this one stopped");
            return Err(attempt.error.hint_is(hint));
        }
        let doubled = self.patience.pause.saturating_mul(1 << (self.failed - 1).min(16));
        let pause = attempt.after.unwrap_or_else(|| spread(doubled)).min(self.patience.longest);
        progress.event(Event::Note(&format!("{}; next attempt in {:.1} s", attempt.error, pause.as_secs_f64())));
        sleep(pause, cancel)
    }
}

/// Three quarters to five quarters of `pause`, so that many clients do not come back at once.
fn spread(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    pause.mul_f64(0.75 + f64::from(nanos % 1000) / 2000.0)
}

fn sleep(pause: Duration, cancel: &Cancel) -> Result<()> {
    let end = Instant::now() + pause;
    loop {
        cancel.check(Step::Request)?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// What `Retry-After` says: seconds, or a date of HTTP.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(http_date(value)?.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|each| *each == month)? as u64 + 1;
    let (day, year) =
        (day.parse::<u64>().ok()?, year.parse::<u64>().ok().filter(|year| (1970..10_000).contains(year))?);
    let mut clock = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    // Days since 1970 by the calendar that begins a year in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Quiet;

    #[test]
    fn dates_of_http_are_understood() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sat, 29 Feb 2020 23:59:59 GMT"), Some(1_583_020_799));
        assert_eq!(http_date("nonsense"), None);
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn attempts_are_bounded_and_progress_resets_them() {
        let patience = Patience { attempts: 3, pause: Duration::from_millis(1), longest: Duration::from_millis(2) };
        let mut attempts = Attempts::new(patience);
        let broken = || Attempt::network(Error::new(Kind::Network, Step::Request));
        let cancel = Cancel::new();
        for _ in 0..5 {
            attempts.wait(broken(), &cancel, &Quiet).unwrap();
            attempts.wait(broken(), &cancel, &Quiet).unwrap();
            attempts.progressed();
        }
        attempts.wait(broken(), &cancel, &Quiet).unwrap();
        attempts.wait(broken(), &cancel, &Quiet).unwrap();
        let error = attempts.wait(broken(), &cancel, &Quiet).unwrap_err();
        assert!(error.hint().unwrap().contains("after 3 attempts"), "{error}");
        let error =
            Attempts::new(patience).wait(Attempt::last(Error::new(Kind::Denied, Step::Request)), &cancel, &Quiet);
        assert_eq!(error.unwrap_err().kind(), Kind::Denied);
        cancel.cancel();
        let error = Attempts::new(patience).wait(broken(), &cancel, &Quiet).unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
    }
}
