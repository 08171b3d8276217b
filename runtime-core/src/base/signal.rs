//! Signals.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Kind, Result};
use super::step::Step;

/// The first realtime signal as programs count them: the two before it are the C library's own.
const RTMIN: i32 = 34;
/// The last realtime signal.
const RTMAX: i32 = 64;

/// The signals of Linux (x86, Arm, RISC-V) by name.
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// A signal, or 0, which is sent to nobody and only asks whether there is somebody.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// let signal: orlop::Signal = "sigrtmin+3".parse()?;
/// assert_eq!(signal.number(), 37);
/// assert_eq!("9".parse::<orlop::Signal>()?, orlop::Signal::KILL);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(orlop_cgroups::Signal);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(orlop_cgroups::Signal::KILL);
    /// SIGTERM.
    pub const TERM: Self = Self(orlop_cgroups::Signal::TERM);

    /// The signal with this number.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] unless it is from 0 to 64.
    pub fn new(number: i32) -> Result<Self> {
        orlop_cgroups::Signal::new(number).map(Self).ok_or_else(|| unknown(&number.to_string()))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0.number()
    }

    /// As control groups send it.
    pub(crate) fn as_cgroups(self) -> orlop_cgroups::Signal {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// Reads a number or a name: with or without `SIG`, in any case, `RTMIN+N` and `RTMAX-N` included.
    fn from_str(text: &str) -> Result<Self> {
        // A number with a sign or a blank is a mistake, not a signal.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().and_then(|number| Self::new(number).ok()).ok_or_else(|| unknown(text));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str| {
            let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| rest.parse::<i32>().ok()).flatten().filter(|offset| *offset <= RTMAX - RTMIN)
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN+") {
            offset(rest).map(|offset| RTMIN + offset)
        } else if let Some(rest) = name.strip_prefix("RTMAX-") {
            offset(rest).map(|offset| RTMAX - offset)
        } else {
            NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
        };
        number.and_then(orlop_cgroups::Signal::new).map(Self).ok_or_else(|| unknown(text))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match NAMES.iter().find(|(_, known)| *known == number) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if number > RTMIN => write!(f, "SIGRTMIN+{}", number - RTMIN),
            None => write!(f, "{number}"),
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::new(Kind::InvalidArgument, Step::CheckArguments)
        .with_reason(format!("unknown signal {text:?}"))
        .with_hint("a number from 0 to 64, or a name such as TERM, SIGKILL or RTMIN+3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_number_and_by_name() {
        for (text, number) in [
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("Hup", 1),
            ("IOT", 6),
            ("poll", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+30", 64),
            ("RTMAX", 64),
            ("RTMAX-0", 64),
            ("RTMAX-14", 50),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "65",
            "-9",
            "+9",
            " 9",
            "99999999999999999999",
            "FOO",
            "SIG",
            "SIGSIGKILL",
            "RTMIN+31",
            "RTMIN+",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMIN++1",
            "KILL ",
            "0x9",
        ] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{text}");
            assert!(error.to_string().contains(&format!("unknown signal {text:?}")), "{error}");
        }
    }

    #[test]
    fn every_signal_reads_back_what_it_displays() {
        for number in 1..=RTMAX {
            let signal = Signal::new(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal, "{signal}");
        }
        assert!(Signal::new(65).is_err() && Signal::new(-1).is_err());
    }
}
