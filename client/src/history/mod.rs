//! What clients saw, and whether a correct service could have shown it to them.
//!
//! Called by tests that break a cluster, simulated or real, and by load generators that verify answers. Calls
//! nothing: histories are values.
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`linearizable`] | whether concurrent calls fit one order that agrees with real time (Wing and Gong 1993, Lowe 2017) |
//! | [`znode`] | what a single znode may answer: the model for that search |
//! | [`session`] | whether what one client saw ever went back |
//!
//! Invariant of all of them: a history that a correct service can produce is never refused. That they do refuse
//! others is shown by histories spoiled on purpose, in their tests.
//!
//! Not here: recording (each driver writes its own), and records of brokers (an idempotent producer's
//! acknowledgements are compared with the log directly).

pub mod linearizable;
pub mod session;
pub mod znode;
