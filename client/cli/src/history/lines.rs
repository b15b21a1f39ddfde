//! What was, beside what is, line by line; JSON on one line is spread out first. Pure.

use std::time::Duration;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::output::JsonData;

/// A better diff of long texts is not searched for longer.
const PATIENCE: Duration = Duration::from_millis(200);

/// A line, and whether it went, came or stayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `-`, `+` or a space.
    pub sign: char,
    /// Without its end.
    pub text: String,
}

/// Text, line by line; JSON on one line is spread out.
pub fn spread(data: &JsonData) -> String {
    let whole = match (&data.data, &data.data_base64) {
        (Some(text), _) => text.clone(),
        (None, Some(base64)) => format!("(base64) {base64}"),
        (None, None) => String::new(),
    };
    let json = serde_json::from_str::<serde_json::Value>(&whole).ok();
    let spread = json.filter(|value| value.is_object() || value.is_array());
    let mut text = spread
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or(whole);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// All lines of both.
pub fn compare(before: &JsonData, after: &JsonData) -> Vec<Line> {
    let (before, after) = (spread(before), spread(after));
    let diff = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(before.as_str(), after.as_str());
    let lines = diff.iter_all_changes().map(|change| Line {
        sign: match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        },
        text: change.value().trim_end_matches('\n').to_owned(),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: Option<&[u8]>, after: Option<&[u8]>) -> Vec<String> {
        let lines = compare(&before.into(), &after.into());
        let told = lines
            .iter()
            .map(|line| format!("{}{}", line.sign, line.text));
        told.collect()
    }

    #[test]
    fn json_is_compared_by_what_it_holds() {
        let told = told(Some(br#"{"a":1,"b":2}"#), Some(br#"{ "a":1, "b":3}"#));
        assert_eq!(
            told,
            ["{", "  \"a\": 1,", "  \"b\": 2", "  \"b\": 3", "}"]
                .iter()
                .zip([" ", " ", "-", "+", " "])
                .map(|(text, sign)| format!("{sign}{text}"))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_new_or_gone_is_all_of_it() {
        assert_eq!(told(None, Some(b"one\ntwo")), ["+one", "+two"]);
        assert_eq!(told(Some(b"one"), None), ["-one"]);
        assert_eq!(told(None, None), Vec::<String>::new());
        assert_eq!(
            told(Some(&[0xff]), Some(b"x")),
            ["-(base64) /w==", "+x"],
            "bytes"
        );
    }
}
