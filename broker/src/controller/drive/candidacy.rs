//! Standing for election: `/controller`, its marker and the next controller epoch are one
//! transaction, so that exactly one broker wins, and whoever wins has raised the fence.

use zweig_client::ensemble::{CreateMode, Error, WriteOp};

use crate::clock;
use crate::ensemble::port::Port;
use crate::ensemble::znode::{controller, own};
use crate::metadata::Image;

/// Tries to become controller, from an image without one. Winning shows in the image; losing is
/// nothing special.
///
/// # Errors
/// That of the ensemble, other than having lost.
pub async fn stand(port: &dyn Port, image: &Image, broker_id: i32) -> Result<(), Error> {
    let Some(epoch) = image.controller_epoch else {
        let content = controller::encode_epoch(0);
        let create = WriteOp::create(controller::EPOCH, content, CreateMode::Persistent);
        return lost_or(
            port.multi(vec![create])
                .await
                .map_err(Error::from)
                .map(drop),
        );
    };
    let mut ops = Vec::new();
    if image.controller_marker.is_some() {
        // Somebody deleted /controller by hand, to have another one elected.
        ops.push(WriteOp::delete(own::CONTROLLER, None));
    }
    let content = controller::encode_controller(broker_id, clock::wall_ms());
    let next = controller::encode_epoch(epoch.epoch.saturating_add(1));
    ops.extend([
        WriteOp::create(controller::CONTROLLER, content, CreateMode::Ephemeral),
        WriteOp::create(own::CONTROLLER, "", CreateMode::Ephemeral),
        WriteOp::set(controller::EPOCH, next, Some(epoch.version)),
    ]);
    lost_or(port.multi(ops).await.map_err(Error::from).map(drop))
}

fn lost_or(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NodeExists(_) | Error::BadVersion { .. } | Error::NoNode(_)) => Ok(()),
        other => other,
    }
}
