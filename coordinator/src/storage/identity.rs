//! Who this node is in raft's eyes: one small file beside the raft log, and gone whenever the log is gone.
//!
//! Lines of text behind a line with the format, closed by a checksum. It is replaced by one rename, synced before
//! anybody hears of what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const NAME: &str = "identity";
const FORMAT: &str = "zweig coordinator identity 1";

/// Why an identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Not what was written, or written by a newer release.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a node is, and since when it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The N of `server.N`.
    pub server: u64,
    /// 0 for a founder, later the time of the loss, in milliseconds since 1970.
    pub incarnation: u64,
    /// Drawn at random when the folder was new: tells it from any other that was ever there.
    pub life: u64,
    /// How it came to be a member.
    pub standing: Standing,
}

/// How a node came to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not at all yet: its folder is new, and it has to learn whether its ensemble is.
    Blank,
    /// It began together with its ensemble.
    Founder(Founding),
    /// It has to be let in, or was; the replicated state tells which.
    Joiner,
}

/// What a founder knows of the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Founding {
    /// The first voters, by N.
    pub voters: Vec<u64>,
    /// The first observers, by N.
    pub learners: Vec<u64>,
    /// With whom it began: their lives by N, its own included.
    pub met: BTreeMap<u64, u64>,
}

impl Identity {
    /// What stands in `folder`, if anything does.
    ///
    /// # Errors
    /// When it can't be read, or is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(IdentityError::Io {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        match decode(&text) {
            Ok(identity) => Ok(Some(identity)),
            Err(problem) => Err(IdentityError::Damaged { path, problem }),
        }
    }

    /// Puts it into `folder`, in the place of a former one; durable when this returns.
    ///
    /// # Errors
    /// When that fails; then either of the two may stand there.
    pub fn write(&self, folder: &Path) -> Result<(), IdentityError> {
        let (path, aside) = (folder.join(NAME), folder.join("identity.new"));
        let written = File::create(&aside)
            .and_then(|mut file| {
                file.write_all(encode(self).as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&aside, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|source| IdentityError::Io {
            operation: "write",
            path,
            source,
        })
    }
}

pub(super) fn encode(identity: &Identity) -> String {
    let mut text = format!("{FORMAT}\n");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("server", &identity.server);
    line("incarnation", &identity.incarnation);
    line("life", &identity.life);
    match &identity.standing {
        Standing::Blank => line("standing", &"blank"),
        Standing::Joiner => line("standing", &"joiner"),
        Standing::Founder(founding) => {
            line("standing", &"founder");
            line("voters", &list(&founding.voters));
            line("learners", &list(&founding.learners));
            let met = founding.met.iter();
            let met: Vec<_> = met
                .map(|(server, life)| format!("{server}:{life}"))
                .collect();
            line("met", &met.join(","));
        }
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c={crc:08x}");
    text
}

fn list(numbers: &[u64]) -> String {
    let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
    texts.join(",")
}

pub(super) fn decode(text: &str) -> Result<Identity, String> {
    let (body, crc) = text
        .trim_end()
        .rsplit_once("crc32c=")
        .ok_or("its checksum is missing")?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
        return Err("its checksum does not hold".to_owned());
    }
    let mut lines = body.lines();
    let format = lines.next().unwrap_or_default();
    if format != FORMAT {
        return Err(format!("{format:?} is a format of another release"));
    }
    let fields: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once('=')).collect();
    let field = |key: &str| {
        let value = fields.get(key).copied();
        value.ok_or_else(|| format!("it says nothing of {key}"))
    };
    let standing = match field("standing")? {
        "blank" => Standing::Blank,
        "joiner" => Standing::Joiner,
        "founder" => {
            let pair = |pair: &str| {
                let (server, life) = pair.split_once(':').ok_or_else(|| pair.to_owned())?;
                Ok::<_, String>((number(server)?, number(life)?))
            };
            Standing::Founder(Founding {
                voters: many(field("voters")?, number)?,
                learners: many(field("learners")?, number)?,
                met: many(field("met")?, pair)?.into_iter().collect(),
            })
        }
        other => return Err(format!("{other:?} is no standing")),
    };
    Ok(Identity {
        server: number(field("server")?)?,
        incarnation: number(field("incarnation")?)?,
        life: number(field("life")?)?,
        standing,
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn many<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Identity> {
        let founding = Founding {
            voters: vec![1, 2, 3],
            learners: vec![4],
            met: BTreeMap::from([(1, 77), (3, u64::MAX)]),
        };
        let standings = [
            (0, Standing::Blank),
            (0, Standing::Founder(founding)),
            (0, Standing::Founder(Founding::default())),
            (1_763_836_800_123, Standing::Joiner),
        ];
        let identity = |(incarnation, standing)| Identity {
            server: 2,
            incarnation,
            life: 0xfeed_beef,
            standing,
        };
        standings.into_iter().map(identity).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(folder.path()).unwrap(), None);
        for identity in all() {
            identity.write(folder.path()).unwrap();
            assert_eq!(Identity::read(folder.path()).unwrap(), Some(identity));
        }
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        for identity in all() {
            let good = encode(&identity);
            for at in 0..good.trim_end().len() {
                let mut bad = good.clone().into_bytes();
                bad[at] ^= 1;
                fs::write(folder.path().join(NAME), &bad).unwrap();
                let read = Identity::read(folder.path());
                assert!(read.is_err(), "byte {at} of {good:?}: {read:?}");
            }
        }
    }

    #[test]
    fn golden_text() {
        assert_eq!(
            encode(&all()[1]),
            "zweig coordinator identity 1\nserver=2\nincarnation=0\nlife=4276993775\nstanding=founder\n\
             voters=1,2,3\nlearners=4\nmet=1:77,3:18446744073709551615\ncrc32c=6896e9a8\n"
        );
    }
}
