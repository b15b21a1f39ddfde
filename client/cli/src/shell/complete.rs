//! What the Tab key offers: commands, paths of the tree, topics.

use clap::CommandFactory as _;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokio::runtime::Handle;
use zweig_client::ensemble::Ensemble;

use super::command::Line;

/// Candidates offered at a time.
const OFFERED: usize = 200;

/// Behind these words comes the name of a topic.
const TOPIC_BEHIND: &[&[&str]] = &[
    &["consume"],
    &["produce"],
    &["topic", "describe"],
    &["topic", "explain"],
    &["topic", "delete"],
    &["topic", "elect"],
];

/// Completes; asks the ensemble from the thread that reads the terminal, while the runtime goes on in another.
pub struct Offers {
    handle: Handle,
    ensemble: Option<Ensemble>,
    zweig: clap::Command,
    own: Vec<String>,
}

impl Offers {
    /// With the commands of `zweig`.
    pub fn new(zweig: clap::Command) -> Self {
        let line = Line::command();
        Self {
            handle: Handle::current(),
            ensemble: None,
            zweig,
            own: line
                .get_subcommands()
                .map(|one| one.get_name().to_owned())
                .collect(),
        }
    }

    /// Whose tree it is.
    pub fn of(&mut self, ensemble: Option<Ensemble>) {
        self.ensemble = ensemble;
    }

    fn children(&self, path: &str) -> Vec<String> {
        let Some(ensemble) = &self.ensemble else {
            return Vec::new();
        };
        let found = self.handle.block_on(ensemble.children(path));
        found.map_or_else(|_| Vec::new(), |(names, _)| names)
    }

    /// Everything that may stand there, `before` being the whole words in front of it.
    fn all(&self, before: &[&str], begun: &str) -> Vec<String> {
        if begun.starts_with('/') {
            let parent = &begun[..=begun.rfind('/').unwrap_or(0)];
            let path = if parent == "/" {
                "/"
            } else {
                parent.trim_end_matches('/')
            };
            return self
                .children(path)
                .into_iter()
                .map(|name| format!("{parent}{name}"))
                .collect();
        }
        if TOPIC_BEHIND.contains(&before) {
            return self.children("/brokers/topics");
        }
        let mut names: Vec<String> = if before.is_empty() {
            self.own.clone()
        } else {
            Vec::new()
        };
        let mut command = &self.zweig;
        for word in before {
            let Some(next) = command.find_subcommand(word) else {
                return names;
            };
            command = next;
        }
        names.extend(
            command
                .get_subcommands()
                .map(|one| one.get_name().to_owned()),
        );
        names
    }
}

/// Where the last word begins, and the words in front of it.
fn last_word(line: &str) -> (usize, Vec<&str>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    (start, line[..start].split_whitespace().collect())
}

impl Completer for Offers {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let (start, before) = last_word(typed);
        let begun = &typed[start..];
        let mut names = self.all(&before, begun);
        names.retain(|name| name.starts_with(begun));
        names.sort_unstable();
        names.dedup();
        names.truncate(OFFERED);
        Ok((start, names))
    }
}

impl Hinter for Offers {
    type Hint = String;
}
impl Highlighter for Offers {}
impl Validator for Offers {}
impl Helper for Offers {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_what_is_completed() {
        assert_eq!(last_word("topic de"), (6, vec!["topic"]));
        assert_eq!(last_word("ls "), (3, vec!["ls"]));
        assert_eq!(last_word("l"), (0, vec![]));
    }

    #[tokio::test]
    async fn commands_of_both_kinds_are_offered() {
        let offers = Offers::new(crate::Cli::command());
        let all = |before: &[&str], begun| offers.all(before, begun);
        for name in ["getAcl", "ls", "topic", "doctor"] {
            assert!(all(&[], "").iter().any(|one| one == name), "{name}");
        }
        assert!(all(&["topic"], "").iter().any(|one| one == "describe"));
        assert!(all(&["nothing"], "").is_empty());
    }
}
