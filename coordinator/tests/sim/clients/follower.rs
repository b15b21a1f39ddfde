//! One who follows a subtree over the native watch stream, as brokers do: from node to node, each time from its last
//! mark on.

use zweig_coordinator::tree::AuthId;

use super::Nodes;
use crate::chance::Chance;
use crate::checks::stream::Stream;
use crate::checks::witness::Witness;
use crate::door::streams::Told;

pub struct Follower {
    chance: Chance,
    credentials: Option<String>,
    stream: Stream,
    /// Where it is connected: the node, its boot, the connection's number there.
    at: Option<(usize, u64, u64)>,
}

impl Follower {
    pub fn new(mut chance: Chance, credentials: Option<(String, AuthId)>) -> Self {
        let root = ["/d", "/", "/r0", "/e0"][chance.below(4) as usize];
        let recursive = !chance.once_in(4);
        let (credentials, auth) = credentials.unzip();
        let auth = auth.into_iter().collect();
        Self {
            chance,
            credentials,
            stream: Stream::new(root, recursive, auth),
            at: None,
        }
    }

    /// Whether it hears the connection of this node, in this life of it, and of this number.
    pub fn is_at(&self, connection: (usize, u64, u64)) -> bool {
        self.at == Some(connection)
    }

    /// Connects, goes on, or leaves; returns when it will do the next thing.
    pub fn act(&mut self, now_us: u64, nodes: &mut impl Nodes) -> (u64, Option<usize>) {
        let next_us = now_us + 50_000 + self.chance.below(400_000);
        self.at
            .take_if(|(node, boot, _)| nodes.boot(*node) != *boot);
        if let Some((node, _, number)) = self.at {
            if self.chance.once_in(10) {
                self.at = None;
                if let Some((door, _)) = nodes.door(node) {
                    door.unfollow(number);
                }
            }
            return (next_us, None);
        }
        let node = self.chance.below(nodes.count() as u64) as usize;
        let (boot, asleep) = (nodes.boot(node), nodes.asleep_until_us(node));
        let Some((door, now)) = nodes.door(node).filter(|_| asleep.is_none()) else {
            return (next_us, None);
        };
        door.run(now);
        self.stream.resume();
        let request = zweig_proto::grpc::WatchRequest {
            path: self.stream.root.clone(),
            recursive: self.stream.recursive,
            from_zxid: self.stream.ended,
            auth: self.credentials.iter().map(|id| digest(id)).collect(),
        };
        self.at = Some((node, boot, door.follow(request)));
        (next_us, Some(node))
    }

    /// Its node says something; false if it wants no more of it.
    pub fn hear(&mut self, told: Told, witness: &mut Witness) -> bool {
        let goes_on = match told {
            Some(Ok(response)) => match response.response {
                Some(said) => self.stream.said(said, &witness.truth),
                None => panic!("a stream says nothing"),
            },
            Some(Err(_)) | None => false,
        };
        if !goes_on {
            self.at = None;
        }
        goes_on
    }

    /// Changes it was told of, and how often it went on elsewhere.
    pub fn counts(&self) -> (u64, u64) {
        (self.stream.changes, self.stream.resumed)
    }
}

fn digest(id: &str) -> zweig_proto::grpc::AuthId {
    zweig_proto::grpc::AuthId {
        scheme: "digest".to_owned(),
        id: id.to_owned(),
    }
}
