//! What a load asks for: kinds of operations, and how often each is drawn.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `getData` of a node drawn at random.
    Read,
    /// `setData` of a node drawn at random.
    Write,
    /// `exists` of a node drawn at random.
    Exists,
    /// `getChildren` of the parent of all nodes.
    Children,
    /// `create` of a node of the connection's own; a [`Kind::Delete`] of it follows.
    Create,
    /// `delete` of a node that this connection created; never drawn.
    Delete,
    /// `multi` of two `setData`.
    Multi,
}

impl Kind {
    /// As in `--mix` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Multi => "multi",
        }
    }
}

/// Kinds and their weights, at least one above 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    weights: Vec<(Kind, u32)>,
    total: u32,
}

impl Mix {
    /// Draws a kind.
    pub fn draw(&self, chance: &mut impl Rng) -> Kind {
        let mut left = chance.random_range(0..self.total);
        for &(kind, weight) in &self.weights {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        unreachable!("the weights add up to the total")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (kind, weight)) in self.weights.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", kind.name())?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `read=90,write=10`; a kind alone has the weight 1.
    fn from_str(text: &str) -> Result<Self, String> {
        const DRAWN: [Kind; 6] = [
            Kind::Read,
            Kind::Write,
            Kind::Exists,
            Kind::Children,
            Kind::Create,
            Kind::Multi,
        ];
        let mut weights: Vec<(Kind, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let kind = DRAWN
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| {
                    let known: Vec<&str> = DRAWN.iter().map(|kind| kind.name()).collect();
                    format!("'{name}' is none of {}", known.join(", "))
                })?;
            let weight = match weight.parse() {
                Ok(weight @ 0..=1_000_000) => weight,
                _ => return Err(format!("'{weight}' is not a weight between 0 and 1000000")),
            };
            if weights.iter().any(|(other, _)| *other == kind) {
                return Err(format!("'{name}' stands there twice"));
            }
            weights.push((kind, weight));
        }
        match weights.iter().map(|(_, weight)| weight).sum() {
            0 => Err("all weights are 0".to_owned()),
            total => Ok(Self { weights, total }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn shares_are_kept() {
        let mix: Mix = "read=90,write=10".parse().expect("well-formed");
        assert_eq!(mix.to_string(), "read=90,write=10");
        let mut chance = SmallRng::seed_from_u64(1);
        let reads = (0..10_000)
            .filter(|_| mix.draw(&mut chance) == Kind::Read)
            .count();
        assert!((8_800..9_200).contains(&reads), "{reads}");
    }

    #[test]
    fn what_is_no_mix_is_told() {
        for (text, part) in [
            ("reed", "none of read"),
            ("read=x", "not a weight"),
            ("read=0", "all weights"),
            ("read,read", "twice"),
            ("delete", "none of"),
            ("", "none of"),
        ] {
            let error = text.parse::<Mix>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
