//! Where two logs part, found by leader epochs instead of by high watermarks (KIP-101, KIP-279).
//!
//! A follower's fetch carries its end offset and the epoch of its last record. If the leader's log ends
//! that epoch earlier, or never had it, the leader answers with the end of the largest epoch it has that is
//! not above the follower's (the *diverging epoch*); the follower cuts and asks again until they agree.

/// The end of an epoch in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch in the log that is not above the one asked for.
    pub leader_epoch: i32,
    /// The offset behind its last record.
    pub end_offset: i64,
}

/// What the leader answers to a fetch at `fetch_offset` whose last record has `last_fetched_epoch`, given
/// the end of that epoch in its own log (`None`: it has no epoch that low).
///
/// `None`: the logs agree up to there. `Some(None)`: they part, and the leader has no epoch to offer.
#[must_use]
pub fn diverging(
    last_fetched_epoch: i32,
    fetch_offset: i64,
    own: Option<EpochEnd>,
) -> Option<Option<EpochEnd>> {
    match own {
        Some(end) if end.leader_epoch == last_fetched_epoch && end.end_offset >= fetch_offset => {
            None
        }
        other => Some(other),
    }
}

/// To what offset a follower cuts a log from `log_start` to `log_end`, told the leader's diverging epoch and
/// the end of that same epoch in its own log (`None`: it has no epoch that low). Below `log_start` it
/// means to begin anew there.
#[must_use]
pub fn target(leader: EpochEnd, own: Option<EpochEnd>, log_start: i64, log_end: i64) -> i64 {
    let agreed = match own {
        // Everything here is of later epochs, which the leader lacks.
        None => leader.end_offset.min(log_start),
        // The same epoch: the shorter of both ends. An earlier one: what follows it here, the leader lacks.
        Some(own) if own.leader_epoch == leader.leader_epoch => {
            own.end_offset.min(leader.end_offset)
        }
        Some(own) => own.end_offset,
    };
    agreed.min(log_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Epochs of a log's records, offset by offset.
    type Epochs = Vec<i32>;

    fn end_of(log: &Epochs, epoch: i32) -> Option<EpochEnd> {
        let end = log.iter().rposition(|e| *e <= epoch)?;
        Some(EpochEnd {
            leader_epoch: log[end],
            end_offset: end as i64 + 1,
        })
    }

    /// Logs as replication makes them: each epoch is written by one leader, which begins with a prefix of
    /// what an earlier one wrote.
    fn histories() -> impl Strategy<Value = (Epochs, Epochs)> {
        let epoch = (0usize..2, 0usize..6, 1usize..5);
        (
            proptest::collection::vec(epoch, 1..8),
            0usize..30,
            0usize..30,
        )
            .prop_map(|(epochs, cut_a, cut_b)| {
                let mut logs = [Epochs::new(), Epochs::new()];
                for (number, (who, keep, appended)) in epochs.into_iter().enumerate() {
                    // `who` leads epoch `number`: it drops some of its tail only as a former follower would.
                    let lose = keep.min(logs[who].len());
                    let keep = logs[who].len() - lose;
                    logs[who].truncate(keep);
                    logs[who].extend(std::iter::repeat_n(number as i32, appended));
                    // The other may copy from it: agree first, then everything.
                    if number % 3 == 0 {
                        logs[1 - who] = logs[who].clone();
                    }
                }
                let [mut a, mut b] = logs;
                a.truncate(cut_a);
                b.truncate(cut_b);
                (a, b)
            })
    }

    proptest! {
                #[test]
                fn a_follower_ends_on_a_prefix_of_the_leader((leader, mut follower) in histories()) {
                    let mut rounds = 0;
                    while let Some(last) = follower.last().copied() {
                        let told = diverging(last, follower.len() as i64, end_of(&leader, last));
                        let Some(told) = told else { break };
                        let keep = match told {
    Some(end) => target(end, end_of(&follower, end.leader_epoch), 0, follower.len() as i64),
                            None => 0,
                        };
                        prop_assert!((keep as usize) < follower.len(), "no progress");
                        follower.truncate(keep as usize);
                        rounds += 1;
                        prop_assert!(rounds < 20);
                    }
                    prop_assert_eq!(&follower[..], &leader[..follower.len()]);
                }
            }

    #[test]
    fn equal_logs_do_not_diverge() {
        let end = Some(EpochEnd {
            leader_epoch: 4,
            end_offset: 10,
        });
        assert_eq!(diverging(4, 10, end), None);
        assert_eq!(diverging(4, 9, end), None);
        assert_eq!(diverging(4, 11, end), Some(end));
        assert_eq!(diverging(5, 8, end), Some(end));
        assert_eq!(diverging(3, 8, None), Some(None));
    }
}
