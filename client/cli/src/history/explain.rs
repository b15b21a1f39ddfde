//! `zweig topic explain`: why this leader, since when, and what happened before.

use serde::{Deserialize, Serialize};
use zweig_client::ensemble::{Cause, Ensemble, Error, PastChange};

use super::who::{Registration, Sessions};
use super::{newest, time};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output::{Tone, note};

/// Arguments of `zweig topic explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig topic explain orders 0")]
pub struct Args {
    /// Its name.
    topic: String,
    /// The partition.
    #[arg(default_value_t = 0)]
    partition: i32,
}

/// The `state` znode, of which this is what can be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    leader: i32,
    leader_epoch: i32,
    isr: Vec<i32>,
}

impl State {
    fn of(data: Option<&[u8]>) -> Option<Self> {
        serde_json::from_slice(data?).ok()
    }

    fn leader(&self) -> String {
        match self.leader {
            -1 => "nobody".to_owned(),
            id => format!("broker {id}"),
        }
    }
}

/// One thing that happened to the partition.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    zxid: i64,
    time: String,
    what: String,
    why: String,
    #[serde(flatten)]
    state: State,
}

/// Who leads a partition, and what led to that.
#[derive(Debug, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    state: State,
    /// Since when that is its leader epoch; `None` if that is longer than these steps go back.
    since: Option<String>,
    /// What happened, oldest first.
    steps: Vec<Step>,
    /// What was before this transaction is not kept; 0: all of it is.
    begins_after: i64,
    /// Changes before these steps that are kept as well.
    more: usize,
}

/// Explains a partition by the newest `most` changes of its state.
///
/// # Errors
/// With exit code 3 if there is no such partition.
pub async fn explain(
    ensemble: &Ensemble,
    topic: &str,
    partition: i32,
    most: usize,
) -> anyhow::Result<Explained> {
    let path = format!("/brokers/topics/{topic}/partitions/{partition}/state");
    let (data, _) = match ensemble.get(&path).await {
        Err(Error::NoNode(_)) => {
            let why = format!("there is no partition {partition} of topic {topic}");
            return Err(Failure::error(Code::NotFound, why));
        }
        found => found?,
    };
    let kept = newest(ensemble, &path, false, most).await?;
    let sessions = Sessions::beside(ensemble, &path).await?;
    let Some(state) = State::of(data.as_deref()) else {
        let why = "its state is no JSON that can be read";
        return Err(Failure::error(Code::Failed, why));
    };
    let steps = steps(&kept.changes, &sessions);
    let mut epoch = steps
        .iter()
        .filter(|step| step.state.leader_epoch == state.leader_epoch);
    Ok(Explained {
        since: epoch.next().map(|step| step.time.clone()),
        state,
        steps,
        begins_after: kept.begins_after,
        more: kept.more,
    })
}

/// Prints who leads the partition and what led to that.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let Args { topic, partition } = args;
    let explained = context
        .with_session(
            |ensemble| async move { explain(&ensemble, &topic, partition, usize::MAX).await },
        )
        .await?;
    if output.for_programs() {
        output.document(&explained)?;
        return Ok(());
    }
    let state = &explained.state;
    let since = explained.since.as_deref();
    let leads = format!(
        "{} leads, in leader epoch {}, since {}; in sync: {}",
        state.leader(),
        state.leader_epoch,
        since.unwrap_or("longer than the history goes back"),
        list(&state.isr)
    );
    output.line(&leads)?;
    for step in &explained.steps {
        let at = output.paint(Tone::Faint, &format!("{}  {:#x}", step.time, step.zxid));
        let why = output.paint(Tone::Faint, &step.why);
        output.line(&format!("{at}  {}: {why}", step.what))?;
    }
    if explained.begins_after > 0 {
        note("older changes are not kept any more");
    }
    Ok(())
}

fn list(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(", ")
}

/// What each change of the state came to, oldest first.
fn steps(changes: &[PastChange], sessions: &Sessions) -> Vec<Step> {
    let state = |image: &Option<zweig_client::ensemble::Image>| {
        State::of(image.as_ref().and_then(|image| image.data.as_deref()))
    };
    let told = changes.iter().filter_map(|change| {
        let (before, after) = (state(&change.before), state(&change.after)?);
        let (what, why) = match before {
            None => (
                format!(
                    "created: {} leads, in sync {}",
                    after.leader(),
                    list(&after.isr)
                ),
                format!("by {}", sessions.name(change.session)),
            ),
            Some(before) => step(&before, &after, change, sessions),
        };
        Some(Step {
            zxid: change.zxid,
            time: time(change.time_ms),
            what,
            why,
            state: after,
        })
    });
    told.collect()
}

fn step(
    before: &State,
    after: &State,
    change: &PastChange,
    sessions: &Sessions,
) -> (String, String) {
    let who = sessions.name(change.session);
    if before.leader != after.leader {
        let what = format!("leader: {} -> {}", before.leader(), after.leader());
        let why = match gone(before.leader, change.zxid, &sessions.registrations) {
            Some(gone) => gone,
            None if before.leader == -1 => "a replica that has everything is back".to_owned(),
            None => format!(
                "{} was there: it was stopping, or another replica is preferred",
                before.leader()
            ),
        };
        return (what, format!("{why}; decided by {who}"));
    }
    let without = |from: &[i32], other: &[i32]| -> Vec<i32> {
        from.iter()
            .copied()
            .filter(|id| !other.contains(id))
            .collect()
    };
    let (left, came) = (
        without(&before.isr, &after.isr),
        without(&after.isr, &before.isr),
    );
    let what = match before.isr == after.isr {
        true => format!(
            "leader epoch {} -> {}",
            before.leader_epoch, after.leader_epoch
        ),
        false => format!("in sync: {} -> {}", list(&before.isr), list(&after.isr)),
    };
    let mut why: Vec<String> = left
        .iter()
        .map(|id| {
            let gone = gone(*id, change.zxid, &sessions.registrations);
            gone.unwrap_or_else(|| format!("broker {id} fell behind"))
        })
        .collect();
    if !came.is_empty() {
        why.push(format!("broker {} has caught up", list(&came)));
    }
    if why.is_empty() {
        why.push("the same replicas, elected anew".to_owned());
    }
    (what, format!("{}; decided by {who}", why.join(", ")))
}

/// How a broker went, if it was away at that moment.
fn gone(broker: i32, zxid: i64, registrations: &[Registration]) -> Option<String> {
    let mut before = registrations
        .iter()
        .filter(|one| one.broker == broker && one.zxid <= zxid);
    let last = before.next_back()?;
    let how = match last.gone? {
        Cause::SessionExpired => "died or could not be reached: its session expired",
        Cause::SessionClosed | Cause::Asked => "stopped: it closed its session",
    };
    Some(format!("broker {broker} {how} at {}", time(last.time_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(leader: i32, leader_epoch: i32, isr: &[i32]) -> State {
        State {
            leader,
            leader_epoch,
            isr: isr.to_vec(),
        }
    }

    fn change(zxid: i64) -> PastChange {
        PastChange {
            kind: zweig_client::ensemble::ChangeKind::Data,
            zxid,
            time_ms: 0,
            session: 0,
            cause: Cause::Asked,
            path: "/s".to_owned(),
            before: None,
            after: None,
        }
    }

    fn registration(zxid: i64, broker: i32, gone: Option<Cause>) -> Registration {
        Registration {
            zxid,
            time_ms: 1_000,
            broker,
            gone,
        }
    }

    #[test]
    fn a_change_of_leader_is_put_down_to_how_the_former_one_went() {
        let sessions = Sessions {
            registrations: vec![
                registration(1, 1, None),
                registration(5, 1, Some(Cause::SessionExpired)),
                registration(9, 1, None),
            ],
            ..Sessions::default()
        };
        let (from, to) = (state(1, 0, &[1, 2]), state(2, 1, &[2]));
        let (what, why) = step(&from, &to, &change(6), &sessions);
        assert_eq!(what, "leader: broker 1 -> broker 2");
        assert!(
            why.starts_with("broker 1 died or could not be reached"),
            "{why}"
        );
        // It was back by then.
        let (_, why) = step(&from, &to, &change(10), &sessions);
        assert!(why.starts_with("broker 1 was there"), "{why}");
    }

    #[test]
    fn who_left_the_isr_and_who_came_is_told() {
        let sessions = Sessions::default();
        let (what, why) = step(
            &state(1, 0, &[1, 2]),
            &state(1, 0, &[1, 3]),
            &change(6),
            &sessions,
        );
        assert_eq!(what, "in sync: 1, 2 -> 1, 3");
        assert_eq!(
            why,
            "broker 2 fell behind, broker 3 has caught up; decided by the ensemble"
        );
    }
}
