//! What can go wrong, as a value: a run's faults are a list that can be printed, cut and written into a test.

use crate::network::Weather;

/// A point within a member's work at which it may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Some of a round's messages have left.
    Sent,
    /// The log thread has its work, the apply thread does not.
    Persisting,
    /// All of a round was carried out.
    Carried,
    /// A record is written and not synced.
    Written,
    /// It is synced, and nobody knows.
    Synced,
    /// Old segments are cut.
    Cut,
    /// Entries are applied, and nobody knows.
    Applied,
    /// A layer of the state was handed to the database.
    WrittenBehind,
    /// The database was flushed.
    Flushed,
    /// A checkpoint was made.
    CheckpointMade,
    /// A checkpoint took the state's place; the log is the old one.
    StateInstalled,
    /// The log begins behind the checkpoint, and nobody knows.
    LogReset,
    /// The log was opened and nothing else happened.
    Opened,
}

/// All of them.
pub const STEPS: [Step; 13] = [
    Step::Sent,
    Step::Persisting,
    Step::Carried,
    Step::Written,
    Step::Synced,
    Step::Cut,
    Step::Applied,
    Step::WrittenBehind,
    Step::Flushed,
    Step::CheckpointMade,
    Step::StateInstalled,
    Step::LogReset,
    Step::Opened,
];

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `kill -9`: what was written is with the system, and connections close.
    Killed,
    /// The machine loses power: what was not synced may be lost, and nobody hears of it.
    PowerLost,
}

/// One fault. Members are named by their place, counted round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process ends, and starts again so much later.
    Crash { at: u8, end: End, down_ms: u64 },
    /// All of them, each starting again at a time of its own up to then.
    CrashAll { end: End, down_ms: u64 },
    /// A process ends when it comes to that step for the n-th time.
    CrashAt {
        at: u8,
        step: Step,
        nth: u8,
        end: End,
        down_ms: u64,
    },
    /// A process is stopped for so long.
    Pause { at: u8, ms: u64 },
    /// Disk and processor get slow, or fast again: longest times.
    Pace {
        at: u8,
        sync_ms: u64,
        apply_ms: u64,
        flush_ms: u64,
    },
    /// The network as a whole.
    Weather(Weather),
    /// A member is cut off from all but one, in both directions or in one.
    Alone { at: u8, but: u8, ways: Ways },
    /// Those in the mask are cut off from the rest.
    Split { mask: u8 },
    /// A direction gets slow.
    SlowLink { from: u8, to: u8, ms: u64 },
    /// All links stand.
    Mend,
    /// A machine's disks are lost for good; it comes back as a new member.
    LoseDisk { at: u8, down_ms: u64 },
    /// A machine's disks are lost for good; as soon as a new member stands in its place, those of a second one are, and
    /// all others are killed at that instant.
    LoseTwo { first: u8, second: u8, down_ms: u64 },
    /// The n-th sync from now on fails.
    FailSync { at: u8, nth: u8 },
    /// The disk of the raft log has room for so much.
    Space { at: u8, kilobytes: u64 },
    /// A bit of the raft log turns, and the process ends; when it starts again it has to notice.
    Rot { at: u8, place: u64 },
    /// A fault of memory changes the state: the member has to notice that it differs from the others.
    Bend { at: u8 },
    /// The wall clock is set.
    SetClock { at: u8, ms: i64 },
    /// Both clocks run so many millionths too fast.
    Drift { at: u8, millionths: i64 },
}

/// Directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    Both,
    From,
    To,
}
