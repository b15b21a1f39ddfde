//! Asking the controller for elections: a znode with the partitions, which it removes when nothing more can be done for
//! any of them. What others ask for at the same time is asked for together.

use zweig_client::ensemble::{CreateMode, Error, WriteOp};

use crate::metadata::ElectionKind;

use super::cluster::Cluster;
use super::znode::DecodeError;
use super::znode::admin::{decode_election, election_path, encode_election};

/// How often the znode may be changed by others meanwhile.
const ATTEMPTS: usize = 20;
/// Largest content of the znode, below the ensemble's limit of 1 MiB.
const MAX_BYTES: usize = 1_000_000;

/// Why elections are not asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskElectionsError {
    /// There is something else in the znode.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It would not fit into the znode.
    #[error("too many elections are asked for at a time")]
    TooMany,
    /// Others kept changing the znode.
    #[error("others ask for elections all the time")]
    Contended,
    /// The ensemble refused it, or could not be asked.
    #[error(transparent)]
    Ensemble(#[from] Error),
}

impl Cluster {
    /// Asks for elections of these partitions (topic, index) beside those that are asked for already. Returns the zxid
    /// from which on the znode has them.
    ///
    /// # Errors
    /// [`AskElectionsError`].
    pub async fn ask_elections(
        &self,
        kind: ElectionKind,
        partitions: Vec<(String, i32)>,
    ) -> Result<i64, AskElectionsError> {
        let (port, path) = (self.port(), election_path(kind));
        for _ in 0..ATTEMPTS {
            let ops = match port.get(path.to_owned()).await? {
                None => {
                    let content = encode_election(&partitions);
                    vec![WriteOp::create(path, content, CreateMode::Persistent)]
                }
                Some((data, stat)) => {
                    let mut all = decode_election(&data.unwrap_or_default())?;
                    all.extend(partitions.iter().cloned());
                    all.sort_unstable();
                    all.dedup();
                    let content = encode_election(&all);
                    if content.len() > MAX_BYTES {
                        return Err(AskElectionsError::TooMany);
                    }
                    // One that was made anew begins with the same versions.
                    let same = WriteOp::CheckCreated {
                        path: path.to_owned(),
                        czxid: stat.czxid,
                    };
                    vec![same, WriteOp::set(path, content, Some(stat.version))]
                }
            };
            match port.multi(ops).await.map_err(Error::from) {
                Ok(batch) => return Ok(batch.zxid),
                Err(Error::BadVersion { .. } | Error::NoNode(_) | Error::NodeExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AskElectionsError::Contended)
    }
}
