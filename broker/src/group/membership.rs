//! A group: its members, its generation, its offsets.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use indexmap::IndexMap;

use super::member::Member;
use super::offsets::Offsets;
use super::rebalance::Rebalance;
use super::{Effect, GroupError, GroupState, Joined, Now, Synced};

/// One group. Its fields change only in this folder.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its id.
    pub id: String,
    state: GroupState,
    /// Wall-clock time of the last change of state.
    pub(super) state_since_wall_ms: i64,
    /// Counts completed joins; never falls.
    pub(super) generation: i32,
    /// Kind of its members, `consumer` mostly; `None` if it never had any.
    pub(super) protocol_type: Option<String>,
    /// Protocol of this generation; `None` while empty.
    pub(super) protocol: Option<String>,
    /// A member's id; there is one whenever there are members.
    pub(super) leader: Option<String>,
    /// Members by id, in the order they joined.
    pub(super) members: IndexMap<String, Member>,
    /// `group.instance.id` to member id, for each static member in `members`.
    pub(super) static_members: HashMap<String, String>,
    /// Ids given out, not yet used, with the time they lapse.
    pub(super) pending: BTreeMap<String, i64>,
    /// Set exactly while PreparingRebalance.
    pub(super) rebalance: Option<Rebalance>,
    /// When members that owe a sync are removed, monotonic.
    pub(super) sync_deadline_ms: Option<i64>,
    /// What it has committed.
    pub(super) offsets: Offsets,
}

impl Group {
    /// A group without members.
    pub fn new(id: &str, now: Now) -> Self {
        Self {
            id: id.to_owned(),
            state: GroupState::Empty,
            state_since_wall_ms: now.wall_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: IndexMap::new(),
            static_members: HashMap::new(),
            pending: BTreeMap::new(),
            rebalance: None,
            sync_deadline_ms: None,
            offsets: Offsets::default(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Its generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub(super) fn move_to(&mut self, next: GroupState, now: Now) {
        assert!(
            self.state.may_become(next),
            "group {}: {:?} cannot become {next:?}",
            self.id,
            self.state
        );
        self.state = next;
        self.state_since_wall_ms = now.wall_ms;
    }

    /// For replay only: the state follows from what was read.
    pub(super) fn restore_state(&mut self, state: GroupState) {
        self.state = state;
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn add(&mut self, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.static_members
                .insert(instance.clone(), member.id.clone());
        }
        self.pending.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member; whatever it waited for is answered.
    pub(super) fn remove(&mut self, id: &str, out: &mut Vec<Effect>) -> bool {
        let Some(member) = self.members.shift_remove(id) else {
            return false;
        };
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        release(&member, GroupError::UnknownMember, out);
        true
    }

    /// Gives the static member `old` the id `new`, in place. Whoever still waits as `old` is fenced.
    pub(super) fn replace_static(&mut self, old: &str, new: &str, out: &mut Vec<Effect>) {
        let Some((index, _, mut member)) = self.members.swap_remove_full(old) else {
            return;
        };
        release(&member, GroupError::FencedInstance, out);
        member.awaiting_join = None;
        member.awaiting_sync = None;
        member.id = new.to_owned();
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), new.to_owned());
        }
        if self.is_leader(old) {
            self.leader = Some(new.to_owned());
        }
        // Back where it was, so that the order of joining stays.
        let (last, _) = self.members.insert_full(new.to_owned(), member);
        self.members.swap_indices(index, last);
    }

    /// Whether `member` (with `instance`, if it says so) is in the group under that id.
    pub(super) fn validate(&self, member: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if current != member => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember)
        }
    }

    /// Names of the protocols every member supports.
    fn candidates(&self) -> Vec<&str> {
        let Some(first) = self.members.values().next() else {
            return Vec::new();
        };
        first
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| self.members.values().all(|m| m.supports(name)))
            .collect()
    }

    /// Whether someone with these protocols may join.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && self
                .candidates()
                .iter()
                .any(|c| protocols.iter().any(|(name, _)| name == c))
    }

    /// The candidate most members like best; among equals, the one of the earliest member.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let candidates = self.candidates();
        let votes = |name: &str| {
            self.members
                .values()
                .filter(|m| {
                    m.protocols
                        .iter()
                        .find(|(n, _)| candidates.contains(&n.as_str()))
                        .map(|(n, _)| n.as_str())
                        == Some(name)
                })
                .count()
        };
        let best = candidates.iter().map(|c| votes(c)).max()?;
        candidates
            .iter()
            .find(|c| votes(c) == best)
            .map(|c| (*c).to_owned())
    }

    /// The longest rebalance timeout of its members.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|m| i64::from(m.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members
            .values()
            .filter(|m| m.awaiting_join.is_some())
            .count()
    }

    /// The next time [`Group::tick`](Self::tick) has something to do, monotonic.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let members = self.members.values().filter_map(Member::expires_at);
        members
            .chain(self.pending.values().copied())
            .chain(self.rebalance.as_ref().map(|r| r.deadline_ms))
            .chain(self.sync_deadline_ms)
            .min()
    }
}

/// Answers what a member waits for with an error.
pub(super) fn release(member: &Member, error: GroupError, out: &mut Vec<Effect>) {
    if let Some(ticket) = member.awaiting_join {
        // A join that ends this way is answered without the id, so that its client starts over.
        let id = if error == GroupError::FencedInstance {
            member.id.as_str()
        } else {
            ""
        };
        out.push(Effect::Joined(ticket, Joined::refused(id, error)));
    }
    if let Some(ticket) = member.awaiting_sync {
        let answer: Result<Synced, GroupError> = Err(error);
        out.push(Effect::Synced(ticket, answer));
    }
}
