//! Links that lose, delay, repeat, reorder and cut.
//!
//! A lost message breaks its stream, as it does with TCP: the sender is told later that the stream stands
//! again. Unless the weather keeps the order, messages of one stream may overtake each other, which is worse than
//! TCP. What was on its way to a process that has ended is lost.

use std::sync::Arc;

use raft::eraftpb::Message;
use zweig_coordinator::consensus::node::PeerMessage;
use zweig_coordinator::storage::MemoryStore;

use crate::agenda::{Agenda, Event};
use crate::chance::Chance;

/// Servers are numbered from 1.
pub const SERVERS: usize = 6;
/// Longest time until a broken stream is set up again.
const RENEWAL_US: u64 = 60_000;

/// What travels.
#[derive(Clone)]
pub enum Cargo {
    Message(PeerMessage),
    /// A checkpoint with its announcement.
    Checkpoint(Box<Message>, Arc<MemoryStore>),
    /// Whether a checkpoint arrived at that raft id. Who waits for it hears of it in any case.
    Receipt(u64, bool),
}

#[derive(Clone)]
pub struct Envelope {
    /// The server that sent it.
    pub from: u64,
    /// Its raft id then.
    pub sender: u64,
    pub boot: u64,
    pub to: u64,
    /// The life of the receiver that it is for.
    pub to_boot: u64,
    pub cargo: Cargo,
}

/// How bad it is just now; 0: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// One message in so many is lost.
    pub loss: u64,
    /// One in so many arrives twice.
    pub repeat: u64,
    /// Longest delay, milliseconds.
    pub delay_ms: u64,
    /// Messages of one stream keep their order.
    pub in_order: bool,
    /// One checkpoint in so many does not arrive.
    pub torn_checkpoints: u64,
}

/// As on a good day.
pub const FAIR: Weather = Weather {
    loss: 0,
    repeat: 0,
    delay_ms: 2,
    in_order: true,
    torn_checkpoints: 0,
};

type Links<T> = [[T; SERVERS]; SERVERS];

pub struct Network {
    on_the_way: Vec<Option<Envelope>>,
    free: Vec<u32>,
    pub weather: Weather,
    /// Directions that let nothing through.
    cut: Links<bool>,
    /// Extra delay of a direction.
    slow_us: Links<u64>,
    /// Streams that lost something and have not been renewed, by the number of the break.
    broken: Links<u32>,
    breaks: u32,
    newest_arrival_us: Links<u64>,
}

impl Network {
    pub fn new() -> Self {
        Self {
            on_the_way: Vec::new(),
            free: Vec::new(),
            weather: FAIR,
            cut: Links::default(),
            slow_us: Links::default(),
            broken: Links::default(),
            breaks: 0,
            newest_arrival_us: Links::default(),
        }
    }

    /// Sends; false when nothing arrives.
    pub fn send(&mut self, agenda: &mut Agenda, chance: &mut Chance, envelope: Envelope) -> bool {
        let (from, to) = (envelope.from, envelope.to);
        let weather = self.weather;
        let lost = weather.loss > 0 && chance.once_in(weather.loss);
        if lost || self.is_cut(from, to) {
            self.tear(agenda, chance, from, to);
            return false;
        }
        let again = weather.repeat > 0 && chance.once_in(weather.repeat);
        if again && matches!(envelope.cargo, Cargo::Message(_)) {
            self.put(agenda, chance, envelope.clone());
        }
        self.put(agenda, chance, envelope);
        true
    }

    /// Sends what can't be lost.
    pub fn put(&mut self, agenda: &mut Agenda, chance: &mut Chance, envelope: Envelope) {
        let (from, to) = (envelope.from as usize, envelope.to as usize);
        let longest_us = 1_000 * self.weather.delay_ms.max(1);
        let delay_us = 50 + chance.below(longest_us) + self.slow_us[from][to];
        let mut at_us = agenda.now_us + delay_us;
        if let Cargo::Checkpoint(..) = envelope.cargo {
            // It is large, and travels on a stream of its own.
            at_us += 5_000 + chance.below(20 * longest_us);
        } else if self.weather.in_order {
            let newest_us = &mut self.newest_arrival_us[from][to];
            at_us = at_us.max(*newest_us);
            *newest_us = at_us;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.on_the_way.push(None);
                self.on_the_way.len() as u32 - 1
            }
        };
        self.on_the_way[slot as usize] = Some(envelope);
        agenda.put(at_us, Event::Arrive(slot));
    }

    /// What arrives now, to be left there.
    pub fn look(&self, slot: u32) -> Option<&Envelope> {
        self.on_the_way[slot as usize].as_ref()
    }

    /// Takes what arrives now.
    pub fn take(&mut self, slot: u32) -> Option<Envelope> {
        self.free.push(slot);
        self.on_the_way[slot as usize].take()
    }

    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut[from as usize][to as usize]
    }

    /// Lets nothing through in this direction.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut[from as usize][to as usize] = true;
    }

    /// Each message takes so much longer in this direction.
    pub fn slow(&mut self, from: u64, to: u64, us: u64) {
        self.slow_us[from as usize][to as usize] = us;
    }

    /// All links stand and are fast.
    pub fn heal(&mut self) {
        self.cut = Links::default();
        self.slow_us = Links::default();
    }

    /// The stream is broken until it is renewed.
    pub fn tear(&mut self, agenda: &mut Agenda, chance: &mut Chance, from: u64, to: u64) {
        let broken = &mut self.broken[from as usize][to as usize];
        if *broken == 0 {
            self.breaks += 1;
            *broken = self.breaks;
            self.renew_later(agenda, chance, from, to);
        }
    }

    fn renew_later(&self, agenda: &mut Agenda, chance: &mut Chance, from: u64, to: u64) {
        let renew = Event::Renew {
            from: from as u8,
            to: to as u8,
            stamp: self.broken[from as usize][to as usize],
        };
        agenda.put_in(1_000 + chance.below(RENEWAL_US), renew);
    }

    /// Whether the stream of that break stands again now; if not, it is tried again.
    pub fn renew(
        &mut self,
        agenda: &mut Agenda,
        chance: &mut Chance,
        (from, to, stamp): (u64, u64, u32),
    ) -> bool {
        if self.broken[from as usize][to as usize] != stamp {
            return false;
        }
        if self.is_cut(from, to) || self.is_cut(to, from) {
            self.renew_later(agenda, chance, from, to);
            return false;
        }
        self.broken[from as usize][to as usize] = 0;
        true
    }
}
