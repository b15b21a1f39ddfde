//! The raft thread and the other nodes: what they say, what became of the ways to them, checkpoints from and to them.

use std::fs;
use std::path::PathBuf;

use raft::eraftpb::Message;

use super::inbox::Inbox;
use super::raft::RaftThread;
use super::{ApplyJob, Event};
use crate::consensus::bulk::{self, Arrived};
use crate::consensus::membership::server_of;
use crate::consensus::node::{NodeInput, Now, PeerMessage};
use crate::consensus::transport::{LinkEvent, Received};

impl RaftThread {
    /// Takes what the other nodes say, and what became of the ways to them.
    pub(super) fn receive(&mut self, now: Now, inbox: &Inbox) {
        for event in inbox.ready() {
            self.links.transport.ready(event);
        }
        for received in self.links.transport.receive() {
            match self.beginning {
                Some(_) => self.hear_before(now, &received),
                None => self.hear(now, received),
            }
        }
        for link in self.links.transport.events() {
            match self.beginning {
                Some(_) => self.link_before(link),
                None => self.link(now, link),
            }
        }
    }

    fn hear(&mut self, now: Now, received: Received) {
        let Received {
            from,
            boot,
            message,
        } = received;
        if let PeerMessage::Forward(run) = &message
            && self.leads()
        {
            self.spans.taken(run.term, &run.commands);
        }
        let said = NodeInput::Peer {
            from,
            boot,
            message,
        };
        self.node.handle(now, said);
    }

    fn link(&mut self, now: Now, link: LinkEvent) {
        match link {
            LinkEvent::Up(node) => self.node.handle(now, NodeInput::LinkUp(node)),
            LinkEvent::Lost(node) => {
                self.node.handle(now, NodeInput::LinkLost(node));
                self.node.handle(now, NodeInput::Unreachable(node));
            }
        }
    }

    /// A checkpoint lies aside: raft decides whether it is installed.
    pub(super) fn arrived(&mut self, now: Now, arrived: Arrived) {
        // What came before must not be mistaken for what comes of this.
        self.carry_out(now);
        let Arrived {
            from,
            boot,
            message,
            folder,
        } = arrived;
        self.node.handle(
            now,
            NodeInput::Peer {
                from,
                boot,
                message: PeerMessage::Raft(message),
            },
        );
        let mut effects = self.node.effects(now);
        match effects.install.take() {
            Some(install) => {
                let install = ApplyJob::Install { install, folder };
                self.carry(now, effects);
                self.to_apply(install);
            }
            None => {
                self.carry(now, effects);
                // Not wanted any more; a leftover goes at the next start.
                let _ = fs::remove_dir_all(folder);
            }
        }
    }

    pub(super) fn checkpoint_folder(&self, number: u64) -> PathBuf {
        self.links.aside.join(format!("checkpoint-{number}"))
    }

    /// A transfer that still reads it fails, and begins again with a newer one.
    pub(super) fn remove_checkpoint(&self, number: Option<u64>) {
        if let Some(number) = number {
            // A leftover goes at the next start.
            let _ = fs::remove_dir_all(self.checkpoint_folder(number));
        }
    }

    pub(super) fn send_checkpoint(&self, message: Message) {
        let to = message.to;
        let announced = self.checkpoints.announced_by(&message);
        let folder = announced.map(|number| self.checkpoint_folder(number));
        let (identity, events) = (self.links.identity.clone(), self.links.events.clone());
        let address = self.links.bulk_addresses.get(&server_of(to)).cloned();
        let transfer = move || {
            let result = match (address, folder) {
                (Some(address), Some(folder)) => {
                    bulk::send(&identity, to, &address, message, &folder)
                }
                (None, _) => Err(std::io::Error::other("its address is not known")),
                (_, None) => Err(std::io::Error::other(
                    "a newer one took its place, or it was dropped",
                )),
            };
            if let Err(error) = &result {
                tracing::warn!(to, %error, "a checkpoint could not be sent");
            }
            let sent = NodeInput::SnapshotSent {
                to,
                done: result.is_ok(),
            };
            let _ = events.send(Event::Node(Box::new(sent)));
        };
        let name = format!("checkpoint-to-{to}");
        if let Err(error) = std::thread::Builder::new().name(name).spawn(transfer) {
            tracing::warn!(to, %error, "no thread to send a checkpoint");
            let sent = NodeInput::SnapshotSent { to, done: false };
            let _ = self.links.events.send(Event::Node(Box::new(sent)));
        }
    }
}
