//! Whole log directories on a disk that loses, tears, refuses and stops.

mod found;
