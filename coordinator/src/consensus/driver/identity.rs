//! At start: who this node is, and whether what it should remember is all there.
//!
//! ```text
//!  identity  log  state
//!  there     any  any     as it says; a log or a state that does not fit is found when it is opened
//!  none      yes  any     data of a release without identities: a founder
//!  none      none some    the log is lost, with votes and acknowledgements: an operator has to decide
//!  none      none none    new: blank, until `beginning` has decided
//! ```

use std::collections::BTreeMap;

use crate::consensus::config::ConsensusConfig;
use crate::consensus::handle::StartError;
use crate::storage::identity::{Founding, Identity, Standing};
use crate::storage::raft_log::{Disk, Position};

/// Reads this node's identity, or gives it its first one.
pub fn settle(
    config: &ConsensusConfig,
    disk: &impl Disk,
    applied: Position,
) -> Result<Identity, StartError> {
    let folder = &config.folder;
    let has_log = has_log(disk).map_err(|source| StartError::Io {
        operation: "the folder of the raft log",
        source,
    })?;
    let found = Identity::read(folder)?;
    if let Some(identity) = &found
        && identity.server != config.node
    {
        return Err(StartError::Another {
            folder: folder.clone(),
            server: identity.server,
            node: config.node,
        });
    }
    let is_founder = |identity: &Identity| identity.incarnation == 0;
    if !has_log && applied.index > 0 && found.as_ref().is_none_or(is_founder) {
        return Err(StartError::LogLost {
            folder: folder.join("raft"),
            applied: applied.index,
        });
    }
    if let Some(identity) = found {
        return Ok(identity);
    }
    let identity = Identity {
        server: config.node,
        incarnation: 0,
        life: config.boot,
        standing: match has_log {
            true => founder(config, BTreeMap::new()),
            false => Standing::Blank,
        },
    };
    identity.write(folder)?;
    Ok(identity)
}

/// One that begins the ensemble with all that zoo.cfg names, and met these.
pub fn founder(config: &ConsensusConfig, met: BTreeMap<u64, u64>) -> Standing {
    Standing::Founder(Founding {
        voters: config.voters(),
        learners: config.learners(),
        met,
    })
}

/// Whether anything was ever written to a raft log there.
fn has_log(disk: &impl Disk) -> std::io::Result<bool> {
    let names = disk.list()?;
    let is_segment = |name: &String| name.ends_with(".raftlog") && !name.starts_with("spare-");
    Ok(names.iter().any(is_segment))
}
