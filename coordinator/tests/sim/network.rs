//! Links that lose, delay, repeat, reorder and cut.
//!
//! A lost message breaks its stream, as it does with TCP: the sender is told later that the stream stands
//! again. Messages of one stream may overtake each other all the same, which is worse than TCP.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Message;
use zweig_coordinator::consensus::node::PeerMessage;
use zweig_coordinator::storage::MemoryStore;

use crate::chance::Chance;

/// What travels.
pub enum Cargo {
    Message(PeerMessage),
    /// A checkpoint with its announcement.
    Checkpoint(Box<Message>, Box<MemoryStore>),
}

pub struct Envelope {
    /// The server that sent it.
    pub from: u64,
    /// Its raft id then.
    pub sender: u64,
    pub boot: u64,
    pub to: u64,
    pub cargo: Cargo,
}

/// How bad it is just now; 0: never.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// One message in so many is lost.
    pub loss: u64,
    /// One in so many arrives twice.
    pub repeat: u64,
    /// Longest delay, milliseconds; the shortest is 1.
    pub delay_ms: u64,
}

#[derive(Default)]
pub struct Network {
    on_the_way: BTreeMap<(u64, u64), Envelope>,
    sequence: u64,
    pub weather: Weather,
    /// Directions that let nothing through.
    pub cut: BTreeSet<(u64, u64)>,
    /// Streams that lost something and have not been renewed.
    pub broken: BTreeSet<(u64, u64)>,
}

impl Network {
    pub fn send(&mut self, now: u64, chance: &mut Chance, envelope: Envelope) -> bool {
        let way = (envelope.from, envelope.to);
        let weather = self.weather;
        if self.cut.contains(&way) || (weather.loss > 0 && chance.once_in(weather.loss)) {
            self.broken.insert(way);
            return false;
        }
        if weather.repeat > 0
            && chance.once_in(weather.repeat)
            && let Cargo::Message(message) = &envelope.cargo
        {
            let cargo = Cargo::Message(message.clone());
            self.put(now, chance, Envelope { cargo, ..envelope });
        }
        self.put(now, chance, envelope);
        true
    }

    fn put(&mut self, now: u64, chance: &mut Chance, envelope: Envelope) {
        self.sequence += 1;
        let at = now + 1 + chance.below(self.weather.delay_ms.max(1));
        self.on_the_way.insert((at, self.sequence), envelope);
    }

    /// The next message for `to` that is due.
    pub fn due(&mut self, now: u64, to: u64) -> Option<Envelope> {
        let mut due = self.on_the_way.range(..(now + 1, 0));
        let key = *due.find(|(_, envelope)| envelope.to == to)?.0;
        self.on_the_way.remove(&key)
    }

    /// Forgets what a crashed node was to receive.
    pub fn forget(&mut self, to: u64) {
        self.on_the_way.retain(|_, envelope| envelope.to != to);
    }
}
