//! Where everything of a local cluster lies: ports, folders, configuration files. Pure but for
//! [`Layout::write`], which puts the files where the processes look for them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How many processes there are, and from which port on they listen.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The folder that holds one subfolder per process.
    pub root: PathBuf,
    /// Coordinators: 1, 3, 5 or 7.
    pub nodes: u16,
    /// Brokers: any number.
    pub brokers: u16,
    /// The first port of each kind.
    pub ports: Ports,
}

/// The first port of each kind; the next process takes the next port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Client ports of the coordinators (2181, as ZooKeeper).
    pub client: u16,
    /// Quorum ports (2888, as ZooKeeper).
    pub quorum: u16,
    /// Election ports (3888, as ZooKeeper).
    pub election: u16,
    /// Broker listeners (9092, as Kafka).
    pub broker: u16,
    /// The console's page.
    pub console: u16,
    /// Metrics of the coordinators (7000, as ZooKeeper).
    pub coordinator_metrics: u16,
    /// Metrics of the brokers (7071, as `jmx_exporter` is often given).
    pub broker_metrics: u16,
}

impl Ports {
    /// ZooKeeper's and Kafka's usual ports.
    pub const USUAL: Self = Self {
        client: 2181,
        quorum: 2888,
        election: 3888,
        broker: 9092,
        console: 8090,
        coordinator_metrics: 7000,
        broker_metrics: 7071,
    };

    /// One block of sixty ports from `base`: clients, quorum, election, the console at base + 29, brokers from base + 30,
    /// metrics of coordinators from base + 40, those of brokers from base + 47.
    #[must_use]
    pub const fn from_base(base: u16) -> Self {
        Self {
            client: base,
            quorum: base + 10,
            election: base + 20,
            broker: base + 30,
            console: base + 29,
            coordinator_metrics: base + 40,
            broker_metrics: base + 47,
        }
    }
}

impl Layout {
    /// The client address of coordinator `node` (from 1).
    #[must_use]
    pub fn coordinator_address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.ports.client + node - 1)
    }

    /// Where the console's page is.
    #[must_use]
    pub fn console_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.console))
    }

    /// The listener of broker `id` (from 1).
    #[must_use]
    pub fn broker_address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.ports.broker + id - 1)
    }

    /// Where coordinator `node` tells its metrics.
    #[must_use]
    pub fn coordinator_metrics(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.ports.coordinator_metrics + node - 1)
    }

    /// Where broker `id` tells its metrics.
    #[must_use]
    pub fn broker_metrics(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.ports.broker_metrics + id - 1)
    }

    /// A `prometheus.yml` that scrapes every process.
    #[must_use]
    pub fn prometheus_yml(&self) -> String {
        let targets = |all: Vec<String>| all.join("\", \"");
        let coordinators = (1..=self.nodes).map(|node| self.coordinator_metrics(node));
        let brokers = (1..=self.brokers).map(|id| self.broker_metrics(id));
        format!(
            "# Written by `zweig dev`. Alert rules and dashboards: the folder `monitoring` of Zweig.\n\
             global:\n  scrape_interval: 5s\n  evaluation_interval: 5s\nscrape_configs:\n\
             \x20 - job_name: zweig-coordinators\n    static_configs:\n      - targets: [\"{}\"]\n\
             \x20 - job_name: zweig-brokers\n    static_configs:\n      - targets: [\"{}\"]\n",
            targets(coordinators.collect()),
            targets(brokers.collect()),
        )
    }

    /// Every coordinator's client address, separated by commas.
    #[must_use]
    pub fn connect_string(&self) -> String {
        let all: Vec<_> = (1..=self.nodes)
            .map(|n| self.coordinator_address(n))
            .collect();
        all.join(",")
    }

    /// Every broker's address, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let all: Vec<_> = (1..=self.brokers).map(|b| self.broker_address(b)).collect();
        all.join(",")
    }

    /// The folder of coordinator `node`.
    #[must_use]
    pub fn coordinator_folder(&self, node: u16) -> PathBuf {
        self.root.join(format!("coordinator-{node}"))
    }

    /// The folder of broker `id`.
    #[must_use]
    pub fn broker_folder(&self, id: u16) -> PathBuf {
        self.root.join(format!("broker-{id}"))
    }

    /// The `zoo.cfg` of coordinator `node`.
    #[must_use]
    pub fn zoo_cfg(&self, node: u16) -> String {
        let mut text = format!(
            "# Written by `zweig dev`; the keys are ZooKeeper's.\n\
             tickTime=2000\ninitLimit=10\nsyncLimit=5\n\
             dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\nmaxClientCnxns=0\n\
             metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
             metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={}\n",
            self.coordinator_folder(node).join("data").display(),
            self.ports.client + node - 1,
            self.ports.coordinator_metrics + node - 1
        );
        if self.nodes > 1 {
            for other in 1..=self.nodes {
                text.push_str(&format!(
                    "server.{other}=127.0.0.1:{}:{};127.0.0.1:{}\n",
                    self.ports.quorum + other - 1,
                    self.ports.election + other - 1,
                    self.ports.client + other - 1
                ));
            }
        }
        text
    }

    /// The `server.properties` of broker `id`.
    #[must_use]
    pub fn server_properties(&self, id: u16) -> String {
        let replicas = self.brokers.min(3);
        format!(
            "# Written by `zweig dev`; the keys are Kafka's.\n\
             broker.id={id}\nlisteners=PLAINTEXT://{}\nlog.dirs={}\nzookeeper.connect={}\n\
             num.partitions=3\ndefault.replication.factor={replicas}\n\
             min.insync.replicas={}\noffsets.topic.replication.factor={replicas}\n\
             zookeeper.session.timeout.ms=6000\ngroup.initial.rebalance.delay.ms=0\nmetrics.listener={}\n",
            self.broker_address(id),
            self.broker_folder(id).join("logs").display(),
            self.connect_string(),
            replicas.min(2),
            self.broker_metrics(id),
        )
    }

    /// Creates the folders and writes the configuration files, `myid` among them. Data that is
    /// there already stays; a folder made for another number of coordinators is refused.
    ///
    /// # Errors
    /// Any of the file system's; `InvalidInput` for such a folder.
    pub fn write(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        self.claim()?;
        fs::write(self.root.join("prometheus.yml"), self.prometheus_yml())?;
        for node in 1..=self.nodes {
            let folder = self.coordinator_folder(node);
            fs::create_dir_all(folder.join("data"))?;
            fs::write(folder.join("data/myid"), format!("{node}\n"))?;
            fs::write(folder.join("zoo.cfg"), self.zoo_cfg(node))?;
        }
        for id in 1..=self.brokers {
            let folder = self.broker_folder(id);
            fs::create_dir_all(folder.join("logs"))?;
            fs::write(folder.join("server.properties"), self.server_properties(id))?;
        }
        Ok(())
    }

    /// The members of an ensemble can't be changed by starting it differently: the folder
    /// remembers how many coordinators it was made for.
    fn claim(&self) -> io::Result<()> {
        let path = self.root.join("nodes");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == self.nodes.to_string() => Ok(()),
            Ok(text) => {
                let (folder, made_for) = (self.root.display(), text.trim());
                let why = format!(
                    "{folder} was made for {made_for} coordinators; say --nodes {made_for} or take another folder"
                );
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                fs::write(path, format!("{}\n", self.nodes))
            }
            Err(other) => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn layout(root: &Path, nodes: u16) -> Layout {
        Layout {
            root: root.to_owned(),
            nodes,
            brokers: 2,
            ports: Ports::from_base(20_000),
        }
    }

    #[test]
    fn configuration_names_every_member_and_its_own_port() {
        let layout = layout(Path::new("/d"), 3);
        let text = layout.zoo_cfg(2);
        assert!(text.contains("clientPort=20001\n"));
        assert!(text.contains("dataDir=/d/coordinator-2/data\n"));
        assert!(text.contains("server.3=127.0.0.1:20012:20022;127.0.0.1:20002\n"));
        let text = layout.server_properties(2);
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:20031\n"));
        assert!(
            text.contains("zookeeper.connect=127.0.0.1:20000,127.0.0.1:20001,127.0.0.1:20002\n")
        );
        assert!(text.contains("default.replication.factor=2\n"));
        assert!(text.contains("metrics.listener=127.0.0.1:20048\n"));
        assert!(
            layout
                .zoo_cfg(3)
                .contains("metricsProvider.httpPort=20042\n")
        );
        let text = layout.prometheus_yml();
        assert!(
            text.contains("job_name: zweig-brokers\n    static_configs:\n      - targets: [\"127.0.0.1:20047\", \"127.0.0.1:20048\"]\n"),
            "{text}"
        );
    }

    #[test]
    fn a_folder_keeps_its_number_of_coordinators() {
        let folder = tempfile::tempdir().unwrap();
        layout(folder.path(), 3).write().unwrap();
        layout(folder.path(), 3).write().unwrap();
        let refused = layout(folder.path(), 5).write().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("--nodes 3"));
        assert_eq!(
            fs::read_to_string(folder.path().join("coordinator-2/data/myid")).unwrap(),
            "2\n"
        );
    }
}
