//! Sockets: binding the listeners, what is advertised of them, and serving them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zweig_monitoring::Endpoint as MetricsEndpoint;

use super::RunError;
use crate::config::{Config, Listener, MetricsListener, NetConfig};
use crate::handlers::Services;
use crate::metadata::Endpoint;
use crate::net::listener::{self, ListenerConfig};
use crate::net::socket::TcpListener;
use crate::tasks;

/// A listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}://{host}:{port}: {source}")]
pub struct BindError {
    name: String,
    host: String,
    port: u16,
    pub(super) source: std::io::Error,
}

impl BindError {
    fn new(listener: &Listener, source: std::io::Error) -> BindError {
        BindError {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
            source,
        }
    }
}

/// A bound listener.
pub(super) struct Bound {
    listener: Listener,
    socket: TcpListener,
}

/// Binds all listeners of the configuration.
pub(super) async fn bind(config: &Config) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let host = if listener.host.is_empty() {
            "0.0.0.0"
        } else {
            &listener.host
        };
        let socket = TcpListener::bind((host, listener.port)).await;
        bound.push(Bound {
            listener: listener.clone(),
            socket: socket.map_err(|e| BindError::new(listener, e))?,
        });
    }
    Ok(bound)
}

/// Binds the address of metrics, if there is one.
pub(super) async fn bind_metrics(
    listener: Option<&MetricsListener>,
) -> Result<Option<MetricsEndpoint>, RunError> {
    let Some(listener) = listener else {
        return Ok(None);
    };
    let bound = MetricsEndpoint::bind(&listener.host, listener.port).await;
    match bound.and_then(|bound| Ok((bound.address()?, bound))) {
        Ok((at, bound)) => {
            tracing::info!("metrics are at http://{at}/metrics");
            Ok(Some(bound))
        }
        Err(source) => Err(RunError::Metrics {
            address: listener.clone(),
            source,
        }),
    }
}

/// What clients are told: as configured, with ports and hosts that were left open filled in.
pub(super) fn endpoints(config: &Config, bound: &[Bound]) -> Result<Vec<Endpoint>, BindError> {
    let mut endpoints = Vec::new();
    for advertised in &config.advertised_listeners {
        let own = bound.iter().find(|b| b.listener.name == advertised.name);
        let port = match own {
            Some(own) if advertised.port == 0 => {
                let address = own.socket.local_addr();
                address.map_err(|e| BindError::new(advertised, e))?.port()
            }
            _ => advertised.port,
        };
        let everywhere = ["", "0.0.0.0", "::"];
        let host = if everywhere.contains(&advertised.host.as_str()) {
            let name = rustix::system::uname();
            name.nodename().to_string_lossy().into_owned()
        } else {
            advertised.host.clone()
        };
        endpoints.push(Endpoint {
            listener: advertised.name.clone(),
            protocol: "PLAINTEXT".to_owned(),
            host,
            port,
        });
    }
    Ok(endpoints)
}

/// Serves all listeners until `stop`, each by a task of `tracker`.
pub(super) fn serve(
    bound: Vec<Bound>,
    net: &NetConfig,
    services: &Arc<Services>,
    (tracker, stop): (&TaskTracker, &CancellationToken),
) {
    for Bound { listener, socket } in bound {
        let config = ListenerConfig {
            name: Arc::from(listener.name),
            request_max_bytes: usize::try_from(net.request_max_bytes).unwrap_or(0),
            max_idle: net.max_idle,
            max_connections: usize::try_from(net.max_connections).unwrap_or(usize::MAX),
            max_connections_per_ip: usize::try_from(net.max_connections_per_ip)
                .unwrap_or(usize::MAX),
        };
        let serving = listener::serve(socket, config, services.clone(), stop.clone());
        tracker.spawn(tasks::bound(serving));
    }
}
