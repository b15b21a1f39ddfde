//! The native API on the client port: the same requests as ZooKeeper's, in other bytes, and more.
//!
//! - [`session`]: one stream per session; decodes, queues at the front door, answers in order.
//! - [`watch`]: a subtree as of a zxid, then every change after it.
//! - [`history`]: what happened to a znode, as far as that is kept.
//! - [`status`]: what this node knows of itself and of the ensemble.
//! - [`values`]: messages to values and back; [`codes`]: errors to codes, nowhere else.
//!
//! Called by `server`, with the connections that the listener found to speak HTTP/2. Calls the front
//! door and nothing below it. Every stream is a task with a bounded queue to its client: a client
//! that does not read holds up its own stream, never `apply` and never another client. An answer
//! leaves only while this node is in touch with the leader.

mod codes;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod history;
pub mod session;
mod status;
mod values;
pub mod watch;

use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_server::{Ensemble, EnsembleServer};

use super::detect::{PeerEnded, Rewound};
use crate::config::Config;
use crate::request::FrontDoor;

/// The largest request, in bytes: a batch over thousands of znodes.
const REQUEST_BYTES: usize = 16 << 20;

/// The largest response, in bytes: the names of a million children.
const RESPONSE_BYTES: usize = 64 << 20;

/// How often an idle connection is asked whether its other end still lives, and how long it may
/// take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long streams may take to end when this node stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Connected for Rewound {
    type ConnectInfo = PeerEnded;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer_ended()
    }
}

/// Serves the connections that come in, until `shutdown`.
pub fn serve(
    door: FrontDoor,
    config: &Config,
    incoming: mpsc::Receiver<Rewound>,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let service = Service {
        door,
        addresses: status::addresses(config),
        disks: status::Disks::new(config),
        shutdown: shutdown.clone(),
    };
    run(service, incoming, shutdown)
}

async fn run(service: Service, incoming: mpsc::Receiver<Rewound>, shutdown: CancellationToken) {
    let service = EnsembleServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES)
        .max_encoding_message_size(RESPONSE_BYTES);
    let connections = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(connections, shutdown.clone().cancelled_owned());
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        ended = served => {
            if let Err(error) = ended {
                tracing::error!(%error, "gRPC is not served any more");
            }
        }
        () = too_late => tracing::warn!("streams did not end in time: cut off"),
    }
}

struct Service {
    door: FrontDoor,
    addresses: status::Addresses,
    disks: status::Disks,
    shutdown: CancellationToken,
}

#[tonic::async_trait]
impl Ensemble for Service {
    type SessionStream = ReceiverStream<Result<proto::SessionResponse, Status>>;
    type HistoryStream = ReceiverStream<Result<proto::HistoryResponse, Status>>;
    type WatchStream = ReceiverStream<Result<proto::WatchResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer_ended = request.extensions().get::<PeerEnded>().cloned();
        let peer_ended = peer_ended.unwrap_or_default();
        let answers = session::start(self.door.clone(), request.into_inner(), peer_ended);
        Ok(Response::new(answers))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let shutdown = self.shutdown.clone();
        let changes = watch::start(self.door.clone(), request.into_inner(), shutdown)?;
        Ok(Response::new(changes))
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let past = history::start(self.door.clone(), request.into_inner())?;
        Ok(Response::new(past))
    }

    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let disks = self.disks.look().await;
        Ok(Response::new(status::of(
            &self.door,
            &self.addresses,
            disks,
        )))
    }
}
