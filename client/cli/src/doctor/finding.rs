//! What was found, and how bad it is.

use serde::Serialize;

use crate::output::{Cell, Tone, cell};

/// How bad it is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Well,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It works, and will not if one more thing goes wrong, or if it goes on like this.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    /// Its name in a table.
    pub fn cell(self) -> Cell {
        match self {
            Self::Well => cell(Tone::Good, "well"),
            Self::Note => cell(Tone::Faint, "note"),
            Self::Warning => cell(Tone::Notice, "warning"),
            Self::Error => cell(Tone::Bad, "ERROR"),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `ensemble`, `coordinator 2`, `broker 1`, `topic orders`, ...
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// Without advice.
    pub fn new(severity: Severity, about: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            severity,
            about: about.into(),
            what: what.into(),
            advice: None,
        }
    }

    /// As it should be.
    pub fn well(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Well, about, what)
    }

    /// Worth knowing.
    pub fn note(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, about, what)
    }

    /// It will not last.
    pub fn warning(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, what)
    }

    /// Something does not work.
    pub fn error(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, about, what)
    }

    /// With what to do about it.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}

/// Up to three names, and how many more.
pub fn some(names: &[String]) -> String {
    match names {
        [a, b, c, more @ ..] if !more.is_empty() => {
            format!("{a}, {b}, {c} and {} more", more.len())
        }
        few => few.join(", "),
    }
}

/// Who among these answered much later than the others do: slower than `floor_ms`, and than ten times the median.
pub fn slow(answers: &[(String, f64)], floor_ms: f64) -> Vec<Finding> {
    let mut times: Vec<f64> = answers.iter().map(|(_, ms)| *ms).collect();
    times.sort_by(f64::total_cmp);
    let Some(&median) = times.get(times.len().saturating_sub(1) / 2) else {
        return Vec::new();
    };
    let late = answers
        .iter()
        .filter(|(_, ms)| *ms > floor_ms && *ms > 10.0 * median);
    late.map(|(who, ms)| {
        let what = format!("answers after {ms:.0} ms; half of its kind take no more than {median:.1} ms");
        Finding::warning(who, what).advice(
            "Look at its processor, its disk, its network: `/metrics` of that process, and the runbook of monitoring.",
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_far_behind_the_others_is_slow() {
        let times = |ms: [f64; 3]| -> Vec<(String, f64)> {
            let named = ms.iter().enumerate();
            named
                .map(|(at, ms)| (format!("broker {at}"), *ms))
                .collect()
        };
        assert!(
            slow(&times([1.0, 2.0, 9.0]), 20.0).is_empty(),
            "below the floor"
        );
        assert!(
            slow(&times([90.0, 100.0, 110.0]), 20.0).is_empty(),
            "all alike"
        );
        let found = slow(&times([1.0, 300.0, 2.0]), 20.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].about, "broker 1");
        assert!(slow(&[], 20.0).is_empty());
    }

    #[test]
    fn few_names_are_told_and_many_are_counted() {
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(some(&names(3)), "0, 1, 2");
        assert_eq!(some(&names(5)), "0, 1, 2 and 2 more");
    }
}
