//! How the program ends: an exit code that a script can act on, and one line that says why.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stderr};
use std::process::ExitCode;

use thiserror::Error;
use zweig_client::ensemble::{ConnectError, Error, MultiError};

/// The table of exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, for a reason that no other code has
  2  the command line, or what it asks for, is wrong
  3  not found
  4  conflict: it exists, has children, has another version; the port or the folder is in use
  5  no node reached, or no quorum: certainly not done, try again
  6  outcome unknown: it was sent and the answer was lost; look before trying again
  7  not allowed: an access list says no, or the credentials are wrong
  130  ended by a second Ctrl-C";

/// The exit codes by name; see [`EXIT_CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// For a reason that no other code has.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// It exists already, or has changed meanwhile.
    Conflict = 4,
    /// No server, or no quorum.
    Unavailable = 5,
    /// Sent, and the answer was lost.
    OutcomeUnknown = 6,
    /// The caller may not do this.
    NotAllowed = 7,
}

impl Code {
    /// The code that a process of this program ended with.
    pub fn of_process(code: i32) -> Self {
        let all = [
            Self::Usage,
            Self::NotFound,
            Self::Conflict,
            Self::Unavailable,
            Self::OutcomeUnknown,
            Self::NotAllowed,
        ];
        let same = |one: &Self| *one as i32 == code;
        all.into_iter().find(same).unwrap_or(Self::Failed)
    }
}

/// A failure that chooses its exit code.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What is told.
    pub message: String,
    /// What to do about it, on a line of its own.
    pub hint: Option<Cow<'static, str>>,
}

impl Failure {
    /// A failure with this code, as an error to return.
    pub fn error(code: Code, message: impl Into<String>) -> anyhow::Error {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
        .into()
    }

    /// What a server that ended comes to; `conflict`: somebody else has what it needs.
    pub fn of_server(error: impl Into<anyhow::Error>, conflict: bool) -> anyhow::Error {
        let error = error.into();
        match conflict {
            true => Self {
                code: Code::Conflict,
                ..Self::of(&error)
            }
            .into(),
            false => error,
        }
    }

    /// One that has been told already: only its exit code is left to give.
    pub fn told(code: Code) -> anyhow::Error {
        Self::error(code, "")
    }

    /// The same, with what to do about it.
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What an error comes to: its exit code, everything it says, and what to do about it.
    pub fn of(error: &anyhow::Error) -> Self {
        Self {
            code: code_of(error),
            message: whole(error),
            hint: hint(error),
        }
    }
}

/// An error and its causes, on one line.
fn whole(failed: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in failed.chain() {
        let cause = cause.to_string();
        // Some errors repeat their cause in their own message.
        if !told.ends_with(&cause) {
            let colon = if told.is_empty() { "" } else { ": " };
            told = format!("{told}{colon}{cause}");
        }
    }
    told
}

/// Says what failed and gives the exit code. A reader that has gone away (`| head`) is no failure.
pub fn report(failed: &anyhow::Error) -> ExitCode {
    let reader_gone = failed.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    });
    if reader_gone {
        return ExitCode::SUCCESS;
    }
    let label = if stderr().is_terminal() {
        "\u{1b}[1;31merror\u{1b}[0m"
    } else {
        "error"
    };
    let Failure {
        code,
        message,
        hint,
    } = Failure::of(failed);
    // There is nobody left to tell if this fails too.
    if !message.is_empty() {
        let _ = writeln!(stderr(), "{label}: {message}");
    }
    if let Some(hint) = hint {
        let _ = writeln!(stderr(), "{hint}");
    }
    ExitCode::from(code as u8)
}

const NO_NODE: &str = "Is a coordinator's client port there, and do most coordinators run? --server or \
    ZWEIG_SERVER says where to look; `zweig dev` starts a cluster.";

/// What somebody who sees this error for the first time would do next.
fn hint(failed: &anyhow::Error) -> Option<Cow<'static, str>> {
    for cause in failed.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        if let Some(hint) = cause.downcast_ref().and_then(about) {
            return Some(hint.into());
        }
        if let Some(ConnectError::Unavailable { .. }) = cause.downcast_ref() {
            return Some(NO_NODE.into());
        }
    }
    None
}

fn about(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Unavailable(_) | Error::NotDone(_) => NO_NODE,
        Error::OutcomeUnknown(_) => "It may have been done: look before trying again.",
        Error::NoAuth(_) => "--auth digest:user:password says who you are.",
        Error::NodeExists(_) => {
            "`zweig set` replaces its data, `zweig stat` shows since when it is there."
        }
        Error::NotEmpty(_) => "`zweig delete --recursive` deletes what is below it too.",
        Error::BadVersion { .. } => {
            "Somebody changed it meanwhile: `zweig history` shows who and what."
        }
        Error::NoSpace(_) => {
            "Coordinators' disks are nearly full: deleting is still possible, and ends it."
        }
        _ => return None,
    })
}

fn code_of(failed: &anyhow::Error) -> Code {
    for cause in failed.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return of_ensemble(error);
        }
        if let Some(multi) = cause.downcast_ref::<MultiError>() {
            return of_ensemble(&multi.error);
        }
        match cause.downcast_ref::<ConnectError>() {
            Some(ConnectError::BadOptions(_)) => return Code::Usage,
            Some(ConnectError::Unavailable { .. }) => return Code::Unavailable,
            Some(ConnectError::AuthFailed(_)) => return Code::NotAllowed,
            Some(_) => return Code::Failed,
            None => {}
        }
    }
    Code::Failed
}

fn of_ensemble(error: &Error) -> Code {
    match error {
        Error::NoNode(_) => Code::NotFound,
        Error::NodeExists(_)
        | Error::BadVersion { .. }
        | Error::NotEmpty(_)
        | Error::NoChildrenForEphemerals(_)
        | Error::Fenced(_) => Code::Conflict,
        Error::NotDone(_) | Error::Unavailable(_) | Error::NoSpace(_) => Code::Unavailable,
        Error::OutcomeUnknown(_) => Code::OutcomeUnknown,
        Error::BadArguments(_) | Error::InvalidAcl(_) => Code::Usage,
        Error::NoAuth(_) | Error::AuthFailed(_) => Code::NotAllowed,
        _ => Code::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_code_is_that_of_the_innermost_named_error() {
        let no_node: anyhow::Result<()> = Err(Error::NoNode("/a".into()).into());
        let told = no_node.context("while listing").expect_err("failed");
        assert_eq!(code_of(&told), Code::NotFound);
        let multi = MultiError {
            index: Some(0),
            error: Error::NodeExists("/a".into()),
        };
        assert_eq!(code_of(&multi.into()), Code::Conflict);
        assert_eq!(
            code_of(&Error::OutcomeUnknown("x".into()).into()),
            Code::OutcomeUnknown
        );
        assert_eq!(
            code_of(&Error::NotDone("no quorum".into()).into()),
            Code::Unavailable
        );
        assert_eq!(
            code_of(&Error::NoAuth("/a".into()).into()),
            Code::NotAllowed
        );
        assert_eq!(code_of(&anyhow::anyhow!("odd")), Code::Failed);
        assert_eq!(code_of(&Failure::error(Code::Usage, "x")), Code::Usage);
    }
}
