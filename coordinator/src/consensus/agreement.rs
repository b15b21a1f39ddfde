//! Whether this node's state is the others': digests of the state at the same index, compared.
//!
//! `apply` is deterministic, so two nodes that applied the same entries have the same digest. One that has not
//! is wrong, by a fault of memory or of a release, and must not answer clients: [`Agreement::verdict`] tells it
//! to stop. Every node tells all others the digest behind its newest applied entry once per report period, and
//! compares what it hears with its own digest at that index.
//!
//! The rule: a node stops when a majority of the voters differs from it, or when it does not lead, differs
//! from the leader, and no majority has been found to agree with it within a patience. Anyone else only says
//! who differs. So of three nodes the odd one stops, also when it leads, and no other.
//!
//! A difference counts while the connection to the peer stands, and again once the same life of it says so again: its next
//! life may have another state.
//!
//! Patience is counted in time at which this node was awake: one that was paused finds the leader's difference at
//! once, and all who could agree with it behind that in its queues.
//!
//! Invariant: `newest` is the index of the last digest in `ring`; those before it follow without gaps.

use std::collections::{BTreeMap, VecDeque};

use super::applier::Fatal;
use super::membership::server_of;

/// Digests kept, one per entry: what a node that lags this far can still compare.
const DIGESTS: usize = 16 << 10;
/// A verdict is asked for every 50 ms. Of what lies between two, so much counts as awake.
const AWAKE_AT_MOST_MS: u64 = 100;

/// What a peer was found to be when last compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// The same at this index.
    Same(u64),
    /// Another, from this index on at the latest.
    Differs {
        index: u64,
        since_awake_ms: u64,
        /// It said so, and the connection to it stands since.
        confirmed: bool,
    },
}

#[derive(Debug)]
struct Peer {
    boot: u64,
    /// An index that is not applied here yet, and the digest there. Kept until it is: newer ones might
    /// never be reached by a node that lags.
    ahead: Option<(u64, u64)>,
    found: Option<Finding>,
}

/// Who may vote, and who leads; by the ids that peers are known by.
#[derive(Clone, Copy, Debug)]
pub struct Ensemble<'a> {
    /// This node.
    pub node: u64,
    /// Everyone with a vote.
    pub voters: &'a [u64],
    /// The leader, if one is known.
    pub leader: Option<u64>,
}

/// The digests of one node, and what it knows of its peers'.
#[derive(Debug)]
pub struct Agreement {
    ring: VecDeque<u64>,
    newest: u64,
    peers: BTreeMap<u64, Peer>,
    patience_ms: u64,
    /// How long this node was awake up to the last verdict, from its first one on.
    awake_ms: u64,
    /// When the last verdict was asked for.
    asked_ms: Option<u64>,
}

impl Agreement {
    /// Begins with the digest behind `index`. A node that differs from the leader waits for `patience_ms` to
    /// hear whether the others agree with it.
    pub fn new(index: u64, digest: u64, patience_ms: u64) -> Self {
        Self {
            ring: VecDeque::from([digest]),
            newest: index,
            peers: BTreeMap::new(),
            patience_ms,
            awake_ms: 0,
            asked_ms: None,
        }
    }

    /// The newest applied index, and the digest behind it.
    pub fn newest(&self) -> (u64, u64) {
        let digest = self.ring.back().copied();
        (self.newest, digest.expect("at least one digest is kept"))
    }

    /// Entries up to `index` were applied, each with the digest behind it.
    pub fn applied(&mut self, index: u64, digests: &[u64]) {
        assert_eq!(
            self.newest + digests.len() as u64,
            index,
            "each applied entry has a digest"
        );
        self.ring.extend(digests);
        self.ring.drain(..self.ring.len().saturating_sub(DIGESTS));
        self.newest = index;
        let nodes: Vec<u64> = self.peers.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.compare(node));
    }

    /// A checkpoint took the state's place.
    pub fn installed(&mut self, index: u64, digest: u64) {
        (self.ring, self.newest) = (VecDeque::from([digest]), index);
        for peer in self.peers.values_mut() {
            peer.found = None;
        }
        self.applied(index, &[]);
    }

    /// A node, in that life of it, has that digest behind `index`.
    pub fn heard(&mut self, (node, boot): (u64, u64), index: u64, digest: u64) {
        let unknown = || Peer {
            boot,
            ahead: None,
            found: None,
        };
        let peer = self.peers.entry(node).or_insert_with(unknown);
        if peer.boot != boot {
            // It may have been given another state.
            *peer = unknown();
        }
        if peer.ahead.is_none() {
            peer.ahead = Some((index, digest));
            self.compare(node);
        }
    }

    /// The connection to that server's process closed, whichever its raft id. What was wrong with it may have gone with its
    /// process: until it says so again it counts for nothing. Said by the same life, it counts from when it was first said.
    pub fn lost(&mut self, server: u64) {
        let of_server = self
            .peers
            .iter_mut()
            .filter(|(id, _)| server_of(**id) == server);
        for (_, peer) in of_server {
            peer.ahead = None;
            if let Some(Finding::Differs { confirmed, .. }) = &mut peer.found {
                *confirmed = false;
            }
        }
    }

    /// Why this node has to stop, if it has to. To be asked at least every 100 ms.
    pub fn verdict(&mut self, now_ms: u64, ensemble: &Ensemble<'_>) -> Option<Fatal> {
        let asked_ms = self.asked_ms.replace(now_ms).unwrap_or(now_ms);
        self.awake_ms += now_ms.saturating_sub(asked_ms).min(AWAKE_AT_MOST_MS);
        let majority = ensemble.voters.len() / 2 + 1;
        let others = ensemble.voters.iter().filter(|&&id| id != ensemble.node);
        let found = others.filter_map(|id| Some((*id, self.peers.get(id)?.found?)));
        let (mut differing, mut same) = (Vec::new(), Vec::new());
        for (id, finding) in found {
            match finding {
                Finding::Differs { confirmed, .. } if confirmed => differing.push(id),
                Finding::Differs { .. } => {}
                Finding::Same(index) => same.push(index),
            }
        }
        if differing.len() >= majority {
            return Some(self.fatal(&format!("voters {differing:?} differ, a majority")));
        }
        let leader = ensemble.leader.filter(|&leader| leader != ensemble.node)?;
        let found = self.peers.get(&leader)?.found?;
        let Finding::Differs {
            index,
            since_awake_ms,
            confirmed: true,
        } = found
        else {
            return None;
        };
        let own = usize::from(ensemble.voters.contains(&ensemble.node));
        // Who was the same before that index may have gone the leader's way since.
        let agreeing = own + same.iter().filter(|&&at| at >= index).count();
        (agreeing < majority && self.awake_ms >= since_awake_ms + self.patience_ms).then(|| {
            let why = format!("leader {leader} differs since index {index}");
            self.fatal(&format!("{why}, and no majority agrees with this node"))
        })
    }

    fn fatal(&self, why: &str) -> Fatal {
        let (index, digest) = self.newest();
        Fatal::new(format!(
            "this node's state is not the ensemble's: {why} (its digest at index {index} is {digest:016x}); \
             run `zweig coordinator wipe --config FILE` and start it again, then it rejoins"
        ))
    }

    /// Compares what a peer last said, once that index is applied here.
    fn compare(&mut self, node: u64) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let Some((index, theirs)) = peer.ahead.take_if(|(index, _)| *index <= self.newest) else {
            return;
        };
        // What is no longer kept can't be compared; the peer may still compare with what it hears from here.
        let back = usize::try_from(self.newest - index).unwrap_or(usize::MAX);
        let Some(at) = self.ring.len().checked_sub(1 + back) else {
            return;
        };
        let ours = self.ring[at];
        if ours == theirs {
            if let Some(Finding::Differs { .. }) = peer.found {
                tracing::info!(peer = node, index, "the peer's state is the same again");
            }
            peer.found = Some(Finding::Same(index));
        } else if let Some(Finding::Differs { confirmed, .. }) = &mut peer.found {
            *confirmed = true;
        } else {
            tracing::error!(
                peer = node,
                index,
                ours = format_args!("{ours:016x}"),
                theirs = format_args!("{theirs:016x}"),
                "a peer's state differs from this node's"
            );
            let since_awake_ms = self.awake_ms;
            peer.found = Some(Finding::Differs {
                index,
                since_awake_ms,
                confirmed: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: u64 = 1_000;

    /// Three nodes that have applied up to index 10 with these digests, as `node` sees them at `now_ms`.
    fn verdict(node: u64, leader: u64, digests: [Option<u64>; 3], now_ms: u64) -> Option<String> {
        let mut agreement = Agreement::new(9, 1, PATIENCE);
        let own = digests[node as usize - 1].unwrap();
        agreement.applied(10, &[own]);
        for other in (1..=3).filter(|&other| other != node) {
            if let Some(digest) = digests[other as usize - 1] {
                agreement.heard((other, 7), 10, digest);
            }
        }
        let ensemble = Ensemble {
            node,
            voters: &[1, 2, 3],
            leader: Some(leader),
        };
        awake(&mut agreement, &ensemble, 0, now_ms).map(|fatal| fatal.what)
    }

    /// The last verdict of a node that asks for one every 50 ms.
    fn awake(
        agreement: &mut Agreement,
        ensemble: &Ensemble<'_>,
        from_ms: u64,
        to_ms: u64,
    ) -> Option<Fatal> {
        let asked = (from_ms..to_ms).step_by(50).chain([to_ms]);
        asked.map(|ms| agreement.verdict(ms, ensemble)).last()?
    }

    #[test]
    fn a_pause_is_no_patience() {
        let mut agreement = Agreement::new(0, 1, PATIENCE);
        let ensemble = Ensemble {
            node: 2,
            voters: &[1, 2, 3],
            leader: Some(1),
        };
        agreement.applied(1, &[2]);
        agreement.heard((1, 7), 1, 3);
        assert!(awake(&mut agreement, &ensemble, 0, 500).is_none());
        let woken = 500 + 10 * PATIENCE;
        assert!(awake(&mut agreement, &ensemble, woken, woken + 350).is_none());
        assert!(awake(&mut agreement, &ensemble, woken + 400, woken + 450).is_some());
    }

    /// A leader with another state dies while this node waits whether the third agrees with it (seed 103081).
    #[test]
    fn what_a_dead_leader_said_is_no_reason_to_stop() {
        let mut agreement = Agreement::new(0, 1, PATIENCE);
        let ensemble = Ensemble {
            node: 2,
            voters: &[1, 2, 3],
            leader: Some(1),
        };
        agreement.applied(1, &[2]);
        agreement.heard((1, 7), 1, 3);
        assert!(awake(&mut agreement, &ensemble, 0, PATIENCE - 100).is_none());
        agreement.lost(1);
        assert!(awake(&mut agreement, &ensemble, PATIENCE - 100, 3 * PATIENCE).is_none());
        // Its next life differs as well: from then on there is patience again.
        agreement.applied(2, &[4]);
        agreement.heard((1, 8), 2, 5);
        assert!(awake(&mut agreement, &ensemble, 3 * PATIENCE, 4 * PATIENCE - 50).is_none());
        assert!(awake(&mut agreement, &ensemble, 4 * PATIENCE - 50, 5 * PATIENCE).is_some());
        // A connection that breaks again and again is no way out: the same life said it before.
        agreement.lost(1);
        assert!(agreement.verdict(5 * PATIENCE, &ensemble).is_none());
        agreement.heard((1, 8), 2, 5);
        assert!(agreement.verdict(5 * PATIENCE, &ensemble).is_some());
        // That the third was the same counts on, though it went meanwhile.
        agreement.heard((3, 7), 2, 4);
        agreement.lost(3);
        assert!(agreement.verdict(5 * PATIENCE, &ensemble).is_none());
    }

    #[test]
    fn the_odd_one_of_three_stops_whoever_leads() {
        for odd in 1..=3 {
            let mut digests = [Some(5); 3];
            digests[odd - 1] = Some(6);
            for leader in 1..=3 {
                for node in 1..=3 {
                    let stops = verdict(node, leader, digests, 10 * PATIENCE).is_some();
                    assert_eq!(stops, node == odd as u64, "{odd} {leader} {node}");
                }
            }
        }
    }

    #[test]
    fn the_reason_names_index_digest_and_peers() {
        let why = verdict(2, 1, [Some(5), Some(0xabc), Some(5)], 0).unwrap();
        for part in ["[1, 3]", "index 10", "0000000000000abc"] {
            assert!(why.contains(part), "{part} in {why}");
        }
    }

    #[test]
    fn between_two_the_leader_counts_but_not_before_the_third_had_its_time() {
        let digests = [Some(5), Some(6), None];
        assert_eq!(verdict(2, 1, digests, PATIENCE - 1), None);
        assert!(verdict(2, 1, digests, PATIENCE).is_some());
        assert_eq!(verdict(1, 1, digests, 10 * PATIENCE), None, "it leads");
    }

    #[test]
    fn who_agreed_only_before_the_difference_is_no_support() {
        let mut agreement = Agreement::new(0, 1, PATIENCE);
        agreement.applied(2, &[2, 3]);
        agreement.heard((3, 7), 1, 2);
        agreement.heard((1, 7), 2, 99);
        let ensemble = Ensemble {
            node: 2,
            voters: &[1, 2, 3],
            leader: Some(1),
        };
        assert!(awake(&mut agreement, &ensemble, 0, PATIENCE).is_some());
        agreement.heard((3, 7), 2, 3);
        assert!(agreement.verdict(PATIENCE, &ensemble).is_none());
    }

    #[test]
    fn what_is_ahead_waits_and_what_is_too_old_counts_for_nothing() {
        let found = |agreement: &Agreement| agreement.peers[&1].found;
        let mut agreement = Agreement::new(0, 1, PATIENCE);
        agreement.heard((1, 7), 3, 30);
        agreement.heard((1, 7), 900, 31);
        assert_eq!(found(&agreement), None);
        agreement.applied(4, &[10, 20, 33, 40]);
        let differs = Finding::Differs {
            index: 3,
            since_awake_ms: 0,
            confirmed: true,
        };
        assert_eq!(found(&agreement), Some(differs));
        // A new life may have another state.
        agreement.heard((1, 8), 4, 40);
        assert_eq!(found(&agreement), Some(Finding::Same(4)));
        let many: Vec<u64> = (0..DIGESTS as u64).collect();
        agreement.applied(4 + many.len() as u64, &many);
        agreement.heard((1, 8), 4, 77);
        assert_eq!(found(&agreement), Some(Finding::Same(4)), "no longer kept");
        agreement.heard((1, 8), 5, 77);
        assert!(matches!(
            found(&agreement),
            Some(Finding::Differs { index: 5, .. })
        ));
    }

    #[test]
    fn a_checkpoint_begins_anew() {
        let mut agreement = Agreement::new(0, 1, PATIENCE);
        agreement.heard((1, 7), 50, 500);
        agreement.installed(40, 400);
        assert_eq!(agreement.newest(), (40, 400));
        agreement.applied(50, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 500]);
        assert_eq!(agreement.peers[&1].found, Some(Finding::Same(50)));
    }
}
