//! Which part this broker plays in a partition. Decided from the image alone, each time anew.
//!
//! ```text
//!            leader is me, under my epoch            leader is another
//! waiting ─────────────────────────────▶ leading ◀──────────────────▶ following
//!    ▲      no leader; or me under an older epoch; or this broker's session ended   │
//!    └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Any part may follow any other. A state with a lower leader epoch, or with the same one in an older
//! version, than what is known is old news and changes nothing.

use super::isr::Isr;
use crate::mutants::{self, Mutant};

/// The state of a partition as an image shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Assigned brokers.
    pub replicas: Vec<i32>,
    /// Who leads; `None` while nobody can.
    pub leader: Option<i32>,
    /// Under which of the leader's broker epochs it was chosen; 0: not told.
    pub leader_broker_epoch: i64,
    /// Number of the leadership.
    pub leader_epoch: i32,
    /// Version of the state's znode.
    pub partition_epoch: i32,
    /// In-sync replicas.
    pub isr: Isr,
}

/// The part to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Serve producers and consumers.
    Lead,
    /// Copy from this broker.
    Follow {
        /// The leader.
        leader: i32,
    },
    /// Keep the log and serve nobody.
    Wait,
}

/// The part of broker `me`, registered under `broker_epoch` (`None`: not registered now).
#[must_use]
pub fn part(state: &PartitionState, me: i32, broker_epoch: Option<i64>) -> Part {
    match state.leader {
        Some(leader) if leader != me => Part::Follow { leader },
        Some(_) if broker_epoch == Some(state.leader_broker_epoch) => Part::Lead,
        Some(_) if mutants::is(Mutant::RestartGoesOnLeading) && broker_epoch.is_some() => {
            Part::Lead
        }
        Some(_) | None => Part::Wait,
    }
}

/// Whether (leader epoch, partition epoch) `told` is older than `known`.
#[must_use]
pub fn is_old_news(told: (i32, i32), known: (i32, i32)) -> bool {
    told < known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_only_under_its_current_epoch() {
        let state = |leader, epoch| PartitionState {
            replicas: vec![1, 2],
            leader,
            leader_broker_epoch: epoch,
            leader_epoch: 3,
            partition_epoch: 7,
            isr: Isr::default(),
        };
        assert_eq!(part(&state(Some(1), 50), 1, Some(50)), Part::Lead);
        assert_eq!(part(&state(Some(1), 49), 1, Some(50)), Part::Wait);
        assert_eq!(part(&state(Some(1), 50), 1, None), Part::Wait);
        assert_eq!(
            part(&state(Some(2), 50), 1, Some(50)),
            Part::Follow { leader: 2 }
        );
        assert_eq!(part(&state(None, 0), 1, Some(50)), Part::Wait);
    }
}
