//! Connections between clients and nodes: each way in order, with a delay of its own, until one end is gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use zweig_coordinator::request::Request;

use crate::chance::Chance;
use crate::door::wire::{Item, Opening};

/// Longest delay one way, microseconds.
const DELAY_US: u64 = 12_000;

/// From a client.
#[derive(Debug)]
pub enum Up {
    Open(Box<Opening>),
    Ask(Vec<(u64, Request)>),
    Ping,
    Leave,
}

/// To a client.
#[derive(Debug)]
pub enum Down {
    Item(Item),
    /// The other end is gone.
    Broken,
}

/// Whose connection, and to which life of which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub client: usize,
    /// Place of the node among the members.
    pub node: usize,
    pub boot: u64,
}

#[derive(Debug)]
struct Line {
    ends: Ends,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    last_up_us: u64,
    last_down_us: u64,
    /// Nothing that is on its way up arrives any more.
    server_is_gone: bool,
    client_is_gone: bool,
}

/// What becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Up(u64),
    Down(u64),
    Act(usize),
    Follow(usize),
}

/// All connections, and when clients act.
#[derive(Debug, Default)]
pub struct Lines {
    lines: BTreeMap<u64, Line>,
    next: u64,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    sequence: u64,
}

impl Lines {
    pub fn put(&mut self, at_us: u64, due: Due) {
        self.sequence += 1;
        self.due.push(Reverse((at_us, self.sequence, due)));
    }

    pub fn next_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_us, ..))| *at_us)
    }

    pub fn next(&mut self, now_us: u64) -> Option<Due> {
        let Reverse((at_us, ..)) = self.due.peek()?;
        if *at_us > now_us {
            return None;
        }
        self.due.pop().map(|Reverse((.., due))| due)
    }

    pub fn connect(&mut self, ends: Ends) -> u64 {
        self.next += 1;
        let line = Line {
            ends,
            up: VecDeque::new(),
            down: VecDeque::new(),
            last_up_us: 0,
            last_down_us: 0,
            server_is_gone: false,
            client_is_gone: false,
        };
        self.lines.insert(self.next, line);
        self.next
    }

    pub fn ends(&self, line: u64) -> Option<Ends> {
        self.lines.get(&line).map(|line| line.ends)
    }

    pub fn send_up(&mut self, now_us: u64, chance: &mut Chance, line: u64, what: Up) {
        let Some(found) = self.lines.get_mut(&line) else {
            return;
        };
        found.client_is_gone |= matches!(what, Up::Leave);
        let at_us = found.last_up_us.max(now_us + 1 + chance.below(DELAY_US));
        found.last_up_us = at_us;
        found.up.push_back(what);
        self.put(at_us, Due::Up(line));
    }

    pub fn send_down(&mut self, now_us: u64, chance: &mut Chance, line: u64, what: Down) {
        let Some(found) = self.lines.get_mut(&line) else {
            return;
        };
        let at_us = found.last_down_us.max(now_us + 1 + chance.below(DELAY_US));
        found.last_down_us = at_us;
        found.down.push_back(what);
        self.put(at_us, Due::Down(line));
    }

    /// What arrives at a node; nothing if that end is gone.
    pub fn take_up(&mut self, line: u64) -> Option<Up> {
        let found = self.lines.get_mut(&line)?;
        let up = found.up.pop_front()?;
        (!found.server_is_gone).then_some(up)
    }

    /// What arrives at a client; nothing if it has hung up.
    pub fn take_down(&mut self, line: u64) -> Option<Down> {
        let found = self.lines.get_mut(&line)?;
        let down = found.down.pop_front()?;
        if matches!(down, Down::Broken) {
            return self.lines.remove(&line).map(|_| down);
        }
        (!found.client_is_gone).then_some(down)
    }

    /// The node's end has ended; what it has sent arrives, then its client sees the end.
    pub fn server_ends(&mut self, now_us: u64, chance: &mut Chance, line: u64) {
        if let Some(found) = self.lines.get_mut(&line) {
            found.server_is_gone = true;
            self.send_down(now_us, chance, line, Down::Broken);
        }
    }

    /// A process has ended: nothing it has sent arrives any more. Clients hear of it at once, or (`silently`, a
    /// loss of power) never.
    pub fn node_ends(&mut self, now_us: u64, chance: &mut Chance, node: usize, silently: bool) {
        let of_node = self
            .lines
            .iter_mut()
            .filter(|(_, line)| line.ends.node == node);
        let mut ended = Vec::new();
        for (&id, line) in of_node.filter(|(_, line)| !line.server_is_gone) {
            line.server_is_gone = true;
            line.down.clear();
            ended.push(id);
        }
        if !silently {
            for line in ended {
                self.send_down(now_us, chance, line, Down::Broken);
            }
        }
    }

    /// The client has hung up, and its node knows.
    pub fn forget(&mut self, line: u64) {
        self.lines.remove(&line);
    }
}
