//! The raft thread of a node that is new, until `founding` has decided what it is.
//!
//! What the node's clients ask for is held until then, or answered "no quorum" when that takes too long. The
//! decision is durable before anybody hears anything else than "I am new" from this node.

use std::sync::atomic::Ordering;

use super::Event;
use super::identity::founder;
use super::raft::RaftThread;
use super::start::{core_config, first_conf_state, node_config};
use crate::consensus::applier::{Fatal, NotDone};
use crate::consensus::config::ConsensusConfig;
use crate::consensus::core::{Core, Input, ProposeError};
use crate::consensus::founding::{Decision, Founding};
use crate::consensus::handle::ReadIndexError;
use crate::consensus::membership::{raft_id, server_of};
use crate::consensus::node::{Node, Now, PeerMessage, Start};
use crate::consensus::transport::{LinkEvent, Received};
use crate::storage::identity::{Identity, Standing};
use crate::storage::raft_log::{Position, Recovered};

/// A wait that is worth a word, and the time until the next one, milliseconds.
const SAY_MS: u64 = 10_000;

/// What is known of a node that is new.
pub struct Beginning {
    config: ConsensusConfig,
    own: Identity,
    founding: Founding,
    /// Of the empty state.
    digest: u64,
    held: Vec<Event>,
    said_ms: u64,
}

impl Beginning {
    /// Nothing is decided; `digest` is that of the empty state.
    pub fn new(config: ConsensusConfig, own: Identity, digest: u64) -> Self {
        let founding = Founding::new(own.server, own.life, config.servers());
        Self {
            config,
            own,
            founding,
            digest,
            held: Vec::new(),
            said_ms: 0,
        }
    }

    fn heard(&mut self, from: u64, message: &PeerMessage, now: Now) {
        match message {
            PeerMessage::Blank { life } => self.founding.met(server_of(from), *life, now.ms),
            PeerMessage::Formed { met } => self.founding.answered(met, now.ms),
            // For one that took part already.
            _ => {}
        }
    }

    fn say_waiting(&mut self, now: Now) {
        if now.ms >= self.said_ms + SAY_MS {
            self.said_ms = now.ms;
            tracing::warn!(
                voters = ?self.config.voters(),
                "this node is new and waits for the others: it begins with a majority that is new, or joins \
                 an ensemble that runs"
            );
        }
    }

    /// The identity that a decision gives.
    fn identity(&self, decision: Decision, now: Now) -> Identity {
        let (incarnation, standing) = match decision {
            Decision::Found(met) => {
                tracing::info!(with = ?met.keys().collect::<Vec<_>>(), "this node begins a new ensemble");
                (0, founder(&self.config, met))
            }
            Decision::Join => {
                tracing::info!(
                    "the ensemble began without this node, or without its data: it joins as a new member"
                );
                (
                    u64::try_from(now.wall_ms).unwrap_or(0).max(1),
                    Standing::Joiner,
                )
            }
        };
        Identity {
            incarnation,
            standing,
            ..self.own.clone()
        }
    }
}

impl RaftThread {
    /// On each tick of a node that is new: tells the others, and begins once it is decided as what.
    pub(super) fn begin(&mut self, now: Now) -> Result<(), Fatal> {
        let Some(beginning) = &mut self.beginning else {
            return Ok(());
        };
        if beginning.founding.tells(now.ms) {
            let life = beginning.own.life;
            for server in beginning.config.members.keys() {
                // Who can't be reached is told again soon.
                let _ = self
                    .links
                    .transport
                    .send(*server, PeerMessage::Blank { life });
            }
        }
        let Some(decision) = beginning.founding.decide(now.ms) else {
            beginning.say_waiting(now);
            if self.node.refuses(now) {
                self.refuse_held();
            }
            return Ok(());
        };
        let own = beginning.identity(decision, now);
        let config = beginning.config.clone();
        let digest = beginning.digest;
        own.write(&config.folder)
            .map_err(|error| Fatal::new(error.to_string()))?;
        let id = raft_id(own.server, own.incarnation);
        self.links.identity.node = id;
        self.links.transport.rename(id);
        let mut core = Core::new(
            core_config(&config, id),
            Recovered::default(),
            first_conf_state(&own),
            Position::default(),
        )?;
        core.handle(Input::Started);
        let start = Start {
            term: 0,
            digest,
            sessions: &[],
        };
        self.node = Node::new(node_config(&config, &own), core, start, now);
        let held = self.beginning.take().map(|beginning| beginning.held);
        for event in held.into_iter().flatten() {
            self.event(now, event);
        }
        Ok(())
    }

    /// Hears of the others while this node is new.
    pub(super) fn hear_before(&mut self, now: Now, received: &Received) {
        if let Some(beginning) = &mut self.beginning {
            beginning.heard(received.from, &received.message, now);
        }
    }

    /// A link stands while this node is new: the peer is told.
    pub(super) fn link_before(&mut self, link: LinkEvent) {
        if let (Some(beginning), LinkEvent::Up(server)) = (&self.beginning, link) {
            let life = beginning.own.life;
            // If it is lost, the next one is not.
            let _ = self
                .links
                .transport
                .send(server, PeerMessage::Blank { life });
        }
    }

    /// Handles one event while this node is new; false when the thread has to end.
    pub(super) fn event_before(&mut self, now: Now, event: Event) -> bool {
        let Some(beginning) = &mut self.beginning else {
            return self.event(now, event);
        };
        match event {
            Event::Socket(arrival) => self.links.transport.arrived(arrival),
            Event::ChangeMembers(_, answer) => {
                // The caller may have given up waiting.
                let _ = answer.send(Err(ProposeError::NotLeader));
            }
            Event::Failed => return false,
            Event::Stop { gently, stopped } => return self.stop(gently, stopped),
            later => beginning.held.push(later),
        }
        true
    }

    /// What was held for too long was certainly not done.
    fn refuse_held(&mut self) {
        let Some(beginning) = &mut self.beginning else {
            return;
        };
        for event in std::mem::take(&mut beginning.held) {
            match event {
                Event::Submit(commands) => {
                    let queued = &self.shared.queued;
                    queued.fetch_sub(commands.len(), Ordering::Relaxed);
                    let requests: Vec<u64> = commands
                        .iter()
                        .map(|command| command.origin.request)
                        .collect();
                    self.unanswered.not_done(&requests, NotDone::NoQuorum);
                }
                Event::Read(answer) => {
                    // The reader may have given up.
                    let _ = answer.send(Err(ReadIndexError::NoQuorum));
                }
                other => beginning.held.push(other),
            }
        }
    }
}
