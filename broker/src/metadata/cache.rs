//! The cell that holds the current image. Readers take an `Arc` and never wait; one writer, the
//! watcher, swaps whole images.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Image;

/// Why waiting for an image ended without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed first.
    #[error("no image with what was asked for within {0:?}")]
    TimedOut(Duration),
}

/// The current image, and a signal for each new one.
#[derive(Debug)]
pub struct MetadataCache {
    image: ArcSwap<Image>,
    reached: Teller,
    changed: Teller,
}

impl Default for MetadataCache {
    fn default() -> MetadataCache {
        MetadataCache {
            image: ArcSwap::from_pointee(Image::default()),
            reached: Teller::default(),
            changed: Teller::default(),
        }
    }
}

impl MetadataCache {
    /// The current image; the empty one, of zxid 0, before the first end mark.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Tells of each image in which something changed; slow readers hear once of several.
    #[must_use]
    pub fn changed(&self) -> News {
        self.changed.listen()
    }

    /// Tells of each image, those included that differ in nothing but their zxid.
    #[must_use]
    pub fn reached(&self) -> News {
        self.reached.listen()
    }

    /// Swaps in a newer image; `changed` says whether it differs in more than its zxid. Called by
    /// the watcher alone. An image older than the current one is dropped, and false returned: a
    /// new session's stream may begin at a node that lags behind.
    pub fn store(&self, image: Arc<Image>, changed: bool) -> bool {
        let zxid = image.zxid;
        let newer = self.reached.tell_if(|reached| {
            if zxid < *reached {
                return false;
            }
            self.image.store(image);
            *reached = zxid;
            true
        });
        if newer && changed {
            self.changed.tell_if(|told| {
                *told = zxid;
                true
            });
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
                reached.mark_seen();
                let image = self.image();
                if wanted(&image) {
                    return Ok(image);
                }
                reached.changed().await;
            }
        };
        tokio::time::timeout(limit, search)
            .await
            .unwrap_or(Err(WaitError::TimedOut(limit)))
    }
}

/// A zxid, and a signal whenever it is told. In place of tokio's `watch`, which wakes listeners in an order drawn
/// by chance: here it is the order in which they began to wait.
#[derive(Debug, Default)]
struct Teller {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    zxid: Mutex<i64>,
    told: AtomicU64,
    notify: Notify,
}

impl Teller {
    /// Changes the zxid; tells the listeners if `change` says so, which is returned.
    fn tell_if(&self, change: impl FnOnce(&mut i64) -> bool) -> bool {
        let mut zxid = self.shared.zxid.lock();
        let told = change(&mut zxid);
        if told {
            self.shared.told.fetch_add(1, Ordering::Release);
        }
        drop(zxid);
        if told {
            self.shared.notify.notify_waiters();
        }
        told
    }

    fn listen(&self) -> News {
        let shared = self.shared.clone();
        let seen = shared.told.load(Ordering::Acquire);
        News { shared, seen }
    }
}

/// Hears of images.
#[derive(Debug)]
pub struct News {
    shared: Arc<Shared>,
    seen: u64,
}

impl News {
    /// What was told so far is no news.
    pub fn mark_seen(&mut self) {
        self.seen = self.shared.told.load(Ordering::Acquire);
    }

    /// There is news at once.
    pub fn mark_changed(&mut self) {
        self.seen = self.shared.told.load(Ordering::Acquire).wrapping_sub(1);
    }

    /// Waits for something told since it was last seen, and sees it.
    pub async fn changed(&mut self) {
        loop {
            // Made before looking: what is told in between wakes it too.
            let notified = self.shared.notify.notified();
            let told = self.shared.told.load(Ordering::Acquire);
            if told != self.seen {
                self.seen = told;
                return;
            }
            notified.await;
        }
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
