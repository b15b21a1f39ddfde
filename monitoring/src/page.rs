//! Prometheus' text format, version 0.0.4, written once per scrape.
//!
//! ```text
//! # HELP packets_received Frames of ZooKeeper's protocol that came in.
//! # TYPE packets_received gauge
//! packets_received 17
//! ```
//! Invariants: a family's lines stand together, its `HELP` and `TYPE` once and before them; label values are
//! escaped. Names are ours, so a bad or a second one is a bug: debug builds panic, `tests/metrics.rs` looks too.

use std::fmt::{self, Write};

use crate::count::{BOUNDS_US, Durations};

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Any number.
    Gauge,
    /// Counts by bucket, and the sum.
    Histogram,
    /// The count and the sum alone.
    Summary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// What a sample's value may be.
pub trait Number: Copy {
    /// As the format writes it.
    fn put(self, out: &mut String);
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            fn put(self, out: &mut String) {
                write(out, format_args!("{self}"));
            }
        }
    )*};
}

number!(u16, u32, u64, usize, i32, i64);

impl Number for f64 {
    fn put(self, out: &mut String) {
        match self {
            _ if self.is_nan() => out.push_str("NaN"),
            f64::INFINITY => out.push_str("+Inf"),
            f64::NEG_INFINITY => out.push_str("-Inf"),
            number => write(out, format_args!("{number}")),
        }
    }
}

impl Number for bool {
    fn put(self, out: &mut String) {
        out.push(if self { '1' } else { '0' });
    }
}

/// Names and values of a sample's labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// What one scrape is answered with.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    #[cfg(debug_assertions)]
    names: std::collections::BTreeSet<String>,
}

impl Page {
    /// A family of samples.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        self.check(name);
        let out = &mut self.text;
        out.push_str("# HELP ");
        out.push_str(name);
        out.push(' ');
        escape(help, false, out);
        write(out, format_args!("\n# TYPE {name} {}\n", kind.name()));
        Family { name, out }
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: impl Number) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    /// A histogram without labels, in seconds.
    pub fn histogram(&mut self, name: &'static str, help: &str, seen: &Durations) {
        self.family(Kind::Histogram, name, help)
            .durations(&[], seen);
    }

    /// A summary without labels and quantiles, in milliseconds.
    pub fn summary_ms(&mut self, name: &'static str, help: &str, seen: &Durations) {
        self.family(Kind::Summary, name, help).total_ms(&[], seen);
    }

    /// The whole page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    #[cfg(debug_assertions)]
    fn check(&mut self, name: &str) {
        let head = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let all = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(
            head && name.chars().all(all),
            "{name:?} is no name of a metric"
        );
        assert!(self.names.insert(name.to_owned()), "{name} stands twice");
    }

    #[cfg(not(debug_assertions))]
    fn check(&mut self, _: &str) {}
}

/// Takes the samples of one family.
#[derive(Debug)]
pub struct Family<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Number) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// All lines of a histogram, in seconds.
    pub fn durations(&mut self, labels: Labels<'_>, seen: &Durations) -> &mut Self {
        for (bound_us, count) in BOUNDS_US.iter().zip(seen.at_most) {
            let bound = (*bound_us as f64 / 1e6).to_string();
            self.line("_bucket", labels, Some(("le", &bound)), count);
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), seen.count);
        self.line("_sum", labels, None, seen.sum_us as f64 / 1e6);
        self.line("_count", labels, None, seen.count);
        self
    }

    /// Sum and count of a summary, in milliseconds, as Kafka and ZooKeeper count.
    pub fn total_ms(&mut self, labels: Labels<'_>, seen: &Durations) -> &mut Self {
        self.line("_sum", labels, None, seen.sum_us as f64 / 1e3);
        self.line("_count", labels, None, seen.count);
        self
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        more: Option<(&str, &str)>,
        value: impl Number,
    ) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(more) {
            self.out.push(separator);
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, true, self.out);
            self.out.push('"');
            separator = ',';
        }
        self.out.push_str(match separator {
            ',' => "} ",
            _ => " ",
        });
        value.put(self.out);
        self.out.push('\n');
    }
}

fn write(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes every text");
}

/// Quotation marks are escaped within label values alone.
fn escape(text: &str, in_quotes: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if in_quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Histogram;

    #[test]
    fn a_page_reads_as_the_format_wants_it() {
        let mut page = Page::default();
        page.gauge("up_ms", "Since \"start\".\nReally.", 1.5);
        page.counter("frames_total", "a\\b", 7);
        page.family(Kind::Gauge, "size", "By topic.")
            .sample(&[("topic", "a\"b\\c\nd"), ("partition", "0")], 3_usize)
            .sample(&[("topic", "x"), ("partition", "1")], true)
            .sample(&[("topic", "y"), ("partition", "2")], f64::NAN);
        let expected = "# HELP up_ms Since \"start\".\\nReally.\n# TYPE up_ms gauge\nup_ms 1.5\n\
             # HELP frames_total a\\\\b\n# TYPE frames_total counter\nframes_total 7\n\
             # HELP size By topic.\n# TYPE size gauge\n\
             size{topic=\"a\\\"b\\\\c\\nd\",partition=\"0\"} 3\n\
             size{topic=\"x\",partition=\"1\"} 1\nsize{topic=\"y\",partition=\"2\"} NaN\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(300));
        histogram.observe(Duration::from_secs(60));
        let mut page = Page::default();
        page.histogram("took_seconds", "How long.", &histogram.get());
        page.summary_ms("took", "How long.", &histogram.get());
        let text = page.into_text();
        let lines = [
            "took_seconds_bucket{le=\"0.00025\"} 0\n",
            "took_seconds_bucket{le=\"0.0005\"} 1\n",
            "took_seconds_bucket{le=\"10\"} 1\n",
            "took_seconds_bucket{le=\"+Inf\"} 2\n",
            "took_seconds_sum 60.0003\n",
            "took_seconds_count 2\n",
            "# TYPE took summary\ntook_sum 60000.3\ntook_count 2\n",
        ];
        for line in lines {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    #[should_panic(expected = "twice")]
    #[cfg(debug_assertions)]
    fn a_family_stands_once() {
        let mut page = Page::default();
        page.gauge("a", "", 1_u64);
        page.gauge("a", "", 1_u64);
    }
}
