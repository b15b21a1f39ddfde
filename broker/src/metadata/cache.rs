//! The cell that holds the current image. Readers take an `Arc` and never wait; one writer, the
//! watcher, swaps whole images.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Image;

/// Why waiting for an image ended without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed first.
    #[error("no image with what was asked for within {0:?}")]
    TimedOut(Duration),
    /// The broker is stopping: no image follows.
    #[error("no further image: the broker is stopping")]
    Closed,
}

/// The current image, and a signal for each new one.
#[derive(Debug)]
pub struct MetadataCache {
    image: ArcSwap<Image>,
    reached: watch::Sender<i64>,
    changed: watch::Sender<i64>,
}

impl Default for MetadataCache {
    fn default() -> MetadataCache {
        MetadataCache {
            image: ArcSwap::from_pointee(Image::default()),
            reached: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }
    }
}

impl MetadataCache {
    /// The current image; the empty one, of zxid 0, before the first end mark.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Tells the zxid of each image in which something changed; slow readers see the latest only.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Tells the zxid of each image, those included that differ in nothing but their zxid.
    #[must_use]
    pub fn reached(&self) -> watch::Receiver<i64> {
        self.reached.subscribe()
    }

    /// Swaps in a newer image; `changed` says whether it differs in more than its zxid. Called by
    /// the watcher alone. An image older than the current one is dropped, and false returned: a
    /// new session's stream may begin at a node that lags behind.
    pub fn store(&self, image: Arc<Image>, changed: bool) -> bool {
        let zxid = image.zxid;
        let newer = self.reached.send_if_modified(|current| {
            if zxid < *current {
                return false;
            }
            self.image.store(image);
            *current = zxid;
            true
        });
        if newer && changed {
            self.changed.send_replace(zxid);
        }
        newer
    }

    /// Waits for an image that `wanted` accepts, the current one included.
    ///
    /// # Errors
    /// [`WaitError`] if `limit` passes first.
    pub async fn wait_for(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&Image) -> bool,
    ) -> Result<Arc<Image>, WaitError> {
        let mut reached = self.reached();
        let search = async {
            loop {
                reached.borrow_and_update();
                let image = self.image();
                if wanted(&image) {
                    return Ok(image);
                }
                reached.changed().await.map_err(|_| WaitError::Closed)?;
            }
        };
        tokio::time::timeout(limit, search)
            .await
            .unwrap_or(Err(WaitError::TimedOut(limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zxid: i64) -> Arc<Image> {
        Arc::new(Image {
            zxid,
            ..Image::default()
        })
    }

    #[tokio::test]
    async fn waiting_sees_the_image_that_comes_later() {
        let cache = Arc::new(MetadataCache::default());
        let writer = cache.clone();
        let task = tokio::spawn(async move {
            for zxid in 1..=5 {
                writer.store(at(zxid), false);
                tokio::task::yield_now().await;
            }
        });
        let image = cache
            .wait_for(Duration::from_secs(60), |i| i.zxid >= 5)
            .await
            .expect("image");
        assert_eq!(image.zxid, 5);
        task.await.expect("writer");
    }

    #[tokio::test]
    async fn an_older_image_is_dropped_and_waiting_ends_at_its_limit() {
        let cache = MetadataCache::default();
        assert!(cache.store(at(9), true));
        assert!(!cache.store(at(8), true));
        assert_eq!(cache.image().zxid, 9);
        let limit = Duration::from_millis(5);
        let end = cache.wait_for(limit, |i| i.zxid >= 10).await;
        assert_eq!(end.expect_err("nothing newer"), WaitError::TimedOut(limit));
    }
}
