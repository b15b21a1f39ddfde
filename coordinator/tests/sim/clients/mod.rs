//! Clients of the ensemble: values that act by chance, over connections that delay, to the front doors of nodes.
//!
//! - `client`: one client's life. `attached`: its session over one connection, with the checks of what it sees.
//! - `script`: what it asks for. `line`: connections.
//! - `follower`: one who follows a subtree over the native watch stream.

pub mod attached;
pub mod client;
pub mod follower;
pub mod line;
pub mod script;

use std::collections::BTreeMap;

use zweig_coordinator::consensus::node::Now;
use zweig_coordinator::request::Request;
use zweig_coordinator::tree::AuthId;

use crate::chance::Chance;
use crate::checks::order::Hold;
use crate::checks::witness::Witness;
use crate::door::Door;
use crate::door::wire::Item;
use client::{Client, Surroundings};
use follower::Follower;
use line::{Down, Due, Lines, Up};
use script::Script;

/// `digest` of `ann:secret`.
const ANN: (&str, &str) = ("ann:secret", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=");

fn ann() -> (String, AuthId) {
    let (scheme, id) = ("digest".to_owned(), ANN.1.to_owned());
    (ANN.0.to_owned(), AuthId { scheme, id })
}

/// What clients reach of a node.
pub trait Nodes {
    fn count(&self) -> usize;
    /// Of the process that runs there; 0: none.
    fn boot(&self, node: usize) -> u64;
    /// Until when the process stands still, if it does.
    fn asleep_until_us(&self, node: usize) -> Option<u64>;
    /// The front door of the process, and its time.
    fn door(&mut self, node: usize) -> Option<(&mut Door, Now)>;
    /// Something was given to the node to do.
    fn stirred(&mut self, node: usize);
}

pub struct Clients {
    clients: Vec<Client>,
    followers: Vec<Follower>,
    lines: Lines,
    chance: Chance,
    holds: BTreeMap<u64, Hold>,
    pub writes: bool,
}

impl Clients {
    pub fn new(count: usize, mut chance: Chance) -> Self {
        let mut lines = Lines::default();
        let clients = (0..count).map(|id| {
            let authorised = chance.once_in(2);
            let credentials = authorised.then(ann);
            lines.put(chance.below(300_000), Due::Act(id));
            let script = Script::new(Chance::new(chance.next()), id as u64 + 1, authorised);
            Client::new(id, script, credentials)
        });
        let clients = clients.collect();
        let followers = (0..2).map(|id| {
            lines.put(chance.below(300_000), Due::Follow(id));
            let credentials = chance.once_in(2).then(ann);
            Follower::new(Chance::new(chance.next()), credentials)
        });
        let followers = followers.collect();
        Self {
            clients,
            followers,
            lines,
            chance,
            holds: BTreeMap::new(),
            writes: true,
        }
    }

    /// When the next thing happens.
    pub fn next_us(&self) -> Option<u64> {
        self.lines.next_us()
    }

    /// Everything happens that is due.
    pub fn step(&mut self, now_us: u64, nodes: &mut impl Nodes, witness: &mut Witness) {
        while let Some(due) = self.lines.next(now_us) {
            match due {
                Due::Up(line) => self.arrive(now_us, line, nodes, witness),
                Due::Down(line) => {
                    let client = self.lines.ends(line).map(|ends| ends.client);
                    if let Some(client) = client
                        && let Some(what) = self.lines.take_down(line)
                    {
                        let boots = boots(nodes);
                        let mut around = self.surroundings(now_us, witness, &boots);
                        let client = &mut around.1[client];
                        client.hear(&mut around.0, line, what);
                    }
                }
                Due::Act(client) => {
                    let boots = boots(nodes);
                    let mut around = self.surroundings(now_us, witness, &boots);
                    let next_us = around.1[client].act(&mut around.0);
                    self.lines.put(next_us, due);
                }
                Due::Follow(follower) => {
                    let (next_us, node) = self.followers[follower].act(now_us, nodes);
                    self.lines.put(next_us, due);
                    if let Some(node) = node {
                        self.pump(now_us, node, nodes, witness);
                    }
                }
            }
        }
    }

    /// The end of the run is the end of every connection: what was asked over it and not answered may be done.
    pub fn leave_all(&mut self, now_us: u64, witness: &mut Witness) {
        for client in &mut self.clients {
            client.leave_all(now_us, witness);
        }
    }

    fn surroundings<'a>(
        &'a mut self,
        now_us: u64,
        witness: &'a mut Witness,
        boots: &'a [u64],
    ) -> (Surroundings<'a>, &'a mut Vec<Client>) {
        let around = Surroundings {
            now_us,
            lines: &mut self.lines,
            witness,
            boots,
            writes: self.writes,
        };
        (around, &mut self.clients)
    }

    /// Something reaches a node.
    fn arrive(&mut self, now_us: u64, line: u64, nodes: &mut impl Nodes, witness: &mut Witness) {
        let Some(ends) = self.lines.ends(line) else {
            return;
        };
        if let Some(until_us) = nodes.asleep_until_us(ends.node) {
            self.lines.put(until_us.max(now_us + 1), Due::Up(line));
            return;
        }
        let same_life = nodes.boot(ends.node) == ends.boot;
        let Some(up) = self.lines.take_up(line) else {
            return;
        };
        let hold = self.holds.get(&line).copied();
        if matches!(up, Up::Leave) {
            self.lines.forget(line);
            self.holds.remove(&line);
        }
        let Some((door, now)) = nodes.door(ends.node).filter(|_| same_life) else {
            return;
        };
        // Time goes on before anything is looked at.
        door.run(now);
        let is_heard = !matches!(up, Up::Leave) && door.holds(line);
        if let Some(hold) = hold.filter(|_| is_heard) {
            witness.expiry.touched(now_us, hold);
        }
        match up {
            Up::Open(opening) => door.open(line, &opening),
            Up::Ask(requests) => {
                for (number, request) in &requests {
                    if let (Some(hold), Request::Write(op)) = (hold, request) {
                        witness.orders.sent(hold, *number, op.clone());
                    }
                }
                door.ask(line, requests);
            }
            Up::Ping => door.ping(line),
            Up::Leave => {
                if let (Some(ms), Some(hold)) = (door.leave(line), hold) {
                    witness.expiry.left(now_us, hold, ms);
                    witness.seen.left += 1;
                }
            }
        }
        self.pump(now_us, ends.node, nodes, witness);
    }

    /// A node has done something: what its clients must hear of leaves.
    pub fn pump(
        &mut self,
        now_us: u64,
        node: usize,
        nodes: &mut impl Nodes,
        witness: &mut Witness,
    ) {
        let boot = nodes.boot(node);
        let Some((door, now)) = nodes.door(node) else {
            return;
        };
        loop {
            door.run(now);
            let told = door.take_told();
            if told.is_empty() {
                break;
            }
            for (number, told) in told {
                let mut followers = self.followers.iter_mut();
                let follower = followers.find(|follower| follower.is_at((node, boot, number)));
                if !follower.is_some_and(|follower| follower.hear(told, witness)) {
                    door.unfollow(number);
                }
            }
        }
        for command in door.link.take_submitted() {
            witness.orders.submitted(&command);
        }
        let leaving = door.take_filled();
        let stirred = door.link.has_inputs();
        for (line, items) in leaving {
            self.leave(now_us, (node, line), items, witness);
        }
        if stirred {
            nodes.stirred(node);
        }
    }

    fn leave(&mut self, now_us: u64, at: (usize, u64), items: Vec<Item>, witness: &mut Witness) {
        let (node, line) = at;
        let mut over = false;
        for item in items {
            match &item {
                Item::Opened(Ok(grant)) => {
                    let hold = (grant.id.0, grant.attach);
                    self.holds.insert(line, hold);
                    let client = self.lines.ends(line).map(|ends| ends.client);
                    let order_is_all = client.is_some_and(|at| self.clients[at].order_is_all());
                    witness.orders.hold(hold, order_is_all);
                    let expiry = &mut witness.expiry;
                    expiry.hold(now_us, hold, node, grant.timeout_ms);
                }
                Item::Opened(Err(_)) => over = true,
                Item::Closed(_) => over = true,
                Item::Answer(..) | Item::Event(_) | Item::Pong(_) => {
                    if let Some(hold) = self.holds.get(&line) {
                        witness.expiry.answered(now_us, *hold, &witness.truth);
                    }
                }
            }
            self.lines
                .send_down(now_us, &mut self.chance, line, Down::Item(item));
        }
        if over {
            self.holds.remove(&line);
            self.lines.server_ends(now_us, &mut self.chance, line);
        }
    }

    /// Changes that streams told of, and how often streams went on elsewhere.
    pub fn followed(&self) -> (u64, u64) {
        let counts = self.followers.iter().map(Follower::counts);
        counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// A process has ended.
    pub fn node_ends(&mut self, now_us: u64, node: usize, silently: bool) {
        self.lines
            .node_ends(now_us, &mut self.chance, node, silently);
    }
}

fn boots(nodes: &impl Nodes) -> Vec<u64> {
    (0..nodes.count()).map(|node| nodes.boot(node)).collect()
}
