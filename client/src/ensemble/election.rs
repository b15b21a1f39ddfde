//! Leader election, the usual recipe.
//!
//! Each candidate creates an ephemeral sequential znode under one path; the lowest number leads,
//! everybody else watches the one before theirs, so that a departure wakes exactly one candidate.
//! A znode's name begins with a nonce of the candidate's own: when the outcome of its creation is
//! unknown, the candidate looks whether it is there instead of creating a second one.

use bytes::Bytes;

use super::{ChangeKind, CreateMode, Ensemble, Error, SessionState, Stat, WatchItem};

/// Tries of one step when its outcome was unknown or no node was there; each has waited its own
/// request timeout before it failed.
const MAX_TRIES: usize = 5;

/// A candidate of one election; drop it without [`Election::resign`] and it stays until the
/// session ends.
#[derive(Debug)]
pub struct Election {
    ensemble: Ensemble,
    path: String,
    name: String,
}

impl Election {
    /// Enters the election at `path`, which is created if need be. `data` tells others who this is.
    ///
    /// # Errors
    /// Those of `create`.
    pub async fn enter(ensemble: &Ensemble, path: &str, data: Bytes) -> Result<Self, Error> {
        let path = path.trim_end_matches('/');
        let prefix = format!("{}-n_", uuid::Uuid::new_v4().simple());
        ensemble.create_parents(&format!("{path}/{prefix}")).await?;
        let name = create_once(ensemble, path, &prefix, data).await?;
        Ok(Self {
            ensemble: ensemble.clone(),
            path: path.to_owned(),
            name,
        })
    }

    /// The candidate's own znode.
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}/{}", self.path, self.name)
    }

    /// Waits until this candidate leads. The stat is that of its znode; its czxid is a number that
    /// grows from leader to leader, fit for fencing.
    ///
    /// # Errors
    /// `SessionExpired` once the candidate's znode is gone, and those of every read.
    pub async fn elected(&self) -> Result<Stat, Error> {
        loop {
            let (mut candidates, _) = self.ensemble.children(&self.path).await?;
            candidates.sort_by(|a, b| number(a).cmp(number(b)));
            let own = candidates.iter().position(|name| *name == self.name);
            match own {
                None => return Err(Error::SessionExpired),
                Some(0) => {
                    let stat = self.ensemble.exists(&self.node()).await?;
                    return stat.ok_or(Error::SessionExpired);
                }
                Some(place) => {
                    let before = format!("{}/{}", self.path, candidates[place - 1]);
                    gone(&self.ensemble, &before).await?;
                }
            }
        }
    }

    /// Waits until this candidate's znode is gone: by resignation, by the session's end, or by
    /// somebody's hand. A leader stops leading then.
    ///
    /// # Errors
    /// `Protocol` if the servers refuse the watch.
    pub async fn lost(&self) -> Result<(), Error> {
        gone(&self.ensemble, &self.node()).await
    }

    /// Leaves the election, led or not.
    ///
    /// # Errors
    /// Those of `delete`, less `NoNode`.
    pub async fn resign(self) -> Result<(), Error> {
        for _ in 1..MAX_TRIES {
            match self.ensemble.delete(&self.node(), None).await {
                Ok(()) | Err(Error::NoNode(_)) => return Ok(()),
                Err(failed) if failed.retriable() || failed.outcome_unknown() => {}
                Err(failed) => return Err(failed),
            }
        }
        match self.ensemble.delete(&self.node(), None).await {
            Err(Error::NoNode(_)) => Ok(()),
            other => other,
        }
    }
}

async fn create_once(
    ensemble: &Ensemble,
    path: &str,
    prefix: &str,
    data: Bytes,
) -> Result<String, Error> {
    let wanted = format!("{path}/{prefix}");
    let mut last = None;
    for _ in 0..MAX_TRIES {
        let mode = CreateMode::EphemeralSequential;
        match ensemble.create(&wanted, Some(data.clone()), mode).await {
            Ok(created) => {
                let name = created.path.rsplit('/').next().unwrap_or_default();
                return Ok(name.to_owned());
            }
            Err(failed) if failed.retriable() => last = Some(failed),
            Err(failed) if failed.outcome_unknown() => {
                // Once re-attached, what the former connection sent has happened or never will.
                let (names, _) = ensemble.children(path).await?;
                if let Some(name) = names.into_iter().find(|name| name.starts_with(prefix)) {
                    return Ok(name);
                }
                last = Some(failed);
            }
            Err(failed) => return Err(failed),
        }
    }
    Err(last.unwrap_or(Error::Closed))
}

/// Waits until the znode does not exist, or the session is over.
async fn gone(ensemble: &Ensemble, path: &str) -> Result<(), Error> {
    let mut watch = ensemble.watch(path, false)?;
    let mut state = ensemble.state();
    let over = state.wait_for(|s| matches!(s, SessionState::Expired | SessionState::Closed));
    let seen_gone = async {
        let mut there = false;
        while let Some(item) = watch.next().await {
            match item {
                WatchItem::Reset => there = false,
                WatchItem::Node { .. } => there = true,
                WatchItem::SubtreeEnd { .. } if !there => return Ok(()),
                WatchItem::Change {
                    kind: ChangeKind::Deleted,
                    ..
                } => return Ok(()),
                _ => {}
            }
        }
        Err(Error::Protocol(format!(
            "the servers refuse to watch {path}"
        )))
    };
    tokio::select! {
        seen = seen_gone => seen,
        _ = over => Ok(()),
    }
}

/// The sequence number at the end of a candidate's name: ten digits, so that text order is theirs.
fn number(name: &str) -> &str {
    name.get(name.len().saturating_sub(10)..).unwrap_or(name)
}
