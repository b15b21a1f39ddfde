//! `zweig dev`: a whole local cluster, one process per role, on one screen.
//!
//! It starts this same executable once per coordinator and broker with the configuration files an
//! operator would write (`layout.rs`), watches the processes (`process.rs`), follows the tree
//! through one native watch stream (`picture.rs`) and draws what it sees (`screen.rs`). It is no
//! supervisor: a process that was killed stays dead until `start` is typed, so that fail-over can
//! be watched; its console (`console/`) shows the same on a page, and may kill and start them too. Ctrl-C stops brokers first, then coordinators; the data stays where `--data` says.

mod layout;
mod picture;
mod process;
mod screen;

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::mpsc;
use zweig_client::ensemble::Options;
use zweig_client::kafka::{Client, ClientOptions};

use layout::{Layout, Ports};
use picture::Picture;
use process::{Process, Role};

use crate::clock::{elapsed, now};
use crate::console::{self, Order, Setting};
use crate::failure::{Code, Failure};
use crate::output::note;
use crate::signals::Signals;

/// How long a process may take to stop cleanly before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what its page asks for may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_millis(500);
/// The same until everything is up.
const REFRESH_STARTING: Duration = Duration::from_millis(100);
/// How long ports may stay taken by what is just ending: children of a `zweig dev` that was killed.
const PORTS_PATIENCE: Duration = Duration::from_secs(5);
const UNDERSTOOD: &str = "understood: kill|start broker|coordinator N";

/// A whole local cluster as separate processes, with one screen of status.
///
/// While it runs, type `kill broker 2` or `kill coordinator 1` (that is `kill -9`), and
/// `start broker 2` to bring it back; Ctrl-C stops all.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig dev\n  zweig dev --nodes 5 --brokers 4 --data ./cluster\n  zweig dev --port-base 20000"
)]
pub struct Args {
    /// Coordinators: an odd number.
    #[arg(long, default_value_t = 3, value_parser = parse_nodes)]
    nodes: u16,
    /// Brokers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: u16,
    /// Where all data lies; the same folder brings the same cluster back. Without it, a temporary
    /// folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Instead of 2181…, 2888…, 3888…, 8090, 9092…, 7000… and 7071…, take ports from here on (+0 clients of the
    /// ensemble, +10 quorum, +20 election, +29 the console's page, +30 brokers, +40 metrics of coordinators, +47 of
    /// brokers).
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: Option<u16>,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3 | 5 | 7)) => Ok(nodes),
        _ => Err("an ensemble has 1, 3, 5 or 7 coordinators".to_owned()),
    }
}

/// Runs the cluster until Ctrl-C, SIGTERM, or the end of every process.
///
/// # Errors
/// If a port is taken, a folder is of another layout, or a process can't be started.
pub async fn run(args: Args) -> Result<()> {
    let temporary = match args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary folder")?),
    };
    let root = match (&args.data, &temporary) {
        (Some(folder), _) => std::path::absolute(folder).context("cannot resolve --data")?,
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => bail!("no folder for the data"),
    };
    let layout = Layout {
        root,
        nodes: args.nodes,
        brokers: args.brokers,
        ports: args.port_base.map_or(Ports::USUAL, Ports::from_base),
    };
    let _alone = alone_in(&layout.root)?;
    layout
        .write()
        .with_context(|| format!("cannot lay out {}", layout.root.display()))?;
    wait_for_ports(&layout).await?;
    let mut signals = Signals::listen()?;
    let page = console::bind(layout.console_address()).await?;
    let (orders, ordered) = mpsc::channel(1);
    let setting = console_of(&layout, orders)?;
    let mut cluster = Cluster::start(layout, ordered)?;
    let ended = tokio::select! {
        ended = cluster.watch(&mut signals) => ended,
        failed = console::serve(page, setting) => failed,
    };
    show("\nstopping: brokers, then coordinators\n");
    cluster.stop().await;
    ended
}

/// What its page may do: everything, for the cluster is there to be tried out.
fn console_of(layout: &Layout, orders: mpsc::Sender<Order>) -> Result<Setting> {
    let mut options = Options::parse(&layout.connect_string())?;
    options.connect_timeout = PAGE_PATIENCE;
    options.request_timeout = PAGE_PATIENCE;
    let mut client = ClientOptions::new(&layout.bootstrap());
    client.connection.client_id = "zweig".to_owned();
    client.operation_timeout = PAGE_PATIENCE;
    Ok(Setting {
        options,
        client: Client::new(client),
        allow_writes: true,
        names: Vec::new(),
        orders: Some(orders),
    })
}

/// Two clusters in one folder would destroy it; the lock goes with this process, however it ends.
fn alone_in(root: &Path) -> Result<File> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let path = root.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let folder = root.display();
        let why = format!("another `zweig dev` runs in {folder}; stop it, or take another --data");
        return Err(Failure::error(Code::Conflict, why));
    }
    Ok(file)
}

async fn wait_for_ports(layout: &Layout) -> Result<()> {
    let begun = now();
    let mut told = false;
    while let Some((port, taken)) = taken_port(layout) {
        if taken.kind() != ErrorKind::AddrInUse || elapsed(begun) > PORTS_PATIENCE {
            let why = format!(
                "port {port} cannot be had ({taken}): is another cluster running? --port-base takes other ports"
            );
            return Err(Failure::error(Code::Conflict, why));
        }
        if !std::mem::replace(&mut told, true) {
            note(&format!("waiting for port {port}, which is in use"));
        }
        tokio::time::sleep(REFRESH_STARTING).await;
    }
    Ok(())
}

fn taken_port(layout: &Layout) -> Option<(u16, io::Error)> {
    let ports = layout.ports;
    let coordinators = [ports.client, ports.quorum, ports.election];
    let mut wanted = coordinators
        .into_iter()
        .flat_map(|first| first..first + layout.nodes)
        .chain(ports.broker..ports.broker + layout.brokers)
        .chain([ports.console])
        .chain(ports.coordinator_metrics..ports.coordinator_metrics + layout.nodes)
        .chain(ports.broker_metrics..ports.broker_metrics + layout.brokers);
    wanted.find_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).err()?)))
}

/// The processes, and what is known of them.
struct Cluster {
    layout: Layout,
    processes: Vec<Process>,
    /// What somebody wants done from the page.
    ordered: mpsc::Receiver<Order>,
    picture: Picture,
    drawn: String,
    /// The answer to what was typed last.
    said: String,
    was_ready: bool,
    terminal: bool,
}

impl Cluster {
    fn start(layout: Layout, ordered: mpsc::Receiver<Order>) -> Result<Self> {
        let coordinators = (1..=layout.nodes).map(|node| {
            let folder = layout.coordinator_folder(node);
            (Role::Coordinator(node), folder.join("zoo.cfg"), folder)
        });
        let brokers = (1..=layout.brokers).map(|id| {
            let folder = layout.broker_folder(id);
            (Role::Broker(id), folder.join("server.properties"), folder)
        });
        let processes = coordinators
            .chain(brokers)
            .map(|(role, config, folder)| Process::start(role, &config, &folder.join("log.txt")))
            .collect::<Result<_>>()?;
        let picture = Picture::follow(&layout);
        Ok(Self {
            layout,
            processes,
            ordered,
            picture,
            drawn: String::new(),
            said: String::new(),
            was_ready: false,
            terminal: io::stdout().is_terminal(),
        })
    }

    /// Until somebody wants to stop, or nothing runs any more.
    async fn watch(&mut self, signals: &mut Signals) -> Result<()> {
        let mut typed = Some(BufReader::new(tokio::io::stdin()).lines());
        loop {
            let pause = if self.was_ready {
                REFRESH
            } else {
                REFRESH_STARTING
            };
            tokio::select! {
                _ = signals.told() => return Ok(()),
                line = next_line(&mut typed) => {
                    self.said = self.obey(&line);
                    if !self.terminal && !self.said.is_empty() {
                        note(&self.said);
                    }
                    self.drawn.clear();
                }
                Some(order) = self.ordered.recv() => {
                    self.said = self.obey(&order.line);
                    // The page may be gone meanwhile; it is done all the same.
                    let _ = order.reply.send(self.said.clone());
                }
                () = tokio::time::sleep(pause) => {
                    self.notice_ends();
                    if self.processes.iter().all(|process| process.pid().is_none()) {
                        bail!(self.all_ended());
                    }
                    self.picture.refresh().await;
                    self.draw();
                }
            }
        }
    }

    fn all_ended(&self) -> String {
        let folder = self.layout.root.display();
        let all = format!("every process has ended; their logs are in {folder}");
        let mut told = self.processes.iter();
        match told.find(|process| process.last_words().is_some()) {
            Some(process) => format!("{all}\n{}", process.obituary()),
            None => all,
        }
    }

    fn notice_ends(&mut self) {
        for process in &mut self.processes {
            if process.look() {
                match self.terminal {
                    true if process.last_words().is_some() => self.said = process.obituary(),
                    true => {}
                    false => note(&process.obituary()),
                }
            }
        }
    }

    fn draw(&mut self) {
        let ready = self.picture.is_ready(&self.layout);
        let mut text = screen::render(&self.layout, &self.processes, &self.picture);
        if self.terminal {
            if !self.said.is_empty() {
                text.push_str(&format!("{}\n", self.said));
            }
            show(&screen::update(&self.drawn, &text));
        } else if ready && !self.was_ready {
            show(&text);
        }
        self.was_ready |= ready;
        self.drawn = text;
    }

    /// `kill|start broker|coordinator N`; the answer.
    fn obey(&mut self, line: &str) -> String {
        // What was killed a moment ago can be started.
        self.notice_ends();
        let words: Vec<_> = line.split_whitespace().collect();
        let (verb, role) = match words[..] {
            [] => return String::new(),
            [verb, "broker", id] => (verb, id.parse().ok().map(Role::Broker)),
            [verb, "coordinator", node] => (verb, node.parse().ok().map(Role::Coordinator)),
            _ => return UNDERSTOOD.to_owned(),
        };
        let process = role.and_then(|role| self.processes.iter_mut().find(|p| p.role() == role));
        let Some(process) = process else {
            return format!("there is no {} {}; {UNDERSTOOD}", words[1], words[2]);
        };
        let (name, runs) = (process.role(), process.pid().is_some());
        match verb {
            "kill" if runs => {
                process.kill();
                format!("killed {name}; `start {name}` brings it back")
            }
            "start" if !runs => match process.restart() {
                Ok(()) => format!("started {name}"),
                Err(failed) => format!("{failed:#}"),
            },
            "kill" => format!("{name} is dead already"),
            "start" => format!("{name} runs already"),
            _ => UNDERSTOOD.to_owned(),
        }
    }

    async fn stop(&mut self) {
        self.picture.close().await;
        let (brokers, coordinators): (Vec<_>, Vec<_>) = self
            .processes
            .iter_mut()
            .partition(|process| matches!(process.role(), Role::Broker(_)));
        join_all(brokers.into_iter().map(|process| process.stop(PATIENCE))).await;
        join_all(
            coordinators
                .into_iter()
                .map(|process| process.stop(PATIENCE)),
        )
        .await;
    }
}

/// Onto standard output; a terminal that is gone ends nothing.
fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The next line typed; pends for ever once the input has ended.
async fn next_line(typed: &mut Option<Lines<BufReader<Stdin>>>) -> String {
    if let Some(lines) = typed {
        if let Ok(Some(line)) = lines.next_line().await {
            return line;
        }
        *typed = None;
    }
    std::future::pending().await
}
