//! The bytes of every stored key and value, one file per kind, each with golden bytes.
//!
//! | column family | key                              | value                          |
//! |---------------|----------------------------------|--------------------------------|
//! | `nodes`       | path, each '/' as byte 0         | the znode                      |
//! | `children`    | parent's path, byte 0, name      | empty                          |
//! | `sessions`    | id                               | the session                    |
//! | `ephemerals`  | session id, path                 | empty                          |
//! | `history`     | zxid                             | the transaction                |
//! | `meta`        | `state`, `history floor`, ...    | the state's numbers            |
//!
//! Numbers in keys are big-endian, so that their order is the order of bytes. Paths hold no byte 0. Every
//! value begins with the version of its kind; a newer build reads the older versions, an older one
//! refuses a newer version and says so. [`SCHEMA`] stands for keys and column families.
pub mod child;
pub mod ephemeral;
pub mod history;
pub mod meta;
pub mod node;
pub mod session;

/// The version of the layout of keys and column families.
pub const SCHEMA: u32 = 1;

#[cfg(test)]
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
