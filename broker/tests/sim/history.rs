//! What clients saw, and what may not be. Each rule is checked when something is told, or at the end against the
//! logs; what is wrong is kept as a line of text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;

use crate::commits::Commits;
use crate::trace::Trace;

/// Topic and partition.
pub type Part = (String, i32);

/// A batch that a producer sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Its records.
    pub values: Vec<String>,
}

/// Everything that clients told; clones share it.
#[derive(Clone)]
pub struct History {
    book: Arc<Mutex<Book>>,
    trace: Trace,
}

/// The history itself.
#[derive(Default)]
pub struct Book {
    sent: BTreeMap<Part, BTreeSet<String>>,
    acknowledged: BTreeMap<Part, BTreeMap<String, i64>>,
    seen: BTreeMap<Part, BTreeMap<i64, String>>,
    excused: BTreeSet<Part>,
    /// Stored once, by topic, in its present life.
    stored: BTreeMap<String, BTreeSet<String>>,
    /// The same of topics that were deleted since.
    buried: BTreeMap<String, BTreeSet<String>>,
    /// Under which leader epochs, named by consumers, brokers answered.
    served: BTreeSet<(Part, i32, i32)>,
    /// Of the group.
    pub commits: Commits,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Batches acknowledged, records seen.
    pub counts: (u64, u64),
}

impl History {
    /// Nothing was told.
    pub fn new(trace: Trace) -> History {
        History {
            book: Arc::default(),
            trace,
        }
    }

    /// The book, to be asked and added to.
    pub fn book(&self) -> parking_lot::MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// Something may not be.
    pub fn wrong(&self, what: String) {
        let mut book = self.book.lock();
        // What stays wrong is found at each look.
        if !book.wrong.contains(&what) {
            self.trace.line(|| format!("WRONG: {what}"));
            book.wrong.push(what);
        }
    }

    fn tell(&self, told: Result<(), String>) {
        if let Err(what) = told {
            self.wrong(what);
        }
    }

    /// A producer has its id.
    pub fn producer(&self, number: u32, id: i64) {
        self.trace.line(|| format!("p{number} is producer {id}"));
    }

    /// A batch goes out for the first time.
    pub fn sent(&self, sent: &Sent) {
        self.trace
            .line(|| format!("sent {} {:?}", sent.topic, sent.values));
        self.book.lock().sent(sent);
    }

    /// It was acknowledged by all.
    pub fn acknowledged(&self, sent: &Sent, offset: i64) {
        self.trace.line(|| {
            let at = (&sent.topic, sent.partition);
            format!("acknowledged {at:?} {:?} at {offset}", sent.values)
        });
        let told = self.book.lock().acknowledged(sent, offset);
        self.tell(told);
    }

    /// A careless producer's record was stored.
    pub fn stored(&self, sent: &Sent) {
        self.book.lock().stored(sent);
    }

    /// A topic is about to be deleted.
    pub fn bury(&self, topic: &str) {
        self.trace
            .line(|| format!("topic {topic} is to be deleted"));
        self.book.lock().bury(topic);
    }

    /// An idempotent producer cannot go on.
    pub fn refused(&self, number: u32, sent: &Sent, error: ResponseError) {
        let part = (sent.topic.clone(), sent.partition);
        if !self.book.lock().excused.contains(&part) {
            self.wrong(format!(
                "p{number} was refused for good with {error:?}: {sent:?}"
            ));
        }
    }

    /// A consumer saw a record at `at` while it waited for `next`.
    pub fn seen(
        &self,
        topic: &str,
        partition: i32,
        (next, at): (i64, i64),
        value: &str,
        high_watermark: i64,
    ) {
        let part = (topic.to_owned(), partition);
        let told = self
            .book
            .lock()
            .seen(&part, (next, at), value, high_watermark);
        self.tell(told);
    }

    /// A member was assigned partitions.
    pub fn assigned(&self, generation: i32, member: &str, parts: &[i32]) {
        self.trace
            .line(|| format!("group: in generation {generation} {member} has {parts:?}"));
        let told = self.book.lock().commits.assign(generation, member, parts);
        self.tell(told);
    }

    /// A member is about to commit.
    pub fn commit_begins(&self, part: i32, generation: i32) -> i64 {
        self.book.lock().commits.begin(part, generation)
    }

    /// A commit was acknowledged.
    pub fn committed(&self, part: i32, number: i64) {
        self.trace
            .line(|| format!("group: committed {number} of {part}"));
        let told = self.book.lock().commits.done(number);
        self.tell(told);
    }

    /// A commit was refused.
    pub fn commit_refused(&self, part: i32, number: i64) {
        self.trace
            .line(|| format!("group: refused {number} of {part}"));
        self.book.lock().commits.refuse(number);
    }

    /// A time, for [`Self::looked_up`].
    pub fn now(&self) -> u64 {
        self.book.lock().commits.now()
    }

    /// What is committed of a partition, as a member of some generation asked at `since`.
    pub fn looked_up(&self, part: (i32, i32), number: i64, since: u64) {
        self.trace
            .line(|| format!("group: {part:?} is at {number} (partition, generation)"));
        let told = self.book.lock().commits.look_up(part, number, since);
        self.tell(told);
    }

    /// A broker answered a consumer that named a leader epoch.
    pub fn served(&self, topic: &str, partition: i32, epoch: i32, broker: i32) {
        let part = (topic.to_owned(), partition);
        self.book.lock().served.insert((part, epoch, broker));
    }

    /// A consumer was told that its offset does not exist.
    pub fn out_of_range(&self, topic: &str, partition: i32, offset: i64, broker: i32) {
        let part = (topic.to_owned(), partition);
        if !self.book.lock().excused.contains(&part) {
            self.wrong(format!(
                "b{broker} says that {topic}-{partition} has no offset {offset}"
            ));
        }
    }
}

impl Book {
    /// Every replica in sync lost its page cache: what was acknowledged without being synced may be gone.
    pub fn excuse(&mut self, part: &Part) {
        self.excused.insert(part.clone());
        self.commits.excused |= part.0.starts_with("__");
    }

    /// Partition, leader epoch, and who answered a consumer that named it.
    pub fn served(&self) -> impl Iterator<Item = &(Part, i32, i32)> {
        self.served.iter()
    }

    /// Batches acknowledged of a partition.
    pub fn acknowledged_of(&self, part: &Part) -> usize {
        self.acknowledged.get(part).map_or(0, BTreeMap::len)
    }

    /// Whether records may be missing.
    pub fn is_excused(&self, part: &Part) -> bool {
        self.excused.contains(part)
    }

    fn stored(&mut self, sent: &Sent) {
        let stored = self.stored.entry(sent.topic.clone()).or_default();
        stored.extend(sent.values.iter().cloned());
    }

    fn bury(&mut self, topic: &str) {
        let stored = self.stored.remove(topic).unwrap_or_default();
        let buried = self.buried.entry(topic.to_owned()).or_default();
        buried.extend(stored);
    }

    fn sent(&mut self, sent: &Sent) {
        let part = (sent.topic.clone(), sent.partition);
        let all = self.sent.entry(part).or_default();
        all.extend(sent.values.iter().cloned());
    }

    fn acknowledged(&mut self, sent: &Sent, offset: i64) -> Result<(), String> {
        let part = (sent.topic.clone(), sent.partition);
        self.counts.0 += 1;
        let all = self.acknowledged.entry(part.clone()).or_default();
        for (value, at) in sent.values.iter().zip(offset..) {
            all.insert(value.clone(), at);
        }
        if self.excused.contains(&part) {
            return Ok(());
        }
        let seen = self.seen.get(&part);
        for (value, at) in sent.values.iter().zip(offset..) {
            let found = seen.and_then(|seen| seen.get(&at));
            if let Some(found) = found.filter(|found| *found != value) {
                return Err(format!(
                    "{part:?}: {value} was acknowledged at {at}, where {found} was seen before"
                ));
            }
        }
        Ok(())
    }

    fn seen(
        &mut self,
        part: &Part,
        (next, at): (i64, i64),
        value: &str,
        high_watermark: i64,
    ) -> Result<(), String> {
        self.counts.1 += 1;
        if at >= high_watermark {
            return Err(format!(
                "{part:?}: {value} was seen at {at}, at or above the high watermark {high_watermark}"
            ));
        }
        if !self.sent.get(part).is_some_and(|sent| sent.contains(value)) {
            return Err(format!(
                "{part:?}: {value} was seen at {at}, and never sent"
            ));
        }
        if self.excused.contains(part) {
            return Ok(());
        }
        if at != next {
            return Err(format!(
                "{part:?}: {value} was seen at {at} after {next} was due"
            ));
        }
        let seen = self.seen.entry(part.clone()).or_default();
        match seen.get(&at) {
            Some(before) if before != value => Err(format!(
                "{part:?}: at {at} {before} was seen, and now {value}"
            )),
            Some(_) => Ok(()),
            None => {
                seen.insert(at, value.to_owned());
                Ok(())
            }
        }
    }

    /// Holds what clients know against a log as it stands at the end.
    pub fn against_log(&self, part: &Part, log: &[(i64, String)]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut offsets: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (offset, value) in log {
            offsets.entry(value).or_default().push(*offset);
            if !self.sent.get(part).is_some_and(|sent| sent.contains(value)) {
                wrong.push(format!("{part:?}: {value} is stored, and was never sent"));
            }
        }
        let buried = self.buried.get(&part.0);
        let risen = log
            .iter()
            .filter(|(_, value)| buried.is_some_and(|b| b.contains(value)));
        wrong.extend(risen.map(|(offset, value)| {
            format!("{part:?}: {value} at {offset} is of a topic that was deleted")
        }));
        let idempotent = |value: &str| value.starts_with('p');
        let doubled = offsets.iter().filter(|(_, at)| at.len() > 1);
        wrong.extend(
            doubled.map(|(value, at)| format!("{part:?}: {value} is stored twice, at {at:?}")),
        );
        let mut last: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for (offset, value) in log.iter().filter(|(_, value)| idempotent(value)) {
            let (producer, number) = value.split_once('-').unwrap_or((value, "0"));
            let number: i64 = number.parse().unwrap_or(-1);
            let before = last.insert(producer, (number, *offset));
            if before.is_some_and(|(before, _)| before + 1 != number) && !self.is_excused(part) {
                wrong.push(format!("{part:?}: {value} at {offset} follows {before:?}"));
            }
        }
        if self.is_excused(part) {
            return wrong;
        }
        let at: BTreeMap<i64, &str> = log.iter().map(|(at, value)| (*at, &**value)).collect();
        for (value, offset) in self.acknowledged.get(part).into_iter().flatten() {
            if at.get(offset) != Some(&&**value) {
                wrong.push(format!(
                    "{part:?}: {value} was acknowledged at {offset}, where {:?} is stored",
                    at.get(offset)
                ));
            }
        }
        for (offset, value) in self.seen.get(part).into_iter().flatten() {
            if at.get(offset) != Some(&&**value) {
                wrong.push(format!(
                    "{part:?}: {value} was seen at {offset}, where {:?} is stored",
                    at.get(offset)
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        ("t".to_owned(), 0)
    }

    fn sent(values: &[&str]) -> Sent {
        Sent {
            topic: "t".to_owned(),
            partition: 0,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    fn log(values: &[&str]) -> Vec<(i64, String)> {
        (0..).zip(values.iter().map(|v| (*v).to_owned())).collect()
    }

    fn book() -> Book {
        let mut book = Book::default();
        book.sent(&sent(&["p1-0", "p1-1", "p1-2", "q2-0"]));
        book.acknowledged(&sent(&["p1-0", "p1-1"]), 0)
            .expect("fine");
        book.seen(&part(), (0, 0), "p1-0", 1).expect("fine");
        book
    }

    #[test]
    fn a_good_log_is_good() {
        let log = log(&["p1-0", "p1-1", "q2-0", "p1-2"]);
        assert_eq!(book().against_log(&part(), &log), Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_doubled_reordered_or_invented_is_found() {
        let spoiled: [&[&str]; 5] = [
            &["p1-0"],
            &["p1-0", "p1-1", "p1-1"],
            &["p1-1", "p1-0"],
            &["p1-0", "p1-1", "x"],
            &["p1-0", "p1-1", "q2-0", "q2-0"],
        ];
        for values in spoiled {
            let wrong = book().against_log(&part(), &log(values));
            assert!(!wrong.is_empty(), "{values:?}");
        }
    }

    #[test]
    fn what_only_seemed_committed_is_found_too() {
        let mut book = book();
        book.seen(&part(), (2, 2), "q2-0", 3).expect("fine");
        let wrong = book.against_log(&part(), &log(&["p1-0", "p1-1"]));
        assert!(wrong[0].contains("q2-0 was seen at 2"), "{wrong:?}");
    }

    #[test]
    fn a_consumer_may_not_see_changes_gaps_the_uncommitted_or_the_unsent() {
        let cases = [
            ((0, 0), "p1-1", 9, "and now"),
            ((1, 2), "p1-1", 9, "was due"),
            ((1, 1), "p1-1", 1, "above the high watermark"),
            ((1, 1), "x", 9, "never sent"),
        ];
        for (at, value, high_watermark, why) in cases {
            let told = book().seen(&part(), at, value, high_watermark);
            assert!(told.as_ref().is_err_and(|e| e.contains(why)), "{told:?}");
        }
        let other = book().acknowledged(&sent(&["p1-2"]), 0);
        assert!(other.is_err(), "two records at one offset");
    }

    #[test]
    fn records_of_a_deleted_topic_are_found() {
        let mut book = book();
        book.stored(&sent(&["q2-0"]));
        book.bury("t");
        let wrong = book.against_log(&part(), &log(&["p1-0", "p1-1", "q2-0"]));
        assert!(wrong[0].contains("deleted"), "{wrong:?}");
    }

    #[test]
    fn where_all_lost_their_page_cache_records_may_be_gone_but_not_doubled() {
        let mut book = book();
        book.excuse(&part());
        assert_eq!(book.against_log(&part(), &[]), Vec::<String>::new());
        let log = log(&["p1-0", "p1-0"]);
        assert!(!book.against_log(&part(), &log).is_empty());
    }
}
