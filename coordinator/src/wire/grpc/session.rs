//! One session on one stream.
//!
//! ```text
//!   first message ─▶ open or attach ─▶ ┌ requests ─▶ Connection (order per session) ┐
//!                                      └ answers ◀─ outbox ◀────────────────────────┘ ─▶ ends
//! ```
//! The stream is one task. It takes a request only when there is room for its answer: while the
//! client does not read, nothing more is read from it. A linearizable read holds back what comes
//! behind it, so that requests take effect in the order in which they were sent. Pings and `add_auth`
//! are answered at once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use zweig_monitoring::TraceContext;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;

use super::super::detect::PeerEnded;
use super::{codes, values};
use crate::clock::timeout;
use crate::consensus::ReadIndexError;
use crate::limits;
use crate::request::{
    Answer, Closed, Connection, EventSink, FrontDoor, ReadOp, ReadReply, Request, RequestError,
    Response,
};
use crate::session::{Password, SessionId};
use crate::state_machine::{Op, OpError, Reply, SessionGrant};
use crate::tree::Zxid;
use crate::watch::Event;

/// Responses on their way to the transport.
const OUTGOING: usize = 64;

/// How long a new stream may take to say which session it wants.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

type Responses = ReceiverStream<Result<proto::SessionResponse, Status>>;

/// Serves the stream in a task of its own.
pub(super) fn start(
    door: FrontDoor,
    requests: Streaming<proto::SessionRequest>,
    peer_ended: PeerEnded,
) -> Responses {
    let (out, responses) = mpsc::channel(OUTGOING);
    tokio::spawn(serve(door, requests, out, peer_ended));
    ReceiverStream::new(responses)
}

/// Serves the stream until it ends.
pub async fn serve<R: Requests>(door: FrontDoor, requests: R, out: Out, peer_ended: PeerEnded) {
    if let Some(stream) = open(door, requests, out).await {
        stream.run(&peer_ended).await;
    }
}

/// Where a stream's requests come from.
pub trait Requests: Stream<Item = Result<proto::SessionRequest, Status>> + Send + Unpin {}

impl<R: Stream<Item = Result<proto::SessionRequest, Status>> + Send + Unpin> Requests for R {}

type Out = mpsc::Sender<Result<proto::SessionResponse, Status>>;

/// What goes to the client, in this order.
enum Outgoing {
    /// Of a request that went through the session's order.
    Answer(u64, Shape, Answer),
    /// Anything else.
    Said(u64, Zxid, Said),
    /// The end.
    Closed(Closed),
}

/// What kind of answer a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Of `sync` and `close`.
    Done,
    Write,
    FencedBatch,
    Read,
}

/// Called under the publication lock: only queues.
struct Outbox(mpsc::UnboundedSender<Outgoing>);

impl EventSink for Outbox {
    /// Sessions of this API hold no watches: they have streams of their own.
    fn event(&self, _: Event) {}

    fn closed(&self, why: Closed) {
        // The stream may have ended already.
        let _ = self.0.send(Outgoing::Closed(why));
    }
}

/// A linearizable read that waits for this node to be up to date.
struct Gate {
    id: u64,
    read: ReadOp,
    fresh: Pin<Box<dyn Future<Output = Result<(), ReadIndexError>> + Send>>,
}

struct SessionStream<R> {
    door: FrontDoor,
    connection: Connection,
    requests: R,
    out: Out,
    queue: mpsc::UnboundedSender<Outgoing>,
    queued: mpsc::UnboundedReceiver<Outgoing>,
    timeout: Duration,
    /// As the client asked for in case that it ends the stream.
    disconnect_timeout_ms: u32,
    /// Requests whose answers have not been queued to the transport yet.
    unanswered: usize,
    gate: Option<Gate>,
    /// The client sends nothing more.
    half_closed: bool,
    session: SessionId,
    /// Why this node ended it.
    closed: Option<Closed>,
}

async fn open<R: Requests>(door: FrontDoor, mut requests: R, out: Out) -> Option<SessionStream<R>> {
    let first = timeout(&**door.clock(), OPEN_DEADLINE, requests.next()).await;
    let first = first??.ok()?;
    let id = first.id;
    let disconnect_timeout_ms = match &first.request {
        Some(Asked::Open(open)) => open.disconnect_timeout_ms,
        _ => 0,
    };
    let (queue, queued) = mpsc::unbounded_channel();
    let connection = door.connect(Arc::new(Outbox(queue.clone())));
    let opened = tokio::select! {
        biased;
        opened = open_session(&connection, first) => opened,
        () = out.closed() => return None,
    };
    let (said, granted) = match opened {
        Ok(grant) => (opened_message(&door, &grant), Some(grant)),
        Err(error) => (Said::Error(error), None),
    };
    let zxid = door.read(|state| state.applied().zxid);
    out.send(Ok(response(id, zxid, said))).await.ok()?;
    granted.map(|grant| SessionStream {
        door,
        connection,
        requests,
        out,
        queue,
        queued,
        timeout: Duration::from_millis(grant.timeout_ms.into()),
        disconnect_timeout_ms,
        unanswered: 0,
        gate: None,
        half_closed: false,
        session: grant.id,
        closed: None,
    })
}

async fn open_session(
    connection: &Connection,
    first: proto::SessionRequest,
) -> Result<SessionGrant, proto::Error> {
    let Some(Asked::Open(open)) = first.request else {
        return Err(codes::bad_arguments("the first message must be 'open'"));
    };
    for auth in &open.auth {
        connection
            .add_auth(&auth.scheme, auth.id.as_bytes())
            .map_err(|failed| codes::of_op(&failed))?;
    }
    let resume = match open.session {
        0 => None,
        id => {
            let password = Password::try_from(&open.password[..]).map_err(|_| {
                let found = open.password.len();
                codes::bad_arguments(&format!("a password has 16 bytes, not {found}"))
            })?;
            Some((SessionId(id), password))
        }
    };
    let opened = connection.open(open.timeout_ms, resume, Zxid(open.last_zxid_seen));
    opened.await.map_err(|failed| codes::of_open(&failed))
}

fn opened_message(door: &FrontDoor, grant: &SessionGrant) -> Said {
    Said::Opened(proto::SessionOpened {
        session: grant.id.0,
        password: bytes::Bytes::copy_from_slice(&grant.password),
        timeout_ms: grant.timeout_ms,
        attach: grant.attach,
        node: door.status().node,
    })
}

fn response(id: u64, zxid: Zxid, said: Said) -> proto::SessionResponse {
    proto::SessionResponse {
        id,
        zxid: zxid.0,
        response: Some(said),
    }
}

impl<R: Requests> SessionStream<R> {
    async fn run(mut self, peer_ended: &PeerEnded) {
        self.serve().await;
        // Its client may have gone before it was told.
        while let Ok(outgoing) = self.queued.try_recv() {
            if let Outgoing::Closed(why) = outgoing {
                self.closed = Some(why);
            }
        }
        match self.closed {
            Some(why) => self.connection.tell_end(self.session, &why),
            None => self
                .connection
                .tell_end(self.session, &"its stream has ended"),
        }
        // Not so for one that broke on the way, or whose client ended the stream alone: that one lives.
        if peer_ended.is_set() {
            self.connection.left(self.disconnect_timeout_ms);
        }
    }

    async fn serve(&mut self) {
        loop {
            if self.half_closed && self.unanswered == 0 && self.gate.is_none() {
                return;
            }
            let room = self.unanswered < limits::PIPELINE_DEPTH;
            let listening = room && self.gate.is_none() && !self.half_closed;
            tokio::select! {
                biased;
                Some(outgoing) = self.queued.recv() => {
                    if !self.deliver(outgoing).await {
                        return;
                    }
                }
                () = self.out.closed() => return,
                fresh = fresh(self.gate.as_mut()), if self.gate.is_some() => self.through(fresh),
                message = self.requests.next(), if listening => match message {
                    Some(Ok(message)) => self.take(message),
                    None => self.half_closed = true,
                    Some(Err(status)) => {
                        tracing::debug!(session = ?self.connection.session(), %status, "stream broke");
                        return;
                    }
                },
            }
        }
    }

    fn take(&mut self, message: proto::SessionRequest) {
        let id = message.id;
        let trace = message.trace;
        let trace = trace.and_then(|at| TraceContext::from_ids(&at.trace, &at.span));
        let Some(asked) = message.request else {
            return self.say(id, Said::Error(codes::bad_arguments("an empty request")));
        };
        match asked {
            Asked::Open(_) => {
                let error = codes::bad_arguments("the session is open already");
                self.say(id, Said::Error(error));
            }
            Asked::Ping(_) => {
                let queue = self.queue.clone();
                self.connection.ping(move |zxid| {
                    let _ = queue.send(Outgoing::Said(id, zxid, Said::Done(proto::Empty {})));
                });
            }
            Asked::AddAuth(add) => {
                let auth = add.auth.unwrap_or_default();
                let added = self.connection.add_auth(&auth.scheme, auth.id.as_bytes());
                self.say(
                    id,
                    match added {
                        Ok(()) => Said::Done(proto::Empty {}),
                        Err(failed) => Said::Error(codes::of_op(&failed)),
                    },
                );
            }
            Asked::Close(_) => {
                self.ask(id, trace, Shape::Done, Ok(Request::Write(Op::CloseSession)));
            }
            Asked::Sync(_) => self.ask(id, trace, Shape::Done, Ok(Request::Write(Op::Sync))),
            Asked::Write(write) => {
                let write = values::write(write).map(Request::Write);
                self.ask(id, trace, Shape::Write, write);
            }
            Asked::FencedBatch(batch) => {
                let batch = values::fenced_batch(batch).map(Request::Write);
                self.ask(id, trace, Shape::FencedBatch, batch);
            }
            Asked::Read(read) => {
                let linearizable = read.consistency() == proto::Consistency::Linearizable;
                match values::read(read) {
                    Ok(read) if linearizable => self.hold(id, read),
                    read => self.ask(id, None, Shape::Read, read.map(Request::Read)),
                }
            }
        }
    }

    /// Puts the request into the session's order; one that makes no sense keeps its place there.
    fn ask(
        &mut self,
        id: u64,
        trace: Option<TraceContext>,
        shape: Shape,
        request: Result<Request, OpError>,
    ) {
        let request = request.unwrap_or_else(Request::Refuse);
        let queue = self.queue.clone();
        self.unanswered += 1;
        let metrics = Arc::clone(self.door.metrics());
        let asked = metrics.asked(&request);
        let reply = Box::new(move |answer| {
            metrics.answered(asked, crate::clock::now());
            let _ = queue.send(Outgoing::Answer(id, shape, answer));
        });
        self.connection
            .send_within(trace, [(request, reply as crate::request::ReplyTo)]);
    }

    fn say(&self, id: u64, said: Said) {
        let zxid = self.door.read(|state| state.applied().zxid);
        let _ = self.queue.send(Outgoing::Said(id, zxid, said));
    }

    fn hold(&mut self, id: u64, read: ReadOp) {
        let door = self.door.clone();
        let patience = self.timeout / 3;
        let fresh = Box::pin(async move {
            let clock = Arc::clone(door.clock());
            let waited = timeout(&*clock, patience, door.linearizable()).await;
            waited.unwrap_or(Err(ReadIndexError::NoQuorum))
        });
        self.gate = Some(Gate { id, read, fresh });
    }

    fn through(&mut self, fresh: Result<(), ReadIndexError>) {
        let Some(Gate { id, read, .. }) = self.gate.take() else {
            return;
        };
        match fresh {
            Ok(()) => self.ask(id, None, Shape::Read, Ok(Request::Read(read))),
            Err(failed) => self.say(id, Said::Error(codes::of_read_index(failed))),
        }
    }

    /// Hands one thing to the transport. False if it was the last.
    async fn deliver(&mut self, outgoing: Outgoing) -> bool {
        let in_touch = self.door.in_touch(self.door.clock().now());
        let (id, zxid, said) = match outgoing {
            Outgoing::Closed(why) => {
                self.closed = Some(why);
                let end = response(0, Zxid(0), Said::Error(codes::of_closed(why)));
                let _ = self.out.send(Ok(end)).await;
                return false;
            }
            Outgoing::Answer(id, shape, answer) => {
                self.unanswered -= 1;
                let said = match (in_touch, shape) {
                    (true, _) => answered(shape, answer.result),
                    (false, Shape::Read) => Said::Error(codes::out_of_touch()),
                    (false, _) => Said::Error(codes::unknown()),
                };
                (id, answer.zxid, said)
            }
            Outgoing::Said(id, zxid, said) if in_touch => (id, zxid, said),
            Outgoing::Said(id, zxid, _) => (id, zxid, Said::Error(codes::out_of_touch())),
        };
        self.out.send(Ok(response(id, zxid, said))).await.is_ok()
    }
}

async fn fresh(gate: Option<&mut Gate>) -> Result<(), ReadIndexError> {
    match gate {
        Some(gate) => gate.fresh.as_mut().await,
        None => std::future::pending().await,
    }
}

fn answered(shape: Shape, result: Result<Response, RequestError>) -> Said {
    match (shape, result) {
        (Shape::Done, Ok(_)) => Said::Done(proto::Empty {}),
        (Shape::Write, Ok(Response::Written(reply))) => {
            Said::Write(values::write_results(Ok(reply)))
        }
        // An operation's own failure is its result; what is the session's concerns the request.
        (Shape::Write, Err(RequestError::Op(failed))) if !is_of_session(&failed) => {
            Said::Write(values::write_results(Err(failed)))
        }
        (Shape::FencedBatch, Ok(Response::Written(Reply::FencedBatch(groups)))) => {
            Said::FencedBatch(values::fenced_batch_result(groups))
        }
        (Shape::Read, Ok(Response::Read(ReadReply::Many(replies)))) => {
            Said::Read(values::read_results(replies))
        }
        (_, Err(failed)) => Said::Error(codes::of_request(&failed)),
        (shape, Ok(other)) => unreachable!("{shape:?} was answered with {other:?}"),
    }
}

fn is_of_session(failed: &OpError) -> bool {
    matches!(
        failed,
        OpError::SessionExpired { .. } | OpError::SessionMoved { .. }
    )
}
