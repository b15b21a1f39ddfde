//! The kinds a setting's value can have, and the one check of a text against its kind. Both the
//! broker's keys and the topics' keys are tables of [`Key`].

use std::fmt;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A 32-bit integer within bounds, both included.
    Int(i64, i64),
    /// A 64-bit integer within bounds, both included.
    Long(i64, i64),
    /// A decimal number within bounds, both included.
    Double(f64, f64),
    /// `true` or `false`, in any case.
    Bool,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these words.
    ListOf(&'static [&'static str]),
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name, as in Kafka.
    pub name: &'static str,
    /// Allowed values.
    pub kind: Kind,
    /// Default as text; empty where there is none.
    pub default: &'static str,
    /// One line for people: meaning and unit.
    pub doc: &'static str,
}

impl Key {
    /// Checks a value.
    ///
    /// # Errors
    /// What is allowed, if the value is not.
    pub fn check(&self, value: &str) -> Result<(), Kind> {
        if self.kind.allows(value.trim()) {
            Ok(())
        } else {
            Err(self.kind)
        }
    }
}

impl Kind {
    fn allows(self, value: &str) -> bool {
        match self {
            Kind::Int(low, high) | Kind::Long(low, high) => value
                .parse::<i64>()
                .is_ok_and(|n| (low..=high).contains(&n)),
            Kind::Double(low, high) => value
                .parse::<f64>()
                .is_ok_and(|n| (low..=high).contains(&n)),
            Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::Text => true,
            Kind::OneOf(words) => words.contains(&value),
            Kind::ListOf(words) => value
                .split(',')
                .map(str::trim)
                .all(|word| words.contains(&word)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Int(low, high) | Kind::Long(low, high) => {
                write!(f, "an integer from {low} to {high}")
            }
            Kind::Double(low, high) => write!(f, "a number from {low} to {high}"),
            Kind::Bool => write!(f, "true or false"),
            Kind::Text => write!(f, "any text"),
            Kind::OneOf(words) => write!(f, "one of: {}", words.join(", ")),
            Kind::ListOf(words) => write!(f, "a list of: {}", words.join(", ")),
        }
    }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        doc,
    }
}

/// A 32-bit integer of at least `low`.
pub(super) const fn int(
    n: &'static str,
    low: i32,
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(n, Kind::Int(low as i64, i32::MAX as i64), default, doc)
}

/// A 64-bit integer of at least `low`.
pub(super) const fn long(
    n: &'static str,
    low: i64,
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(n, Kind::Long(low, i64::MAX), default, doc)
}

/// A decimal number.
pub(super) const fn double(
    name: &'static str,
    (low, high): (f64, f64),
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Double(low, high), default, doc)
}

/// True or false.
pub(super) const fn boolean(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Bool, default, doc)
}

/// Any text; checked further where it is taken apart.
pub(super) const fn text(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Text, default, doc)
}

/// One of some words.
pub(super) const fn one_of(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::OneOf(words), default, doc)
}

/// A list of some words.
pub(super) const fn list_of(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::ListOf(words), default, doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_against_their_kind() {
        let cases = [
            (Kind::Int(1, 10), "10", true),
            (Kind::Int(1, 10), "11", false),
            (Kind::Int(1, 10), "1.5", false),
            (Kind::Long(-1, i64::MAX), "9223372036854775807", true),
            (Kind::Long(-1, i64::MAX), "-2", false),
            (Kind::Double(0.0, 1.0), "0.5", true),
            (Kind::Double(0.0, 1.0), "NaN", false),
            (Kind::Bool, "TRUE", true),
            (Kind::Bool, "yes", false),
            (Kind::OneOf(&["a", "b"]), "b", true),
            (Kind::OneOf(&["a", "b"]), "a,b", false),
            (Kind::ListOf(&["a", "b"]), "a, b", true),
            (Kind::ListOf(&["a", "b"]), "a,c", false),
        ];
        for (kind, value, allowed) in cases {
            assert_eq!(kind.allows(value), allowed, "{value} as {kind}");
        }
    }
}
