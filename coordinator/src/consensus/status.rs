//! What a node knows of its ensemble, for operators and for whoever waits on it.

/// A node's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows, or looks for, a leader.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Gets the log, has no vote.
    Observer,
}

/// A member as the leader sees it; a follower knows only ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub node: u64,
    /// Whether it has a vote.
    pub voter: bool,
    /// The last index it is known to hold; 0 when this node does not lead.
    pub matched: u64,
    /// Heard from lately; only the leader knows.
    pub active: bool,
}

/// One node's knowledge at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// Its role.
    pub role: Role,
    /// The newest term it has seen.
    pub term: u64,
    /// The leader of that term, if it is known.
    pub leader: Option<u64>,
    /// Index up to which a majority holds the log.
    pub committed: u64,
    /// Index up to which this node has applied it.
    pub applied: u64,
    /// First index still in the log.
    pub first_index: u64,
    /// Last index in the log.
    pub last_index: u64,
    /// The disk is nearly full.
    pub space_low: bool,
    /// Everyone.
    pub members: Vec<MemberStatus>,
}

impl Status {
    /// One line for each change of who leads, as this node sees it.
    pub fn say_leading(&self, before: &Self) {
        if (self.term, self.leader, self.role) == (before.term, before.leader, before.role) {
            return;
        }
        let (term, former) = (self.term, before.leader);
        match (self.role, self.leader) {
            (Role::Leader, _) => {
                tracing::info!(term, former, "this node leads: most voted for it");
            }
            (_, Some(leader)) if before.leader == Some(leader) && before.term == term => {}
            (_, Some(leader)) => tracing::info!(term, former, leader, "this node follows a leader"),
            (Role::Candidate, None) => {
                let cause = match former {
                    Some(_) => "its connection ended, or it was silent",
                    None => "none has been heard of, or no election was won",
                };
                tracing::info!(
                    term,
                    former,
                    cause,
                    "no leader: this node stands for election"
                );
            }
            (_, None) if before.role == Role::Leader => {
                let cause = "most do not answer, or another node stands in a higher term";
                tracing::warn!(term, cause, "this node leads no longer");
            }
            (_, None) if former.is_some() => {
                let cause = "its connection ended, or another node stands in a higher term";
                tracing::info!(term, former, cause, "no leader is known");
            }
            (_, None) => {}
        }
    }
}
