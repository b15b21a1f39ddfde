//! A collector of OpenTelemetry: OTLP over gRPC, spans kept.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tonic::{Request, Response, Status};

/// A span, as far as it is looked at.
#[derive(Debug, Clone)]
pub struct Told {
    /// Service and instance.
    pub who: String,
    pub name: String,
    /// Hexadecimal.
    pub trace: String,
    pub id: Vec<u8>,
    /// Empty: it has none.
    pub parent: Vec<u8>,
    pub begun_ns: u64,
    pub ended_ns: u64,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Told>>>);

/// Runs until the test program ends.
pub struct Collector {
    endpoint: String,
    kept: Kept,
}

impl Collector {
    pub fn start() -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let endpoint = format!("http://{}", socket.local_addr().expect("its address"));
        socket.set_nonblocking(true).expect("for tokio");
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let socket = tokio::net::TcpListener::from_std(socket).expect("a listener");
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
                let server = tonic::transport::Server::builder().add_service(service);
                server.serve_with_incoming(incoming).await.expect("serves");
            });
        });
        Self { endpoint, kept }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn all(&self) -> Vec<Told> {
        self.kept.0.lock().expect("no panic").clone()
    }

    /// The spans of one trace that have come so far.
    pub fn of(&self, trace: &str) -> Vec<Told> {
        let mut spans = self.all();
        spans.retain(|span| span.trace == trace);
        spans
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut told = Vec::new();
        for of in request.into_inner().resource_spans {
            let resource = attributes(of.resource.map(|about| about.attributes));
            let who = format!(
                "{} {}",
                resource["service.name"], resource["service.instance.id"]
            );
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            told.extend(spans.map(|span| {
                Told {
                    who: who.clone(),
                    name: span.name,
                    trace: span
                        .trace_id
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect(),
                    id: span.span_id,
                    parent: span.parent_span_id,
                    begun_ns: span.start_time_unix_nano,
                    ended_ns: span.end_time_unix_nano,
                    attributes: attributes(Some(span.attributes)),
                }
            }));
        }
        self.0.lock().expect("no panic").extend(told);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(all: Option<Vec<KeyValue>>) -> BTreeMap<String, String> {
    let text = |of: KeyValue| match of.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => (of.key, text),
        Some(Value::IntValue(number)) => (of.key, number.to_string()),
        other => (of.key, format!("{other:?}")),
    };
    all.unwrap_or_default().into_iter().map(text).collect()
}
