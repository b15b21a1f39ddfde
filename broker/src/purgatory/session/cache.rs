//! The sessions of a broker, by id. A request takes one out while it works, so no lock is held while it waits; a
//! request that is dropped meanwhile, its connection having closed, takes the session with it.
//!
//! Followers always get one, in place of the one they had; one that follows nothing here any more says so, and has none. Consumers share `max.incremental.fetch.session.cache.slots`: when
//! all are taken, who has been silent for [`IDLE`] makes room, else the next one gets none and names its partitions in
//! each request.

use super::Session;
use crate::clock;
use crate::limits::MAX_SESSION_PARTITIONS;
use crate::replica::hosted::Reader;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use thiserror::Error;
use zweig_monitoring::Counter;

/// Whoever was silent for so long may lose its session to another reader (Kafka's
/// `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const IDLE: Duration = Duration::from_secs(120);

/// The epoch of the request behind the one that opened a session.
const FIRST_EPOCH: i32 = 1;

/// Why a request can't go on with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoSession {
    /// It is not there, or it is another reader's.
    #[error("fetch session not found")]
    NotFound,
    /// The request is not the next one.
    #[error("fetch session epoch {told}, expected {expected}")]
    WrongEpoch {
        /// What the request said.
        told: i32,
        /// What it should have said.
        expected: i32,
    },
}

struct Cached {
    /// `None` while a request works with it.
    session: Option<Session>,
    reader: Reader,
    /// Of the next request.
    epoch: i32,
    used: Instant,
    partitions: usize,
}

#[derive(Default)]
struct Cache {
    sessions: HashMap<i32, Cached>,
    consumers: usize,
    /// Of the consumers' sessions.
    partitions: usize,
}

/// See the module.
pub struct FetchSessions {
    cache: Mutex<Cache>,
    /// For consumers.
    slots: usize,
    evictions: Counter,
}

/// A session that a request works with. Unless it is given back it is gone.
pub struct InUse<'a> {
    sessions: &'a FetchSessions,
    id: i32,
    session: Session,
    kept: bool,
}

impl FetchSessions {
    /// None yet; so many at most for consumers.
    #[must_use]
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions {
            cache: Mutex::default(),
            slots,
            evictions: Counter::default(),
        }
    }

    /// Whether a session of so many partitions would be kept now, perhaps in place of one that idles.
    pub fn has_room(&self, reader: Reader, partitions: usize) -> bool {
        let mut cache = self.cache.lock();
        let (has_room, evicted) = self.make_room(&mut cache, reader, partitions);
        drop(cache);
        self.evictions.add(evicted.len() as u64);
        has_room
    }

    /// Keeps a session for its reader, and returns its id; 0 if there is no room for it.
    pub fn open(&self, session: Session) -> i32 {
        let (reader, partitions) = (session.reader(), session.len());
        let mut cache = self.cache.lock();
        let former = match reader {
            Reader::Follower(follower) => cache.remove_followers(follower.broker),
            Reader::Consumer { .. } => Vec::new(),
        };
        let (has_room, evicted) = self.make_room(&mut cache, reader, partitions);
        let id = match has_room {
            false => 0,
            true => {
                let id = cache.unused_id();
                let cached = Cached {
                    reader,
                    session: Some(session),
                    epoch: FIRST_EPOCH,
                    used: clock::now(),
                    partitions,
                };
                cache.insert(id, cached);
                id
            }
        };
        drop(cache);
        self.evictions.add(evicted.len() as u64);
        drop((former, evicted));
        id
    }

    /// Takes a session out for its reader's next request.
    pub fn take(&self, id: i32, epoch: i32, reader: Reader) -> Result<InUse<'_>, NoSession> {
        let mut cache = self.cache.lock();
        let cached = cache.sessions.get_mut(&id).ok_or(NoSession::NotFound)?;
        if cached.reader != reader {
            return Err(NoSession::NotFound);
        }
        let wrong = NoSession::WrongEpoch {
            told: epoch,
            expected: cached.epoch,
        };
        if cached.epoch != epoch {
            return Err(wrong);
        }
        let session = cached.session.take().ok_or(wrong)?;
        cached.used = clock::now();
        Ok(InUse {
            sessions: self,
            id,
            session,
            kept: false,
        })
    }

    /// Forgets a session, if it is there.
    pub fn close(&self, id: i32) {
        let closed = self.cache.lock().remove(id);
        // Not under the lock: it may be large.
        drop(closed);
    }

    /// How many there are, and how many partitions they remember.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let cache = self.cache.lock();
        let partitions = cache.sessions.values().map(|cached| cached.partitions);
        (cache.sessions.len(), partitions.sum())
    }

    /// How many were given up for others.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    /// Whether such a session has room, and those that made it. All that followers have is room.
    fn make_room(
        &self,
        cache: &mut Cache,
        reader: Reader,
        partitions: usize,
    ) -> (bool, Vec<Cached>) {
        let mut evicted = Vec::new();
        if matches!(reader, Reader::Follower(_)) {
            return (true, evicted);
        }
        if self.slots == 0 || partitions > MAX_SESSION_PARTITIONS {
            return (false, evicted);
        }
        let now = clock::now();
        while cache.consumers >= self.slots
            || cache.partitions + partitions > MAX_SESSION_PARTITIONS
        {
            match cache.idlest(now).and_then(|id| cache.remove(id)) {
                Some(idle) => evicted.push(idle),
                None => return (false, evicted),
            }
        }
        (true, evicted)
    }

    /// Keeps a session for the next request, unless it was closed meanwhile or has grown beyond what there is room for.
    fn give_back(&self, id: i32, session: Session) -> bool {
        let mut cache = self.cache.lock();
        let Some(mut cached) = cache.remove(id) else {
            return false;
        };
        let before = std::mem::replace(&mut cached.partitions, session.len());
        let grows = cached.partitions > before && !cached.is_followers();
        if grows && cache.partitions + cached.partitions > MAX_SESSION_PARTITIONS {
            return false;
        }
        cached.epoch = match cached.epoch {
            i32::MAX => FIRST_EPOCH,
            epoch => epoch + 1,
        };
        cached.session = Some(session);
        cache.insert(id, cached);
        true
    }
}

impl InUse<'_> {
    /// The session.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The request is answered. Returns the session's id; 0 if it is gone, since nothing is wanted any more or others need
    /// the room.
    #[must_use]
    pub fn done(mut self) -> i32 {
        if self.session.is_empty() {
            return 0;
        }
        let nothing = Session::new(self.session.reader(), self.session.is_by_id());
        let session = std::mem::replace(&mut self.session, nothing);
        self.kept = self.sessions.give_back(self.id, session);
        match self.kept {
            true => self.id,
            false => 0,
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.sessions.close(self.id);
        }
    }
}

impl Cached {
    fn is_followers(&self) -> bool {
        matches!(self.reader, Reader::Follower(_))
    }
}

impl Cache {
    fn insert(&mut self, id: i32, cached: Cached) {
        if !cached.is_followers() {
            self.consumers += 1;
            self.partitions += cached.partitions;
        }
        self.sessions.insert(id, cached);
    }

    fn remove(&mut self, id: i32) -> Option<Cached> {
        let removed = self.sessions.remove(&id)?;
        if !removed.is_followers() {
            self.consumers -= 1;
            self.partitions -= removed.partitions;
        }
        Some(removed)
    }

    /// A follower has one fetcher, and so one session.
    fn remove_followers(&mut self, broker: i32) -> Vec<Cached> {
        let of_it = |cached: &Cached| matches!(cached.reader, Reader::Follower(follower) if follower.broker == broker);
        let former: Vec<i32> = self
            .sessions
            .iter()
            .filter(|(_, cached)| of_it(cached))
            .map(|(id, _)| *id)
            .collect();
        former
            .into_iter()
            .filter_map(|id| self.remove(id))
            .collect()
    }

    /// The consumer that has been silent longest, if that is long.
    fn idlest(&self, now: Instant) -> Option<i32> {
        let idle = self.sessions.iter().filter(|(_, cached)| {
            cached.session.is_some()
                && !cached.is_followers()
                && now.saturating_duration_since(cached.used) >= IDLE
        });
        idle.min_by_key(|(_, cached)| cached.used)
            .map(|(id, _)| *id)
    }

    fn unused_id(&self) -> i32 {
        loop {
            let (high, low) = crate::chance::uuid().as_u64_pair();
            let id = i32::try_from((high ^ low) >> 33).unwrap_or(0);
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Named;
    use super::*;
    use crate::replica::hosted::{FollowerRead, PartitionError, ReadFrom};
    use kafka_protocol::messages::TopicName;
    use uuid::Uuid;

    const CONSUMER: Reader = Reader::Consumer {
        committed_only: false,
    };

    fn follower(broker: i32) -> Reader {
        let broker_epoch = Some(7);
        Reader::Follower(FollowerRead {
            broker,
            broker_epoch,
        })
    }

    fn want(session: &mut Session, partitions: std::ops::Range<usize>) {
        for partition in partitions {
            let named = Named {
                topic: TopicName::default(),
                topic_id: Uuid::nil(),
                partition: i32::try_from(partition).expect("small"),
            };
            let from = ReadFrom {
                leader_epoch: -1,
                offset: 0,
                last_fetched_epoch: -1,
                max_bytes: 1,
                min_one: false,
            };
            session.want(named, Err(PartitionError::Unknown), from);
        }
    }

    fn session(reader: Reader, partitions: usize) -> Session {
        let mut session = Session::new(reader, true);
        want(&mut session, 0..partitions);
        session
    }

    fn silent_for(sessions: &FetchSessions, id: i32, silence: Duration) {
        let mut cache = sessions.cache.lock();
        let cached = cache.sessions.get_mut(&id).expect("a session");
        cached.used = clock::now().checked_sub(silence).expect("a past");
    }

    #[test]
    fn consumers_that_idle_make_room_and_others_do_not() {
        let sessions = FetchSessions::new(2);
        let first = sessions.open(session(CONSUMER, 3));
        let second = sessions.open(session(CONSUMER, 4));
        assert_eq!(sessions.count(), (2, 7));
        assert_eq!(sessions.open(session(CONSUMER, 1)), 0);
        silent_for(&sessions, first, IDLE);
        silent_for(&sessions, second, IDLE * 2);
        let busy = sessions.take(second, FIRST_EPOCH, CONSUMER).expect("there");
        silent_for(&sessions, second, IDLE * 2);
        let third = sessions.open(session(CONSUMER, 1));
        assert!(third != 0 && third != second);
        assert!(sessions.take(first, FIRST_EPOCH, CONSUMER).is_err());
        assert_eq!(busy.done(), second);
        assert_eq!((sessions.count(), sessions.evictions()), ((2, 5), 1));
    }

    #[test]
    fn followers_have_one_each_whatever_the_slots() {
        let sessions = FetchSessions::new(0);
        assert_eq!(sessions.open(session(CONSUMER, 1)), 0);
        let first = sessions.open(session(follower(1), 3));
        let second = sessions.open(session(follower(2), 5));
        let again = sessions.open(session(follower(1), 4));
        assert!(first != 0 && second != 0 && again != 0);
        assert_eq!(sessions.count(), (2, 9));
        let gone = sessions.take(first, FIRST_EPOCH, follower(1));
        assert_eq!(gone.err(), Some(NoSession::NotFound));
    }

    #[test]
    fn no_more_partitions_are_remembered_than_the_limit() {
        let sessions = FetchSessions::new(9);
        let id = sessions.open(session(CONSUMER, MAX_SESSION_PARTITIONS));
        assert_ne!(id, 0);
        assert_eq!(sessions.open(session(CONSUMER, 1)), 0);
        let mut grows = sessions.take(id, FIRST_EPOCH, CONSUMER).expect("there");
        let next = MAX_SESSION_PARTITIONS;
        want(grows.session(), next..next + 1);
        assert_eq!(grows.done(), 0);
        assert_eq!(sessions.count(), (0, 0));
    }

    #[test]
    fn a_session_that_was_closed_while_it_worked_does_not_come_back() {
        let sessions = FetchSessions::new(9);
        let id = sessions.open(session(CONSUMER, 1));
        let works = sessions.take(id, FIRST_EPOCH, CONSUMER).expect("there");
        let twice = sessions.take(id, FIRST_EPOCH, CONSUMER);
        assert!(matches!(twice.err(), Some(NoSession::WrongEpoch { .. })));
        sessions.close(id);
        assert_eq!(works.done(), 0);
        assert_eq!(sessions.count(), (0, 0));
    }
}
