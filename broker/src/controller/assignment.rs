//! Which brokers get which replicas of a new topic: leaders in turn over the brokers, followers
//! shifted so that one broker's partitions have their copies on all others, one copy per rack while
//! racks last. The same arithmetic as Kafka's `AdminUtils`, chance passed in.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Image;

/// A broker that may be given replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `broker.id`.
    pub id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// The two numbers that Kafka draws by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Where the first leader goes.
    pub start: usize,
    /// How far followers are shifted at first.
    pub shift: usize,
}

/// More replicas are asked for than there are brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replication factor: {wanted} larger than available brokers: {brokers}")]
pub struct TooFewBrokers {
    /// Replicas per partition.
    pub wanted: usize,
    /// Registered brokers.
    pub brokers: usize,
}

/// The registered brokers of an image, by id; racks only if all of them have one.
#[must_use]
pub fn candidates(image: &Image) -> Vec<Candidate> {
    let brokers = image.brokers.values();
    let mut all: Vec<Candidate> = brokers
        .map(|b| Candidate {
            id: b.id,
            rack: b.rack.clone(),
        })
        .collect();
    if all.iter().any(|c| c.rack.is_none()) {
        all.iter_mut().for_each(|c| c.rack = None);
    }
    all
}

/// Replicas of partitions `first..first + count`, each `replicas` long and led by its first.
///
/// # Errors
/// [`TooFewBrokers`].
pub fn assign(
    candidates: &[Candidate],
    partitions: std::ops::Range<i32>,
    replicas: usize,
    draw: Draw,
) -> Result<Vec<(i32, Vec<i32>)>, TooFewBrokers> {
    let brokers = candidates.len();
    if brokers < replicas || brokers == 0 {
        return Err(TooFewBrokers {
            wanted: replicas,
            brokers,
        });
    }
    let arranged = alternate_racks(candidates);
    let racks: BTreeSet<_> = candidates.iter().map(|c| &c.rack).collect();
    let mut shift = draw.shift % brokers;
    let mut assigned = Vec::new();
    for partition in partitions {
        let number = usize::try_from(partition).unwrap_or(0);
        if number > 0 && number.is_multiple_of(brokers) {
            shift += 1;
        }
        let first = (number + draw.start) % brokers;
        let of_one = spread(&arranged, first, shift, replicas, racks.len());
        assigned.push((partition, of_one));
    }
    Ok(assigned)
}

/// One partition: the leader at `first`, then followers in shifted order, skipping racks that have
/// a copy while others have none.
fn spread(
    arranged: &[&Candidate],
    first: usize,
    shift: usize,
    replicas: usize,
    racks: usize,
) -> Vec<i32> {
    let brokers = arranged.len();
    let mut chosen = vec![arranged[first]];
    let mut step = 0;
    while chosen.len() < replicas {
        let at = replica_index(first, shift * racks, step, brokers);
        step += 1;
        let next = arranged[at];
        let used: BTreeSet<_> = chosen.iter().map(|c| &c.rack).collect();
        let rack_free = !used.contains(&next.rack) || used.len() == racks;
        if rack_free && !chosen.iter().any(|c| c.id == next.id) {
            chosen.push(next);
        }
    }
    chosen.iter().map(|c| c.id).collect()
}

fn replica_index(first: usize, shift: usize, replica: usize, brokers: usize) -> usize {
    let step = 1 + (shift + replica) % (brokers - 1).max(1);
    (first + step) % brokers
}

/// Brokers so that neighbours stand in different racks as far as possible.
fn alternate_racks(candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut by_rack: BTreeMap<&Option<String>, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_rack.entry(&candidate.rack).or_default().push(candidate);
    }
    let longest = by_rack.values().map(Vec::len).max().unwrap_or(0);
    let racks: Vec<_> = by_rack.into_values().collect();
    let rounds = (0..longest).flat_map(|round| {
        let in_round = racks.iter().filter_map(move |rack| rack.get(round));
        in_round.copied().collect::<Vec<_>>()
    });
    rounds.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
        let numbered = racks.iter().zip(0..);
        numbered
            .map(|(rack, id)| Candidate {
                id,
                rack: rack.map(str::to_owned),
            })
            .collect()
    }

    #[test]
    fn five_brokers_as_in_the_comment_of_kafkas_code() {
        let draw = Draw { start: 0, shift: 0 };
        let assigned = assign(&brokers(&[None; 5]), 0..10, 3, draw).expect("enough");
        let expected = [
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 0],
            [4, 0, 1],
            [0, 2, 3],
            [1, 3, 4],
            [2, 4, 0],
            [3, 0, 1],
            [4, 1, 2],
        ];
        for ((_, replicas), expected) in assigned.iter().zip(expected) {
            assert_eq!(replicas, &expected);
        }
    }

    #[test]
    fn too_few_brokers_are_named() {
        let draw = Draw { start: 0, shift: 0 };
        let refused = assign(&brokers(&[None; 2]), 0..1, 3, draw).expect_err("refused");
        let text = "replication factor: 3 larger than available brokers: 2";
        assert_eq!(refused.to_string(), text);
        assert!(assign(&[], 0..1, 1, draw).is_err());
    }

    proptest! {
        #[test]
        fn replicas_differ_leaders_are_even_and_racks_are_used(
            racks in 1usize..4, per_rack in 1usize..4, replicas in 1usize..6,
            start in 0usize..50, shift in 0usize..50,
        ) {
            let count = racks * per_rack;
            prop_assume!(replicas <= count);
            let names = ["a", "b", "c"];
            let list: Vec<_> = (0..count).map(|i| Some(names[i % racks])).collect();
            let all = brokers(&list);
            let partitions = i32::try_from(count * 3).expect("small");
            let assigned = assign(&all, 0..partitions, replicas, Draw { start, shift })
                .expect("enough brokers");
            let mut leaders = BTreeMap::new();
            for (_, chosen) in &assigned {
                let distinct: BTreeSet<_> = chosen.iter().collect();
                prop_assert_eq!(distinct.len(), replicas);
                let used: BTreeSet<_> = chosen.iter()
                    .map(|id| &all[usize::try_from(*id).expect("id")].rack).collect();
                prop_assert_eq!(used.len(), replicas.min(racks));
                *leaders.entry(chosen[0]).or_insert(0) += 1;
            }
            prop_assert!(leaders.values().all(|n| *n == 3));
        }
    }
}
