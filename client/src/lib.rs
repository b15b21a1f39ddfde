//! How programs talk to Zweig.
//!
//! - [`ensemble`]: the coordination service: a session kept alive, the tree, watches, elections;
//! - [`history`]: whether what clients saw is what a correct service shows;
//! - [`kafka`]: the brokers, Zweig's or Kafka's own: producer, consumer, administration.
//!
//! Brokers, the command line and tests all reach the servers through this package and through
//! nothing else, so what it cannot do, no user can do.

mod clock;
pub mod ensemble;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod history;
pub mod kafka;
