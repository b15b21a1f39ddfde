//! The load of one connection: closed (as many under way as may be) or open (at fixed times, however long answers take;
//! latency counts from the time a request should have gone: "coordinated omission", Gil Tene).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use zweig_proto::zk::op::create::flags;
use zweig_proto::zk::op::{
    CreateRequest, CreateResponse, DeleteRequest, ExistsRequest, ExistsResponse,
    GetChildrenRequest, GetChildrenResponse, GetDataRequest, GetDataResponse, MultiOp,
    MultiRequest, MultiResponse, MultiResult, SetDataRequest, SetDataResponse,
};
use zweig_proto::zk::{Acl, ErrorCode, Jute, OpCode, Stat};

use super::content;
use super::mix::{Kind, Mix};
use super::wire::{Broken, Connection, Reply};
use crate::bench::recorder::Recorder;
use crate::bench::threads::Progress;
use crate::bench::ticks::Ticks;
use crate::clock;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Plan {
    /// Kinds and shares.
    pub mix: Mix,
    /// Most requests under way on a connection.
    pub pipeline: usize,
    /// Requests per second and connection, or as many as there are answers.
    pub rate: Option<f64>,
    /// The node below which everything is.
    pub root: String,
    /// Nodes that are read and written, numbered from 0.
    pub znodes: u32,
    /// Bytes in each.
    pub value_size: usize,
    /// When answers begin to count, and when no more is sent.
    pub measured: (Instant, Instant),
    /// Go on with another server where a connection is lost.
    pub reconnect: bool,
}

impl Plan {
    /// The path of a node.
    pub fn path(&self, index: u32) -> String {
        format!("{}/n{index:07}", self.root)
    }
}

/// Why a run ends without figures.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// As it says.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// An answer is not what a right server says.
    #[error("{server}: a wrong answer to {kind}: {why}")]
    Wrong {
        /// `host:port`.
        server: String,
        /// Of the request.
        kind: &'static str,
        /// What was expected and what came.
        why: String,
    },
}

/// What was sent, and what is expected.
#[derive(Debug)]
struct Sent {
    xid: i32,
    kind: Kind,
    /// When it should have gone.
    due: Instant,
    /// The node it is about; the second one is that of a multi.
    nodes: [u32; 2],
}

/// The load of one connection.
#[derive(Debug)]
pub struct Load {
    plan: Arc<Plan>,
    /// Its number among all connections.
    number: usize,
    chance: SmallRng,
    sent: VecDeque<Sent>,
    /// Of what this connection created and has to delete: the next one's number, and those that stand.
    created: u32,
    undeleted: VecDeque<u32>,
    /// The newest change seen of some nodes, by the remainder of their numbers: a session never sees an older one.
    seen: Vec<(u32, i64)>,
    stamp: u64,
}

const REMEMBERED: usize = 1024;

impl Load {
    /// The load of connection `number`, which draws by its own part of `seed`.
    pub fn new(plan: Arc<Plan>, number: usize, seed: u64) -> Self {
        let mut chance = SmallRng::seed_from_u64(seed.wrapping_add(number as u64));
        let stamp = chance.random::<u64>() << 32;
        Self {
            plan,
            number,
            chance,
            sent: VecDeque::new(),
            created: 0,
            undeleted: VecDeque::new(),
            seen: vec![(u32::MAX, 0); REMEMBERED],
            stamp,
        }
    }

    /// Drives `connection` until the plan's end, and all answers are there.
    ///
    /// # Errors
    /// [`Failed`]; what was under way then counts as unknown.
    pub async fn drive(
        &mut self,
        connection: &mut Connection,
        recorder: &mut Recorder,
        progress: &Progress,
    ) -> Result<(), Failed> {
        let done = self.exchange(connection, recorder, progress).await;
        recorder.unknown += self.sent.len() as u64;
        self.sent.clear();
        // The next connection is another session: these nodes go with this one, and it may begin behind what this one has seen.
        self.undeleted.clear();
        self.seen.fill((u32::MAX, 0));
        done
    }

    async fn exchange(
        &mut self,
        connection: &mut Connection,
        recorder: &mut Recorder,
        progress: &Progress,
    ) -> Result<(), Failed> {
        let mut ticks = self
            .plan
            .rate
            .map(|rate| Ticks::new(rate, self.number))
            .transpose();
        let ticks = match &mut ticks {
            Ok(ticks) => ticks,
            Err(error) => return Err(connection.malformed(error).into()),
        };
        loop {
            let now = clock::now();
            let over = now >= self.plan.measured.1;
            if !over {
                self.fill(connection, now, ticks.as_mut());
            }
            if over && self.sent.is_empty() {
                return Ok(());
            }
            match ticks {
                Some(ticks) if !over && self.sent.len() < self.plan.pipeline => {
                    connection.push()?;
                    tokio::select! {
                        biased;
                        went = connection.progress() => went?,
                        () = ticks.next() => {}
                    }
                }
                _ => connection.progress().await?,
            }
            self.take(connection, recorder, progress)?;
        }
    }

    /// Queues what may go now.
    fn fill(&mut self, connection: &mut Connection, now: Instant, mut ticks: Option<&mut Ticks>) {
        while self.sent.len() < self.plan.pipeline {
            let due = match &mut ticks {
                None => now,
                Some(ticks) => match ticks.due(now) {
                    Some(due) => due,
                    None => return,
                },
            };
            self.queue(connection, due);
        }
    }

    fn queue(&mut self, connection: &mut Connection, due: Instant) {
        let kind = match self.undeleted.front() {
            Some(_) => Kind::Delete,
            None => self.plan.mix.draw(&mut self.chance),
        };
        let mut nodes = [0; 2].map(|_: u32| self.chance.random_range(0..self.plan.znodes));
        let path = self.plan.path(nodes[0]);
        let xid = match kind {
            Kind::Read => connection.queue(OpCode::GetData, &GetDataRequest { path, watch: false }),
            Kind::Exists => connection.queue(OpCode::Exists, &ExistsRequest { path, watch: false }),
            Kind::Children => {
                let path = self.plan.root.clone();
                connection.queue(
                    OpCode::GetChildren,
                    &GetChildrenRequest { path, watch: false },
                )
            }
            Kind::Write => {
                let request = self.set_data(nodes[0]);
                connection.queue(OpCode::SetData, &request)
            }
            Kind::Multi => {
                let ops = nodes
                    .map(|node| MultiOp::SetData(self.set_data(node)))
                    .into();
                connection.queue(OpCode::Multi, &MultiRequest { ops })
            }
            Kind::Create => {
                nodes[0] = self.created;
                self.created += 1;
                self.undeleted.push_back(nodes[0]);
                let data = Some(content::write(nodes[0], self.stamp, self.plan.value_size));
                let (acl, flags) = (vec![Acl::open()], flags::EPHEMERAL);
                let path = self.own_path(nodes[0]);
                connection.queue(
                    OpCode::Create,
                    &CreateRequest {
                        path,
                        data,
                        acl,
                        flags,
                    },
                )
            }
            Kind::Delete => {
                nodes[0] = self.undeleted.pop_front().unwrap_or_default();
                let path = self.own_path(nodes[0]);
                connection.queue(OpCode::Delete, &DeleteRequest { path, version: -1 })
            }
        };
        self.sent.push_back(Sent {
            xid,
            kind,
            due,
            nodes,
        });
    }

    fn set_data(&mut self, node: u32) -> SetDataRequest {
        self.stamp += 1;
        SetDataRequest {
            path: self.plan.path(node),
            data: Some(content::write(node, self.stamp, self.plan.value_size)),
            version: -1,
        }
    }

    /// Not below the root itself, whose children others count.
    fn own_path(&self, node: u32) -> String {
        format!("{}-own/c{}-{node}", self.plan.root, self.number)
    }

    fn take(
        &mut self,
        connection: &mut Connection,
        recorder: &mut Recorder,
        progress: &Progress,
    ) -> Result<(), Failed> {
        let mut answers = 0;
        let now = clock::now();
        while let Some(reply) = connection.reply()? {
            let Some(sent) = self.sent.pop_front() else {
                return Err(connection
                    .malformed(&"an answer that nobody waits for")
                    .into());
            };
            if let Err(why) = self.verify(&sent, reply) {
                let (server, kind) = (connection.server().to_owned(), sent.kind.name());
                return Err(Failed::Wrong { server, kind, why });
            }
            let (from, until) = self.plan.measured;
            if now >= from && now < until {
                let latency = now.saturating_duration_since(sent.due);
                recorder.record(
                    sent.kind.name(),
                    now.saturating_duration_since(from),
                    latency,
                );
            }
            answers += 1;
        }
        progress.operations.fetch_add(answers, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the answer is right, as far as this connection can know.
    fn verify(&mut self, sent: &Sent, mut reply: Reply) -> Result<(), String> {
        let Reply { header, body } = &mut reply;
        if header.xid != sent.xid {
            return Err(format!("xid {} where {} is next", header.xid, sent.xid));
        }
        if header.err != ErrorCode::OK {
            return Err(format!(
                "error {}",
                header.err.name().unwrap_or("without a name")
            ));
        }
        let malformed = |error: zweig_proto::zk::DecodeError| error.to_string();
        match sent.kind {
            Kind::Read => {
                let GetDataResponse { data, stat } = Jute::read(body).map_err(malformed)?;
                content::check(
                    sent.nodes[0],
                    &data.unwrap_or_default(),
                    self.plan.value_size,
                )?;
                self.not_older(sent.nodes[0], &stat)
            }
            Kind::Exists => {
                let ExistsResponse { stat } = Jute::read(body).map_err(malformed)?;
                self.not_older(sent.nodes[0], &stat)
            }
            Kind::Children => {
                let GetChildrenResponse { children } = Jute::read(body).map_err(malformed)?;
                match (children.len(), self.plan.znodes as usize) {
                    (got, expected) if got != expected => {
                        Err(format!("{got} children, {expected} stand there"))
                    }
                    _ => Ok(()),
                }
            }
            Kind::Write => {
                let SetDataResponse { stat } = Jute::read(body).map_err(malformed)?;
                self.own_write(sent.nodes[0], &stat, header.zxid)
            }
            Kind::Multi => {
                let MultiResponse { results } = Jute::read(body).map_err(malformed)?;
                match results.as_slice() {
                    [MultiResult::SetData(first), MultiResult::SetData(second)] => {
                        self.own_write(sent.nodes[0], first, header.zxid)?;
                        self.own_write(sent.nodes[1], second, header.zxid)
                    }
                    other => Err(format!("{other:?} for two setData")),
                }
            }
            Kind::Create => {
                let CreateResponse { path } = Jute::read(body).map_err(malformed)?;
                let expected = self.own_path(sent.nodes[0]);
                if path == expected {
                    Ok(())
                } else {
                    Err(format!("created {path}, not {expected}"))
                }
            }
            Kind::Delete => Ok(()),
        }
    }

    /// The stat of what this request wrote itself.
    fn own_write(&mut self, node: u32, stat: &Stat, zxid: i64) -> Result<(), String> {
        if stat.mzxid != zxid {
            return Err(format!(
                "changed by zxid {:#x}, answered by {zxid:#x}",
                stat.mzxid
            ));
        }
        self.not_older(node, stat)
    }

    fn not_older(&mut self, node: u32, stat: &Stat) -> Result<(), String> {
        if usize::try_from(stat.data_length) != Ok(self.plan.value_size) {
            return Err(format!("a stat of {} bytes", stat.data_length));
        }
        let slot = &mut self.seen[node as usize % REMEMBERED];
        if slot.0 == node && stat.mzxid < slot.1 {
            return Err(format!(
                "node {node} as of {:#x}, after {:#x} was seen",
                stat.mzxid, slot.1
            ));
        }
        *slot = (node, stat.mzxid);
        Ok(())
    }
}
