//! Read indexes: raft drops requests silently (no leader, nothing committed in the term, a reset), so they are
//! retried here, each time under a context that is unique in the whole ensemble.
//!
//! One request is on its way at a time; who comes meanwhile rides on the next, since an index asked for before
//! a read began would be too old for it. The answer of an earlier try is as good for who was there when it was made: where
//! answers take longer than a try has, behind large entries on their way to a disk, none would count otherwise.

/// Without an answer after this long the request is made again, milliseconds.
const RETRY_MS: u64 = 100;

/// Everyone who waits for an index; `T` names a reader.
#[derive(Debug)]
pub struct Reads<T> {
    node: u64,
    boot: u64,
    counter: u64,
    waiting: Vec<Deadline<T>>,
    /// When the newest request was made that is on its way.
    made_ms: Option<u64>,
    /// Who rides, and the number of the first request that does for it; in order.
    riders: Vec<(u64, Deadline<T>)>,
}

/// When a reader gives up, and the reader.
type Deadline<T> = (u64, T);

impl<T> Reads<T> {
    /// Nobody waits.
    pub fn new(node: u64, boot: u64) -> Self {
        Self {
            node,
            boot,
            counter: 0,
            waiting: Vec::new(),
            made_ms: None,
            riders: Vec::new(),
        }
    }

    /// A reader that gives up at `deadline_ms`.
    pub fn push(&mut self, reader: T, deadline_ms: u64) {
        self.waiting.push((deadline_ms, reader));
    }

    /// The context of a request to make now.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        if self
            .made_ms
            .is_some_and(|made_ms| now_ms < made_ms + RETRY_MS)
        {
            return None;
        }
        self.made_ms = None;
        if self.waiting.is_empty() && self.riders.is_empty() {
            return None;
        }
        self.counter += 1;
        let counter = self.counter;
        let fresh = self.waiting.drain(..).map(|reader| (counter, reader));
        self.riders.extend(fresh);
        self.made_ms = Some(now_ms);
        Some(
            [self.node, self.boot, counter]
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect(),
        )
    }

    /// Raft has answered a context; who may read now, if the request was ours.
    pub fn answered(&mut self, context: &[u8]) -> Vec<T> {
        let ours = [self.node, self.boot]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .eq(context.iter().copied().take(16));
        let counter = context
            .get(16..)
            .and_then(|rest| rest.try_into().ok())
            .map(u64::from_be_bytes);
        let Some(counter) = counter.filter(|_| ours) else {
            return Vec::new();
        };
        let served = self.riders.partition_point(|(first, _)| *first <= counter);
        let riders = self.riders.drain(..served);
        let readers = riders.map(|(_, (_, reader))| reader).collect();
        if counter == self.counter || self.riders.is_empty() {
            self.made_ms = None;
        }
        readers
    }

    /// Readers whose deadline went by; they are forgotten.
    pub fn expire(&mut self, now_ms: u64) -> Vec<T> {
        let mut expired = take_late(&mut self.waiting, now_ms);
        let late = |(_, (deadline_ms, _)): &mut (u64, Deadline<T>)| *deadline_ms <= now_ms;
        let riders = self.riders.extract_if(.., late);
        expired.extend(riders.map(|(_, (_, reader))| reader));
        expired
    }
}

fn take_late<T>(readers: &mut Vec<(u64, T)>, now_ms: u64) -> Vec<T> {
    readers
        .extract_if(.., |(deadline_ms, _)| *deadline_ms <= now_ms)
        .map(|(_, reader)| reader)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_rides_on_the_next_request() {
        let mut reads = Reads::new(1, 2);
        reads.push('a', 1_000);
        let first = reads.poll(0).unwrap();
        reads.push('b', 1_000);
        assert_eq!(reads.poll(1), None);
        assert_eq!(reads.answered(&first), ['a']);
        assert_eq!(reads.answered(&first), []);
        let second = reads.poll(1).unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.answered(&second), ['b']);
    }

    #[test]
    fn a_lost_request_is_made_again_under_a_new_context() {
        let mut reads = Reads::new(1, 2);
        reads.push('a', 1_000);
        let first = reads.poll(0).unwrap();
        reads.push('b', 1_000);
        let second = reads.poll(RETRY_MS).unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.answered(&second), ['a', 'b']);
        assert_eq!(reads.answered(&first), []);
    }

    /// Where every answer takes longer than a try has, each reader is served after one way there and back.
    #[test]
    fn the_late_answer_of_an_earlier_try_serves_who_was_there() {
        let mut reads = Reads::new(1, 2);
        reads.push('a', 1_000);
        let first = reads.poll(0).unwrap();
        reads.push('b', 1_000);
        let second = reads.poll(RETRY_MS).unwrap();
        reads.push('c', 1_000);
        assert_eq!(reads.answered(&first), ['a']);
        assert_eq!(reads.poll(RETRY_MS + 1), None, "'b' rides on the second");
        let third = reads.poll(2 * RETRY_MS).unwrap();
        assert_eq!(reads.answered(&second), ['b']);
        assert_eq!(reads.answered(&third), ['c']);
        assert_eq!(reads.poll(2 * RETRY_MS + 1), None, "nobody waits");
    }

    #[test]
    fn another_nodes_context_is_not_ours() {
        let mut ours = Reads::new(1, 2);
        let mut theirs = Reads::new(2, 2);
        ours.push('a', 1_000);
        theirs.push('b', 1_000);
        let context = theirs.poll(0).unwrap();
        assert_ne!(ours.poll(0).unwrap(), context);
        assert_eq!(ours.answered(&context), []);
    }

    #[test]
    fn readers_give_up_at_their_deadline() {
        let mut reads = Reads::new(1, 2);
        reads.push('a', 10);
        reads.poll(0);
        reads.push('b', 20);
        assert_eq!(reads.expire(10), ['a']);
        assert_eq!(reads.expire(20), ['b']);
    }
}
