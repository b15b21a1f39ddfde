//! Lets the other nodes in: reads who is calling, and hands the socket to the raft thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Arrival, Arrivals, Identity, prepare};
use crate::consensus::frame::{self, Frame, FrameError, HEADER_BYTES, HELLO_FRAME_BYTES, Hello};
use crate::consensus::membership::server_of;

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the next attempt, when the system gives no socket.
const PAUSE: Duration = Duration::from_millis(320);

/// Whom this node lets in.
pub struct Acceptor {
    pub identity: Identity,
    pub known: Vec<u64>,
    pub arrivals: Arrivals,
}

/// Accepts until told to stop.
pub async fn accept(listener: TcpListener, acceptor: Arc<Acceptor>, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let acceptor = acceptor.clone();
                let welcome = async move {
                    if let Err(error) = acceptor.welcome(stream).await {
                        tracing::debug!(%address, %error, "a node's connection ended");
                    }
                };
                tokio::spawn(stop.clone().run_until_cancelled_owned(welcome));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a node's connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Why a caller was not let in.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it sent no hello in time")]
    Silent,
    #[error("{0}")]
    Stranger(String),
}

impl Acceptor {
    async fn welcome(&self, mut stream: TcpStream) -> Result<(), Unwelcome> {
        prepare(&stream)?;
        let first = timeout(HELLO_TIMEOUT, read_hello(&mut stream)).await;
        let first = first.map_err(|_| Unwelcome::Silent)??;
        let hello = check_hello(first, &self.identity, &self.known).map_err(Unwelcome::Stranger)?;
        let stream = stream.into_std()?;
        (self.arrivals)(Arrival::Accepted { hello, stream });
        Ok(())
    }
}

/// Reads the first frame and no byte behind it.
async fn read_hello(stream: &mut TcpStream) -> Result<Frame, Unwelcome> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let (length, crc) = frame::decode_header(header, HELLO_FRAME_BYTES)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(frame::decode(crc, Bytes::from(body))?)
}

/// Whether the caller is one of the others, and means us.
pub fn check_hello(first: Frame, identity: &Identity, known: &[u64]) -> Result<Hello, String> {
    let Frame::Hello(hello) = first else {
        return Err("its first frame is no hello".to_owned());
    };
    let (from, own) = (server_of(hello.from), server_of(identity.node));
    if hello.to != own {
        return Err(format!(
            "node {from} looks for node {}, this is {own}",
            hello.to
        ));
    }
    if hello.cluster != identity.cluster {
        return Err(format!(
            "node {from} belongs to ensemble {:?}",
            hello.cluster
        ));
    }
    if from == own || !known.contains(&from) {
        return Err(format!("node {from} is not one of us"));
    }
    Ok(hello)
}
