//! Names of signals.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// The number of a signal: `TERM`, `SIGTERM`, `15`, `SIGRTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    let last = libc::SIGRTMAX();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=last).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let number =
            libc::SIGRTMIN() + if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (libc::SIGRTMIN()..=last).contains(&number).then_some(number);
    }
    Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "15", "sigterm"] {
            assert_eq!(parse(text), Some(15), "{text}");
        }
        assert_eq!(parse("SIGRTMIN+3"), Some(libc::SIGRTMIN() + 3));
        for text in ["", "0", "65", "-1", "SIG", "NONE", "RTMIN+99", "RTMIN-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
