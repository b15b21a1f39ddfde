//! Who may lead a partition, and what its next state is. One function from what is known of a
//! partition and its brokers to a state, or to none if nothing is to change.
//!
//! ```text
//!  leader registered under the epoch the state names, and not stopping?
//!    yes ─▶ it stays; members of the ISR that are gone, stop, or lost something leave the ISR
//!    no  ─▶ first replica in order that is in the ISR, registered, kept its log, does not stop
//!             none ─▶ the same among those that stop
//!             none ─▶ all of the ISR registered? the longest log, once all told theirs
//!             none ─▶ unclean allowed and not all of the ISR registered? any live replica
//!             none ─▶ no leader; the ISR stays as it is, to be elected from later
//! ```

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::metadata::{Image, Partition, PartitionState};

use super::action::Why;
use crate::mutants::{self, Mutant};

/// What an election looks at beside the partition.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Brokers, those that are stopping, and told ends of logs.
    pub image: &'a Image,
    /// Under which told ends of logs stand.
    pub topic_id: Uuid,
    /// The partition's index.
    pub index: i32,
    /// The epoch of this controller, noted in what it writes.
    pub controller_epoch: i32,
    /// Whether a replica out of sync may lead if nobody else can.
    pub unclean_allowed: bool,
}

impl Surroundings<'_> {
    fn stopping(&self, id: i32) -> bool {
        self.image.is_stopping(id)
    }

    fn registered(&self, id: i32) -> bool {
        self.image.broker(id).is_some()
    }

    /// Whether a member of the ISR is here with all it held when the ISR named it.
    fn kept(&self, partition: &Partition, id: i32) -> bool {
        let named = partition.isr_epoch_of(id);
        let broker = self.image.broker(id);
        if mutants::is(Mutant::BrokerEpochUnchecked) {
            return broker.is_some();
        }
        matches!((named, broker), (Some(named), Some(broker)) if broker.kept_since(named))
    }

    /// Pairs ids with the epochs of their registrations.
    fn named(&self, ids: Vec<i32>) -> (Vec<i32>, Vec<i64>) {
        let epochs = ids
            .iter()
            .map(|id| self.image.broker_epoch(*id).unwrap_or(0));
        let epochs = epochs.collect();
        (ids, epochs)
    }
}

/// The first state of a partition: every registered replica is in sync with an empty log. `None`
/// while no replica is registered.
#[must_use]
pub fn first_state(partition: &Partition, around: &Surroundings<'_>) -> Option<PartitionState> {
    let replicas = partition.replicas.iter().copied();
    let live: Vec<i32> = replicas.filter(|id| around.registered(*id)).collect();
    let staying = live.iter().find(|id| !around.stopping(**id));
    let leader = *staying.or(live.first())?;
    let (isr, isr_broker_epochs) = around.named(live);
    Some(PartitionState {
        leader: Some(leader),
        leader_epoch: 0,
        controller_epoch: around.controller_epoch,
        isr,
        leader_broker_epoch: around.image.broker_epoch(leader).unwrap_or(0),
        isr_broker_epochs,
    })
}

/// The next state of a partition that has one; `None` if it is to stay as it is.
#[must_use]
pub fn next_state(
    partition: &Partition,
    around: &Surroundings<'_>,
) -> Option<(PartitionState, Why)> {
    let leader = partition.leader;
    let valid = leader.filter(|id| around.image.leads(partition, *id));
    let kept: Vec<i32> = partition
        .isr
        .iter()
        .copied()
        .filter(|id| around.kept(partition, *id))
        .collect();
    let kept = match mutants::is(Mutant::ElectOutsideIsr) {
        true => partition
            .replicas
            .iter()
            .copied()
            .filter(|id| around.registered(*id))
            .collect(),
        false => kept,
    };
    let staying: Vec<i32> = kept
        .iter()
        .copied()
        .filter(|id| !around.stopping(*id))
        .collect();
    if let Some(leader) = valid.filter(|id| staying.contains(id)) {
        return keep_leader(partition, around, leader, staying);
    }
    if let Some(next) = first_of(partition, &staying) {
        return Some((
            elected(partition, around, next, staying),
            Why::LeaderChanged,
        ));
    }
    if let Some(leader) = valid.filter(|id| kept.contains(id)) {
        // It stops, and nobody could take over: it leads to its end.
        return keep_leader(partition, around, leader, kept);
    }
    if let Some(next) = first_of(partition, &kept) {
        return Some((elected(partition, around, next, kept), Why::LeaderChanged));
    }
    without_vouchers(partition, around)
}

/// The leader stays, over an ISR without those that left it.
fn keep_leader(
    partition: &Partition,
    around: &Surroundings<'_>,
    leader: i32,
    members: Vec<i32>,
) -> Option<(PartitionState, Why)> {
    // Whoever is named by an older epoch and is back has registered anew: a new leader epoch.
    let anew = partition.isr.iter().any(|id| {
        let named = partition.isr_epoch_of(*id);
        around.registered(*id) && named != around.image.broker_epoch(*id)
    });
    let (isr, isr_broker_epochs) = around.named(members);
    if isr == partition.isr && isr_broker_epochs == partition.isr_broker_epochs {
        return None;
    }
    let state = PartitionState {
        leader: Some(leader),
        leader_epoch: partition.leader_epoch + i32::from(anew),
        controller_epoch: around.controller_epoch,
        isr,
        leader_broker_epoch: partition.leader_broker_epoch,
        isr_broker_epochs,
    };
    Some((state, Why::IsrChanged))
}

/// The first of some brokers in the order of the assignment; members that are no replicas any
/// more (an assignment was replaced) come last.
fn first_of(partition: &Partition, among: &[i32]) -> Option<i32> {
    let assigned = partition.replicas.iter().find(|id| among.contains(id));
    assigned.or(among.first()).copied()
}

fn elected(
    partition: &Partition,
    around: &Surroundings<'_>,
    leader: i32,
    members: Vec<i32>,
) -> PartitionState {
    let (isr, isr_broker_epochs) = around.named(members);
    PartitionState {
        leader: Some(leader),
        leader_epoch: partition.leader_epoch + 1,
        controller_epoch: around.controller_epoch,
        isr,
        leader_broker_epoch: around.image.broker_epoch(leader).unwrap_or(0),
        isr_broker_epochs,
    }
}

/// Nobody who is here can vouch for what the ISR held.
fn without_vouchers(
    partition: &Partition,
    around: &Surroundings<'_>,
) -> Option<(PartitionState, Why)> {
    let all_here =
        !partition.isr.is_empty() && partition.isr.iter().all(|id| around.registered(*id));
    if all_here {
        if let Some(longest) = longest_log(partition, around) {
            let state = elected(partition, around, longest, vec![longest]);
            return Some((state, Why::LongestLog));
        }
    } else if around.unclean_allowed {
        let live = |id: &&i32| around.registered(**id);
        // A member of the ISR that lost something still has more than one that never was in it.
        let member = partition.isr.iter().find(live);
        if let Some(leader) = member.or(partition.replicas.iter().find(live)) {
            let state = elected(partition, around, *leader, vec![*leader]);
            return Some((state, Why::Unclean));
        }
    }
    partition.leader?;
    let mut state = partition.state();
    state.leader = None;
    state.leader_epoch += 1;
    state.leader_broker_epoch = 0;
    state.controller_epoch = around.controller_epoch;
    Some((state, Why::NoLeader))
}

/// The member of the ISR with the longest log, once every one of them told its end under its
/// current registration. The later leader epoch wins, then the higher offset, then the order of
/// the assignment.
fn longest_log(partition: &Partition, around: &Surroundings<'_>) -> Option<i32> {
    let mut ends = BTreeMap::new();
    for id in &partition.isr {
        let key = (around.topic_id, around.index, *id);
        let end = around.image.log_ends.get(&key)?;
        if Some(end.broker_epoch) != around.image.broker_epoch(*id) {
            return None;
        }
        ends.insert(*id, (end.last_epoch, end.end_offset));
    }
    let best = ends.values().max().copied()?;
    let among: Vec<i32> = ends
        .iter()
        .filter(|(_, end)| **end == best)
        .map(|(id, _)| *id)
        .collect();
    first_of(partition, &among)
}

/// The state in which the preferred replica leads; `None` if it does, or cannot.
#[must_use]
pub fn preferred_state(partition: &Partition, around: &Surroundings<'_>) -> Option<PartitionState> {
    let preferred = *partition.replicas.first()?;
    let leads = partition.leader == Some(preferred);
    let current = around.image.broker_epoch(preferred);
    let in_sync = current.is_some() && partition.isr_epoch_of(preferred) == current;
    if leads || !in_sync || around.stopping(preferred) || next_state(partition, around).is_some() {
        return None;
    }
    Some(elected(partition, around, preferred, partition.isr.clone()))
}
