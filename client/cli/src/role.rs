//! Running one of the two servers in this process: its log, its runtime, its end.
//!
//! SIGTERM and SIGINT ask it to stop cleanly; a second one ends the process at once.

use std::future::Future;
use std::io::Write as _;
use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::context::{LogFormat, log_as};
use crate::output::note;
use crate::signals::Signals;

/// Options of both servers.
#[derive(Debug, clap::Args)]
pub struct RoleArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting that wins over the file; may be given many times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub check_config: bool,
    /// Stop when this process, which started this one, ends, however it ends.
    #[arg(long, value_name = "PID")]
    pub parent: Option<u32>,
    /// How the log is written to standard error: for people, or as one JSON object on each line.
    #[arg(long, value_enum, env = "ZWEIG_LOG_FORMAT", hide_env_values = true)]
    #[arg(default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("not KEY=VALUE".into()),
    }
}

impl RoleArgs {
    /// Says that the configuration, which was read, is right, and what of it has no effect.
    ///
    /// # Errors
    /// If nobody can be told.
    pub fn say_right(&self, warnings: &[String]) -> anyhow::Result<()> {
        warnings.iter().for_each(|warning| note(warning));
        let what = match &self.config {
            Some(file) => format!("{} can be used\n", file.display()),
            None => "the settings can be used\n".to_owned(),
        };
        Ok(std::io::stdout().write_all(what.as_bytes())?)
    }
}

/// How many of this machine's processors serve a server's connections.
#[derive(Clone, Copy, Debug)]
pub enum Workers {
    /// Every one.
    All,
    /// Half of them, one at least: the server has busy threads of its own beside them, and each worker more has to be
    /// woken (`coordinator/docs/performance.md`).
    Half,
}

impl Workers {
    fn count(self) -> usize {
        let all = std::thread::available_parallelism().map_or(1, NonZero::get);
        match self {
            Self::All => all,
            Self::Half => all.div_ceil(2),
        }
    }
}

/// Runs a server until a signal asks it to stop, or it fails.
///
/// # Errors
/// Those of the server; when `--parent` is not the parent of this process.
pub fn run<F, E>(
    args: &RoleArgs,
    workers: Workers,
    server: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    log_as(args.log_format, "info");
    let parent = args.parent;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.count())
        .enable_all()
        .build()
        .context("cannot start a runtime")?
        .block_on(async {
            let shutdown = CancellationToken::new();
            let signals = match parent {
                Some(parent) => Signals::with_parent(parent)?,
                None => Signals::listen()?,
            };
            let stopping = tokio::spawn(stop_on_signal(signals, shutdown.clone()));
            let ended = server(shutdown).await;
            stopping.abort();
            ended.map_err(Into::into)
        })
}

async fn stop_on_signal(mut signals: Signals, shutdown: CancellationToken) {
    let name = signals.told().await;
    tracing::info!(signal = name, "stopping");
    shutdown.cancel();
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn a_setting_is_split_at_the_first_equals_sign() {
        let parsed = setting("server.1=h:1:2;3");
        assert_eq!(parsed, Ok(("server.1".into(), "h:1:2;3".into())));
        assert_eq!(setting("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(setting("a").is_err() && setting("=b").is_err());
    }
}
