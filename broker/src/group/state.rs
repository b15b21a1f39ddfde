//! The states of a group and the moves between them.
//!
//! ```text
//!               join                     all joined, or time is up
//!   Empty ───────────────▶ PreparingRebalance ───────────────▶ CompletingRebalance
//!     ▲  ▲                   ▲   │    ▲                                 │
//!     │  └── all left ───────│───┘    └── join, leave, expiry ──────────┤
//!     │                      └──────── join, leave, expiry ──┐          │ leader's assignment
//!     │ offsets expired                                    Stable ◀─────┘ committed
//!     ▼
//!   Dead  (also: deleted by an administrator)
//! ```

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; offsets may exist.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Everyone joined; waiting for the leader's assignment.
    CompletingRebalance,
    /// Everyone has, or can get, its assignment.
    Stable,
    /// Gone; nothing leads out of here.
    Dead,
}

impl GroupState {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// Whether `self -> next` is in the drawing above.
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty => matches!(self, Self::PreparingRebalance),
            Self::PreparingRebalance => {
                matches!(self, Self::Empty | Self::CompletingRebalance | Self::Stable)
            }
            Self::CompletingRebalance => matches!(self, Self::PreparingRebalance),
            Self::Stable => matches!(self, Self::CompletingRebalance),
            Self::Dead => matches!(self, Self::Empty),
        }
    }
}
