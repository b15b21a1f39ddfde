//! `zweig shell`: one session, and lines typed into it: ZooKeeper's shell's commands, and those of `zweig`.
//!
//! [`command`] is what can be typed, [`perform`] does it, [`events`] are its watches, [`complete`] what Tab offers. Commands of
//! `zweig` itself run as processes of their own, with the options of this one; Ctrl-C ends them and not the shell.

mod command;
mod complete;
mod events;
mod perform;

use std::io::{IsTerminal, Write, stdin, stdout};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::CommandFactory as _;
use futures::FutureExt as _;
use parking_lot::Mutex;
use rustix::process::Signal;
use rustyline::error::ReadlineError;
use rustyline::history::{DefaultHistory, History as _};
use rustyline::{Editor, ExternalPrinter as _};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use zweig_client::ensemble::{Ensemble, Options, SessionState};

use self::command::{Command, Line};
use self::complete::Offers;
use self::events::{Events, Printer};
use crate::context::Context;
use crate::failure::{self, Code, Failure};
use crate::output::{Output, note};
use crate::suggest::{about_znode, nearest};

/// Arguments of `zweig shell`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig shell ls /brokers/ids\n  echo 'get -s /controller' | zweig shell\n  \
    zweig shell --server 127.0.0.1:2181"
)]
pub struct Args {
    /// One line to do instead of reading them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    line: Vec<String>,
}

/// A session and what has been typed.
pub struct Shell {
    context: Context,
    output: Output,
    ensemble: Option<Ensemble>,
    events: Events,
    /// Ctrl-C, which ends what is being done, and processes that are waited for, and not the shell.
    interrupts: Signals,
    lines: Vec<String>,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Line,
    End,
}

/// Reads lines and does them; piped ones too. Ends with the code of the last line that failed, if nobody typed it.
///
/// # Errors
/// If there is no session, or the terminal cannot be used.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let typed = stdin().is_terminal() && args.line.is_empty();
    let mut editor = editor(typed)?;
    let printer: Printer = match editor.create_external_printer() {
        Ok(mut printer) if typed => Arc::new(Mutex::new(move |text: String| {
            let _ = printer.print(text);
        })),
        _ => Arc::new(Mutex::new(|text: String| {
            let _ = stdout().write_all(text.as_bytes());
        })),
    };
    let mut shell = Shell {
        output: context.output(),
        ensemble: None,
        events: Events::new(printer, context.patience()),
        interrupts: signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?,
        lines: Vec::new(),
        context,
    };
    shell.connect().await?;
    let done = match args.line.is_empty() {
        true => shell.read_lines(editor, typed).await,
        false => shell.perform(args.line).await.map(drop),
    };
    shell.close().await;
    done
}

/// An editor that remembers what was typed in former shells.
fn editor(typed: bool) -> anyhow::Result<Editor<Offers, DefaultHistory>> {
    let config = rustyline::Config::builder()
        .completion_type(rustyline::CompletionType::List)
        .history_ignore_space(true)
        .build();
    let mut editor = Editor::with_config(config).context("this terminal cannot be used")?;
    editor.set_helper(Some(Offers::new(crate::Cli::command())));
    if let Some(file) = history_file().filter(|_| typed) {
        // The first time there is none.
        let _ = editor.load_history(&file);
    }
    Ok(editor)
}

/// Below `XDG_STATE_HOME`, as its specification has it.
fn history_file() -> Option<PathBuf> {
    let state = match std::env::var_os("XDG_STATE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    Some(state.join("zweig/history"))
}

impl Shell {
    async fn connect(&mut self) -> anyhow::Result<()> {
        self.close().await;
        self.ensemble = Some(self.context.connect().await?);
        Ok(())
    }

    async fn close(&mut self) {
        self.events.clear();
        if let Some(ensemble) = self.ensemble.take() {
            crate::context::farewell(ensemble).await;
        }
    }

    fn prompt(&self) -> String {
        let state = self
            .ensemble
            .as_ref()
            .map(|ensemble| *ensemble.state().borrow());
        let state = match state {
            Some(SessionState::Connected) => "CONNECTED",
            Some(SessionState::Disconnected) => "CONNECTING",
            Some(SessionState::Expired) => "EXPIRED",
            Some(SessionState::Closed) | None => "CLOSED",
        };
        format!(
            "[zweig: {}({state}) {}] ",
            self.context.server,
            self.lines.len()
        )
    }

    async fn read_lines(
        &mut self,
        mut editor: Editor<Offers, DefaultHistory>,
        typed: bool,
    ) -> anyhow::Result<()> {
        let mut last = Ok(());
        loop {
            if let Some(offers) = editor.helper_mut() {
                offers.of(self.ensemble.clone());
            }
            let prompt = self.prompt();
            let read = tokio::task::spawn_blocking(move || (editor.readline(&prompt), editor));
            let (line, back) = read.await.context("the terminal's thread ended")?;
            editor = back;
            let line = match line {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("cannot read a line"),
            };
            if line.trim().is_empty() {
                continue;
            }
            if typed && !holds_a_secret(&line) {
                let _ = editor.add_history_entry(&line);
            }
            match self.line(line).await {
                Ok(Next::Line) => last = Ok(()),
                Ok(Next::End) => break,
                Err(failed) if typed => drop(failure::report(&failed)),
                Err(failed) => {
                    failure::report(&failed);
                    last = Err(Failure::told(Failure::of(&failed).code));
                }
            }
        }
        if typed {
            save(&mut editor);
        }
        last
    }

    async fn line(&mut self, line: String) -> anyhow::Result<Next> {
        let words = shlex::split(&line)
            .ok_or_else(|| Failure::error(Code::Usage, "a quotation mark without its other one"))?;
        // A comment is nothing to do.
        if words.is_empty() {
            return Ok(Next::Line);
        }
        let (line, words) = match Line::read(words.clone()) {
            Ok(Command::Redo { number }) => self.earlier(number)?,
            _ => (line, words),
        };
        self.lines.push(line);
        self.perform(words).await
    }

    /// A line that was done before, and its words; what is kept is never a `redo` itself.
    fn earlier(&self, number: usize) -> anyhow::Result<(String, Vec<String>)> {
        let line = self.lines.get(number).cloned();
        let found = line.and_then(|line| shlex::split(&line).map(|words| (line, words)));
        let none = || Failure::error(Code::NotFound, format!("there is no line {number}"));
        found.ok_or_else(none)
    }

    async fn perform(&mut self, words: Vec<String>) -> anyhow::Result<Next> {
        let command = Line::read(words).map_err(|why| Failure::error(Code::Usage, why))?;
        match command {
            Command::Quit => return Ok(Next::End),
            Command::Help => self.help()?,
            Command::Version => self
                .output
                .line(concat!("zweig ", env!("CARGO_PKG_VERSION")))?,
            Command::History { path: None } => self.history()?,
            Command::History { path: Some(path) } => {
                self.zweig(vec!["history".to_owned(), path]).await?
            }
            Command::Close => self.close().await,
            Command::Connect { server } => self.move_to(server).await?,
            Command::Addauth {
                scheme,
                credentials,
            } => self.become_too(&scheme, &credentials).await?,
            Command::Whoami => self.who()?,
            Command::Config => {
                self.zweig(vec!["ensemble".to_owned(), "status".to_owned()])
                    .await?
            }
            Command::Other(words) => self.zweig(words).await?,
            command => self.in_session(command).await?,
        }
        Ok(Next::Line)
    }

    async fn in_session(&mut self, command: Command) -> anyhow::Result<()> {
        let state = |ensemble: &Ensemble| *ensemble.state().borrow();
        if self.ensemble.as_ref().map(state) == Some(SessionState::Expired) {
            note("the session had expired, and its ephemeral znodes are gone; this is a new one");
            self.connect().await?;
        }
        let Some(ensemble) = self.ensemble.clone() else {
            let why = "there is no session: `connect` opens one";
            return Err(Failure::error(Code::Unavailable, why));
        };
        // What was pressed before is about something else.
        while self.interrupts.recv().now_or_never().flatten().is_some() {}
        let done = tokio::select! {
            done = perform::perform(&mut self.events, self.output, &ensemble, command) => done,
            _ = self.interrupts.recv() => Err(Failure::error(Code::OutcomeUnknown, "interrupted")),
        };
        match done {
            Err(failed) => Err(about_znode(&ensemble, failed).await),
            Ok(()) => Ok(()),
        }
    }

    async fn move_to(&mut self, server: Option<String>) -> anyhow::Result<()> {
        if let Some(server) = server {
            Options::parse(&server)?;
            self.context.server = server;
        }
        self.connect().await
    }

    async fn become_too(&mut self, scheme: &str, credentials: &str) -> anyhow::Result<()> {
        let who = crate::context::auth(&format!("{scheme}:{credentials}"));
        let who = who.map_err(|why| Failure::error(Code::Usage, why))?;
        self.context.auth.push(who);
        self.connect().await?;
        Ok(self.output.line("a new session, with these credentials too; ephemeral znodes of the former one are gone")?)
    }

    fn who(&self) -> anyhow::Result<()> {
        self.output.line("world: anyone")?;
        for who in &self.context.auth {
            // Not the password.
            let user = who.id.split_once(':').map_or("", |(user, _)| user);
            self.output.line(&format!("{}: {user}", who.scheme))?;
        }
        Ok(())
    }

    fn history(&self) -> anyhow::Result<()> {
        for (number, line) in self.lines.iter().enumerate() {
            self.output.line(&format!("{number} - {line}"))?;
        }
        Ok(())
    }

    fn help(&self) -> anyhow::Result<()> {
        self.output
            .line("Commands of ZooKeeper's shell (TAB completes them, paths and topics):")?;
        let (line, zweig) = (Line::command(), crate::Cli::command());
        for command in line.get_subcommands() {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            self.output
                .line(&format!("  {:<22}{about}", command.get_name()))?;
        }
        let names: Vec<&str> = zweig
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        Ok(self
            .output
            .line(&format!("And those of zweig: {}", names.join(", ")))?)
    }

    /// Runs a command of `zweig` as a process of its own.
    async fn zweig(&self, words: Vec<String>) -> anyhow::Result<()> {
        let zweig = crate::Cli::command();
        let name = words.first().map_or("", String::as_str);
        if zweig.find_subcommand(name).is_none() {
            let line = Line::command();
            let known: Vec<&str> = line
                .get_subcommands()
                .chain(zweig.get_subcommands())
                .map(clap::Command::get_name)
                .collect();
            let near = nearest(name, known)
                .map_or("`help` shows what there is.".to_owned(), |near| {
                    format!("Did you mean {near}?")
                });
            let why = Failure {
                code: Code::Usage,
                message: format!("there is no command {name}"),
                hint: None,
            };
            return Err(why.with_hint(near).into());
        }
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut process = tokio::process::Command::new(program);
        // Not as arguments, which other users can read.
        process.envs(self.context.environment());
        process.args(self.context.arguments()).args(words);
        let ended = process.status().await.context("cannot start it")?;
        match (ended.code(), ended.signal()) {
            (Some(0), _) => Ok(()),
            // It has said why.
            (Some(code), _) => Err(Failure::told(Code::of_process(code))),
            (None, Some(signal)) if signal == Signal::INT.as_raw() => Ok(()),
            (None, signal) => {
                let why = format!("it was ended by signal {}", signal.unwrap_or_default());
                Err(Failure::error(Code::Failed, why))
            }
        }
    }
}

/// Whether that line is not for a file.
fn holds_a_secret(line: &str) -> bool {
    let words = shlex::split(line).unwrap_or_default();
    let secret = |word: &String| word == "addauth" || word.starts_with("--auth");
    words.is_empty() || words.iter().any(secret)
}

fn save(editor: &mut Editor<Offers, DefaultHistory>) {
    let Some(file) = history_file().filter(|_| !editor.history().is_empty()) else {
        return;
    };
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    if made
        .map_err(ReadlineError::from)
        .and_then(|()| editor.save_history(&file))
        .is_err()
    {
        tracing::debug!(file = %file.display(), "what was typed could not be kept");
    }
}
