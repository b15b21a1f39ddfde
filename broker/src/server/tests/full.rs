//! A disk that fills up under a leader: a small file system in memory.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A mounted tmpfs; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with a word why, where mounting is not allowed.
    fn mount(at: &Path) -> Option<SmallDisk> {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(at);
        match command.output() {
            Ok(done) if done.status.success() => Some(SmallDisk(at.to_owned())),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr).into_owned();
                println!("SKIPPED: no tmpfs can be mounted here: {}", why.trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: no tmpfs can be mounted here: {error}");
                None
            }
        }
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).expect("created");
        for size in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Leader and ISR of a topic's partition.
fn state_of(ensemble: &FakeEnsemble, topic: &str) -> Option<(i64, Vec<i64>)> {
    let text = ensemble.text(&format!("/brokers/topics/{topic}/partitions/0/state"))?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    let isr = state["isr"].as_array()?.iter();
    let isr = isr.map(serde_json::Value::as_i64).collect::<Option<_>>()?;
    Some((state["leader"].as_i64()?, isr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_leader_refuses_hands_over_keeps_all_and_comes_back() {
    let ensemble = FakeEnsemble::default();
    let mut nodes: BTreeMap<i32, Node> = (1..=2).map(|id| (id, Node::new(id))).collect();
    let Some(disk) = SmallDisk::mount(nodes[&1].dir.path()) else {
        return;
    };
    for node in nodes.values_mut() {
        node.start_with(&ensemble, &[("min.insync.replicas", "1")]);
    }
    let at = all_seen(&ensemble, 2).await;
    create_topic(at, 2).await;
    let (leader, _) = leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    if leader == 2 {
        // The draw is by chance: 2 makes room for 1, and comes back.
        nodes.get_mut(&2).expect("there").stop().await;
        leader_of(&ensemble, &[1], &[1]).await;
        nodes
            .get_mut(&2)
            .expect("there")
            .start_with(&ensemble, &[("min.insync.replicas", "1")]);
        leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    }
    let (leader, at) = leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    assert_eq!(leader, 1);
    assert_eq!(produce_until_done(&ensemble, &[1], 3).await, 0);
    let filler = disk.fill();
    // Within the last page of the file there may be room for one more.
    let mut acknowledged = 3;
    let refused = until("a refusal", async || match produce(at, 100).await? {
        Ok(offset) => {
            assert_eq!(offset, acknowledged);
            acknowledged += 100;
            None
        }
        Err(code) => Some(code),
    })
    .await;
    assert_eq!(refused, 56, "KAFKA_STORAGE_ERROR");
    // Logs can't even be begun there: nothing is led by that broker for long.
    for late in ["late-1", "late-2"] {
        create_named(at, late, 2).await;
    }
    let (_, at) = leader_of(&ensemble, &[2], &[2]).await;
    let taken = until("2 takes records", async || produce(at, 5).await?.ok()).await;
    assert_eq!(
        taken, acknowledged,
        "all that was acknowledged, and nothing else"
    );
    for late in ["late-1", "late-2"] {
        until("2 leads it", async || {
            (state_of(&ensemble, late)? == (2, vec![2])).then_some(())
        })
        .await;
    }
    std::fs::remove_file(filler).expect("removed");
    leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    for late in ["late-1", "late-2"] {
        until("1 follows it", async || {
            let (_, isr) = state_of(&ensemble, late)?;
            (isr.len() == 2).then_some(())
        })
        .await;
    }
    nodes.get_mut(&2).expect("there").stop().await;
    let (leader, at) = leader_of(&ensemble, &[1], &[1]).await;
    assert_eq!(leader, 1);
    until("all records", async || {
        fetched_end(at).await.filter(|&end| end == acknowledged + 5)
    })
    .await;
    nodes.get_mut(&1).expect("there").stop().await;
}
