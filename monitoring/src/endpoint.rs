//! `GET /metrics` by HTTP/1.1, and 404 for all else.
//!
//! Whoever asks has little: so many connections at a time, one request on each, 8 KiB of its head, and ten seconds
//! from the first byte to the last of the answer. A page is made on the blocking pool: it looks at locks and files.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::page::Page;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 16;

/// Of a request's line and headers.
const HEAD_BYTES: usize = 8 << 10;

/// From the accept to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT_FORMAT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Makes a page; may block.
pub type Render = Arc<dyn Fn() -> Page + Send + Sync>;

/// A bound address that is not served yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    deadline: Duration,
}

impl Endpoint {
    /// Listens there; port 0: the system chooses. An empty host: every interface.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        let host = match host {
            "" => "0.0.0.0",
            host => host,
        };
        Ok(Self {
            listener: TcpListener::bind((host, port)).await?,
            deadline: DEADLINE,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; returns when its last connection has ended.
    pub async fn serve(self, render: Render, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        while let Some((stream, slot)) = stop.run_until_cancelled(self.next(&slots)).await {
            let render = Arc::clone(&render);
            let (stop, deadline) = (stop.clone(), self.deadline);
            connections.spawn(async move {
                let answering = tokio::time::timeout(deadline, answer(stream, render));
                if let Some(Err(_)) = stop.run_until_cancelled(answering).await {
                    tracing::debug!("a scrape took too long");
                }
                drop(slot);
            });
        }
        connections.close();
        connections.wait().await;
    }

    /// The next connection, with its place among those there may be.
    async fn next(&self, slots: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
        let slot = Arc::clone(slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, slot),
                Err(error) => {
                    tracing::warn!(%error, "a scrape could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, render: Render) {
    let service = service_fn(move |request: Request<Incoming>| {
        let render = Arc::clone(&render);
        async move { Ok::<_, Infallible>(respond(&request, render).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a scrape ended early");
    }
}

async fn respond(request: &Request<Incoming>, render: Render) -> Response<Full<Bytes>> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "what there is, is at /metrics\n");
    }
    let page = tokio::task::spawn_blocking(move || render().into_text()).await;
    let Ok(text) = page else {
        tracing::error!("a page of metrics could not be made");
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(deadline: Duration) -> (SocketAddr, CancellationToken) {
        let mut endpoint = Endpoint::bind("127.0.0.1", 0).await.expect("a port");
        endpoint.deadline = deadline;
        let address = endpoint.address().expect("its address");
        let render = Arc::new(|| {
            let mut page = Page::default();
            page.gauge("one", "The number one.", 1_u64);
            page
        });
        let stop = CancellationToken::new();
        tokio::spawn(endpoint.serve(render, stop.clone()));
        (address, stop)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        // A refused request may end with a reset behind the answer.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn the_page_is_served_and_nothing_else() {
        let (address, _stop) = start(DEADLINE).await;
        let page = ask(address, "GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("text/plain; version=0.0.4"), "{page}");
        assert!(page.ends_with("# TYPE one gauge\none 1\n"), "{page}");
        for other in ["GET /", "POST /metrics", "GET /metrics/x", "HEAD /metrics"] {
            let answer = ask(address, &format!("{other} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{other}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_and_a_silent_client_are_bounded() {
        let (address, _stop) = start(Duration::from_millis(100)).await;
        let long = format!(
            "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(64 << 10)
        );
        let answer = ask(address, &long).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        // More than there are places: the last is answered once the silent ones had their time.
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            silent.push(TcpStream::connect(address).await.expect("connected"));
        }
        let page = ask(address, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(page.contains("200 OK"), "{page}");
    }

    #[tokio::test]
    async fn it_ends_at_once_though_a_client_is_there() {
        let endpoint = Endpoint::bind("127.0.0.1", 0).await.expect("a port");
        let address = endpoint.address().expect("its address");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(endpoint.serve(Arc::new(Page::default), stop.clone()));
        let mut silent = TcpStream::connect(address).await.expect("connected");
        silent.write_all(b"GET /").await.expect("sent");
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), serving).await;
        ended.expect("in time").expect("without a panic");
    }
}
