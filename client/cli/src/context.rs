//! What every tool shares: where the ensemble is, how to print, a runtime and a log.

use std::future::Future;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use zweig_client::ensemble::{Auth, Ensemble, Error, Options};

use crate::output::{Color, Format, Output};
use crate::suggest::about_znode;

/// How long the closing of the session may hold up the end of a command.
const FAREWELL: Duration = Duration::from_secs(3);

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Context {
    /// The ensemble: its nodes by commas, and the path that `/` stands for.
    #[arg(
        long,
        global = true,
        env = "ZWEIG_SERVER",
        hide_env_values = true,
        default_value = "127.0.0.1:2181",
        value_name = "HOST:PORT[,..][/CHROOT]"
    )]
    pub server: String,
    /// Whom to be towards the ensemble, as `digest:user:password`; may be given many times.
    #[arg(
        long,
        global = true,
        env = "ZWEIG_AUTH",
        hide_env_values = true,
        value_name = "SCHEME:CREDENTIAL",
        value_delimiter = '\n',
        value_parser = auth
    )]
    pub auth: Vec<Auth>,
    /// How long to look for a node that answers, in seconds.
    #[arg(long, global = true, env = "ZWEIG_TIMEOUT", hide_env_values = true)]
    #[arg(default_value_t = 10, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// For people, or for programs: JSON (one document per line) or YAML (each document begun by `---`).
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// When to colour; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

/// Reads `digest:user:password`.
pub fn auth(text: &str) -> Result<Auth, String> {
    match text.split_once(':') {
        Some(("digest", id)) if id.contains(':') => Ok(Auth {
            scheme: "digest".to_owned(),
            id: id.to_owned(),
        }),
        // Not with the text itself, which may hold a password.
        _ => Err("write it as digest:user:password; there is no other scheme".to_owned()),
    }
}

impl Context {
    /// How to print.
    pub fn output(&self) -> Output {
        Output::new(self.output, self.color)
    }

    /// What a process of this program finds in its environment so that it goes where this one goes, as the same users.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut set = vec![
            ("ZWEIG_SERVER", self.server.clone()),
            ("ZWEIG_TIMEOUT", self.timeout.to_string()),
        ];
        if !self.auth.is_empty() {
            let all = self
                .auth
                .iter()
                .map(|who| format!("{}:{}", who.scheme, who.id));
            set.push(("ZWEIG_AUTH", all.collect::<Vec<_>>().join("\n")));
        }
        set
    }

    /// The options that no environment holds.
    pub fn arguments(&self) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        vec![
            format!("--output={}", name(self.output.to_possible_value())),
            format!("--color={}", name(self.color.to_possible_value())),
        ]
    }

    /// The length of `--timeout`.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The ensemble's options, as `--server` and `--timeout` have them.
    ///
    /// # Errors
    /// Says which part of `--server` is malformed.
    pub fn options(&self) -> anyhow::Result<Options> {
        let mut options = Options::parse(&self.server).context("--server")?;
        options.connect_timeout = self.patience();
        options.request_timeout = self.patience();
        options.auth.clone_from(&self.auth);
        Ok(options)
    }

    /// A session with the ensemble.
    ///
    /// # Errors
    /// If no node grants one in time.
    pub async fn connect(&self) -> anyhow::Result<Ensemble> {
        Ok(Ensemble::connect(self.options()?).await?)
    }

    /// Runs a tool that needs a session; the session is closed behind it, however it ends.
    ///
    /// # Errors
    /// Those of the tool, and of having no session.
    pub async fn with_session<T, F>(&self, work: impl FnOnce(Ensemble) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let chroot = self.options()?.chroot;
        let ensemble = self.connect().await?;
        let done = match work(ensemble.clone()).await {
            Err(failed) if chroot.is_empty() => Err(about_znode(&ensemble, failed).await),
            done => done,
        };
        farewell(ensemble).await;
        match done {
            Err(failed) if !chroot.is_empty() && names_a_path(&failed) => {
                Err(failed.context(format!("below {chroot}, the chroot of --server")))
            }
            done => done,
        }
    }

    /// Runs a tool: a small runtime, and the log on standard error, warnings and up.
    ///
    /// # Errors
    /// Those of the tool.
    pub fn tool<F>(self, work: impl FnOnce(Self) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        log("warn");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let done = runtime.block_on(work(self));
        // Without waiting for a thread that still reads a terminal nobody types at.
        runtime.shutdown_background();
        done
    }
}

/// Closes a session, without being held up by that for long.
pub async fn farewell(ensemble: Ensemble) {
    let closed = tokio::time::timeout(FAREWELL, ensemble.close()).await;
    if closed.is_err() {
        tracing::debug!("the session was not closed and ends by its timeout");
    }
}

fn names_a_path(failed: &anyhow::Error) -> bool {
    matches!(
        failed.downcast_ref(),
        Some(Error::NoNode(_) | Error::NodeExists(_))
    )
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    // No doc lines: `--help` would give each a line.
    Human,
    Json,
}

/// Sends the log to standard error, for people; `RUST_LOG` says what of it, else `default`.
pub fn log(default: &str) {
    log_as(LogFormat::Human, default);
}

/// As [`log`], in a format.
pub fn log_as(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    match format {
        LogFormat::Human => log.with_ansi(stderr().is_terminal()).init(),
        // Its fields beside time, level and target, where programs that collect logs look for them.
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
