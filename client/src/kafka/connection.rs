//! One pipelined TCP connection to a broker.
//!
//! Requests are written in the order of their [`Connection::send`] calls and answered in that
//! order. One task writes, one reads; both end when the socket does, and every answer still
//! awaited then becomes [`KafkaError::Disconnected`]. A request whose answer is late closes the
//! connection, since nothing behind it can be answered before it.
//!
//! Opening one negotiates versions: ApiVersions is asked in our highest version; a broker that
//! does not know it says so in version 0 and names the range it does know.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Request, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::error::KafkaError;

mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

use frame::{UNSUPPORTED_VERSION, decode_answer, decode_api_versions, encode_request, read_frame};

/// Requests queued for the writer before [`Connection::send`] waits.
const WRITE_QUEUE: usize = 256;

/// How a connection is opened and how long it waits.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// Name sent with every request.
    pub client_id: String,
    /// Longest wait for the TCP connection and the version negotiation.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, unless a call names its own.
    pub request_timeout: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: "zweig".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    client_id: StrBytes,
    request_timeout: Duration,
    /// API key to the broker's lowest and highest version.
    versions: OnceLock<HashMap<i16, (i16, i16)>>,
    queue: mpsc::Sender<Bytes>,
    awaited: Mutex<Awaited>,
    closed: CancellationToken,
    alive: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

type Waiting = oneshot::Sender<Result<Bytes, KafkaError>>;

/// Answers still to come, in order. `None` once the connection has ended.
#[derive(Debug)]
struct Awaited {
    next_correlation: i32,
    answers: Option<VecDeque<(i32, Waiting)>>,
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {
    receiver: oneshot::Receiver<Result<Bytes, KafkaError>>,
}

impl Connection {
    /// Connects to `address` (host:port) and learns the broker's API versions.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] when no connection comes about in time.
    pub async fn open(address: &str, options: &ConnectionOptions) -> Result<Self, KafkaError> {
        let unreachable = |reason: String| KafkaError::Unreachable {
            addresses: address.to_owned(),
            reason,
        };
        let opening = async {
            let socket = TcpStream::connect(address)
                .await
                .map_err(|e| unreachable(e.to_string()))?;
            socket
                .set_nodelay(true)
                .map_err(|e| unreachable(e.to_string()))?;
            let connection = Self::start(address, socket, options);
            let versions = connection.negotiate().await?;
            let _ = connection.shared.versions.set(versions);
            Ok(connection)
        };
        tokio::time::timeout(options.connect_timeout, opening)
            .await
            .unwrap_or_else(|_| {
                Err(unreachable(format!(
                    "no answer within {:?}",
                    options.connect_timeout
                )))
            })
    }

    fn start(address: &str, socket: TcpStream, options: &ConnectionOptions) -> Self {
        let (reader, writer) = socket.into_split();
        let (queue, queued) = mpsc::channel(WRITE_QUEUE);
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            client_id: StrBytes::from_string(options.client_id.clone()),
            request_timeout: options.request_timeout,
            versions: OnceLock::new(),
            queue,
            awaited: Mutex::new(Awaited {
                next_correlation: 0,
                answers: Some(VecDeque::new()),
            }),
            closed: closed.clone(),
            alive: AtomicBool::new(true),
        });
        tokio::spawn(write_requests(writer, queued, closed.clone()));
        tokio::spawn(read_answers(reader, Arc::downgrade(&shared), closed));
        Self { shared }
    }

    async fn negotiate(&self) -> Result<HashMap<i16, (i16, i16)>, KafkaError> {
        let mut version = ApiVersionsRequest::SPOKEN.max;
        loop {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request.client_software_name = StrBytes::from_static_str("zweig");
                request.client_software_version =
                    StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
            }
            let body = self.send(&request, version, true).await?.wait().await?;
            let answer = decode_api_versions(body, version)?;
            if answer.error_code == UNSUPPORTED_VERSION && version > 0 {
                version = answer
                    .api_keys
                    .iter()
                    .find(|k| k.api_key == ApiVersionsRequest::KEY)
                    .map_or(0, |k| k.max_version.clamp(0, version - 1));
                continue;
            }
            super::error::check(|| "ApiVersions".into(), answer.error_code)?;
            return Ok(answer
                .api_keys
                .iter()
                .map(|k| (k.api_key, (k.min_version, k.max_version)))
                .collect());
        }
    }

    /// host:port of the broker.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether requests can still be sent.
    pub fn alive(&self) -> bool {
        self.shared.alive.load(Ordering::Acquire)
    }

    /// Every API the broker named, with its lowest and highest version.
    pub fn broker_versions(&self) -> impl Iterator<Item = (i16, (i16, i16))> + '_ {
        self.shared
            .versions
            .get()
            .into_iter()
            .flatten()
            .map(|(&key, &range)| (key, range))
    }

    /// The highest version of `R` both ends know.
    ///
    /// # Errors
    /// [`KafkaError::UnsupportedApi`] if there is none.
    pub fn version<R: Api>(&self) -> Result<i16, KafkaError> {
        let ours = R::SPOKEN;
        self.shared
            .versions
            .get()
            .and_then(|versions| versions.get(&R::KEY))
            .map(|&(min, max)| (min.max(ours.min), max.min(ours.max)))
            .filter(|(min, max)| min <= max)
            .map(|(_, max)| max)
            .ok_or_else(|| KafkaError::UnsupportedApi {
                address: self.shared.address.clone(),
                api_key: R::KEY,
                ours_min: ours.min,
                ours_max: ours.max,
            })
    }

    /// Sends what `build` makes of the negotiated version, and awaits the answer.
    ///
    /// # Errors
    /// [`KafkaError`]: no common version, no answer in time, connection lost, malformed bytes.
    pub async fn call<R: Api>(
        &self,
        build: impl FnOnce(i16) -> R + Send,
    ) -> Result<R::Response, KafkaError> {
        self.call_within(self.shared.request_timeout, build).await
    }

    /// [`Connection::call`] with a time limit of its own, for requests the broker holds back.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_within<R: Api>(
        &self,
        limit: Duration,
        build: impl FnOnce(i16) -> R + Send,
    ) -> impl Future<Output = Result<R::Response, KafkaError>> + Send {
        let built = self.version::<R>().map(|version| {
            (
                version,
                encode_request(&build(version), version, &self.shared.client_id),
            )
        });
        async move {
            let (version, frame) = built?;
            self.finish::<R>(self.submit(frame?, true), version, limit)
                .await
        }
    }

    /// Queues a request now, in the order of calls; the answer is awaited separately.
    ///
    /// # Errors
    /// [`KafkaError::Disconnected`], or [`KafkaError::Malformed`] if it cannot be encoded.
    pub fn send<R: Api>(
        &self,
        request: &R,
        version: i16,
        answered: bool,
    ) -> impl Future<Output = Result<Answer, KafkaError>> + Send {
        let frame = encode_request(request, version, &self.shared.client_id);
        async move { self.submit(frame?, answered).await }
    }

    /// Awaits what [`Connection::send`] began, and decodes it. Closes the connection after `limit`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn finish<R: Api>(
        &self,
        sending: impl Future<Output = Result<Answer, KafkaError>> + Send,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, KafkaError> {
        let waited = tokio::time::timeout(limit, async { sending.await?.wait().await }).await;
        let Ok(body) = waited else {
            self.close("an answer was late");
            return Err(KafkaError::TimedOut {
                operation: R::NAME.into(),
                after: limit,
            });
        };
        decode_answer::<R>(body?, version)
    }

    async fn submit(&self, mut frame: BytesMut, answered: bool) -> Result<Answer, KafkaError> {
        let gone = || self.shared.disconnected("it had ended");
        let slot = self.shared.queue.reserve().await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        {
            // Under the lock, so that the order of numbers is the order on the wire.
            let mut awaited = self.shared.awaited.lock();
            let correlation = awaited.next_correlation;
            awaited.next_correlation = correlation.wrapping_add(1);
            let answers = awaited.answers.as_mut().ok_or_else(gone)?;
            if answered {
                answers.push_back((correlation, sender));
            } else {
                let _ = sender.send(Ok(Bytes::new()));
            }
            frame[8..12].copy_from_slice(&correlation.to_be_bytes());
            slot.send(frame.freeze());
        }
        Ok(Answer { receiver })
    }

    /// Ends the connection; answers still awaited become errors.
    pub fn close(&self, reason: &str) {
        self.shared.end(reason);
    }
}

impl Answer {
    /// The answer's bytes, its header with it.
    ///
    /// # Errors
    /// [`KafkaError::Disconnected`] if the connection ends first.
    pub async fn wait(self) -> Result<Bytes, KafkaError> {
        self.receiver.await.unwrap_or_else(|_| {
            Err(KafkaError::Disconnected {
                address: String::new(),
                reason: "it was dropped".into(),
            })
        })
    }
}

impl Shared {
    fn disconnected(&self, reason: &str) -> KafkaError {
        KafkaError::Disconnected {
            address: self.address.clone(),
            reason: reason.to_owned(),
        }
    }

    fn end(&self, reason: &str) {
        self.alive.store(false, Ordering::Release);
        self.closed.cancel();
        let answers = self.awaited.lock().answers.take();
        for (_, answer) in answers.into_iter().flatten() {
            let _ = answer.send(Err(self.disconnected(reason)));
        }
    }

    /// Hands a frame to whoever awaits it. An error ends the connection.
    fn answered(&self, frame: Bytes) -> Result<(), String> {
        if frame.len() < 4 {
            return Err("an answer without a correlation id".into());
        }
        let correlation = frame.slice(..4).get_i32();
        let mut awaited = self.awaited.lock();
        let Some(answers) = awaited.answers.as_mut() else {
            return Ok(());
        };
        match answers.pop_front() {
            Some((expected, answer)) if expected == correlation => {
                let _ = answer.send(Ok(frame));
                Ok(())
            }
            Some(other) => {
                let expected = other.0;
                answers.push_front(other);
                Err(format!(
                    "answer {correlation} came where {expected} was due"
                ))
            }
            None => Err(format!("answer {correlation} came unasked")),
        }
    }
}

async fn write_requests(
    mut socket: OwnedWriteHalf,
    mut queued: mpsc::Receiver<Bytes>,
    closed: CancellationToken,
) {
    let mut buffer = BytesMut::new();
    loop {
        let first = tokio::select! {
            () = closed.cancelled() => break,
            frame = queued.recv() => match frame { Some(frame) => frame, None => break },
        };
        // Small requests queued together leave in one write; large ones are not copied.
        let mut written = Ok(());
        let mut next = Some(first);
        while let Some(frame) = next {
            if frame.len() < 16 << 10 {
                buffer.put_slice(&frame);
            } else {
                written = socket.write_all_buf(&mut buffer).await;
                if written.is_ok() {
                    written = socket.write_all(&frame).await;
                }
            }
            next = if written.is_ok() {
                queued.try_recv().ok()
            } else {
                None
            };
        }
        if written.is_ok() {
            written = socket.write_all_buf(&mut buffer).await;
        }
        if written.is_err() {
            break; // The reader sees the same end, and tells those who wait.
        }
    }
    let _ = socket.shutdown().await;
}

async fn read_answers(
    socket: OwnedReadHalf,
    shared: std::sync::Weak<Shared>,
    closed: CancellationToken,
) {
    let mut socket = BufReader::with_capacity(64 << 10, socket);
    let reason = loop {
        let frame = tokio::select! {
            () = closed.cancelled() => break "closed by this end".to_owned(),
            frame = read_frame(&mut socket) => frame,
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match frame.and_then(|frame| shared.answered(frame)) {
            Ok(()) => {}
            Err(reason) => break reason,
        }
    };
    if let Some(shared) = shared.upgrade() {
        shared.end(&reason);
    }
}

#[cfg(test)]
pub(in crate::kafka) mod tests;
