//! Hard bounds: what no setting can raise.

/// Requests of one connection that are held at a time; beyond that its socket is not read.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 64;
