//! Progress for people: a bar per layer on a terminal, a line per layer elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use orlop_images::base::printable;
use orlop_images::{Digest, Event, Progress};

use crate::cli::output::{complain, size};

/// Shows what happens, on standard error.
pub(crate) struct Shown {
    how: How,
}

enum How {
    Quiet,
    Lines(Mutex<HashMap<Digest, u64>>),
    Bars(MultiProgress, Mutex<HashMap<Digest, ProgressBar>>),
}

impl Shown {
    /// Bars on a terminal, lines elsewhere, nothing with `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let how = if quiet {
            How::Quiet
        } else if std::io::stderr().is_terminal() {
            How::Bars(MultiProgress::new(), Mutex::default())
        } else {
            How::Lines(Mutex::default())
        };
        Self { how }
    }
}

impl Progress for Shown {
    fn event(&self, event: Event<'_>) {
        match &self.how {
            How::Quiet => {}
            How::Lines(sizes) => line(sizes, event),
            How::Bars(multi, bars) => bar(multi, bars, event),
        }
    }
}

fn line(sizes: &Mutex<HashMap<Digest, u64>>, event: Event<'_>) {
    match event {
        Event::Begin { what, digest, size: whole, done } => {
            if let Ok(mut sizes) = sizes.lock() {
                sizes.insert(*digest, whole);
            }
            if done > 0 && done < whole {
                complain(&format!("{}: {what}, {} of {} are there", digest.short(), size(done), size(whole)));
            }
        }
        Event::End { digest, how } => {
            let whole = sizes.lock().ok().and_then(|sizes| sizes.get(digest).copied());
            let whole = whole.map(|whole| format!(", {}", size(whole))).unwrap_or_default();
            complain(&format!("{}: {how}{whole}", digest.short()));
        }
        Event::Note(text) => complain(text),
        _ => {}
    }
}

fn bar(multi: &MultiProgress, bars: &Mutex<HashMap<Digest, ProgressBar>>, event: Event<'_>) {
    let Ok(mut bars) = bars.lock() else { return };
    match event {
        Event::Begin { what, digest, size, done } => {
            let bar = multi.add(ProgressBar::new(size));
            bar.set_style(style());
            bar.set_prefix(digest.short());
            bar.set_message(what.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            bars.insert(*digest, bar);
        }
        Event::Advance { digest, done } => {
            if let Some(bar) = bars.get(digest) {
                bar.set_position(done);
            }
        }
        Event::End { digest, how } => {
            if let Some(bar) = bars.remove(digest) {
                bar.set_style(done_style());
                bar.finish_with_message(how.to_owned());
            }
        }
        Event::Note(text) => {
            // A line that cannot be shown on a terminal that has gone away is not missed.
            drop(multi.println(printable(text)));
        }
        _ => {}
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix}  {msg:10} [{bar:30}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {eta:>4}";
    let plain = ProgressStyle::default_bar();
    plain.clone().template(template).unwrap_or(plain).progress_chars("=> ")
}

fn done_style() -> ProgressStyle {
    let plain = ProgressStyle::default_bar();
    plain.clone().template("{prefix}  {msg}, {total_bytes}").unwrap_or(plain)
}
