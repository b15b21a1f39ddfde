//! Keeps the picture true: a watch stream of the tree, the coordinators' own statuses, the groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};
use zweig_client::ensemble::{ChangeKind, Ensemble, Options, Status, WatchItem, WatchStream};
use zweig_client::kafka::Admin;

use super::cluster::{Broker, Cluster, Partition};
use super::hub::Hub;
use super::story::{Tone, tell};
use crate::clock::{now, unix_ms};
use crate::ensemble::{Row, ask_all};
use crate::group;

/// Changes that come within this time are told together: one death is many changes.
const TOGETHER: Duration = Duration::from_millis(150);

/// Time between two looks at the coordinators.
const STATUS: Duration = Duration::from_millis(500);

/// How long one coordinator is waited for.
const STATUS_PATIENCE: Duration = Duration::from_millis(400);

/// Time between two looks at the groups, while a page is open.
const GROUPS: Duration = Duration::from_secs(2);

/// Groups looked at; the rest is counted.
const GROUPS_SHOWN: usize = 200;

const RETRY: Duration = Duration::from_millis(300);

#[derive(Serialize)]
struct Brokers<'a> {
    brokers: Vec<&'a Broker>,
    controller: Option<i32>,
}

#[derive(Serialize)]
struct Topic<'a> {
    name: &'a str,
    partitions: &'a BTreeMap<i32, Partition>,
}

/// Follows the brokers' part of the tree for ever.
pub async fn tree(options: Options, hub: Arc<Hub>) {
    let mut known = Cluster::default();
    let mut first = true;
    loop {
        if let Ok(ensemble) = Ensemble::connect(options.clone()).await
            && let (Ok(brokers), Ok(controller)) = (
                ensemble.watch("/brokers", true),
                ensemble.watch("/controller", false),
            )
        {
            let mut reader = Reader {
                hub: &hub,
                cluster: std::mem::take(&mut known),
                silent: first,
            };
            reader.run(brokers, controller).await;
            known = reader.cluster;
            first = false;
        }
        sleep(RETRY).await;
    }
}

struct Reader<'a> {
    hub: &'a Arc<Hub>,
    cluster: Cluster,
    /// What stood there before anybody looked is no news.
    silent: bool,
}

impl Reader<'_> {
    async fn run(&mut self, mut brokers: WatchStream, mut controller: WatchStream) {
        // Complete once both have ended their first picture.
        let mut begun = (false, false);
        let mut due: Option<Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let (item, of_brokers) = tokio::select! {
                item = brokers.next() => (item, true),
                item = controller.next() => (item, false),
                () = wait => {
                    due = None;
                    self.publish();
                    continue;
                }
            };
            let Some(item) = item else { return };
            let whole = matches!(item, WatchItem::SubtreeEnd { .. } | WatchItem::End { .. });
            if let (WatchItem::Reset, true) = (&item, of_brokers) {
                self.begin_anew();
            }
            self.take(item);
            if whole {
                let begun = if of_brokers {
                    &mut begun.0
                } else {
                    &mut begun.1
                };
                *begun = true;
            }
            if whole && begun == (true, true) {
                due.get_or_insert_with(|| Instant::from_std(now()) + TOGETHER);
            }
        }
    }

    /// The stream sends everything again: what it does not send is gone.
    fn begin_anew(&mut self) {
        self.cluster.forget_brokers();
        self.silent = true;
    }

    fn take(&mut self, item: WatchItem) {
        match item {
            WatchItem::Node {
                path, data, stat, ..
            } => {
                let data = data.unwrap_or_default();
                self.cluster.put(&path, &data, stat.mtime_ms);
            }
            WatchItem::Change {
                kind: ChangeKind::Deleted,
                path,
                ..
            } => self.cluster.remove(&path),
            WatchItem::Change {
                path, data, stat, ..
            } => {
                let time_ms = stat.map_or_else(unix_ms, |stat| stat.mtime_ms);
                self.cluster.put(&path, &data.unwrap_or_default(), time_ms);
            }
            WatchItem::Reset | WatchItem::SubtreeEnd { .. } | WatchItem::End { .. } => {}
        }
    }

    fn publish(&mut self) {
        let changes = self.cluster.take_changes();
        if self.silent {
            self.hub
                .keep_topics(|name| self.cluster.topic(name).is_some());
        }
        for name in &changes.topics {
            match self.cluster.topic(name) {
                Some(partitions) => self.hub.put_topic(name, &Topic { name, partitions }),
                None => self.hub.remove_topic(name),
            }
        }
        let brokers = Brokers {
            brokers: self.cluster.brokers().collect(),
            controller: self.cluster.controller(),
        };
        self.hub.put("brokers", &brokers);
        if !self.silent {
            self.hub.tell(tell(&changes, &self.cluster));
        }
        self.silent = false;
    }
}

/// Asks the coordinators for ever what they say of themselves.
pub async fn ensemble(endpoints: Vec<String>, hub: Arc<Hub>) {
    let mut led: Option<Leader> = None;
    loop {
        let rows = ask_all(endpoints.clone(), STATUS_PATIENCE).await;
        hub.put("ensemble", &rows);
        if let Some(now) = Leader::of(&rows) {
            if let Some(before) = led.filter(|before| *before != now) {
                let answers = rows
                    .iter()
                    .any(|row| row.status.as_ref().is_some_and(|s| s.node == before.node));
                let why = match answers {
                    true => format!("coordinator {} answers, but leads no more", before.node),
                    false => format!("coordinator {}, which led, does not answer", before.node),
                };
                let what = format!(
                    "coordinator {} leads the ensemble, term {}",
                    now.node, now.term
                );
                hub.tell(vec![(Tone::Plain, what, why, Vec::new())]);
            }
            led = Some(now);
        }
        sleep(STATUS).await;
    }
}

/// Who leads the ensemble, and since which term.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Leader {
    node: u64,
    term: u64,
}

impl Leader {
    fn of(rows: &[Row]) -> Option<Self> {
        let leads = |status: &&Status| status.role == "leader";
        let answered = rows.iter().filter_map(|row| row.status.as_ref());
        let newest = answered.filter(leads).max_by_key(|status| status.term)?;
        Some(Self {
            node: newest.node,
            term: newest.term,
        })
    }
}

#[derive(Serialize)]
struct Groups {
    groups: Vec<group::Described>,
    /// How many there are beside those.
    more: usize,
    failure: Option<String>,
}

/// Looks at the groups for ever, while somebody looks at a page.
pub async fn groups(admin: Arc<Admin>, hub: Arc<Hub>) {
    loop {
        if hub.is_watched() {
            hub.put("groups", &look_at_groups(&admin).await);
        }
        sleep(GROUPS).await;
    }
}

async fn look_at_groups(admin: &Admin) -> Groups {
    let mut shown = Groups {
        groups: Vec::new(),
        more: 0,
        failure: None,
    };
    match admin.list_groups().await {
        Ok(listed) => {
            shown.more = listed.len().saturating_sub(GROUPS_SHOWN);
            for listing in listed.iter().take(GROUPS_SHOWN) {
                // One whose coordinator moves just now is shown next time.
                shown
                    .groups
                    .extend(group::look_at(admin, &listing.group).await);
            }
        }
        Err(failed) => shown.failure = Some(failed.to_string()),
    }
    shown
}
