//! Deliberate mistakes, to show that the simulator's checkers see. Only with the feature `mutants`, which no shipped
//! binary has; without it [`is`] is a constant and the mistakes are not compiled. `tests/sim/mutants.rs` holds that
//! each is caught; `docs/proof.md` has the table.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A follower of a new leader cuts its log to its high watermark, and not where the epochs part.
    TruncateToHighWatermark,
    /// `acks=all` is answered like `acks=1`.
    AckBeforeHighWatermark,
    /// What a fetch or a consumer says of the leader epoch is not looked at.
    LeaderEpochUnchecked,
    /// The high watermark does not wait for the slowest in sync.
    HighWatermarkOfFastest,
    /// A member that is about to join is not waited for.
    ProposedIsrIgnored,
    /// A smaller ISR counts before its write was acknowledged.
    ShrinkCountsAtOnce,
    /// A replica out of sync is elected.
    ElectOutsideIsr,
    /// A restarted replica is taken for its former life.
    BrokerEpochUnchecked,
    /// The leader writes the state whatever its version.
    StateWithoutVersion,
    /// The controller's writes of states are neither fenced nor conditional.
    ControllerUnfenced,
    /// A broker that was told of its expiry goes on.
    ExpiredGoesOn,
    /// A batch sent twice is stored twice.
    SequencesUnchecked,
    /// A new leader knows no producers.
    ProducersForgotten,
    /// A commit of a former generation is accepted.
    FormerGenerationAccepted,
    /// What a group commits is acknowledged before it is committed.
    GroupAckBeforeCommit,
    /// A group is served from what is not committed yet.
    GroupsServedUncommitted,
    /// A follower appends what came from a leader it no longer follows, and does not say of which epoch its last record
    /// is: either alone is mended by the other.
    FollowedEpochUnchecked,
    /// Consumers may read up to the end of the log.
    FetchBeyondHighWatermark,
    /// A restarted broker leads what it led before.
    RestartGoesOnLeading,
    /// What is synced before it is acknowledged is not, on leader and followers: where either syncs, one copy is left.
    AckBeforeSync,
    /// A partition of which a fetch session was told everything is never looked at again.
    QuietForEver,
}

/// All of them.
pub const ALL: [Mutant; 21] = [
    Mutant::TruncateToHighWatermark,
    Mutant::AckBeforeHighWatermark,
    Mutant::LeaderEpochUnchecked,
    Mutant::HighWatermarkOfFastest,
    Mutant::ProposedIsrIgnored,
    Mutant::ShrinkCountsAtOnce,
    Mutant::ElectOutsideIsr,
    Mutant::BrokerEpochUnchecked,
    Mutant::StateWithoutVersion,
    Mutant::ControllerUnfenced,
    Mutant::ExpiredGoesOn,
    Mutant::SequencesUnchecked,
    Mutant::ProducersForgotten,
    Mutant::FormerGenerationAccepted,
    Mutant::GroupAckBeforeCommit,
    Mutant::GroupsServedUncommitted,
    Mutant::FollowedEpochUnchecked,
    Mutant::FetchBeyondHighWatermark,
    Mutant::RestartGoesOnLeading,
    Mutant::AckBeforeSync,
    Mutant::QuietForEver,
];

/// Whether this mistake is made now.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use made::{is, make};

#[cfg(feature = "mutants")]
mod made {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MADE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Makes one mistake on this thread, or none.
    pub fn make(mutant: Option<Mutant>) {
        MADE.set(mutant);
    }

    /// Whether this mistake is made now.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        MADE.get() == Some(mutant)
    }
}
