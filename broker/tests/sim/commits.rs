//! What a group committed, and who owned what. Commits carry numbers that only rise, so an offset that is looked up
//! names its commit.
//!
//! A commit that was acknowledged stands until a later one begins; one that was refused never shows; one whose answer
//! got lost may. What is looked up may not have been overwritten for certain before the question was asked.

use std::collections::BTreeMap;

/// One commit.
#[derive(Clone, Copy, Debug)]
struct Commit {
    part: i32,
    generation: i32,
    begun: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Done(u64),
    Refused,
}

/// See the module. Times are steps of one counter.
#[derive(Default)]
pub struct Commits {
    /// What was committed may be gone.
    pub excused: bool,
    step: u64,
    all: BTreeMap<i64, Commit>,
    /// By generation and partition: the owner.
    owners: BTreeMap<(i32, i32), String>,
    /// Generations that somebody was assigned in, and when that was first known.
    assigned: BTreeMap<i32, u64>,
}

impl Commits {
    /// A time later than all before.
    pub fn now(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let done = self
            .all
            .values()
            .filter(|c| matches!(c.fate, Fate::Done(_)));
        done.count()
    }

    /// How many were refused.
    pub fn refused(&self) -> usize {
        let refused = self.all.values().filter(|c| c.fate == Fate::Refused);
        refused.count()
    }

    /// Generations that came about.
    pub fn generations(&self) -> usize {
        self.assigned.len()
    }

    /// A member was assigned partitions.
    pub fn assign(&mut self, generation: i32, member: &str, parts: &[i32]) -> Result<(), String> {
        let now = self.now();
        self.assigned.entry(generation).or_insert(now);
        for part in parts {
            let owner = self
                .owners
                .entry((generation, *part))
                .or_insert_with(|| member.to_owned());
            if owner != member && !self.excused {
                return Err(format!(
                    "in generation {generation} both {owner} and {member} own partition {part}"
                ));
            }
        }
        Ok(())
    }

    /// A member is about to commit; its number.
    pub fn begin(&mut self, part: i32, generation: i32) -> i64 {
        let begun = self.now();
        let number = self.all.last_key_value().map_or(0, |(last, _)| last + 1);
        let commit = Commit {
            part,
            generation,
            begun,
            fate: Fate::Open,
        };
        self.all.insert(number, commit);
        number
    }

    /// It was acknowledged.
    pub fn done(&mut self, number: i64) -> Result<(), String> {
        let now = self.now();
        let Some(commit) = self.all.get_mut(&number) else {
            return Ok(());
        };
        commit.fate = Fate::Done(now);
        let (generation, begun) = (commit.generation, commit.begun);
        let newer = self.assigned.range(generation + 1..);
        let over = newer.into_iter().find(|(_, since)| **since < begun);
        match over.filter(|_| !self.excused) {
            Some((newer, _)) => Err(format!(
                "commit {number} of generation {generation} was accepted, though generation {newer} had begun before"
            )),
            None => Ok(()),
        }
    }

    /// It was refused.
    pub fn refuse(&mut self, number: i64) {
        if let Some(commit) = self.all.get_mut(&number) {
            commit.fate = Fate::Refused;
        }
    }

    /// What was committed of a partition, as a member of some generation was told that asked at `since`; -1: nothing.
    /// What later generations did may have been done elsewhere, while it still asked a former coordinator.
    pub fn look_up(
        &self,
        (part, generation): (i32, i32),
        number: i64,
        since: u64,
    ) -> Result<(), String> {
        if self.excused {
            return Ok(());
        }
        let of_part = |commit: &&Commit| commit.part == part;
        let known = |commit: &&Commit| of_part(commit) && commit.generation <= generation;
        let later = |after: u64| {
            let done = self.all.iter().filter(|(_, c)| known(c));
            done.filter_map(|(number, c)| match c.fate {
                Fate::Done(at) if at < since && c.begun > after => Some(*number),
                _ => None,
            })
            .max()
        };
        if number < 0 {
            return match later(0) {
                Some(lost) => Err(format!("nothing is committed of {part}, though {lost} was")),
                None => Ok(()),
            };
        }
        let Some(commit) = self.all.get(&number).filter(of_part) else {
            return Err(format!(
                "{number} is committed of {part}, and nobody did that"
            ));
        };
        match commit.fate {
            Fate::Refused => Err(format!(
                "{number} is committed of {part}, though it was refused"
            )),
            Fate::Open => Ok(()),
            Fate::Done(at) => match later(at) {
                Some(newer) => Err(format!(
                    "{part} went back to {number}, though {newer} was committed"
                )),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_history_is_good() {
        let mut commits = Commits::default();
        commits.assign(1, "m", &[0, 1]).expect("alone");
        let first = commits.begin(0, 1);
        commits.done(first).expect("fine");
        let lost = commits.begin(0, 1);
        let since = commits.now();
        commits
            .look_up((0, 1), first, since)
            .expect("the lost one is not there");
        commits.look_up((0, 1), lost, since).expect("or it is");
        commits.look_up((1, 1), -1, since).expect("nothing yet");
    }

    #[test]
    fn two_owners_of_one_generation_are_found() {
        let mut commits = Commits::default();
        commits.assign(1, "m", &[0]).expect("alone");
        commits.assign(2, "n", &[0]).expect("a later generation");
        assert!(commits.assign(1, "n", &[0]).is_err());
    }

    #[test]
    fn a_commit_of_a_former_generation_is_found() {
        let mut commits = Commits::default();
        commits.assign(1, "m", &[0]).expect("alone");
        let under_way = commits.begin(0, 1);
        commits.assign(2, "n", &[0]).expect("the next");
        commits.done(under_way).expect("it may have been first");
        let zombie = commits.begin(0, 1);
        assert!(commits.done(zombie).is_err());
    }

    #[test]
    fn offsets_that_go_back_get_lost_or_were_refused_are_found() {
        let mut commits = Commits::default();
        let first = commits.begin(0, 1);
        commits.done(first).expect("fine");
        let second = commits.begin(0, 1);
        commits.done(second).expect("fine");
        let refused = commits.begin(0, 1);
        commits.refuse(refused);
        let since = commits.now();
        assert!(commits.look_up((0, 1), first, since).is_err(), "back");
        assert!(commits.look_up((0, 1), -1, since).is_err(), "lost");
        assert!(commits.look_up((0, 1), refused, since).is_err(), "refused");
        assert!(commits.look_up((0, 1), 99, since).is_err(), "invented");
        commits.look_up((0, 1), second, since).expect("fine");
    }
}
