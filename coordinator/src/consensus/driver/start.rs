//! Starting: open the log, make it and the state agree, then threads and links.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use prost011::Message as _;
use raft::eraftpb::ConfState;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::beginning::Beginning;
use super::inbox::{self, Inbox};
use super::raft::{Links, RaftThread};
use super::{Event, Events, Running, apply, identity, log, spawn};
use crate::consensus::applier::{Applier, Fatal, Unanswered};
use crate::consensus::bulk;
use crate::consensus::config::{ConsensusConfig, Listeners};
use crate::consensus::core::{Core, CoreConfig, Input, Patience};
use crate::consensus::handle::{Shared, StartError};
use crate::consensus::membership::raft_id;
use crate::consensus::node::{Node, NodeConfig, Now, Start};
use crate::consensus::transport::{Arrivals, Identity, Transport};
use crate::session::report::{Heard, grace_ms};
use crate::storage::identity::{Identity as OwnIdentity, Standing};
use crate::storage::raft_log::{Ballast, Disk, RaftLog};

fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Io { operation, source }
}

/// See [`Consensus::start`](crate::consensus::Consensus::start).
pub fn start(
    disk: impl Disk + 'static,
    config: &ConsensusConfig,
    listeners: Listeners,
    applier: Box<dyn Applier>,
    unanswered: &Arc<dyn Unanswered>,
    runtime: &Handle,
) -> Result<Running, StartError> {
    let aside = config.folder.join("aside");
    // Transfers that did not end are worth nothing.
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).map_err(io("the folder for checkpoints"))?;
    let own = identity::settle(config, &disk, applier.applied())?;
    let node_id = raft_id(own.server, own.incarnation);
    let (log, node) = open(config, &own, disk, applier.as_ref())?;
    let digest = applier.digest();

    let (events, inbox) = inbox::channel().map_err(io("the queue of events"))?;
    let (log_jobs, log_queue) = mpsc::channel();
    let (apply_jobs, apply_queue) = mpsc::channel();
    let (publish, status) = watch::channel(Arc::new(node.status()));
    let shared = Arc::new(shared(config));
    let links = link(
        config,
        node_id,
        listeners,
        &aside,
        (&events, &inbox),
        runtime,
    )?;
    let watched = log::Watched {
        ballast: (config.watermark_bytes > 0)
            .then(|| Ballast::new(config.ballast_bytes, config.watermark_bytes)),
        state_folder: config.state_folder.clone(),
    };
    let (log_events, apply_events) = (events.clone(), events.clone());
    let apply_log = log_jobs.clone();
    let syncs = config.syncs.clone();
    let jobs = (log_jobs, apply_jobs);
    let blank = own.standing == Standing::Blank;
    let beginning = blank.then(|| Beginning::new(config.clone(), own, digest));
    let raft = RaftThread::new(
        (node, beginning),
        config,
        shared.clone(),
        jobs,
        links,
        unanswered.clone(),
    );
    let thread = |name: &str, body: Body| {
        let name = format!("{name}-{}", config.node);
        spawn(name, unanswered.clone(), events.clone(), body).map_err(io("a thread"))
    };
    thread(
        "log",
        Box::new(move || log::run(log, watched, &log_queue, (&log_events, &syncs))),
    )?;
    let apply = move || apply::run(applier, &apply_queue, &apply_log, &apply_events);
    thread("apply", Box::new(apply))?;
    thread("raft", Box::new(move || raft.run(inbox, &publish)))?;
    Ok(Running {
        events,
        shared,
        status,
    })
}

type Body = Box<dyn FnOnce() -> Result<(), Fatal> + Send>;

/// Opens the log and makes a node of it and of what the state holds.
fn open<D: Disk>(
    config: &ConsensusConfig,
    own: &OwnIdentity,
    disk: D,
    applier: &dyn Applier,
) -> Result<(RaftLog<D>, Node), StartError> {
    let (mut log, recovered) = RaftLog::open(disk, config.log.clone())?;
    let applied = applier.applied();
    let recovered = log.reconcile(recovered, applied)?;
    let conf_state = match applier.conf_state() {
        Some(bytes) => ConfState::decode(bytes.as_slice())
            .map_err(|e| Fatal::new(format!("the stored configuration is not readable: {e}")))?,
        None => first_conf_state(own),
    };
    let id = raft_id(own.server, own.incarnation);
    let mut core = Core::new(core_config(config, id), recovered, conf_state, applied)?;
    core.handle(Input::Started);
    let now = Now {
        ms: 0,
        wall_ms: crate::clock::wall_clock_ms(),
    };
    let node = Node::new(
        node_config(config, own),
        core,
        Start {
            term: applied.term,
            digest: applier.digest(),
            sessions: &applier.sessions(),
        },
        now,
    );
    Ok((log, node))
}

/// Who was a member before the first change. A joiner learns that from its first checkpoint.
pub(super) fn first_conf_state(own: &OwnIdentity) -> ConfState {
    match &own.standing {
        Standing::Founder(founding) => {
            ConfState::from((founding.voters.clone(), founding.learners.clone()))
        }
        Standing::Blank | Standing::Joiner => ConfState::default(),
    }
}

fn link(
    config: &ConsensusConfig,
    node: u64,
    listeners: Listeners,
    aside: &std::path::Path,
    (events, inbox): (&Events, &Inbox),
    runtime: &Handle,
) -> Result<Links, StartError> {
    let identity = Identity {
        node,
        boot: config.boot,
        cluster: config.cluster.clone(),
    };
    let quorum: BTreeMap<u64, String> = config
        .members
        .iter()
        .map(|(&id, m)| (id, m.quorum.clone()))
        .collect();
    let bulk_addresses = config
        .members
        .iter()
        .map(|(&id, m)| (id, m.bulk.clone()))
        .collect();
    let sockets = events.clone();
    let arrivals: Arrivals = Arc::new(move |arrival| {
        // A raft thread that has ended stops the links next.
        let _ = sockets.send(Event::Socket(arrival));
    });
    let registry = inbox.registry().map_err(io("the queue of events"))?;
    let links = (registry, arrivals);
    let transport = Transport::start(&identity, &quorum, listeners.quorum, links, runtime)
        .map_err(io("the quorum port"))?;
    listeners
        .bulk
        .set_nonblocking(true)
        .map_err(io("the election port"))?;
    let _entered = runtime.enter();
    let bulk_listener = TcpListener::from_std(listeners.bulk).map_err(io("the election port"))?;
    let stop = CancellationToken::new();
    let arrived = events.clone();
    let known = quorum.keys().copied().collect();
    let arrivals: bulk::Arrivals = Arc::new(move |folder| {
        let _ = arrived.send(Event::Arrived(folder));
    });
    let receive = bulk::accept(
        bulk_listener,
        identity.clone(),
        known,
        aside.to_owned(),
        arrivals,
        stop.clone(),
    );
    runtime.spawn(receive);
    Ok(Links {
        transport,
        identity,
        bulk_addresses,
        aside: PathBuf::from(aside),
        events: events.clone(),
        _stop_bulk: stop.drop_guard(),
    })
}

fn shared(config: &ConsensusConfig) -> Shared {
    Shared {
        started: crate::clock::now(),
        queued: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        commands_limit: config.commands_in_flight,
        refuses: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        heard: Mutex::new(Heard::new()),
        reported_ms: AtomicU64::new(u64::MAX),
        grace_ms: grace_ms(config.shortest_session_timeout_ms),
    }
}

pub(super) fn core_config(config: &ConsensusConfig, node: u64) -> CoreConfig {
    let ticks = |ms: u64| {
        usize::try_from(ms.div_ceil(config.tick_ms))
            .unwrap_or(usize::MAX)
            .max(1)
    };
    CoreConfig {
        node,
        tick_ms: config.tick_ms,
        election_ticks: ticks(config.election_timeout_ms).max(ticks(config.heartbeat_ms) + 1),
        heartbeat_ticks: ticks(config.heartbeat_ms),
        patience: Patience::Random,
    }
}

pub(super) fn node_config(config: &ConsensusConfig, own: &OwnIdentity) -> NodeConfig {
    NodeConfig {
        node: raft_id(own.server, own.incarnation),
        servers: config.servers(),
        met: match &own.standing {
            Standing::Founder(founding) => founding.met.clone(),
            Standing::Blank | Standing::Joiner => BTreeMap::new(),
        },
        boot: config.boot,
        tick_ms: config.tick_ms,
        report_period_ms: config.report_period_ms,
        forward_deadline_ms: config.forward_deadline_ms,
        read_index_deadline_ms: config.read_index_deadline_ms,
        entry_bytes: config.entry_bytes,
        log_reserve_bytes: config.log_reserve_bytes,
    }
}
