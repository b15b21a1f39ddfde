//! From the text of `server.properties` and `--set` pairs to checked values, one per known key.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use java_properties::{LineContent, PropertiesIter};

use super::keys::{self, KEYS};

/// Why a configuration is refused. Every message names the key, where it stands and what is
/// allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a properties file.
    #[error("{path}: not a properties file: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: java_properties::PropertiesError,
    },
    /// The file is in an encoding of its own.
    #[error("{path}: it begins with a byte order mark; save it without")]
    Marked {
        /// The file.
        path: PathBuf,
    },
    /// A value is not allowed.
    #[error("{place}: {key} = {value:?} is not allowed; allowed is {allowed}")]
    Invalid {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// The value found.
        value: String,
        /// What is allowed, for people.
        allowed: String,
    },
    /// A key that has no default is missing.
    #[error("{key} is missing; it needs {allowed}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What is allowed, for people.
        allowed: &'static str,
    },
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    Line(PathBuf, usize),
    /// `--set` on the command line.
    CommandLine,
    /// Nowhere: the built-in default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Place::CommandLine => write!(f, "--set"),
            Place::Default => write!(f, "default"),
        }
    }
}

/// Checked values: every known key has one, set or default.
#[derive(Clone, Debug)]
pub(super) struct Values {
    set: BTreeMap<&'static str, (String, Place)>,
    /// Warnings for the log: keys without meaning, unknown keys.
    pub(super) warnings: Vec<String>,
}

impl Values {
    /// Reads the file, if there is one, then the overrides, and checks each value.
    pub(super) fn read(
        path: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<Values, ConfigError> {
        let Some(path) = path else {
            return Values::check(overridden(Vec::new(), overrides));
        };
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Values::parse(path, &bytes, overrides)
    }

    /// As [`Values::read`], of the file's bytes.
    pub(super) fn parse(
        path: &Path,
        bytes: &[u8],
        overrides: &[(String, String)],
    ) -> Result<Values, ConfigError> {
        Values::check(overridden(lines(path, bytes)?, overrides))
    }

    fn check(found: Vec<(String, String, Place)>) -> Result<Values, ConfigError> {
        let mut set = BTreeMap::new();
        let (mut meaningless, mut unknown) = (Vec::new(), Vec::new());
        for (name, value, place) in found {
            let Some(key) = keys::key(&name) else {
                let list = if keys::is_meaningless(&name) {
                    &mut meaningless
                } else {
                    &mut unknown
                };
                list.push(name);
                continue;
            };
            let value = value.trim().to_owned();
            key.check(&value).map_err(|allowed| ConfigError::Invalid {
                place: place.clone(),
                key: name.clone(),
                value: value.clone(),
                allowed: allowed.to_string(),
            })?;
            if keys::is_without_effect(key, &value) {
                meaningless.push(name);
            }
            set.insert(key.name, (value, place));
        }
        let mut warnings = Vec::new();
        if !meaningless.is_empty() {
            let keys = meaningless.join(", ");
            warnings.push(format!("these keys have no effect on this broker: {keys}"));
        }
        if !unknown.is_empty() {
            let keys = unknown.join(", ");
            warnings.push(format!(
                "these configurations '{keys}' were supplied but are not known"
            ));
        }
        Ok(Values { set, warnings })
    }

    /// Whether a key was set, rather than left at its default.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// The value of a key of the table: set, or the default.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some((value, _)) => value,
            None => keys::key(name).map_or("", |key| key.default),
        }
    }

    /// A whole number.
    pub(super) fn long(&self, name: &str) -> i64 {
        let text = self.text(name);
        let number = text.parse();
        assert!(number.is_ok(), "{name}: {text:?} passed its check");
        number.unwrap_or_default()
    }

    /// A 32-bit number.
    pub(super) fn int(&self, name: &str) -> i32 {
        let number = i32::try_from(self.long(name));
        assert!(number.is_ok(), "{name} passed its check as 32 bits");
        number.unwrap_or_default()
    }

    /// True or false.
    pub(super) fn boolean(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    /// A whole number whose key may be left empty; kept as text in the table for that reason.
    pub(super) fn optional(&self, name: &str, low: i64) -> Result<Option<i64>, ConfigError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<i64>() {
            Ok(number) if number >= low => Ok(Some(number)),
            _ => Err(self.invalid(name, &format!("an integer from {low}"))),
        }
    }

    /// The error for a value that its own room found wrong.
    pub(super) fn invalid(&self, name: &str, allowed: &str) -> ConfigError {
        let (value, place) = match self.set.get(name) {
            Some((value, place)) => (value.clone(), place.clone()),
            None => (self.text(name).to_owned(), Place::Default),
        };
        ConfigError::Invalid {
            place,
            key: name.to_owned(),
            value,
            allowed: allowed.to_owned(),
        }
    }

    /// All keys of the table with their values, in the table's order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KEYS.iter().map(|key| (key.name, self.text(key.name)))
    }
}

/// `found` with what the command line says over it.
fn overridden(
    mut found: Vec<(String, String, Place)>,
    overrides: &[(String, String)],
) -> Vec<(String, String, Place)> {
    let overrides = overrides.iter().cloned();
    found.extend(overrides.map(|(key, value)| (key, value, Place::CommandLine)));
    found
}

/// Byte order marks of UTF-8 and UTF-16. The library of properties would follow them, and panics where such a text, or the mark
/// itself, ends too early.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe"];

fn lines(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String, Place)>, ConfigError> {
    if !bytes.is_empty()
        && MARKS
            .iter()
            .any(|mark| bytes.starts_with(mark) || mark.starts_with(bytes))
    {
        return Err(ConfigError::Marked {
            path: path.to_owned(),
        });
    }
    let mut found = Vec::new();
    for line in PropertiesIter::new(Cursor::new(bytes)) {
        let line = line.map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        let number = line.line_number();
        if let LineContent::KVPair(key, value) = line.consume_content() {
            found.push((key, value, Place::Line(path.to_owned(), number)));
        }
    }
    Ok(found)
}
