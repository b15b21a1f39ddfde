//! The file's format: Java's properties, as ZooKeeper reads them. Values lose the blanks around
//! them; of a key that stands twice the last one counts.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use java_properties::{LineContent, PropertiesIter};

use super::ConfigError;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This line of the file, counted from 1.
    Line(usize),
    /// `--set` on the command line.
    Override,
    /// It was not set: the error is about its default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(line) => write!(f, "line {line}"),
            Origin::Override => write!(f, "set on the command line"),
            Origin::Default => write!(f, "its default"),
        }
    }
}

/// One value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Without blanks around it.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Byte order marks of UTF-8 and UTF-16. The library of properties would follow them, and panics where such a text, or the mark
/// itself, ends too early.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe"];

/// All keys and values, in the order they were first found.
#[derive(Debug, Default)]
pub struct Properties {
    entries: Vec<(String, Entry)>,
}

impl Properties {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Reads what is in `text`; `path` is for messages.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigError> {
        if !text.is_empty()
            && MARKS
                .iter()
                .any(|mark| text.starts_with(mark) || mark.starts_with(text))
        {
            return Err(ConfigError::Syntax {
                path: path.to_owned(),
                reason: "it begins with a byte order mark; save it without".to_owned(),
            });
        }
        let mut properties = Self::default();
        for line in PropertiesIter::new(text) {
            let line = line.map_err(|error| ConfigError::Syntax {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            let origin = Origin::Line(line.line_number());
            if let LineContent::KVPair(key, value) = line.consume_content()
                && !(key.is_empty() && value.is_empty())
            {
                properties.put(&key, &value, origin);
            }
        }
        Ok(properties)
    }

    /// Puts the values of the command line over those of the file.
    pub fn override_with(&mut self, overrides: &[(String, String)]) {
        for (key, value) in overrides {
            self.put(key.trim(), value, Origin::Override);
        }
    }

    fn put(&mut self, key: &str, value: &str, origin: Origin) {
        let value = value.trim().to_owned();
        let entry = Entry { value, origin };
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = entry,
            None => self.entries.push((key.to_owned(), entry)),
        }
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// The value of `key`; one that is set to nothing counts as not set.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        let found = self.entries.iter().find(|(known, _)| known == key);
        found
            .map(|(_, entry)| entry)
            .filter(|entry| !entry.value.is_empty())
    }

    /// The value of `key` as a path.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.get(key).map(|entry| PathBuf::from(&entry.value))
    }

    /// The value of `key` as a number in `range`, or `default`.
    pub fn number<T>(
        &self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        Ok(self.optional_number(key, range)?.unwrap_or(default))
    }

    /// The value of `key` as a number in `range`; `None` if it is not set.
    pub fn optional_number<T>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let Some(entry) = self.get(key) else {
            return Ok(None);
        };
        match entry.value.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (low, high) = (range.start(), range.end());
                let allowed = format!("allowed is a whole number from {low} to {high}");
                Err(self.invalid(key, allowed))
            }
        }
    }

    /// The value of `key` as milliseconds in `range`, or `default`.
    pub fn millis(
        &self,
        key: &str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(key, default, range).map(Duration::from_millis)
    }

    /// The value of `key` as `true` or `false`, or `default`.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(entry) = self.get(key) else {
            return Ok(default);
        };
        match entry.value.to_ascii_lowercase().as_str() {
            "true" | "yes" => Ok(true),
            "false" | "no" => Ok(false),
            _ => Err(self.invalid(key, "allowed are true and false".to_owned())),
        }
    }

    /// An error about the value of `key`.
    pub fn invalid(&self, key: &str, allowed: String) -> ConfigError {
        let entry = self.get(key).cloned().unwrap_or(Entry {
            value: String::new(),
            origin: Origin::Default,
        });
        ConfigError::Invalid {
            key: key.to_owned(),
            value: entry.value,
            origin: entry.origin,
            allowed,
        }
    }
}
