//! A znode as it was.

use zweig_client::ensemble::{Ensemble, Error, Image};

use super::kept;
use crate::failure::{Code, Failure};

/// The znode right behind a transaction, or now; `None` if there was none.
///
/// # Errors
/// When the history does not reach back so far, or the transaction is still to come.
pub async fn image_at(
    ensemble: &Ensemble,
    path: &str,
    zxid: Option<i64>,
) -> anyhow::Result<Option<Image>> {
    let Some(zxid) = zxid else {
        return now(ensemble, path).await;
    };
    let kept = kept(ensemble, path, false).await?;
    if zxid < kept.begins_after {
        let (at, floor) = (zxid, kept.begins_after);
        let why = format!(
            "{path} at {at:#x} is not known any more: the history begins behind {floor:#x}"
        );
        return Err(Failure::error(Code::NotFound, why));
    }
    if zxid > kept.up_to {
        let why = format!(
            "{zxid:#x} is still to come: the newest is {:#x}",
            kept.up_to
        );
        return Err(Failure::error(Code::NotFound, why));
    }
    let behind = kept.changes.partition_point(|change| change.zxid <= zxid);
    if let Some(last) = behind.checked_sub(1).and_then(|at| kept.changes.get(at)) {
        return Ok(last.after.clone());
    }
    if let Some(next) = kept.changes.get(behind) {
        return Ok(next.before.clone());
    }
    // Nothing happened to it in all that is kept: as it was, it is.
    now(ensemble, path).await
}

async fn now(ensemble: &Ensemble, path: &str) -> anyhow::Result<Option<Image>> {
    match ensemble.get(path).await {
        Ok((data, stat)) => Ok(Some(Image {
            data,
            stat,
            readable: true,
        })),
        Err(Error::NoNode(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
