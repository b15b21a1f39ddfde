//! Watches of the shell: tasks that tell of changes while somebody types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use zweig_client::ensemble::{ChangeKind, Ensemble, Error, WatchItem, WatchStream};

/// Prints a text without disturbing the line that is being typed.
pub type Printer = Arc<Mutex<dyn FnMut(String) + Send>>;

/// Which changes are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Of the znode itself.
    Node,
    /// Children that come and go.
    Children,
    /// Both.
    NodeAndChildren,
    /// Everything at and below it.
    Below,
}

impl What {
    fn concerns(self, watched: &str, path: &str, kind: ChangeKind) -> bool {
        let prefix = watched.trim_end_matches('/');
        let name = path
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        let child = name.is_some_and(|name| !name.is_empty() && !name.contains('/'));
        let comes_or_goes = matches!(kind, ChangeKind::Created | ChangeKind::Deleted);
        let (node, children) = (path == watched, child && comes_or_goes);
        match self {
            Self::Node => node,
            Self::Children => children || node && kind == ChangeKind::Deleted,
            Self::NodeAndChildren => node || children,
            Self::Below => true,
        }
    }
}

/// The watches there are.
pub struct Events {
    printer: Printer,
    patience: Duration,
    running: BTreeMap<String, Vec<AbortOnDropHandle<()>>>,
}

impl Events {
    /// None yet; it may take `patience` until one listens.
    pub fn new(printer: Printer, patience: Duration) -> Self {
        Self {
            printer,
            patience,
            running: BTreeMap::new(),
        }
    }

    /// Tells of the next change, or of all; listens by the time this returns, so what is read behind it is not missed.
    ///
    /// # Errors
    /// If the ensemble does not serve it.
    pub async fn add(
        &mut self,
        ensemble: &Ensemble,
        path: &str,
        what: What,
        once: bool,
    ) -> Result<(), Error> {
        let mut changes = ensemble.watch(path, what != What::Node)?;
        let waited = self.patience.as_secs();
        let listening = tokio::time::timeout(self.patience, listening(&mut changes)).await;
        let late = |_| Error::Unavailable(format!("no node serves the watch within {waited} s"));
        listening.map_err(late)??;
        // Another node may serve the session; now it has what the watch begins behind.
        ensemble.sync().await?;
        let (watched, printer) = (path.to_owned(), Arc::clone(&self.printer));
        let task = tokio::spawn(async move {
            while let Some(item) = changes.next().await {
                if item == WatchItem::Reset {
                    let missed = "WATCHER:: changes were missed: look again\n";
                    (printer.lock())(missed.to_owned());
                }
                let WatchItem::Change {
                    kind, path, zxid, ..
                } = item
                else {
                    continue;
                };
                if what.concerns(&watched, &path, kind) {
                    (printer.lock())(told(kind, &path, zxid));
                    if once {
                        return;
                    }
                }
            }
        });
        let watches = self.running.entry(path.to_owned()).or_default();
        watches.retain(|watch| !watch.is_finished());
        watches.push(AbortOnDropHandle::new(task));
        Ok(())
    }

    /// Ends those of a path; whether there were some.
    pub fn remove(&mut self, path: &str) -> bool {
        let watches = self.running.remove(path).unwrap_or_default();
        watches.iter().any(|watch| !watch.is_finished())
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.running.clear();
    }
}

/// Waits until the picture is complete: from there on every change is seen.
async fn listening(changes: &mut WatchStream) -> Result<(), Error> {
    loop {
        match changes.next().await {
            Some(WatchItem::SubtreeEnd { .. }) => return Ok(()),
            Some(_) => {}
            None => return Err(Error::Protocol("the watch was refused".to_owned())),
        }
    }
}

fn told(kind: ChangeKind, path: &str, zxid: i64) -> String {
    let kind = match kind {
        ChangeKind::Created => "NodeCreated",
        ChangeKind::Data => "NodeDataChanged",
        ChangeKind::Deleted => "NodeDeleted",
        ChangeKind::Acl => "NodeAclChanged",
    };
    format!("WATCHER:: {kind} {path} zxid {zxid:#x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_tells_of_what_it_was_set_for() {
        use ChangeKind::{Created, Data, Deleted};
        assert!(What::Node.concerns("/a", "/a", Data));
        assert!(What::Children.concerns("/a", "/a/b", Created));
        assert!(What::Children.concerns("/", "/b", Deleted));
        assert!(!What::Children.concerns("/a", "/a/b", Data));
        assert!(!What::Children.concerns("/a", "/a/b/c", Created));
        assert!(!What::Children.concerns("/a", "/ab/c", Created));
        assert!(!What::Children.concerns("/a", "/a", Data));
        assert!(What::NodeAndChildren.concerns("/a", "/a", Data));
        assert!(What::Below.concerns("/a", "/a/b/c", Data));
    }
}
