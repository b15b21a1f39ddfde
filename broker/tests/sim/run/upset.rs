//! Faults begin, and end.

use tokio::task::JoinHandle;
use zweig_client::ensemble::{CreateMode, WriteOp};

use super::World;
use crate::client::{Client, Setting};
use crate::faults::Fault;
use crate::node::host_number;
use crate::topics;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    Resume(i32),
    Ensemble(i32),
    Quorum,
    Link(i32, i32),
    Everyone(i32),
    Disk(i32),
    Room(i32),
    Lag(i32),
    SlowEnsemble(i32),
    Spoil,
}

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
        self.trace.line(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Kill { .. }
            | Fault::PowerLoss { .. }
            | Fault::Blackout { .. }
            | Fault::Stop { .. }
            | Fault::Pause { .. } => self.upset_process(fault),
            Fault::FullDisk { broker, .. }
            | Fault::FailSync { broker }
            | Fault::Jump { broker, .. }
            | Fault::SlowDisk { broker, .. } => self.upset_hardware(broker, fault),
            Fault::CutLink { .. }
            | Fault::Isolate { .. }
            | Fault::CutAll { .. }
            | Fault::CutPeers { .. }
            | Fault::SlowLink { .. }
            | Fault::Reset { .. } => self.upset_network(fault),
            _ => self.upset_ensemble(fault),
        }
    }

    fn upset_process(&mut self, fault: Fault) {
        let now = self.ms();
        match fault {
            Fault::Kill { broker, down } => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.kill();
                    self.ensemble.process_ended(broker);
                }
                self.restarts.insert(broker, now + down);
            }
            Fault::PowerLoss { broker, down, all } => {
                self.lose(broker);
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.cut_power(all);
                }
                self.restarts.insert(broker, now + down);
            }
            Fault::Blackout { down, all } => {
                for broker in 1..=3 {
                    self.begin(Fault::PowerLoss { broker, down, all });
                }
            }
            Fault::Stop { broker, down } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.begin_stop();
                }
                self.restarts.insert(broker, now + 4_000 + down);
            }
            Fault::Pause { broker, lasts } => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.pause();
                }
                self.after(lasts, Undo::Resume(broker));
            }
            _ => {}
        }
    }

    fn upset_hardware(&mut self, broker: i32, fault: Fault) {
        let Some(node) = self.nodes.get(&broker) else {
            return;
        };
        match fault {
            Fault::FullDisk { lasts, .. } => {
                node.fill_disk(true);
                self.after(lasts, Undo::Room(broker));
            }
            Fault::FailSync { .. } => node.fail_sync(),
            Fault::Jump { by, .. } => node.jump_clock(by),
            Fault::SlowDisk { by, lasts, .. } => {
                node.slow_disk(by);
                self.after(lasts, Undo::Disk(broker));
            }
            _ => {}
        }
    }

    fn upset_network(&mut self, fault: Fault) {
        let hosts = |id| host_number(id);
        match fault {
            Fault::CutLink { from, to, lasts } => {
                self.net.cut(hosts(from), hosts(to));
                self.after(lasts, Undo::Link(from, to));
            }
            Fault::Isolate { broker, lasts } => {
                self.cut_off(broker);
                self.after(lasts, Undo::Everyone(broker));
            }
            Fault::CutAll { broker, lasts } => {
                self.cut_off(broker);
                self.ensemble.set_cut(broker, true);
                self.after(lasts, Undo::Everyone(broker));
                self.after(lasts, Undo::Ensemble(broker));
            }
            Fault::CutPeers {
                broker,
                ensemble,
                lasts,
            } => {
                self.cut_from_peers(broker);
                self.after(lasts, Undo::Everyone(broker));
                if ensemble {
                    self.ensemble.set_cut(broker, true);
                    self.after(lasts, Undo::Ensemble(broker));
                }
            }
            Fault::SlowLink {
                from,
                to,
                by,
                lasts,
            } => {
                self.net.slow(hosts(from), hosts(to), by);
                self.after(lasts, Undo::Link(from, to));
            }
            Fault::Reset { broker } => {
                let host = hosts(broker);
                self.net.reset(|from, to| from == host || to == host);
            }
            _ => {}
        }
    }

    fn upset_ensemble(&mut self, fault: Fault) {
        match fault {
            Fault::CutEnsemble { broker, lasts } => {
                self.ensemble.set_cut(broker, true);
                self.after(lasts, Undo::Ensemble(broker));
            }
            Fault::EnsembleOut { lasts } => {
                self.ensemble.set_out(true);
                self.after(lasts, Undo::Quorum);
            }
            Fault::Expire { broker } => self.ensemble.expire_now(broker),
            Fault::SlowEnsemble { broker, by, lasts } => {
                self.ensemble.set_slow(broker, by);
                self.after(lasts, Undo::SlowEnsemble(broker));
            }
            Fault::Depose { by, lasts } => self.depose(by, lasts),
            Fault::Lag { broker, by, lasts } => {
                self.ensemble.set_lag(broker, by);
                self.after(lasts, Undo::Lag(broker));
            }
            Fault::Spoil { each, lasts } => {
                self.ensemble.set_spoiled([each; 3]);
                self.after(lasts, Undo::Spoil);
            }
            Fault::Churn => {
                let host = 170 + usize::try_from(self.ms() % 80).unwrap_or(0);
                let client = Client::new(&self.setting(), host, self.seed);
                let churning = topics::churn(client, self.ensemble.clone());
                if self.churn.as_ref().is_none_or(JoinHandle::is_finished) {
                    self.churn = Some(tokio::spawn(churning));
                }
            }
            Fault::Prefer => self.prefer(),
            _ => {}
        }
    }

    fn after(&mut self, lasts: u64, undo: Undo) {
        let at = self.ms() + lasts;
        self.later.entry(at).or_default().push(undo);
    }

    /// Asks for the preferred leaders, as Kafka's tool does.
    fn prefer(&self) {
        let parts = r#"[{"topic":"a","partition":0},{"topic":"a","partition":1},{"topic":"s","partition":0}]"#;
        let content = format!(r#"{{"version":1,"partitions":{parts}}}"#);
        let path = "/admin/preferred_replica_election";
        let op = WriteOp::create(path, content, CreateMode::Persistent);
        let written = self.ensemble.write(&[op]);
        self.trace
            .line(|| format!("preferred leaders: {written:?}"));
    }

    /// Another controller is elected while the former one, its session alive, hears late of it.
    fn depose(&mut self, by: u64, lasts: u64) {
        let path = "/controller";
        let content = self.ensemble.look(|nodes| nodes.get(path).cloned());
        let content = content.and_then(|(data, _)| data).unwrap_or_default();
        let content: serde_json::Value = serde_json::from_slice(&content).unwrap_or_default();
        let broker = content["brokerid"].as_i64();
        if let Some(broker) = broker.and_then(|id| i32::try_from(id).ok()) {
            self.ensemble.set_lag(broker, by);
            self.after(lasts, Undo::Lag(broker));
        }
        let written = self.ensemble.write(&[WriteOp::delete(path, None)]);
        self.trace
            .line(|| format!("controller {broker:?} is deposed: {written:?}"));
    }

    pub(super) fn setting(&self) -> Setting {
        Setting {
            net: self.net.clone(),
            history: self.history.clone(),
            brokers: vec![1, 2, 3],
            pace: self.pace.clone(),
        }
    }

    fn cut_off(&self, broker: i32) {
        let host = host_number(broker);
        for other in (1..=3).chain(100..170).filter(|other| *other != host) {
            self.net.cut(host, other);
            self.net.cut(other, host);
        }
    }

    /// Clients reach it still.
    fn cut_from_peers(&self, broker: i32) {
        let host = host_number(broker);
        for other in (1..=3).filter(|other| *other != host) {
            self.net.cut(host, other);
            self.net.cut(other, host);
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        self.trace.line(|| format!("OVER {undo:?}"));
        match undo {
            Undo::Resume(broker) => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.resume();
                }
            }
            Undo::Ensemble(broker) => self.ensemble.set_cut(broker, false),
            Undo::Quorum => self.ensemble.set_out(false),
            Undo::Link(from, to) => self.net.heal(host_number(from), host_number(to)),
            Undo::Everyone(broker) => {
                let host = host_number(broker);
                for other in (1..=3).chain(100..170).filter(|other| *other != host) {
                    self.net.heal(host, other);
                    self.net.heal(other, host);
                }
            }
            Undo::Disk(broker) => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.slow_disk(0);
                }
            }
            Undo::Room(broker) => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.fill_disk(false);
                }
            }
            Undo::Lag(broker) => self.ensemble.set_lag(broker, 0),
            Undo::SlowEnsemble(broker) => self.ensemble.set_slow(broker, 0),
            Undo::Spoil => self.ensemble.set_spoiled([0; 3]),
        }
    }

    /// Ends every fault.
    pub(super) fn heal(&mut self) {
        self.trace.line(|| "every fault ends".to_owned());
        for undo in std::mem::take(&mut self.later).into_values().flatten() {
            self.undo(undo);
        }
        self.net.heal_all();
        let now = self.ms();
        for (id, node) in &self.nodes {
            if !node.runs() {
                self.restarts.insert(*id, now);
            }
        }
    }
}
