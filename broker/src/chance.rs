//! Ids that nobody else draws.

use uuid::Uuid;

/// A fresh id.
#[must_use]
pub fn uuid() -> Uuid {
    #[cfg(feature = "sim")]
    if let Some(bits) = crate::sim::with(|world| world.chance()) {
        return uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    }
    Uuid::new_v4()
}
