//! Whose session it was: brokers are known by what they registered.

use std::collections::BTreeMap;

use zweig_client::ensemble::{Cause, ChangeKind, Ensemble, Error};

use super::kept;

/// A broker came or went.
pub struct Registration {
    pub zxid: i64,
    pub time_ms: i64,
    pub broker: i32,
    /// Why it went; `None` when it came.
    pub gone: Option<Cause>,
}

/// Who had which session, and when brokers came and went.
#[derive(Default)]
pub struct Sessions {
    /// By session.
    pub brokers: BTreeMap<i64, i32>,
    /// Oldest first.
    pub registrations: Vec<Registration>,
}

impl Sessions {
    /// Of the brokers whose znodes stand beside that path: under the same prefix.
    pub async fn beside(ensemble: &Ensemble, path: &str) -> Result<Self, Error> {
        let prefix = path.find("/brokers").map_or("", |at| &path[..at]);
        let ids = format!("{prefix}/brokers/ids");
        let mut sessions = Self::default();
        let registered = match ensemble.children(&ids).await {
            Ok((names, _)) => names,
            Err(Error::NoNode(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        for name in registered {
            let stat = ensemble.exists(&format!("{ids}/{name}")).await?;
            if let (Ok(broker), Some(stat)) = (name.parse(), stat) {
                sessions.brokers.insert(stat.ephemeral_owner, broker);
            }
        }
        for change in kept(ensemble, &ids, true).await?.changes {
            let name = change.path.rsplit('/').next().unwrap_or_default();
            let (Ok(broker), Some(image)) = (
                name.parse(),
                change.before.as_ref().or(change.after.as_ref()),
            ) else {
                continue;
            };
            sessions.brokers.insert(image.stat.ephemeral_owner, broker);
            let gone = match change.kind {
                ChangeKind::Created => None,
                ChangeKind::Deleted => Some(change.cause),
                ChangeKind::Data | ChangeKind::Acl => continue,
            };
            sessions.registrations.push(Registration {
                zxid: change.zxid,
                time_ms: change.time_ms,
                broker,
                gone,
            });
        }
        Ok(sessions)
    }

    /// Whose session that is, if it is a broker's.
    pub fn broker(&self, session: i64) -> Option<i32> {
        self.brokers.get(&session).copied()
    }

    /// `broker 2`, or the session's number.
    pub fn name(&self, session: i64) -> String {
        match (session, self.broker(session)) {
            (_, Some(broker)) => format!("broker {broker}"),
            (0, None) => "the ensemble".to_owned(),
            (session, None) => format!("session {session:#x}"),
        }
    }
}
