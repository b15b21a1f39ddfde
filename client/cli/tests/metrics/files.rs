//! Dashboards, alert rules and the runbook against each other, and against what is exported.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{PATIENCE, ZWEIG, run};

/// What Prometheus itself adds.
const OF_PROMETHEUS: &[&str] = &["up"];

/// Words of PromQL that stand where names of metrics do.
const WORDS: &[&str] = &[
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "Inf",
    "NaN",
];

/// `monitoring/`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the rules in `alerts.yml`, with their expressions.
fn rules() -> Vec<(String, String)> {
    let text = read("alerts.yml");
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            rules.push((name.to_owned(), String::new()));
        } else if let Some(quoted) = line.strip_prefix("expr: '") {
            let expression = quoted.strip_suffix('\'').expect("on one line");
            rules.last_mut().expect("below an alert").1 = expression.to_owned();
        }
    }
    rules
}

/// Every expression of a dashboard; the first argument of `label_values` counts as one.
fn expressions(dashboard: &Value, found: &mut Vec<String>) {
    match dashboard {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("expr", Value::String(text)) => found.push(text.clone()),
                    ("definition", Value::String(text)) => {
                        let inner = text.strip_prefix("label_values(");
                        let metric = inner.and_then(|inner| inner.split_once(','));
                        found.push(metric.expect("a metric and a label").0.to_owned());
                    }
                    (_, value) => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Names of metrics in an expression: what is neither a function, a word, a label nor a string.
fn names(expression: &str) -> BTreeSet<String> {
    let chars: Vec<char> = expression.chars().collect();
    let mut names = BTreeSet::new();
    let mut at = 0;
    let mut labels_follow = false;
    while at < chars.len() {
        let begin = at;
        match chars[at] {
            '{' => at = end_of(&chars, at, '}'),
            '[' => at = end_of(&chars, at, ']'),
            '(' if std::mem::take(&mut labels_follow) => at = end_of(&chars, at, ')'),
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                while at < chars.len()
                    && (chars[at].is_ascii_alphanumeric() || "_:".contains(chars[at]))
                {
                    at += 1;
                }
                let word: String = chars[begin..at].iter().collect();
                let next = chars[at..].iter().find(|c| !c.is_whitespace());
                labels_follow = ["by", "without", "on", "ignoring"].contains(&word.as_str());
                if next != Some(&'(') && !WORDS.contains(&word.as_str()) {
                    names.insert(word);
                }
            }
            // A number, with its unit or exponent.
            c if c.is_ascii_digit() => {
                while at < chars.len() && (chars[at].is_ascii_alphanumeric() || chars[at] == '.') {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    // `sum by (job) (x)`: the function is followed by a word.
    names.retain(|name| !["sum", "max", "min", "avg", "count", "topk"].contains(&name.as_str()));
    names
}

/// Behind the bracket that closes, strings left alone.
fn end_of(chars: &[char], begin: usize, close: char) -> usize {
    let mut quoted = false;
    for (at, c) in chars.iter().enumerate().skip(begin) {
        match c {
            '"' => quoted = !quoted,
            c if *c == close && !quoted => return at + 1,
            _ => {}
        }
    }
    panic!("{} is not closed", chars.iter().collect::<String>());
}

/// The expressions of all dashboards, each with the dashboard's file.
pub fn expressions_of_dashboards() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in fs::read_dir(folder().join("dashboards")).expect("dashboards") {
        let file = file.expect("a dashboard").path();
        let text = fs::read_to_string(&file).expect("its text");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        assert!(
            found.len() > 10,
            "{} asks for hardly anything",
            file.display()
        );
        let whose = file.display().to_string();
        all.extend(
            found
                .into_iter()
                .map(|expression| (whose.clone(), expression)),
        );
    }
    all
}

/// Every name in dashboards and alert rules is exported.
pub fn speak_of_what_is_there(exported: &BTreeSet<&str>) {
    let mut used = rules();
    used.extend(expressions_of_dashboards());
    let known = |name: &String| exported.contains(&**name) || OF_PROMETHEUS.contains(&&**name);
    let unknown: Vec<_> = used
        .iter()
        .flat_map(|(whose, expression)| {
            let names = names(expression);
            assert!(!names.is_empty(), "{whose} asks for nothing: {expression}");
            names.into_iter().map(move |name| (whose, name))
        })
        .filter(|(_, name)| !known(name))
        .collect();
    assert!(unknown.is_empty(), "nobody exports {unknown:#?}");
}

#[test]
fn names_of_metrics_are_found_in_expressions() {
    let found = |expression: &str| names(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(found("up{job=\"a } b\"} == 0"), ["up"]);
    assert_eq!(
        found("histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{x=~\"y\"}[5m]))) > 1e3"),
        ["a_bucket"]
    );
    assert_eq!(found("max by (job) (a) == 0 or absent(b)"), ["a", "b"]);
    assert_eq!(
        found("topk(10, sum by (t) (a{j=\"$j\"} - b{j=\"$j\"})) and on (t) c"),
        ["a", "b", "c"]
    );
    assert_eq!(found("rate(a[$__rate_interval]) * 900"), ["a"]);
}

#[test]
fn every_rule_has_its_section_and_every_section_its_rule() {
    let runbook = read("docs/runbook.md");
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect();
    let rules = rules();
    let names: BTreeSet<_> = rules.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), rules.len(), "a name twice");
    assert_eq!(sections, names);
    let text = read("alerts.yml");
    for name in names {
        let link = format!(
            "runbook_url: monitoring/docs/runbook.md#{}\n",
            name.to_lowercase()
        );
        assert!(text.contains(&link), "{name} has no link to its section");
    }
    for section in runbook.split("\n### ").skip(1) {
        let (name, rest) = section.split_once('\n').expect("a text");
        let body = rest.split("\n## ").next().unwrap_or(rest);
        for part in ["**Means**", "**Look**", "**Do**"] {
            assert!(body.contains(part), "{name} lacks {part}");
        }
    }
}

/// A command that a runbook names and nobody has is found at the worst time.
#[test]
fn the_runbook_names_commands_that_exist() {
    let runbook = read("docs/runbook.md");
    let mut commands = BTreeSet::new();
    for quoted in runbook.split('`').filter(|text| text.starts_with("zweig ")) {
        let words = quoted.split_whitespace().skip(1);
        let verbs: Vec<_> = words
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
            .take(2)
            .map(str::to_owned)
            .collect();
        commands.insert(verbs);
    }
    assert!(commands.len() > 3, "{commands:?}");
    for verbs in commands {
        let mut command = Command::new(ZWEIG);
        command.args(&verbs).arg("--help");
        let output = run(command, None, PATIENCE);
        // A word that is no subcommand would be taken for an argument: the help names what it is about.
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let usage = format!("zweig {}", verbs.join(" "));
        assert!(
            output.status.success() && help.contains(&usage),
            "{usage}: {help}"
        );
    }
}
