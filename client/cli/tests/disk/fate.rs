//! What becomes of that which was not synced when the power is cut: chosen from a seed, once for each cut.

use rand::Rng as _;
use rand::rngs::StdRng;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fate {
    /// How likely a page survives, or a change of names (and with it all before it in its folder).
    survival: f64,
    /// How likely one that does not survive whole is torn: some sectors new, some old.
    tearing: f64,
    /// Whether a file is written from its beginning to its end: behind a page that did not survive, none does.
    in_order: bool,
}

impl Fate {
    /// Nothing survives that was not synced.
    pub const NOTHING: Self = Self {
        survival: 0.0,
        tearing: 0.0,
        in_order: false,
    };
    /// All happened to be written a moment before.
    pub const EVERYTHING: Self = Self {
        survival: 1.0,
        tearing: 0.0,
        in_order: false,
    };

    /// Each page has luck of its own.
    pub fn mixed(survival: f64) -> Self {
        Self {
            survival,
            tearing: 0.3,
            in_order: false,
        }
    }

    /// Files end somewhere; what stands before that end has survived.
    pub fn in_order(chance: &mut StdRng) -> Self {
        Self {
            survival: chance.random_range(0.5..0.99),
            tearing: 0.0,
            in_order: true,
        }
    }

    /// Any of these.
    pub fn any(chance: &mut StdRng) -> Self {
        match chance.random_range(0..10) {
            0..=2 => Self::NOTHING,
            3 => Self::EVERYTHING,
            4..=6 => Self::in_order(chance),
            _ => Self::mixed(chance.random_range(0.05..0.95)),
        }
    }

    /// Whether the next thing survives.
    pub fn survives(&self, chance: &mut StdRng) -> bool {
        chance.random_bool(self.survival)
    }

    /// Whether one that does not survive whole is torn.
    pub fn tears(&self, chance: &mut StdRng) -> bool {
        chance.random_bool(self.tearing)
    }

    /// Whether pages are lost behind one that is.
    pub fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// The size of a file that has grown, and of which nothing survived from `lost` on.
    pub fn size(&self, old: u64, new: u64, lost: Option<u64>, chance: &mut StdRng) -> u64 {
        if let Some(lost) = lost {
            lost.clamp(old, new)
        } else if self.survives(chance) {
            new
        } else if self.tears(chance) {
            chance.random_range(old..=new)
        } else {
            old
        }
    }
}
