//! Histories of a correct znode are never refused; spoiled ones are. Histories come from a real, if simulated,
//! concurrency: each call takes effect at a moment between its beginning and its end.

use proptest::prelude::*;

use super::super::linearizable::{Span, Verdict, check};
use super::*;

const BOUND: u64 = 1_000_000;

fn span(asked: Asked, outcome: Outcome, began: u64, ended: u64) -> Span<Call> {
    Span {
        call: Call { asked, outcome },
        began,
        ended: (outcome != Outcome::Unknown || ended > 0).then_some(ended),
        optional: outcome == Outcome::Unknown,
    }
}

fn verdict(spans: &[Span<Call>]) -> Verdict {
    check::<Znode>(None, spans, BOUND)
}

fn done(version: i32) -> Outcome {
    Outcome::Done {
        version: Some(version),
    }
}

fn set(value: u64) -> Asked {
    Asked::Set {
        value,
        version: None,
    }
}

#[test]
fn a_read_may_see_a_concurrent_write_or_not() {
    for found in [(1, 0), (2, 1)] {
        let history = [
            span(Asked::Create { value: 1 }, done(0), 0, 1),
            span(set(2), done(1), 2, 9),
            span(
                Asked::Get,
                Outcome::Found {
                    value: found.0,
                    version: found.1,
                },
                3,
                4,
            ),
        ];
        assert_eq!(verdict(&history), Verdict::Linearizable);
    }
}

#[test]
fn a_stale_read_is_refused() {
    let history = [
        span(Asked::Create { value: 1 }, done(0), 0, 1),
        span(set(2), done(1), 2, 3),
        span(
            Asked::Get,
            Outcome::Found {
                value: 1,
                version: 0,
            },
            4,
            5,
        ),
    ];
    assert_eq!(verdict(&history), Verdict::Refused { at: 2 });
}

#[test]
fn two_reads_may_not_disagree_about_the_order() {
    let found = |value, version| Outcome::Found { value, version };
    let history = [
        span(Asked::Create { value: 1 }, done(0), 0, 1),
        span(set(2), Outcome::Unknown, 2, 0),
        span(Asked::Get, found(2, 1), 3, 4),
        span(Asked::Get, found(1, 0), 5, 6),
    ];
    assert!(matches!(verdict(&history), Verdict::Refused { .. }));
}

#[test]
fn an_unknown_outcome_may_come_late_or_never() {
    let found = |value, version| Outcome::Found { value, version };
    let begin = [
        span(Asked::Create { value: 1 }, done(0), 0, 1),
        span(set(2), Outcome::Unknown, 2, 0),
        span(Asked::Get, found(1, 0), 3, 4),
    ];
    assert_eq!(verdict(&begin), Verdict::Linearizable);
    let mut late = begin.to_vec();
    late.push(span(Asked::Get, found(2, 1), 100, 101));
    assert_eq!(verdict(&late), Verdict::Linearizable);
    // Once only.
    late.push(span(set(3), done(2), 102, 103));
    late.push(span(Asked::Get, found(2, 3), 104, 105));
    assert!(matches!(verdict(&late), Verdict::Refused { .. }));
}

#[test]
fn an_unknown_outcome_with_an_end_does_not_come_later() {
    let found = |value, version| Outcome::Found { value, version };
    let mut history = vec![
        span(Asked::Create { value: 1 }, done(0), 0, 1),
        span(set(2), Outcome::Unknown, 2, 9),
        span(Asked::Get, found(1, 0), 3, 4),
    ];
    assert_eq!(verdict(&history), Verdict::Linearizable, "never done");
    history.push(span(Asked::Get, found(2, 1), 20, 21));
    assert_eq!(
        verdict(&history),
        Verdict::Linearizable,
        "done between 4 and 9"
    );
    history[2] = span(Asked::Get, found(1, 0), 10, 11);
    assert_eq!(verdict(&history), Verdict::Refused { at: 3 }, "not after 9");
}

/// A correct znode under random calls of several clients.
fn correct(choices: &[(u8, u8, u8, bool)]) -> Vec<Span<Call>> {
    let mut state: State = None;
    let mut free_at = [0_u64; 4];
    let mut moment = 0_u64;
    let mut history = Vec::new();
    for (value, &(what, client, length, lost)) in choices.iter().enumerate() {
        moment += 10;
        let client = usize::from(client) % free_at.len();
        let version = (what & 8 != 0).then(|| i32::from(what & 1) + state.map_or(0, |(_, is)| is));
        let value = value as u64 + 1;
        let asked = match what % 5 {
            0 => Asked::Create { value },
            1 | 2 => Asked::Set { value, version },
            3 => Asked::Delete { version },
            _ => Asked::Get,
        };
        let began = free_at[client].max(moment.saturating_sub(u64::from(length % 30)));
        let ended = moment + u64::from(length % 30);
        if began > moment {
            // That client is still busy.
            continue;
        }
        let (after, told) = apply(state, asked);
        state = after;
        free_at[client] = ended + 1;
        let outcome = if lost { Outcome::Unknown } else { told };
        let mut call = span(asked, outcome, began, ended);
        // Of what was lost, the client knows sometimes when it can no longer be done.
        call.ended = call.ended.filter(|_| !lost || length % 3 > 0);
        history.push(call);
    }
    history
}

proptest! {
    #[test]
    fn what_a_correct_znode_shows_is_never_refused(
        choices in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), prop::bool::weighted(0.05)), 1..80)
    ) {
        let history = correct(&choices);
        prop_assert_eq!(verdict(&history), Verdict::Linearizable);
    }

    #[test]
    fn one_wrong_version_is_refused(
        choices in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), prop::bool::weighted(0.05)), 1..80),
        which in any::<prop::sample::Index>(),
    ) {
        let mut history = correct(&choices);
        let known: Vec<_> = history
            .iter_mut()
            .filter_map(|span| match &mut span.call.outcome {
                Outcome::Found { version, .. } | Outcome::Done { version: Some(version) } => Some(version),
                _ => None,
            })
            .collect();
        prop_assume!(!known.is_empty());
        let at = which.index(known.len());
        for (i, version) in known.into_iter().enumerate() {
            if i == at {
                // More than all the writes of the history together.
                *version += 1_000;
            }
        }
        let verdict = verdict(&history);
        prop_assert!(matches!(verdict, Verdict::Refused { .. }), "{:?}", verdict);
    }
}
