//! ZooKeeper's keys for metrics: `metricsProvider.className`, `httpHost`, `httpPort`.

use super::properties::Properties;
use super::{ConfigError, Endpoint};

/// ZooKeeper's providers that serve nothing.
const SILENT: [&str; 2] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
];

/// Who is told this node's metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsProvider {
    /// Nobody: as in ZooKeeper, unless the file names a class.
    Off,
    /// Prometheus, who comes for them here: `metricsProvider.httpHost` (default every interface) and
    /// `metricsProvider.httpPort` (default 7000; 0: the system chooses).
    Prometheus(Endpoint),
    /// A class that is not known here: nobody, and the log says so.
    Unknown(String),
}

impl MetricsProvider {
    /// ZooKeeper's class that serves Prometheus.
    pub const PROMETHEUS: &str =
        "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

    pub(super) fn read(from: &Properties) -> Result<Self, ConfigError> {
        let port = from.number("metricsProvider.httpPort", 7000, 0..=u16::MAX)?;
        let host = from.get("metricsProvider.httpHost");
        let host = host.map_or("0.0.0.0", |entry| &entry.value).to_owned();
        let Some(class) = from.get("metricsProvider.className") else {
            return Ok(Self::Off);
        };
        Ok(match class.value.as_str() {
            Self::PROMETHEUS => Self::Prometheus(Endpoint { host, port }),
            silent if SILENT.contains(&silent) => Self::Off,
            other => Self::Unknown(other.to_owned()),
        })
    }
}
