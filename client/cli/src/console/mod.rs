//! `zweig console`: one page that shows the cluster as it lives, served by this binary.
//!
//! `follow` keeps a picture (`cluster`, `story`) up to date from the ensemble's watch stream and the servers' own words;
//! `hub` gives it to every open page and sends the changes, as server-sent events; `browse`, `records` and `history` answer
//! what a page asks for; `change` does what it wants done, where `guard` lets it. The page's files are in `assets/`, within the
//! binary.

mod browse;
mod change;
mod cluster;
mod follow;
mod guard;
mod history;
mod hub;
mod page;
mod records;
mod refusal;
mod story;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::{delete, get, post};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zweig_client::ensemble::{Ensemble, Options, SessionState};
use zweig_client::kafka::{Admin, Client};

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::kafka::Brokers;
use crate::output::note;
use crate::signals::Signals;
use guard::Guard;
use hub::Hub;
use refusal::Refusal;

/// How long what a page asks for may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page that shows the cluster as it lives: the ensemble, brokers and controller, partitions changing hands, groups and
/// their lag, the tree of znodes, records.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig console\n  zweig console --listen 127.0.0.1:8000 --server zk1:2181,zk2:2181 \
                  --bootstrap b1:9092\n  zweig console --allow-writes"
)]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
    /// Where to serve the page. Whoever reaches this address sees everything the console may see.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Let pages create and delete topics and znodes, and set the data of znodes.
    #[arg(long)]
    allow_writes: bool,
    /// A name by which browsers reach it, beside addresses and `localhost`; may be given several times.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

/// What somebody wants done with the processes of `zweig dev`.
#[derive(Debug)]
pub struct Order {
    /// As one types it.
    pub line: String,
    /// Where the answer goes.
    pub reply: oneshot::Sender<String>,
}

/// What to serve.
pub struct Setting {
    /// The ensemble.
    pub options: Options,
    /// The brokers.
    pub client: Client,
    /// Whether pages may change something.
    pub allow_writes: bool,
    /// Names by which browsers reach it.
    pub names: Vec<String>,
    /// Who has processes to kill and to start.
    pub orders: Option<mpsc::Sender<Order>>,
}

/// What the handlers share.
pub struct Console {
    options: Options,
    admin: Arc<Admin>,
    hub: Arc<Hub>,
    guard: Arc<Guard>,
    orders: Option<mpsc::Sender<Order>>,
    session: Mutex<Option<Ensemble>>,
}

impl Console {
    /// A session with the ensemble, another one if the last has ended.
    async fn session(&self) -> Result<Ensemble, Refusal> {
        if let Some(open) = self.open_session() {
            return Ok(open);
        }
        // Nobody waits for the attempt of somebody else: with no quorum, each would add its patience to the next one's.
        let opened = Ensemble::connect(self.options.clone()).await?;
        if let Some(other) = self.open_session() {
            return Ok(other);
        }
        *self.session.lock() = Some(opened.clone());
        Ok(opened)
    }

    fn open_session(&self) -> Option<Ensemble> {
        let session = self.session.lock();
        let is_open = |open: &&Ensemble| !matches!(*open.state().borrow(), SessionState::Expired);
        session.as_ref().filter(is_open).cloned()
    }

    fn admin(&self) -> &Admin {
        &self.admin
    }

    fn kafka(&self) -> &Client {
        self.admin.client()
    }
}

/// Serves until Ctrl-C.
pub async fn run(context: Context, args: Args) -> Result<()> {
    let mut options = context.options()?;
    options.connect_timeout = PATIENCE.min(context.patience());
    options.request_timeout = options.connect_timeout;
    let setting = Setting {
        client: args.brokers.client(options.connect_timeout),
        options,
        allow_writes: args.allow_writes,
        names: args.allow_host,
        orders: None,
    };
    let mut signals = Signals::listen()?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().context("the page's address")?;
    if !address.ip().is_loopback() {
        note("whoever reaches this address sees everything the console may see");
    }
    context
        .output()
        .line(&format!("console: http://{address}"))?;
    tokio::select! {
        _ = signals.told() => Ok(()),
        served = serve(listener, setting) => served,
    }
}

/// A listener at this address.
///
/// # Errors
/// With exit code 4 if the port cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = format!("{address} cannot be had for the page ({error}): --listen takes another");
        Failure::error(Code::Conflict, why)
    })
}

/// Serves the page until it is dropped.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, setting: Setting) -> Result<()> {
    let guard = Arc::new(Guard {
        names: setting.names,
        allow_writes: setting.allow_writes,
        token: secret()?,
    });
    let console = Arc::new(Console {
        options: setting.options,
        admin: Arc::new(Admin::new(setting.client)),
        hub: Arc::new(Hub::new()),
        guard: Arc::clone(&guard),
        orders: setting.orders,
        session: Mutex::default(),
    });
    let (options, hub) = (&console.options, &console.hub);
    let mut followers = JoinSet::new();
    followers.spawn(follow::tree(options.clone(), hub.clone()));
    followers.spawn(follow::ensemble(options.endpoints.clone(), hub.clone()));
    let groups = follow::groups(console.admin.clone(), hub.clone());
    tokio::select! {
        served = axum::serve(listener, router(console, guard)).into_future() => served.context("the page is not served any more"),
        () = groups => Ok(()),
    }
}

/// 128 bits that nobody can guess: the one use of chance that no seed may repeat.
fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    let drawn = OsRng.try_fill_bytes(&mut bytes);
    drawn.context("the system gives no random bytes")?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn router(console: Arc<Console>, guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/events", get(events))
        .route(
            "/api/znode",
            get(browse::znode)
                .post(change::create_znode)
                .put(change::set_znode)
                .delete(change::delete_znode),
        )
        .route("/api/znode/mark", get(browse::mark_now))
        .route("/api/history", get(history::znode))
        .route("/api/explain", get(history::partition))
        .route("/api/records", get(records::records))
        .route("/api/topics", post(change::create_topic))
        .route("/api/topics/{name}", delete(change::delete_topic))
        .route("/api/topics/{name}/elect", post(change::elect))
        .route("/api/orders", post(change::order))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(from_fn_with_state(guard, guard::check))
        .with_state(console)
}

/// `GET /api/events`: the picture, then its changes.
async fn events(
    State(console): State<Arc<Console>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = console.hub.follow();
    let events =
        messages.map(|message| Ok(Event::default().event(message.event).data(&*message.data)));
    Sse::new(events).keep_alive(KeepAlive::default())
}
