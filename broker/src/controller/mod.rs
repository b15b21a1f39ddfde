//! The controller: one broker, elected, that decides who leads each partition. Its logic is pure;
//! `controller::drive` performs what it decides.

pub mod assignment;
