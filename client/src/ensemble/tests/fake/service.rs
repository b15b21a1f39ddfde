//! One node: the gRPC service over the shared tree, with its faults.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_server::Ensemble;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::grpc::watch_response::Response as Told;

use super::Fault;
use super::state::{State, error};

const PASSWORD: [u8; 16] = [7; 16];

#[derive(Clone)]
pub(super) struct Service {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) fault: Arc<Mutex<Fault>>,
    pub(super) moved_on: watch::Sender<i64>,
    pub(super) stop: CancellationToken,
}

impl Service {
    fn fault(&self) -> Fault {
        *self.fault.lock()
    }

    fn opened(&self, open: &proto::OpenSession) -> Said {
        let mut state = self.state.lock();
        state.zxid += 1;
        let session = if open.session == 0 {
            let id = 100 + i64::try_from(state.sessions.len()).expect("few");
            state.sessions.insert(id, 0);
            id
        } else {
            open.session
        };
        let known = open.session == 0 || open.password == PASSWORD[..];
        match state.sessions.get_mut(&session) {
            Some(attach) if known => {
                *attach += 1;
                Said::Opened(proto::SessionOpened {
                    session,
                    password: Bytes::copy_from_slice(&PASSWORD),
                    timeout_ms: open.timeout_ms,
                    attach: *attach,
                    node: 1,
                })
            }
            _ => Said::Error(error(proto::Code::SessionExpired)),
        }
    }

    /// `None`: the stream breaks.
    fn answer(&self, session: i64, asked: Asked) -> Option<Said> {
        let mut state = self.state.lock();
        if !state.sessions.contains_key(&session) {
            return Some(Said::Error(error(proto::Code::SessionExpired)));
        }
        let said = match asked {
            Asked::Write(write) => {
                let mut fault = self.fault.lock();
                if *fault == Fault::MovedOnce {
                    *fault = Fault::None;
                    return Some(Said::Error(error(proto::Code::SessionMoved)));
                }
                state.zxid += 1;
                state.writes_done += 1;
                let ops = write.ops.into_iter();
                let results = ops.map(|op| state.write(session, op)).collect();
                self.moved_on.send_replace(state.zxid);
                if *fault == Fault::LoseAnswers {
                    return None;
                }
                Said::Write(proto::WriteResults { results })
            }
            Asked::Read(read) => Said::Read(proto::ReadResults {
                results: read.ops.iter().map(|op| state.read(op)).collect(),
            }),
            Asked::Close(_) => {
                state.sessions.remove(&session);
                Said::Done(proto::Empty {})
            }
            Asked::FencedBatch(_) => Said::Error(error(proto::Code::Fenced)),
            _ => Said::Done(proto::Empty {}),
        };
        Some(said)
    }

    async fn serve_session(
        self,
        mut requests: Streaming<proto::SessionRequest>,
        out: mpsc::Sender<Result<proto::SessionResponse, Status>>,
    ) {
        let mut session = 0;
        while let Ok(Some(message)) = requests.message().await {
            let Some(asked) = message.request else { return };
            let said = match (self.fault(), asked) {
                (Fault::Silent, _) => continue,
                (Fault::Refuse, Asked::Open(_)) => Said::Error(error(proto::Code::NotDone)),
                (_, Asked::Open(open)) => self.opened(&open),
                (Fault::OutOfTouch, Asked::Ping(_) | Asked::Write(_)) => {
                    Said::Error(error(proto::Code::NotDone))
                }
                (_, asked) => match self.answer(session, asked) {
                    Some(said) => said,
                    None => return,
                },
            };
            if let Said::Opened(opened) = &said {
                session = opened.session;
            }
            let zxid = self.state.lock().zxid;
            let response = proto::SessionResponse {
                id: message.id,
                zxid,
                response: Some(said),
            };
            if out.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }

    async fn serve_watch(
        self,
        request: proto::WatchRequest,
        out: mpsc::Sender<Result<proto::WatchResponse, Status>>,
    ) -> Option<()> {
        let told = async |told| {
            let response = proto::WatchResponse {
                response: Some(told),
            };
            out.send(Ok(response)).await.ok()
        };
        let within = |path: &str| {
            path == request.path
                || request.recursive
                    && (request.path == "/" || path.starts_with(&format!("{}/", request.path)))
        };
        let mut from = request.from_zxid;
        if from == 0 {
            let (nodes, at) = {
                let state = self.state.lock();
                let there = state.nodes.iter().filter(|(path, _)| within(path));
                let nodes = there.map(|(path, node)| proto::WatchedNode {
                    path: path.clone(),
                    data: node.data.clone(),
                    stat: Some(node.stat),
                    readable: true,
                });
                (nodes.collect::<Vec<_>>(), state.zxid)
            };
            for node in nodes {
                told(Told::Subtree(proto::SubtreeChunk { nodes: vec![node] })).await?;
            }
            told(Told::SubtreeEnd(at)).await?;
            from = at;
        } else if from < self.state.lock().floor {
            let lowest_zxid = self.state.lock().floor;
            return told(Told::TooOld(proto::TooOld { lowest_zxid })).await;
        }
        let mut moved_on = self.moved_on.subscribe();
        loop {
            let next: Vec<proto::Change> = {
                let state = self.state.lock();
                let after = state.changes.iter().filter(|change| change.zxid > from);
                let zxid = after.clone().map(|change| change.zxid).next();
                after
                    .filter(|change| Some(change.zxid) == zxid)
                    .cloned()
                    .collect()
            };
            let Some(first) = next.first() else {
                moved_on.changed().await.ok()?;
                continue;
            };
            from = first.zxid;
            for change in next {
                if within(&change.node.as_ref().expect("made here").path) {
                    told(Told::Change(change)).await?;
                    if self.fault() == Fault::BreakInsideZxid {
                        return None;
                    }
                }
            }
            told(Told::EndOfZxid(from)).await?;
        }
    }
}

#[tonic::async_trait]
impl Ensemble for Service {
    type HistoryStream = ReceiverStream<Result<proto::HistoryResponse, Status>>;
    type SessionStream = ReceiverStream<Result<proto::SessionResponse, Status>>;
    type WatchStream = ReceiverStream<Result<proto::WatchResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (out, responses) = mpsc::channel(16);
        let served = self.clone().serve_session(request.into_inner(), out);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(served));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (out, responses) = mpsc::channel(16);
        let served = self.clone().serve_watch(request.into_inner(), out);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(served));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn history(
        &self,
        _: Request<proto::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        Err(Status::unimplemented("this ensemble keeps no history"))
    }

    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let status = proto::StatusResponse {
            node: 1,
            role: "leader".into(),
            leader: 1,
            ..proto::StatusResponse::default()
        };
        Ok(Response::new(status))
    }
}
