//! What one client sees never goes back: neither the zxids of its answers, nor a znode it has seen or written
//! (ZooKeeper's "single system image", kept across servers by the last zxid that a client tells when it attaches).

use std::collections::BTreeMap;

/// An answer that a client had, in its order.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which znode was read or written.
    pub path: String,
    /// zxid of the change that the answer shows of that znode (`mzxid`), or that a write made; `None` for one that
    /// was not there.
    pub changed: Option<i64>,
    /// The newest zxid that the client had heard of with this answer.
    pub zxid: i64,
}

/// Something that went back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WentBack {
    /// The zxids of a client's answers.
    #[error("answer {at} is of zxid {zxid:#x}, an earlier one was of {before:#x}")]
    Zxid {
        /// Index of the answer.
        at: usize,
        /// What came before.
        before: i64,
        /// What came then.
        zxid: i64,
    },
    /// A znode.
    #[error("answer {at} shows {path} as of {changed:#x}, an earlier one as of {before:#x}")]
    Znode {
        /// Index of the answer.
        at: usize,
        /// Its path.
        path: String,
        /// What came before.
        before: i64,
        /// What came then.
        changed: i64,
    },
    /// A znode shows a change that the answer itself is too old for.
    #[error("answer {at} of zxid {zxid:#x} shows {path} as of {changed:#x}")]
    Ahead {
        /// Index of the answer.
        at: usize,
        /// Its path.
        path: String,
        /// What the znode shows.
        changed: i64,
        /// The answer's zxid.
        zxid: i64,
    },
}

/// Looks through the answers of one client, in its order.
///
/// # Errors
/// The first answer that shows something older than one before it.
pub fn never_back(answers: &[Seen]) -> Result<(), WentBack> {
    let mut newest = i64::MIN;
    let mut znodes: BTreeMap<&str, i64> = BTreeMap::new();
    for (at, seen) in answers.iter().enumerate() {
        let (path, zxid) = (&seen.path, seen.zxid);
        if zxid < newest {
            let before = newest;
            return Err(WentBack::Zxid { at, before, zxid });
        }
        newest = zxid;
        let Some(changed) = seen.changed else {
            continue;
        };
        let path = path.clone();
        if changed > zxid {
            return Err(WentBack::Ahead {
                at,
                path,
                changed,
                zxid,
            });
        }
        let before = znodes.entry(&seen.path).or_insert(changed);
        if changed < *before {
            let before = *before;
            return Err(WentBack::Znode {
                at,
                path,
                before,
                changed,
            });
        }
        *before = changed;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, changed: i64, zxid: i64) -> Seen {
        Seen {
            path: path.into(),
            changed: (changed >= 0).then_some(changed),
            zxid,
        }
    }

    #[test]
    fn what_only_grows_is_fine() {
        let answers = [
            seen("/a", 1, 1),
            seen("/b", 1, 3),
            seen("/a", 1, 3),
            seen("/a", -1, 4),
            seen("/a", 9, 9),
        ];
        assert_eq!(never_back(&answers), Ok(()));
    }

    #[test]
    fn what_goes_back_is_found() {
        let zxid = never_back(&[seen("/a", -1, 5), seen("/a", -1, 4)]);
        assert!(matches!(
            zxid,
            Err(WentBack::Zxid {
                at: 1,
                before: 5,
                zxid: 4
            })
        ));
        let znode = never_back(&[seen("/a", 5, 5), seen("/b", 2, 6), seen("/a", 4, 7)]);
        assert!(matches!(
            znode,
            Err(WentBack::Znode {
                at: 2,
                before: 5,
                changed: 4,
                ..
            })
        ));
        let ahead = never_back(&[seen("/a", 5, 4)]);
        assert!(matches!(ahead, Err(WentBack::Ahead { at: 0, .. })));
    }
}
