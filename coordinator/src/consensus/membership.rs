//! Who is a member: raft ids that are never used twice, and the steps by which a node that lost its disk
//! gets its place back.
//!
//! A raft id is `incarnation << 16 | N`, N being the `server.N` of zoo.cfg. The incarnation of a founder is 0, so
//! that its raft id is N; any later one is the time at which the node was wiped or came with an empty disk.
//! Whoever forgot its votes and what it acknowledged must not vote as the one who gave them: it comes back as
//! another member, and the former one is removed for good. Addresses belong to N, and so does whatever a user sees.
//!
//! The ConfState of the replicated state says who is a member; zoo.cfg says only where a server is. Steps are
//! single changes, each proposed when the one before is applied, and driven by the applicant's repeated asking: so
//! they survive a change of leader, and none has a state of its own. The learner is added before its former
//! incarnation is removed: the configuration always holds the newest incarnation there was.

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

const SERVER_BITS: u32 = 16;

/// The raft id of a server's incarnation.
pub fn raft_id(server: u64, incarnation: u64) -> u64 {
    assert!(
        server >> SERVER_BITS == 0 && incarnation.leading_zeros() >= SERVER_BITS,
        "incarnation {incarnation} of server {server} fits into no raft id"
    );
    incarnation << SERVER_BITS | server
}

/// The N of `server.N` that a raft id belongs to.
pub fn server_of(id: u64) -> u64 {
    id & ((1 << SERVER_BITS) - 1)
}

/// Which life of its server a raft id stands for; 0 for a founder.
pub fn incarnation_of(id: u64) -> u64 {
    id >> SERVER_BITS
}

/// Someone who asks to be let in, as the leader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Applicant {
    /// Its raft id.
    pub id: u64,
    /// zoo.cfg makes it a participant.
    pub votes: bool,
    /// It holds nearly all of the log.
    pub caught_up: bool,
    /// A former incarnation was heard from just now: perhaps it was not lost at all.
    pub former_alive: bool,
}

/// What the leader does next for an applicant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is what it asks to be.
    Settled,
    /// Nothing yet: ask again.
    Wait,
    /// Add this one as a learner.
    Add(u64),
    /// Remove this former incarnation.
    Remove(u64),
    /// Make a voter of this learner.
    Promote(u64),
    /// Refuse: a later incarnation of the same server is a member.
    Replaced,
}

impl Step {
    /// The change to propose, if there is one.
    pub fn change(self) -> Option<ConfChangeV2> {
        let (kind, id) = match self {
            Step::Settled | Step::Wait | Step::Replaced => return None,
            Step::Add(id) => (ConfChangeType::AddLearnerNode, id),
            Step::Remove(id) => (ConfChangeType::RemoveNode, id),
            Step::Promote(id) => (ConfChangeType::AddNode, id),
        };
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = id;
        let mut change = ConfChangeV2::default();
        change.set_changes(vec![single]);
        Some(change)
    }
}

/// The next step towards letting `applicant` in.
pub fn next_step(conf: &ConfState, applicant: &Applicant) -> Step {
    let id = applicant.id;
    if newest_of(conf, server_of(id)).is_some_and(|newest| newest > id) {
        return Step::Replaced;
    }
    if !conf.voters_outgoing.is_empty() {
        return Step::Wait;
    }
    let is_learner = conf.learners.contains(&id);
    if !is_learner && !conf.voters.contains(&id) {
        return match applicant.former_alive {
            true => Step::Wait,
            false => Step::Add(id),
        };
    }
    if let Some(former) = former_of(conf, id) {
        return Step::Remove(former);
    }
    match (is_learner && applicant.votes, applicant.caught_up) {
        (false, _) => Step::Settled,
        (true, false) => Step::Wait,
        (true, true) => Step::Promote(id),
    }
}

/// Whether `id`, which is in `conf` as far as it is in force here, has nothing to ask for.
pub fn is_settled(conf: &ConfState, id: u64, votes: bool) -> bool {
    let applicant = Applicant {
        id,
        votes,
        caught_up: true,
        former_alive: false,
    };
    next_step(conf, &applicant) == Step::Settled
}

/// Whether `id` was a member and is none any more, since a later incarnation took its place.
pub fn is_replaced(conf: &ConfState, id: u64) -> bool {
    !ids(conf).any(|member| member == id)
        && newest_of(conf, server_of(id)).is_some_and(|newest| newest > id)
}

/// A member of the same server as `id` that is not `id`.
pub fn former_of(conf: &ConfState, id: u64) -> Option<u64> {
    ids(conf).find(|&member| member != id && server_of(member) == server_of(id))
}

fn newest_of(conf: &ConfState, server: u64) -> Option<u64> {
    ids(conf)
        .filter(|&member| server_of(member) == server)
        .max()
}

fn ids(conf: &ConfState) -> impl Iterator<Item = u64> {
    let voters = conf.voters.iter().chain(&conf.voters_outgoing);
    voters
        .chain(&conf.learners)
        .chain(&conf.learners_next)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: u64 = 3;
    const NEW: u64 = 7 << 16 | 3;
    const NEWER: u64 = 8 << 16 | 3;

    fn conf(voters: &[u64], learners: &[u64]) -> ConfState {
        ConfState::from((voters.to_vec(), learners.to_vec()))
    }

    fn applicant(id: u64) -> Applicant {
        Applicant {
            id,
            votes: true,
            caught_up: true,
            former_alive: false,
        }
    }

    fn step(voters: &[u64], learners: &[u64], id: u64) -> Step {
        next_step(&conf(voters, learners), &applicant(id))
    }

    #[test]
    fn a_raft_id_holds_its_server_and_its_incarnation() {
        assert_eq!(raft_id(3, 0), 3);
        assert_eq!(raft_id(3, 7), NEW);
        assert_eq!((server_of(NEW), incarnation_of(NEW)), (3, 7));
        let latest = raft_id(255, (1 << 48) - 1);
        assert_eq!(
            (server_of(latest), incarnation_of(latest)),
            (255, (1 << 48) - 1)
        );
    }

    #[test]
    fn a_lost_voter_is_replaced_in_single_steps() {
        assert_eq!(step(&[1, 2, LOST], &[], NEW), Step::Add(NEW));
        assert_eq!(step(&[1, 2, LOST], &[NEW], NEW), Step::Remove(LOST));
        assert_eq!(step(&[1, 2], &[NEW], NEW), Step::Promote(NEW));
        assert_eq!(step(&[1, 2, NEW], &[], NEW), Step::Settled);
    }

    #[test]
    fn who_lags_or_whose_former_self_lives_has_to_wait() {
        let lags = Applicant {
            caught_up: false,
            ..applicant(NEW)
        };
        assert_eq!(next_step(&conf(&[1, 2], &[NEW]), &lags), Step::Wait);
        let alive = Applicant {
            former_alive: true,
            ..applicant(NEW)
        };
        assert_eq!(next_step(&conf(&[1, 2, LOST], &[]), &alive), Step::Wait);
    }

    #[test]
    fn an_observer_stays_one() {
        let observer = Applicant {
            votes: false,
            ..applicant(NEW)
        };
        assert_eq!(
            next_step(&conf(&[1, 2], &[LOST, NEW]), &observer),
            Step::Remove(LOST)
        );
        assert_eq!(next_step(&conf(&[1, 2], &[NEW]), &observer), Step::Settled);
    }

    #[test]
    fn lost_again_while_it_was_let_in() {
        assert_eq!(step(&[1, 2, LOST], &[NEW], NEWER), Step::Add(NEWER));
        let both = conf(&[1, 2, LOST], &[NEW, NEWER]);
        let first = next_step(&both, &applicant(NEWER));
        assert!(
            first == Step::Remove(LOST) || first == Step::Remove(NEW),
            "{first:?}"
        );
        assert_eq!(step(&[1, 2], &[NEW, NEWER], NEWER), Step::Remove(NEW));
    }

    #[test]
    fn a_former_incarnation_is_refused_at_every_stage() {
        assert_eq!(step(&[1, 2, LOST], &[NEW], LOST), Step::Replaced);
        assert_eq!(step(&[1, 2], &[NEW], LOST), Step::Replaced);
        assert_eq!(step(&[1, 2, NEWER], &[], NEW), Step::Replaced);
        assert!(is_replaced(&conf(&[1, 2, NEW], &[]), LOST));
        assert!(!is_replaced(&conf(&[1, 2, LOST], &[NEW]), LOST));
        assert!(!is_replaced(&conf(&[1, 2, LOST], &[]), NEW));
    }

    #[test]
    fn joint_state_is_left_alone() {
        let mut joint = conf(&[1, 2, LOST], &[]);
        joint.voters_outgoing = vec![1, 2, 4];
        assert_eq!(next_step(&joint, &applicant(NEW)), Step::Wait);
    }

    #[test]
    fn each_step_is_one_change() {
        for (step, kind) in [
            (Step::Add(NEW), ConfChangeType::AddLearnerNode),
            (Step::Remove(LOST), ConfChangeType::RemoveNode),
            (Step::Promote(NEW), ConfChangeType::AddNode),
        ] {
            let change = step.change().unwrap();
            assert_eq!(change.changes.len(), 1);
            assert_eq!(change.changes[0].get_change_type(), kind);
        }
        assert!(Step::Wait.change().is_none() && Step::Replaced.change().is_none());
    }
}
