//! What every process tells Prometheus, and how.
//!
//! - [`count`]: counters and histograms: relaxed atomics, nothing else, so that they may stand in hot paths.
//! - [`page`]: the text format; a page is made when somebody asks for it, and at no other time.
//! - [`endpoint`]: `GET /metrics`, and nothing else, by HTTP/1.1.
//! - [`process`]: what is told of any process: memory, processor time, files, space on its disks.
//! - [`trace`]: spans of the requests that are followed, to a collector of OpenTelemetry, if there is one.
//!
//! Called by `coordinator` and `broker`, which know the names; it knows neither. Beside this package lie the
//! files that use the names: `dashboards/` for Grafana, `alerts.yml` for Prometheus, `docs/runbook.md` for people.
//!
//! Not here: any lock, any list of what there is to count; any clock, but for the times of spans.

mod clock;
pub mod count;
pub mod endpoint;
pub mod page;
pub mod process;
pub mod trace;

pub use count::{Counter, Histogram};
pub use endpoint::Endpoint;
pub use page::{Family, Kind, Number, Page};
pub use trace::{TraceContext, Tracer};
