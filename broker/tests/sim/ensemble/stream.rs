//! What a watcher gets: the tree as some node has it, then its changes, late; now and then all of it anew.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use zweig_broker::ensemble::played::replay;
use zweig_client::ensemble::WatchItem;

use super::SimEnsemble;

/// Sends a watcher the tree and its changes, late.
pub async fn stream(ensemble: SimEnsemble, broker: i32, items: mpsc::UnboundedSender<WatchItem>) {
    let mut at = {
        // A node that is behind, perhaps.
        let behind = i64::from(ensemble.chance(4));
        let behind = if ensemble.chance(3) == 0 { behind } else { 0 };
        (ensemble.inner.lock().tree.zxid - behind).max(0)
    };
    let mut whole = true;
    loop {
        let lag = ensemble
            .inner
            .lock()
            .lag_ms
            .get(&broker)
            .copied()
            .unwrap_or(0);
        sleep(ensemble.delay() + Duration::from_millis(lag)).await;
        ensemble.until_reachable(broker).await;
        if whole {
            let nodes = replay(&ensemble.inner.lock().tree.history, at);
            let _ = items.send(WatchItem::Reset);
            for (path, (data, stat)) in nodes {
                let _ = items.send(WatchItem::Node {
                    path,
                    data,
                    stat,
                    readable: true,
                });
            }
            if items.send(WatchItem::SubtreeEnd { zxid: at }).is_err() {
                return;
            }
            whole = false;
        }
        loop {
            let moved = ensemble.moved.notified();
            let news = {
                let inner = ensemble.inner.lock();
                let news = inner.tree.since(at);
                news[..news.len().min(8)].to_vec()
            };
            if news.is_empty() {
                moved.await;
                continue;
            }
            if news.len() == 8 && ensemble.chance(4) == 0 {
                // It fell behind: what it missed is not kept.
                let mut inner = ensemble.inner.lock();
                at = inner.tree.zxid;
                inner.counts.resets += 1;
                whole = true;
                break;
            }
            for (zxid, changes) in news {
                for change in &*changes {
                    let _ = items.send(change.clone());
                }
                at = zxid;
                if items.send(WatchItem::End { zxid }).is_err() {
                    return;
                }
            }
            break;
        }
    }
}
