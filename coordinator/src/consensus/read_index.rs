//! Read indexes: raft drops requests silently (no leader, nothing committed in the term, a reset), so they are
//! retried here, each time under a context that is unique in the whole ensemble.
//!
//! One request is on its way at a time; who comes meanwhile rides on the next, since an index asked for before
//! a read began would be too old for it.

/// Without an answer after this long the request is made again, milliseconds.
const RETRY_MS: u64 = 100;

/// Everyone who waits for an index; `T` names a reader.
#[derive(Debug)]
pub struct Reads<T> {
    node: u64,
    boot: u64,
    counter: u64,
    waiting: Vec<Deadline<T>>,
    /// Counter of the request on its way, when it was made, and who rides on it.
    flight: Option<(u64, u64, Vec<Deadline<T>>)>,
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
            flight: None,
        }
    }

    /// A reader that gives up at `deadline_ms`.
    pub fn push(&mut self, reader: T, deadline_ms: u64) {
        self.waiting.push((deadline_ms, reader));
    }

    /// The context of a request to make now.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        match &mut self.flight {
            Some((_, made_ms, _)) if now_ms < *made_ms + RETRY_MS => return None,
            Some((_, _, riders)) => self.waiting.append(riders),
            None => {}
        }
        self.flight = None;
        if self.waiting.is_empty() {
            return None;
        }
        self.counter += 1;
        self.flight = Some((self.counter, now_ms, std::mem::take(&mut self.waiting)));
        Some(
            [self.node, self.boot, self.counter]
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect(),
        )
    }

    /// Raft has answered a context; who may read now, if the request was ours and the newest.
    pub fn answered(&mut self, context: &[u8]) -> Vec<T> {
        let ours = [self.node, self.boot]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .eq(context.iter().copied().take(16));
        let counter = context
            .get(16..)
            .and_then(|rest| rest.try_into().ok())
            .map(u64::from_be_bytes);
        match self
            .flight
            .take_if(|(number, _, _)| ours && Some(*number) == counter)
        {
            Some((_, _, riders)) => riders.into_iter().map(|(_, reader)| reader).collect(),
            None => Vec::new(),
        }
    }

    /// Readers whose deadline went by; they are forgotten.
    pub fn expire(&mut self, now_ms: u64) -> Vec<T> {
        let mut expired = take_late(&mut self.waiting, now_ms);
        if let Some((_, _, riders)) = &mut self.flight {
            expired.extend(take_late(riders, now_ms));
        }
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
        assert_eq!(
            reads.answered(&first),
            [],
            "'b' rides on it too and came after it"
        );
        assert_eq!(reads.answered(&second), ['b', 'a']);
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
