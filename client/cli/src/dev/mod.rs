//! `zweig dev`: a whole local cluster, one process per role, on one screen.
//!
//! It starts this same executable once per coordinator and broker with the configuration files an
//! operator would write (`layout.rs`), watches the processes (`process.rs`), follows the tree
//! through one native watch stream (`picture.rs`) and draws what it sees (`screen.rs`). It is no
//! supervisor: a process that was killed stays dead until `start` is typed, so that fail-over can
//! be watched. Ctrl-C stops brokers first, then coordinators; the data stays where `--data` says.

mod layout;
mod picture;
mod process;
mod screen;

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use layout::{Layout, Ports};
use picture::Picture;
use process::{Process, Role};

use crate::signals::Signals;

/// How long a process may take to stop cleanly before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);
const REFRESH: Duration = Duration::from_millis(500);

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
    /// Instead of 2181…, 2888…, 3888… and 9092…, take ports from here on (+0 clients of the
    /// ensemble, +10 quorum, +20 election, +30 brokers).
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
    ports_are_free(&layout)?;
    layout
        .write()
        .with_context(|| format!("cannot lay out {}", layout.root.display()))?;
    let mut signals = Signals::listen()?;
    let mut cluster = Cluster::start(layout)?;
    let ended = cluster.watch(&mut signals).await;
    println!("\nstopping: brokers, then coordinators");
    cluster.stop().await;
    ended
}

fn ports_are_free(layout: &Layout) -> Result<()> {
    let ports = layout.ports;
    let coordinators = [ports.client, ports.quorum, ports.election];
    let wanted = coordinators
        .into_iter()
        .flat_map(|first| first..first + layout.nodes)
        .chain(ports.broker..ports.broker + layout.brokers);
    for port in wanted {
        if let Err(taken) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} cannot be had ({taken}): is another cluster running? --port-base takes other ports"
            );
        }
    }
    Ok(())
}

/// The processes, and what is known of them.
struct Cluster {
    layout: Layout,
    processes: Vec<Process>,
    picture: Picture,
    drawn: String,
    was_ready: bool,
    terminal: bool,
}

impl Cluster {
    fn start(layout: Layout) -> Result<Self> {
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
            picture,
            drawn: String::new(),
            was_ready: false,
            terminal: std::io::stdout().is_terminal(),
        })
    }

    /// Until somebody wants to stop, or nothing runs any more.
    async fn watch(&mut self, signals: &mut Signals) -> Result<()> {
        let mut typed = Some(BufReader::new(tokio::io::stdin()).lines());
        let mut refresh = tokio::time::interval(REFRESH);
        loop {
            tokio::select! {
                _ = signals.told() => return Ok(()),
                line = next_line(&mut typed) => self.obey(&line),
                _ = refresh.tick() => {
                    self.notice_ends();
                    if self.processes.iter().all(|process| process.pid().is_none()) {
                        bail!("every process has ended; their logs are in {}", self.layout.root.display());
                    }
                    self.picture.refresh().await;
                    self.draw();
                }
            }
        }
    }

    fn notice_ends(&mut self) {
        for process in &mut self.processes {
            if process.look() && !self.terminal {
                let how = process
                    .ended()
                    .map_or_else(String::new, |how| how.to_string());
                println!(
                    "{} ended: {how} (log: {})",
                    process.role(),
                    process.log().display()
                );
            }
        }
    }

    fn draw(&mut self) {
        let ready = self.picture.is_ready(&self.layout);
        let text = screen::render(&self.layout, &self.processes, &self.picture);
        if self.terminal {
            if text != self.drawn {
                print!("\x1b[H\x1b[2J{text}\n> ");
                let _ = std::io::stdout().flush();
            }
        } else if ready && !self.was_ready {
            print!("{text}");
        }
        self.was_ready |= ready;
        self.drawn = text;
    }

    /// `kill|start broker|coordinator N`; anything else is told what is understood.
    fn obey(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let role = match words[..] {
            [_, "broker", id] => id.parse().ok().map(Role::Broker),
            [_, "coordinator", node] => node.parse().ok().map(Role::Coordinator),
            _ => None,
        };
        let process = role.and_then(|role| self.processes.iter_mut().find(|p| p.role() == role));
        self.drawn.clear();
        match (words.first(), process) {
            (Some(&"kill"), Some(process)) => process.kill(),
            (Some(&"start"), Some(process)) if process.pid().is_none() => {
                if let Err(failed) = process.restart() {
                    eprintln!("{failed:#}");
                }
            }
            (None, _) => {}
            _ => eprintln!(
                "understood: kill broker N, kill coordinator N, start broker N, start coordinator N"
            ),
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
