//! Prometheus' text format (0.0.4), read strictly: whatever it does not allow is an error that names its line.

use std::collections::{BTreeMap, BTreeSet};

type Labels = Vec<(String, String)>;

/// One line with a number.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

/// A page that was read.
#[derive(Debug)]
pub struct Page {
    samples: Vec<Sample>,
    names: BTreeSet<String>,
}

#[derive(Default)]
struct Family {
    name: String,
    kind: Option<String>,
}

impl Page {
    /// Reads a page.
    pub fn read(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut done = BTreeSet::new();
        let mut family = Family::default();
        let mut samples = Vec::new();
        for line in text.lines() {
            let wrong = |why: &str| format!("{why}: {line:?}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').ok_or(wrong("HELP without text"))?;
                if !is_name(name, true) || text.is_empty() {
                    return Err(wrong("a bad HELP"));
                }
                if !done.insert(name.to_owned()) {
                    return Err(wrong("a second HELP"));
                }
                family = Family {
                    name: name.to_owned(),
                    kind: None,
                };
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or(wrong("TYPE without a kind"))?;
                let known = ["counter", "gauge", "histogram", "summary"].contains(&kind);
                if name != family.name || family.kind.is_some() || !known {
                    return Err(wrong("a bad TYPE"));
                }
                family.kind = Some(kind.to_owned());
            } else {
                let sample = sample(line).ok_or(wrong("no sample"))?;
                family.takes(&sample).map_err(|why| wrong(&why))?;
                samples.push(sample);
            }
        }
        let names = samples.iter().map(|sample| sample.name.clone()).collect();
        let page = Self { samples, names };
        page.check_duplicates()?;
        page.check_histograms()?;
        Ok(page)
    }

    /// Names of all samples.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The value of the sample with exactly these labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let same = |sample: &&Sample| {
            let own = sample.labels.iter().map(|(key, value)| (&**key, &**value));
            sample.name == name && own.eq(labels.iter().copied())
        };
        Some(self.samples.iter().find(same)?.value)
    }

    /// As [`Page::find`]; it must be there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.unwrap_or_else(|| panic!("{name} {labels:?} is not there"))
    }

    /// The value of any sample of this name.
    pub fn any(&self, name: &str) -> Option<f64> {
        let found = self.samples.iter().find(|sample| sample.name == name);
        found.map(|sample| sample.value)
    }

    fn check_duplicates(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for Sample { name, labels, .. } in &self.samples {
            let mut sorted = labels.clone();
            sorted.sort();
            if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("{name}{labels:?} names a label twice"));
            }
            if !seen.insert((name, sorted)) {
                return Err(format!("{name}{labels:?} stands twice"));
            }
        }
        Ok(())
    }

    /// Buckets rise, the last is the count.
    fn check_histograms(&self) -> Result<(), String> {
        let mut series: BTreeMap<(&str, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for sample in &self.samples {
            let Some(name) = sample.name.strip_suffix("_bucket") else {
                continue;
            };
            let le = sample.labels.iter().find(|(key, _)| key == "le");
            let le = le.and_then(|(_, bound)| number(bound));
            let le = le.ok_or(format!("a bucket of {name} without a bound"))?;
            let mut labels = sample.labels.clone();
            labels.retain(|(key, _)| key != "le");
            series
                .entry((name, labels))
                .or_default()
                .push((le, sample.value));
        }
        for ((name, labels), buckets) in series {
            let rises = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
            let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
            let (last, count) = buckets[buckets.len() - 1];
            let told = self.find(&format!("{name}_count"), &labels);
            if !buckets.windows(2).all(rises) || last != f64::INFINITY || told != Some(count) {
                return Err(format!("{name}{labels:?}: {buckets:?}, count {told:?}"));
            }
        }
        Ok(())
    }
}

impl Family {
    fn takes(&self, sample: &Sample) -> Result<(), String> {
        let Some(kind) = &self.kind else {
            return Err("a sample before its TYPE".to_owned());
        };
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        let own = sample.name.strip_prefix(&self.name);
        if !own.is_some_and(|suffix| suffixes.contains(&suffix)) {
            return Err(format!("a sample among those of {}", self.name));
        }
        if kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
            return Err(format!("a {kind} that is no count"));
        }
        Ok(())
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    text.starts_with(head) && text.chars().all(|c| head(c) || c.is_ascii_digit())
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust reads words that the format does not know.
        text if text.contains(|c: char| c.is_alphabetic() && c != 'e') => None,
        text => text.parse().ok(),
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Option<Sample> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (key, behind) = inner.split_once("=\"")?;
            let (value, behind) = quoted(behind)?;
            if !is_name(key, false) {
                return None;
            }
            labels.push((key.to_owned(), value));
            match behind.strip_prefix(',') {
                Some(behind) => inner = behind,
                None => {
                    rest = behind.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name, true).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A value up to its closing quotation mark, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[test]
fn what_the_format_does_not_allow_is_refused() {
    let good = "# HELP a A.\n# TYPE a gauge\na{x=\"1\\\"\\\\\\n\",y=\"\"} 1.5\na 2\n";
    let page = Page::read(good).expect("well formed");
    assert_eq!(page.value("a", &[("x", "1\"\\\n"), ("y", "")]), 1.5);
    let histogram = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(Page::read(histogram).is_ok());
    let bad = [
        "a 1\n",
        "# HELP a A.\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a gauge\na one\n",
        "# HELP a A.\n# TYPE a gauge\na  1\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"1\" ,} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n",
        "# HELP a A.\n# TYPE a counter\na -1\n",
        "# HELP a A.\n# TYPE a count\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\n",
        "# HELP 1a A.\n# TYPE 1a gauge\n1a 1\n",
    ];
    for text in bad {
        assert!(Page::read(text).is_err(), "{text}");
    }
    let falling = histogram.replace("\"1\"} 1", "\"1\"} 3");
    assert!(Page::read(&falling).is_err());
    let miscounted = histogram.replace("h_count 2", "h_count 1");
    assert!(Page::read(&miscounted).is_err());
}
