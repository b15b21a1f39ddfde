//! Does to the members what the plan says.

use zweig_coordinator::consensus::Fatal;
use zweig_coordinator::storage::raft_log::LogError;

use super::World;
use crate::agenda::Event;
use crate::fault::{End, Fault, Ways};
use crate::member::{Armed, Member, Pace};

/// So long a member may believe in a connection whose other end has lost its power.
const UNNOTICED_US: u64 = 1_000_000;

impl World {
    fn place(&self, at: u8) -> usize {
        at as usize % self.members.len()
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.env.trace.mix(&[self.env.agenda.now_us, 5]);
        let now_us = self.env.agenda.now_us;
        self.env.trace.say(now_us, || format!("FAULT {fault:?}"));
        match fault {
            Fault::Crash { at, end, down_ms } => self.end(self.place(at), end, down_ms, "by fault"),
            Fault::CrashAll { end, down_ms } => {
                for at in 0..self.members.len() {
                    let down_ms = self.env.chance.below(down_ms + 1);
                    self.end(at, end, down_ms, "with all others");
                }
            }
            Fault::CrashAt {
                at,
                step,
                nth,
                end,
                down_ms,
            } => {
                let place = self.place(at);
                self.members[place].armed = Some(Armed {
                    step,
                    left: nth,
                    end,
                    down_ms,
                });
            }
            Fault::Pause { at, ms } => {
                let place = self.place(at);
                let until_us = (now_us + 1_000 * ms).min(self.faults_end_us);
                let member = &mut self.members[place];
                member.paused_until_us = member.paused_until_us.max(until_us);
                self.env.run.pauses += 1;
            }
            Fault::LoseDisk { at, down_ms } => self.lose_disk(self.place(at), down_ms),
            Fault::LoseTwo {
                first,
                second,
                down_ms,
            } => {
                self.lose_disk(self.place(first), down_ms);
                self.next_loss = Some((self.place(second), down_ms));
            }
            Fault::Rot { at, place } => self.rot(self.place(at), place),
            Fault::Bend { at } => self.bend(self.place(at)),
            other => self.change(other),
        }
    }

    /// Faults after which nothing happens at once.
    fn change(&mut self, fault: Fault) {
        let now_us = self.env.agenda.now_us;
        match fault {
            Fault::Pace {
                at,
                sync_ms,
                apply_ms,
                flush_ms,
            } => {
                let place = self.place(at);
                self.members[place].pace = Pace {
                    sync_ms,
                    apply_ms,
                    flush_ms,
                };
            }
            Fault::Weather(weather) => self.network.weather = weather,
            Fault::Alone { at, but, ways } => self.cut_off(self.place(at), but, ways),
            Fault::Split { mask } => self.split(mask),
            Fault::SlowLink { from, to, ms } => {
                let (from, to) = (self.place(from), self.place(to));
                self.network
                    .slow(from as u64 + 1, to as u64 + 1, 1_000 * ms);
            }
            Fault::Mend => self.network.heal(),
            Fault::FailSync { at, nth } => {
                let place = self.place(at);
                self.members[place].disk.fail_sync_in(u32::from(nth));
            }
            Fault::Space { at, kilobytes } => {
                self.env.witness.orders.space_was_low = true;
                let place = self.place(at);
                self.members[place].disk.set_capacity(kilobytes << 10);
            }
            Fault::SetClock { at, ms } => {
                let place = self.place(at);
                self.members[place].clock.skew_ms = ms;
            }
            Fault::Drift { at, millionths } => {
                let place = self.place(at);
                self.members[place].clock.set_drift(now_us, millionths);
            }
            other => unreachable!("{other:?} happens at once"),
        }
    }

    fn cut_off(&mut self, at: usize, but: u8, ways: Ways) {
        let alone = at as u64 + 1;
        let but = u64::from(but) + 1;
        for other in (1..=self.env.size).filter(|&other| other != alone && other != but) {
            if ways != Ways::To {
                self.network.cut(alone, other);
            }
            if ways != Ways::From {
                self.network.cut(other, alone);
            }
        }
    }

    fn split(&mut self, mask: u8) {
        let side = |server: u64| mask >> (server - 1) & 1;
        for from in 1..=self.env.size {
            for to in (1..=self.env.size).filter(|&to| side(from) != side(to)) {
                self.network.cut(from, to);
            }
        }
    }

    /// As often as raft can bear it: while all members are who they should be, and most of their disks say so. A second
    /// loss before the first member is a voter again may leave no majority that remembers; one before most have synced
    /// that it is a voter may leave some who would ask those for votes who were members before.
    fn may_lose_a_disk(&self) -> bool {
        let is_bent = |member: &Member| member.up.as_ref().is_some_and(|up| up.apply.bent);
        let is_well = |member: &Member| !member.rotten && !is_bent(member);
        let changed = self.env.members_changed;
        let remembers = |member: &&Member| {
            let up = member.up.as_ref();
            up.is_some_and(|up| up.apply.applied().index >= changed && up.log.is_idle())
        };
        self.all_are_settled()
            && self.members.iter().all(is_well)
            && self.members.iter().filter(remembers).count() > self.members.len() / 2
    }

    fn bend(&mut self, at: usize) {
        if !self.may_lose_a_disk() {
            return;
        }
        if let Some(up) = &mut self.members[at].up {
            up.apply.bent = true;
            self.env.run.bent += 1;
        }
    }

    /// A node says that it can't go on: right only if its state was bent, and then its operator wipes it. Between two,
    /// while the others are silent, the leader's state counts, even if it is the bent one: then the other begins
    /// anew, and stops again until the others are back. Of a leader that lost its power nobody is told at once.
    pub(super) fn gives_up(&mut self, at: usize, fatal: &Fatal) {
        let now_us = self.env.agenda.now_us;
        let is_bent = |member: &Member| member.up.as_ref().is_some_and(|up| up.apply.bent);
        let was_bent = |member: &Member| {
            let until_us = member.bent_until_us;
            is_bent(member) || until_us.is_some_and(|until_us| now_us - until_us < UNNOTICED_US)
        };
        let member = &self.members[at];
        let (id, wrong) = (member.id, is_bent(member));
        assert!(self.members.iter().any(was_bent), "member {id}: {fatal}");
        self.end(at, End::Killed, 300, &format!("since {fatal}"));
        if wrong {
            let seed = self.env.chance.next();
            self.members[at].lose_disk(seed);
        }
    }

    fn lose_disk(&mut self, at: usize, down_ms: u64) {
        if self.members[at].up.is_none() || !self.may_lose_a_disk() {
            return;
        }
        self.env.run.disks_lost += 1;
        self.end(at, End::PowerLost, down_ms, "and its disks are lost");
        let seed = self.env.chance.next();
        self.members[at].lose_disk(seed);
    }

    /// The second of two losses, and the end of all others: what was not synced by now is forgotten by everyone.
    pub(super) fn lose_the_next(&mut self) {
        let Some((at, down_ms)) = self.next_loss else {
            return;
        };
        if self.members[at].up.is_none() || !self.may_lose_a_disk() {
            return;
        }
        self.next_loss = None;
        self.lose_disk(at, down_ms);
        for other in (0..self.members.len()).filter(|&other| other != at) {
            self.end(other, End::Killed, 1, "as a disk is lost");
        }
    }

    fn rot(&mut self, at: usize, place: u64) {
        if self.members[at].up.is_none() || !self.may_lose_a_disk() {
            return;
        }
        let Some((file, position)) = self.members[at].disk.rot(place) else {
            return;
        };
        self.members[at].rotten = true;
        let why = format!("and a bit of {file} turns at {position}");
        self.end(at, End::Killed, 100, &why);
    }

    /// The log can't be written any more: the process ends.
    pub(super) fn log_failed(&mut self, at: usize, error: &LogError) {
        let is_full = self.count_failure(error);
        let end = match self.env.chance.once_in(2) && !is_full {
            true => End::PowerLost,
            false => End::Killed,
        };
        let down_ms = 50 + self.env.chance.below(500);
        self.end(at, end, down_ms, &format!("since {error}"));
    }

    fn count_failure(&mut self, error: &LogError) -> bool {
        let LogError::Io { source, .. } = error else {
            panic!("a log that was open: {error}");
        };
        let is_full = source.kind() == std::io::ErrorKind::StorageFull;
        match is_full {
            true => self.env.run.full_disks += 1,
            false => self.env.run.failed_syncs += 1,
        }
        is_full
    }

    /// Tries again later; a log whose bits have turned is wiped by its operator.
    pub(super) fn could_not_start(&mut self, at: usize, error: &LogError) {
        let (member, env) = (&mut self.members[at], &mut self.env);
        let id = member.id;
        env.note(6, &[id], || format!("{id}: can't start: {error}"));
        let end = match env.chance.once_in(2) {
            true => End::PowerLost,
            false => End::Killed,
        };
        match error {
            LogError::Corrupt { .. } => {
                assert!(member.rotten, "member {id}: {error}");
                let seed = env.chance.next();
                member.lose_disk(seed);
                env.run.rotten += 1;
            }
            LogError::Io { .. } => {
                member.cease(env, end);
                self.count_failure(error);
            }
            _ => panic!("member {id}: {error}"),
        }
        let (member, env) = (&self.members[at], &mut self.env);
        let event = Event::Start {
            at: at as u8,
            fall: member.fall,
        };
        let us = 50_000 + env.chance.below(100_000);
        env.agenda.put_in(us, event);
    }
}
