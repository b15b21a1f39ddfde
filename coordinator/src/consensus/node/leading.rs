//! What only a leader does: taking commands, batching them, keeping sessions, cutting the log.

use bytes::{Bytes, BytesMut};

use super::{Node, PeerMessage, Reader, Taken};
use crate::consensus::core::Input;
use crate::consensus::propose::frees_space;
use crate::request::forward::{Admission, Forward};
use crate::session::report::Report;
use crate::state_machine::{Command, Entry, Op, Origin};

/// Entries proposed and not committed; beyond, commands gather in the batch.
const ENTRIES_IN_FLIGHT: u64 = 256;

impl Node {
    pub(super) fn begin_to_lead(&mut self) {
        self.joining.leads_since(self.now.ms);
        let last = self.core.last_index();
        self.batcher.leads_from(last, self.newest_time_ms());
    }

    /// Time of the newest entry in the log that has one.
    fn newest_time_ms(&self) -> i64 {
        let view = self.core.view();
        let mut entries = (view.base().index + 1..=view.last().index)
            .rev()
            .filter_map(|index| view.entry(index));
        let newest =
            entries.find_map(|entry| Entry::decode(Bytes::copy_from_slice(&entry.data)).ok());
        newest.map_or(0, |entry| entry.time_ms)
    }

    pub(super) fn offer(&mut self, origin: (u64, u64), run: &Forward) {
        // What is queued belongs to the term that is led now, in this very step.
        self.follow_leadership();
        let batcher = &mut self.batcher;
        let space_low = self.short.own;
        let accepted = self.intake.offer(origin, run, |command| {
            if !batcher.has_room() {
                return Admission::Full;
            }
            if space_low
                && !Command::decode(command.clone()).is_ok_and(|command| frees_space(&command))
            {
                return Admission::Refuse;
            }
            batcher.push(command.clone());
            Admission::Take
        });
        if !accepted.refused.is_empty() {
            self.short.say_refused();
            let (node, boot) = origin;
            self.answer(
                node,
                boot,
                PeerMessage::Refused {
                    boot,
                    term: run.term,
                    numbers: accepted.refused,
                },
            );
        }
    }

    pub(super) fn propose(&mut self) {
        let Some(term) = self.led_term.filter(|&term| self.core.leads(term)) else {
            return;
        };
        let committed = self.core.committed();
        self.batcher.committed(committed, self.now.ms);
        while self.core.last_index() < committed + ENTRIES_IN_FLIGHT && self.batcher.may_propose() {
            let under_way = self.core.last_index() > committed;
            if under_way && self.batcher.gathers(self.now.ms) {
                return;
            }
            let Some((data, commands)) = self.batcher.entry(term, self.now.wall_ms) else {
                return;
            };
            if self.core.propose(term, &data).is_err() {
                return;
            }
            self.batcher
                .proposed(commands, self.core.last_index(), self.now.ms);
        }
    }

    /// When the leader's batch has waited long enough, whatever happens; nothing if none waits.
    pub fn gathers_until_ms(&self) -> Option<u64> {
        self.led_term.and(self.batcher.gathers_until_ms())
    }

    pub(super) fn cut(&mut self, flushed: u64) {
        let view = self.core.view();
        let reserve = self.config.log_reserve_bytes;
        if view.bytes() < reserve + reserve / 4 {
            return;
        }
        let pinned = self
            .checkpoint
            .made
            .as_ref()
            .map_or(u64::MAX, |(mark, _)| mark.at.index);
        let pinned = if self.checkpoint.making { 0 } else { pinned };
        let cut = view.cut_point(flushed.min(self.core.applied_index()).min(pinned), reserve);
        if cut > view.base().index {
            self.core.handle(Input::Compact(cut));
            self.out.cut = Some(cut);
        }
    }

    pub(super) fn take_report(&mut self, node: u64, boot: u64, report: &Report) {
        if !self.core.is_leader() {
            return;
        }
        for &(session, attach) in &report.sessions {
            self.expiry.heard(session, attach, self.ticks);
        }
        for left in &report.left {
            self.expiry.left(left, self.ticks);
        }
        self.await_proof(Taken {
            node,
            boot,
            sequence: report.sequence,
            term: self.core.term(),
        });
    }

    fn await_proof(&mut self, report: Taken) {
        let deadline_ms = self.now.ms + 2 * self.config.report_period_ms;
        self.reads.push(Reader::Report(report), deadline_ms);
    }

    /// This node has proved that it still led after it took the report. Its sender may answer for its sessions again,
    /// once it has applied the end of each that expires: one that was silent for long, or lags, would otherwise go on
    /// serving a session whose ephemerals are gone. What else it has not applied yet is no reason to cut its clients off, unless
    /// it lags by seconds.
    pub(super) fn acknowledge(&mut self, report: Taken) {
        if !self.core.leads(report.term) {
            return;
        }
        if self.batcher.holds_expiry() {
            // Its index is not known yet.
            self.await_proof(report);
            return;
        }
        let reported = PeerMessage::Reported {
            boot: report.boot,
            sequence: report.sequence,
            index: self.batcher.to_be_applied(self.now.ms),
        };
        self.answer(report.node, report.boot, reported);
    }

    pub(super) fn expire_sessions(&mut self) {
        for (session, attach) in self.expiry.due(self.ticks) {
            let cause = if self.expiry.has_left(session) {
                "its client ended the connection and did not come back"
            } else {
                "nothing was heard of its client for as long as its timeout"
            };
            tracing::info!(session = %format_args!("{:#x}", session.0), cause, "a session expires");
            let command = Command {
                // Not forwarded in a later term: its leader gives everyone the full timeout.
                origin: Origin::default(),
                session,
                attach,
                auth: Vec::new(),
                deadline_ms: 0,
                trace: [0; 16],
                op: Op::ExpireSession,
            };
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            self.batcher.push_expiry(bytes.freeze());
        }
    }
}
