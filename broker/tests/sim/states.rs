//! The states of partitions as they stand in the tree, and what may not become of them: followed write by write, so that
//! each is read once.
//!
//! Within one life of a topic a leader epoch never goes back, and neither does the epoch of the controller that a state
//! names; a leader epoch has one leader, under one broker epoch.

use std::collections::BTreeMap;

use serde::Deserialize;
use zweig_client::ensemble::WatchItem;

use crate::ensemble::SimEnsemble;
use crate::history::Part;

/// A state, as it stands in the tree.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct State {
    /// Broker that leads; -1: nobody.
    pub leader: i32,
    /// Number of the leadership.
    pub leader_epoch: i32,
    controller_epoch: i32,
    isr: Vec<i32>,
    leader_broker_epoch: i64,
    isr_broker_epochs: Vec<i64>,
}

impl State {
    /// Who is in sync, under which epoch.
    pub fn members(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let epochs = self.isr_broker_epochs.iter().copied();
        self.isr.iter().copied().zip(epochs)
    }
}

/// See the module.
#[derive(Default)]
pub struct States {
    all: BTreeMap<Part, State>,
    /// Who was given which leader epoch, in the topic's present life.
    leaders: BTreeMap<Part, BTreeMap<i32, i32>>,
    zxid: i64,
}

impl States {
    /// Takes note of what was written since. Tells what may not be.
    pub fn follow(&mut self, ensemble: &SimEnsemble) -> Vec<String> {
        let mut wrong = Vec::new();
        for (zxid, items) in ensemble.since(self.zxid) {
            self.zxid = zxid;
            for item in &*items {
                let WatchItem::Change { path, data, .. } = item else {
                    continue;
                };
                let Some(part) = part_of(path) else {
                    continue;
                };
                match data {
                    None => {
                        self.all.remove(&part);
                        self.leaders.remove(&part);
                    }
                    Some(data) => match serde_json::from_slice(data) {
                        Ok(state) => wrong.extend(self.put(part, state)),
                        Err(error) => wrong.push(format!("{path} makes no sense: {error}")),
                    },
                }
            }
        }
        wrong
    }

    fn put(&mut self, part: Part, state: State) -> Option<String> {
        let wrong = self.all.get(&part).and_then(|before| {
            let led = |state: &State| (state.leader, state.leader_broker_epoch);
            let why = if state.leader_epoch < before.leader_epoch {
                "the leader epoch went back"
            } else if state.controller_epoch < before.controller_epoch {
                "a former controller wrote over a later one"
            } else if state.leader_epoch == before.leader_epoch && led(&state) != led(before) {
                "two leaders in one epoch"
            } else {
                return None;
            };
            Some(format!("{part:?}: {why}: {before:?}, then {state:?}"))
        });
        let leaders = self.leaders.entry(part.clone()).or_default();
        leaders.insert(state.leader_epoch, state.leader);
        self.all.insert(part, state);
        wrong
    }

    /// Whom the tree gave a leader epoch; -1: nobody.
    pub fn leader_in(&self, part: &Part, epoch: i32) -> Option<i32> {
        self.leaders.get(part)?.get(&epoch).copied()
    }

    /// All of them, as of the last look.
    pub fn all(&self) -> impl Iterator<Item = (&Part, &State)> {
        self.all.iter()
    }

    /// One of them.
    pub fn of(&self, part: &Part) -> Option<&State> {
        self.all.get(part)
    }
}

fn part_of(path: &str) -> Option<Part> {
    let rest = path.strip_prefix("/brokers/topics/")?;
    let (topic, rest) = rest.split_once("/partitions/")?;
    let partition = rest.strip_suffix("/state")?.parse().ok()?;
    Some((topic.to_owned(), partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(leader: i32, leader_epoch: i32, controller_epoch: i32) -> State {
        State {
            leader,
            leader_epoch,
            controller_epoch,
            ..State::default()
        }
    }

    #[test]
    fn epochs_that_go_back_and_second_leaders_are_found() {
        let cases = [
            (state(1, 5, 2), None),
            (state(1, 5, 3), None),
            (state(2, 6, 3), None),
            (state(1, 4, 2), Some("went back")),
            (state(2, 5, 2), Some("two leaders")),
            (state(2, 6, 1), Some("former controller")),
        ];
        for (next, why) in cases {
            let part = ("t".to_owned(), 0);
            let mut states = States::default();
            assert_eq!(states.put(part.clone(), state(1, 5, 2)), None);
            let wrong = states.put(part, next);
            match why {
                None => assert_eq!(wrong, None),
                Some(why) => assert!(wrong.is_some_and(|w| w.contains(why)), "{why}"),
            }
        }
    }

    #[test]
    fn paths_of_states_are_told_from_others() {
        let part = Some(("a".to_owned(), 3));
        assert_eq!(part_of("/brokers/topics/a/partitions/3/state"), part);
        assert_eq!(part_of("/brokers/topics/a/partitions/3"), None);
        assert_eq!(part_of("/brokers/ids/1"), None);
    }
}
