//! Reaches the other nodes, introduces this one, and hands the socket to the raft thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::{Arrival, Arrivals, prepare};
use crate::consensus::frame::{self, Frame, Hello};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MOST: Duration = Duration::from_millis(320);

/// One peer's dialer.
pub struct Dialer {
    pub server: u64,
    pub address: String,
    /// As whom: its `from` is taken from `names`.
    pub hello: Hello,
    pub names: watch::Receiver<u64>,
    /// Told when a socket that was handed over is of no use any more.
    pub lost: Arc<Notify>,
    pub arrivals: Arrivals,
}

impl Dialer {
    /// Dials again and again, one socket at a time.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.connect().await {
                Ok(stream) => {
                    backoff = BACKOFF_FIRST;
                    tracing::info!(peer = self.server, address = %self.address, "linked");
                    (self.arrivals)(Arrival::Dialled {
                        server: self.server,
                        name: self.hello.from,
                        stream,
                    });
                    self.lost.notified().await;
                }
                Err(error) => {
                    let (peer, address) = (self.server, &self.address);
                    tracing::debug!(peer, %address, %error, "can't be reached");
                    (self.arrivals)(Arrival::NotReached(peer));
                }
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MOST);
        }
    }

    async fn connect(&mut self) -> io::Result<std::net::TcpStream> {
        let mut stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await??;
        prepare(&stream)?;
        self.hello.from = *self.names.borrow();
        let hello = frame::encode(&Frame::Hello(self.hello.clone()));
        stream.write_all(&hello).await?;
        stream.into_std()
    }
}
