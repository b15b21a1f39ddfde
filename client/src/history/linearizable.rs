//! Whether a history of concurrent calls is linearizable: the search of Wing and Gong ("Testing and verifying
//! concurrent objects", 1993) with the memory of Lowe ("Testing for linearizability", 2017).
//!
//! The search walks through the events in time. A call may be placed next as long as no other call had
//! ended before it began; if the model agrees with its outcome, it is taken out and the walk begins again. At
//! an end whose call is not placed yet, the last placement was wrong. What was placed, together with
//! the state it led to, is remembered, so that no situation is tried twice.
//!
//! A call of unknown outcome is optional: it may be placed, or be left out as one that was never done. Some have an end
//! nevertheless, when the client knows that it can't be done any more; the others may be placed at any time after their
//! beginning. Calls of known outcome are tried first, so that a history in which little is unknown costs little.

use std::collections::HashSet;
use std::hash::Hash;

/// What the calls act upon.
pub trait Model {
    /// What is remembered between calls.
    type State: Clone + Eq + Hash;
    /// A call with its outcome, if that is known.
    type Call;
    /// The state after the call, if its outcome is possible in this state.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call and when it was under way, in any unit of one clock.
#[derive(Debug, Clone)]
pub struct Span<C> {
    /// What was called, and what came of it.
    pub call: C,
    /// Just before it was sent.
    pub began: u64,
    /// Just after its answer, or when it can no longer be done; `None` if that never was so.
    pub ended: Option<u64>,
    /// Whether it may never have been done.
    pub optional: bool,
}

/// The end of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists.
    Linearizable,
    /// No order exists. The longest one that was found stops before this call (its place in the history).
    Refused {
        /// Index of the first call that no order could go beyond.
        at: usize,
    },
    /// Not decided within the bound of steps.
    Undecided,
}

#[derive(Clone, Copy)]
struct Event {
    call: usize,
    is_end: bool,
}

/// Events in time as a list that calls are taken out of and put back into. Place 0 is before the first.
struct Timeline {
    events: Vec<Event>,
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where the beginning and the end of each call stand.
    places: Vec<(usize, Option<usize>)>,
    ends_left: usize,
}

const NOWHERE: usize = usize::MAX;

impl Timeline {
    fn new<C>(spans: &[Span<C>]) -> Self {
        let mut events = Vec::with_capacity(spans.len() * 2);
        for (call, span) in spans.iter().enumerate() {
            events.push((span.began, false, call));
            if let Some(ended) = span.ended {
                events.push((ended.max(span.began), true, call));
            }
        }
        // Of what happened at the same moment, beginnings come first: that allows more orders, never fewer.
        events.sort_unstable();
        let mut places = vec![(NOWHERE, None); spans.len()];
        for (place, &(_, is_end, call)) in events.iter().enumerate() {
            match is_end {
                false => places[call].0 = place + 1,
                true => places[call].1 = Some(place + 1),
            }
        }
        let count = events.len();
        let events = events.into_iter();
        Self {
            events: events
                .map(|(_, is_end, call)| Event { call, is_end })
                .collect(),
            next: (1..=count).chain([NOWHERE]).collect(),
            before: (0..=count).map(|place| place.wrapping_sub(1)).collect(),
            ends_left: places.iter().filter(|(_, end)| end.is_some()).count(),
            places,
        }
    }

    fn at(&self, place: usize) -> Option<Event> {
        (place != NOWHERE).then(|| self.events[place - 1])
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn unlink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        if next != NOWHERE {
            self.before[next] = before;
        }
    }

    fn link(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        if next != NOWHERE {
            self.before[next] = place;
        }
    }

    fn take_out(&mut self, call: usize) {
        let (began, ended) = self.places[call];
        self.unlink(began);
        if let Some(ended) = ended {
            self.unlink(ended);
            self.ends_left -= 1;
        }
    }

    /// Undoes the latest [`Self::take_out`] that was not undone yet.
    fn put_back(&mut self, call: usize) -> usize {
        let (began, ended) = self.places[call];
        if let Some(ended) = ended {
            self.link(ended);
            self.ends_left += 1;
        }
        self.link(began);
        began
    }
}

/// A hash of the set of placed calls: each call has a random number, a set is their sum by exclusive or. Two sets
/// of one search share a hash with a chance below 2^-80, so only the hash is kept.
fn mark(call: usize) -> u128 {
    // SplitMix64 (Steele, Lea, Flood 2014), twice.
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let call = call as u64;
    (u128::from(mix(2 * call + 1)) << 64) | u128::from(mix(2 * call + 2))
}

/// What a search has done last.
struct Placed<S> {
    call: usize,
    before: S,
    /// Left out at its end, instead of placed.
    left_out: bool,
}

struct Search<'a, M: Model> {
    spans: &'a [Span<M::Call>],
    timeline: Timeline,
    seen: HashSet<(u128, M::State)>,
    placed: Vec<Placed<M::State>>,
    state: M::State,
    set: u128,
    steps: u64,
}

/// Where a walk through the timeline is: first it looks for calls that were done, then for optional ones.
#[derive(Clone, Copy)]
struct Walk {
    place: usize,
    optional: bool,
}

impl<M: Model> Search<'_, M> {
    fn begin(&self, optional: bool) -> Walk {
        Walk {
            place: self.timeline.first(),
            optional,
        }
    }

    /// Takes a call out, if that leads to a new situation.
    fn take(&mut self, call: usize, after: M::State, left_out: bool) -> bool {
        let with = self.set ^ mark(call);
        if !self.seen.insert((with, after.clone())) {
            return false;
        }
        self.steps += 1;
        let before = std::mem::replace(&mut self.state, after);
        self.placed.push(Placed {
            call,
            before,
            left_out,
        });
        self.set = with;
        self.timeline.take_out(call);
        true
    }

    /// Takes back the last step that has another way, and goes on there. `None` if there is none.
    fn back(&mut self) -> Option<Walk> {
        let last = self.placed.pop()?;
        self.state = last.before;
        self.set ^= mark(last.call);
        let began = self.timeline.put_back(last.call);
        Some(match last.left_out {
            // Then it was done, or another optional one was.
            true => self.begin(true),
            false => Walk {
                place: self.timeline.next[began],
                optional: self.spans[last.call].optional,
            },
        })
    }

    /// One step of a walk. `None` when no order is left to try.
    fn step(&mut self, walk: Walk) -> Option<Walk> {
        let Some(event) = self.timeline.at(walk.place) else {
            unreachable!("an end is left, and a walk stops at the first one");
        };
        let span = &self.spans[event.call];
        if event.is_end {
            if walk.optional {
                return self.back();
            }
            let state = self.state.clone();
            if span.optional && self.take(event.call, state, true) {
                return Some(self.begin(false));
            }
            return Some(self.begin(true));
        }
        if span.optional == walk.optional
            && let Some(after) = M::step(&self.state, &span.call)
            && self.take(event.call, after, false)
        {
            return Some(self.begin(false));
        }
        Some(Walk {
            place: self.timeline.next[walk.place],
            ..walk
        })
    }
}

/// Searches for an order of the calls that the model agrees with. Gives up after `bound` placements.
#[must_use]
pub fn check<M: Model>(initial: M::State, spans: &[Span<M::Call>], bound: u64) -> Verdict {
    let mut search: Search<'_, M> = Search {
        spans,
        timeline: Timeline::new(spans),
        seen: HashSet::new(),
        placed: Vec::new(),
        state: initial,
        set: 0,
        steps: 0,
    };
    let (mut walk, mut furthest) = (search.begin(false), 0);
    while search.timeline.ends_left > 0 {
        if search.steps > bound {
            return Verdict::Undecided;
        }
        if search
            .timeline
            .at(walk.place)
            .is_some_and(|event| event.is_end)
        {
            furthest = furthest.max(walk.place);
        }
        let Some(next) = search.step(walk) else {
            let at = search.timeline.at(furthest).map_or(0, |event| event.call);
            return Verdict::Refused { at };
        };
        walk = next;
    }
    Verdict::Linearizable
}
