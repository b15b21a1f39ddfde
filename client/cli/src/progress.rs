//! How far long work has come: a bar on a terminal, a line now and then elsewhere, nothing if nobody wants to know.
//!
//! It goes to standard error; standard output has the result alone.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{elapsed, now};
use crate::output::note;

/// Between two lines, where there is no terminal.
const LINES: Duration = Duration::from_secs(2);
/// Between two pictures of a bar.
const PICTURES: Duration = Duration::from_millis(100);

/// With an end that is known.
const BAR: &str = "{bar:30} {percent:>3} %  {msg}  {eta} left";
/// Without one.
const SPINNER: &str = "{spinner} {msg}  {elapsed}";

/// See the module.
pub struct Meter {
    shown: Shown,
    begun: Instant,
    told: Option<Instant>,
}

enum Shown {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Meter {
    /// Work that ends at `total`, if that is known, in whatever unit.
    pub fn begin(quiet: bool, total: Option<u64>) -> Self {
        let shown = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(bar(total, ProgressDrawTarget::stderr())),
            (false, false) => Shown::Lines,
        };
        Self::showing(shown)
    }

    fn showing(shown: Shown) -> Self {
        Self {
            shown,
            begun: now(),
            told: None,
        }
    }

    /// So much of the total is done; `words` say what that is, and are asked for only when they are shown.
    pub fn at(&mut self, done: u64, words: impl FnOnce() -> String) {
        let (every, last) = match &self.shown {
            Shown::Nothing => return,
            // Not of what is over at once.
            Shown::Lines => (LINES, Some(self.told.unwrap_or(self.begun))),
            Shown::Bar(_) => (PICTURES, self.told),
        };
        if last.is_some_and(|last| elapsed(last) < every) {
            return;
        }
        self.told = Some(now());
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(words());
                bar.set_position(done);
            }
            _ => note(&format!("{} after {:.0?}", words(), elapsed(self.begun))),
        }
    }
}

/// Whatever comes next stands where the bar was.
impl Drop for Meter {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>, target: ProgressDrawTarget) -> ProgressBar {
    let template = if total.is_some() { BAR } else { SPINNER };
    let bar = ProgressBar::with_draw_target(total, target);
    // The templates are constants, which a test draws.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn drawn(total: Option<u64>, done: u64) -> (String, String) {
        let terminal = InMemoryTerm::new(4, 80);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut progress = Meter::showing(Shown::Bar(bar(total, target)));
        progress.at(done, || format!("{done} records"));
        let Shown::Bar(bar) = &progress.shown else {
            unreachable!("it is one");
        };
        bar.force_draw();
        let during = terminal.contents();
        drop(progress);
        (during, terminal.contents())
    }

    #[test]
    fn a_bar_tells_its_share_and_leaves_nothing_behind() {
        let (during, after) = drawn(Some(1_000), 500);
        assert!(during.starts_with("==============="), "{during}");
        assert!(during.contains(" 50 %  500 records  "), "{during}");
        assert!(during.ends_with(" left"), "{during}");
        assert_eq!(after, "");
    }

    #[test]
    fn without_an_end_only_what_is_done_is_told() {
        let (during, after) = drawn(None, 7);
        assert!(during.contains(" 7 records  "), "{during}");
        assert!(!during.contains('%'), "{during}");
        assert_eq!(after, "");
    }
}
