//! Deliberate faults, to show that the simulation would notice them. Without the feature `mutants` there are none:
//! [`is`] is `false`, and the compiler leaves nothing of it.
//!
//! To add one: a line with its meaning below, and `if mutants::is(Mutant::X) { ... }` where it goes wrong. The test
//! `mutants` of `tests/sim` picks each in turn and fails if no seed among the first 200 is broken by it.

macro_rules! mutants {
    ($($(#[$meaning:meta])* $name:ident,)*) => {
        /// A deliberate fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$meaning])* $name,)*
        }

        /// All of them.
        pub const MUTANTS: &[Mutant] = &[$(Mutant::$name,)*];
    };
}

mutants! {
    /// The raft log writes and does not sync.
    LogUnsynced,
    /// An answer goes out when the leader has proposed, before a majority holds the entry.
    AnsweredBeforeCommit,
    /// Votes and acknowledgements leave before what they promise is on disk.
    PromisedBeforePersisted,
    /// Commands that were accepted in a former term are proposed in a later one, and `apply` would not mind.
    FormerBatchProposed,
    /// The state is flushed with an applied index that is not its own.
    AppliedIndexApart,
    /// The log is reset before the checkpoint has taken the state's place.
    ResetBeforeInstalled,
    /// A member that lost its disk comes back under its old raft id.
    RaftIdUsedTwice,
    /// The leader takes a forwarded command although the one before it is missing.
    GapTaken,
    /// The forwarder sends again what it has seen applied.
    AppliedSentAgain,
    /// A leader answers a read index by itself.
    ReadIndexUnconfirmed,
    /// A session expires whatever attach number the expiry was meant for.
    ExpiryOfAnyAttach,
    /// A new leader goes on with the deadlines that it had.
    NoFullTimeout,
    /// A client that has ended a former connection is taken for one that is gone.
    LeftUnderAnyAttach,
    /// That a client has ended its connection is not reported.
    LeftUntold,
    /// `apply` uses something that differs from node to node.
    ApplyByNode,
    /// A record counts although its checksum is wrong.
    ChecksumSkipped,
    /// States are not compared.
    DigestsIgnored,
    /// What a failed sync left in the page cache is taken for durable.
    CacheTrusted,
    /// That a change of the members is committed is not synced.
    ChangeUnsynced,
    /// A read does not wait for the writes of its session before it.
    ReadOvertakesWrite,
    /// A watch is armed some time after what was read.
    WatchArmedLater,
    /// Answers leave before the events of the same transaction.
    EventAfterReply,
    /// Now and then the events of a transaction are lost.
    WatchDropped,
    /// A watch that fires once stays armed.
    OneShotTwice,
    /// A recursive watch hears of children only.
    RecursiveMissesGrandchildren,
    /// Child watches that a client arms again are forgotten.
    ReplayForgetsChildren,
    /// The ephemerals of a session that is closed stay.
    EphemeralsLeft,
    /// Commands with a former attach number have effects.
    FormerAttachAccepted,
    /// A node out of touch with the leader goes on answering.
    OutOfTouchAnswers,
    /// A `multi` that fails leaves what came before the failure.
    MultiPartly,
    /// A sequential znode gets the number of children that are there.
    SequenceOfChildren,
    /// A command that failed takes no zxid.
    FailureWithoutZxid,
    /// Versions are not compared.
    VersionUnchecked,
    /// A linearizable read is answered at once.
    LinearizableAtOnce,
    /// A watch stream that goes on after a zxid leaves out what comes next.
    StreamSkips,
    /// Events tell of what the ACL hides.
    HiddenTold,
}

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "mutants")]
thread_local! {
    static CALLS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Picks one, or none, for what runs on this thread.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
    CALLS.set(0);
}

/// True at one call in so many on this thread, whoever calls.
#[cfg(feature = "mutants")]
pub fn one_in(calls: u64) -> bool {
    CALLS.set(CALLS.get() + 1);
    CALLS.get().is_multiple_of(calls)
}

/// Never true.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn one_in(_: u64) -> bool {
    false
}

/// Whether this one was picked.
#[cfg(feature = "mutants")]
pub fn is(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// Whether this one was picked: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}
