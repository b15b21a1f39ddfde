//! Doing what was typed, and printing it as ZooKeeper's shell does.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use zweig_client::ensemble::{Acl, CreateMode, Ensemble, Error, Stat};

use super::command::Command;
use super::events::{Events, What};
use crate::create::{acl, data_of};
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::stat::{letters, print as print_stat};

/// Asked of the ensemble at a time.
const AT_A_TIME: usize = 32;

/// Does one of the commands that need the session.
///
/// # Errors
/// Those of the ensemble, and of what was typed.
pub async fn perform(
    events: &mut Events,
    output: Output,
    ensemble: &Ensemble,
    command: Command,
) -> anyhow::Result<()> {
    match command {
        Command::Create { .. }
        | Command::Set { .. }
        | Command::Delete { .. }
        | Command::Deleteall { .. }
        | Command::SetAcl { .. } => change(ensemble, output, command).await,
        Command::AddWatch { mode, path } => {
            let what = match mode.to_uppercase().as_str() {
                "PERSISTENT" => What::NodeAndChildren,
                "PERSISTENT_RECURSIVE" => What::Below,
                _ => return Err(wrong("the modes are PERSISTENT and PERSISTENT_RECURSIVE")),
            };
            Ok(events.add(ensemble, &path, what, false).await?)
        }
        Command::Removewatches { path } => match events.remove(&path) {
            true => Ok(()),
            false => {
                let why = format!("nothing watches {path}");
                Err(Failure::error(Code::NotFound, why))
            }
        },
        looking => {
            if let Some((path, what)) = watch_of(&looking) {
                events.add(ensemble, path, what, true).await?;
            }
            look(ensemble, output, looking).await
        }
    }
}

/// The watch that is to be set before looking.
fn watch_of(command: &Command) -> Option<(&str, What)> {
    match command {
        Command::Ls {
            watch: true, path, ..
        } => Some((path, What::Children)),
        Command::Get {
            watch: true, path, ..
        }
        | Command::Stat { watch: true, path } => Some((path, What::Node)),
        _ => None,
    }
}

async fn look(ensemble: &Ensemble, output: Output, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Ls {
            stat,
            recursive,
            path,
            ..
        } => ls(ensemble, output, &path, recursive, stat).await,
        Command::Get { stat, path, .. } => {
            let (data, seen) = ensemble.get(&path).await?;
            let text = |data: bytes::Bytes| String::from_utf8_lossy(&data).into_owned();
            output.line(&data.map_or("null".to_owned(), text))?;
            with_stat(output, stat.then_some(&seen))
        }
        Command::Stat { path, .. } => {
            let stat = ensemble.exists(&path).await?;
            with_stat(output, Some(&stat.ok_or(Error::NoNode(path))?))
        }
        Command::GetAcl { stat, path } => get_acl(ensemble, output, &path, stat).await,
        Command::GetEphemerals { path } => {
            let own = ensemble.credentials().session;
            let all = subtree(ensemble, &path).await?.into_iter();
            let mine = all.filter(|(_, stat)| stat.ephemeral_owner == own);
            let mine: Vec<String> = mine.map(|(path, _)| path).collect();
            Ok(output.line(&listed(&mine))?)
        }
        Command::GetAllChildrenNumber { path } => {
            let below = subtree(ensemble, &path).await?.len() - 1;
            Ok(output.line(&below.to_string())?)
        }
        Command::Sync { .. } => {
            ensemble.sync().await?;
            Ok(output.line("Sync is OK")?)
        }
        _ => Err(wrong("this needs no session")),
    }
}

async fn change(ensemble: &Ensemble, output: Output, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create {
            sequential,
            ephemeral,
            path,
            data,
            acl,
        } => {
            let data = data.as_deref().map(data_of).transpose()?;
            let mode = match (ephemeral, sequential) {
                (false, false) => CreateMode::Persistent,
                (false, true) => CreateMode::PersistentSequential,
                (true, false) => CreateMode::Ephemeral,
                (true, true) => CreateMode::EphemeralSequential,
            };
            let acl = acls(acl.as_deref().unwrap_or_default())?;
            let created = ensemble.create_with_acl(&path, data, mode, acl).await?;
            Ok(output.line(&format!("Created {}", created.path))?)
        }
        Command::Set {
            stat,
            version,
            path,
            data,
        } => {
            let seen = ensemble.set(&path, Some(data_of(&data)?), version).await?;
            with_stat(output, stat.then_some(&seen))
        }
        Command::Delete { version, path } => Ok(ensemble.delete(&path, version).await?),
        Command::Deleteall { path } => {
            let count = ensemble.delete_recursive(&path).await?;
            Ok(output.line(&format!("deleted {count} znodes"))?)
        }
        Command::SetAcl {
            stat,
            version,
            path,
            acl,
        } => {
            let seen = ensemble.set_acl(&path, acls(&acl)?, version).await?;
            with_stat(output, stat.then_some(&seen))
        }
        _ => Err(wrong("this changes nothing")),
    }
}

fn wrong(why: &str) -> anyhow::Error {
    Failure::error(Code::Usage, why)
}

fn acls(text: &str) -> anyhow::Result<Vec<Acl>> {
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    entries
        .map(|entry| acl(entry).map_err(|why| wrong(&why)))
        .collect()
}

fn with_stat(output: Output, stat: Option<&Stat>) -> anyhow::Result<()> {
    stat.map_or(Ok(()), |stat| print_stat(output, stat))
}

/// `[a, b]`, as ZooKeeper's shell prints lists.
fn listed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

async fn ls(
    ensemble: &Ensemble,
    output: Output,
    path: &str,
    recursive: bool,
    stat: bool,
) -> anyhow::Result<()> {
    let (mut names, seen) = ensemble.children(path).await?;
    if recursive {
        for (path, _) in subtree(ensemble, path).await? {
            output.line(&path)?;
        }
    } else {
        names.sort_unstable();
        output.line(&listed(&names))?;
    }
    with_stat(output, stat.then_some(&seen))
}

async fn get_acl(
    ensemble: &Ensemble,
    output: Output,
    path: &str,
    stat: bool,
) -> anyhow::Result<()> {
    let (entries, seen) = ensemble.get_acl(path).await?;
    for entry in entries {
        output.line(&format!(
            "'{},'{}\n: {}",
            entry.scheme,
            entry.id,
            letters(entry.permissions)
        ))?;
    }
    with_stat(output, stat.then_some(&seen))
}

/// A znode and all below it, as this session sees them one after the other; what goes meanwhile is left out.
async fn subtree(ensemble: &Ensemble, path: &str) -> anyhow::Result<Vec<(String, Stat)>> {
    let stat = ensemble.exists(path).await?;
    let root = (path.to_owned(), stat.ok_or(Error::NoNode(path.to_owned()))?);
    let (mut found, mut level) = (vec![root.clone()], vec![root]);
    while !level.is_empty() {
        let parents = level.iter().filter(|(_, stat)| stat.num_children > 0);
        let below = stream::iter(parents).map(|(parent, _)| children(ensemble, parent));
        let below: Vec<_> = below.buffered(AT_A_TIME).try_collect().await?;
        level = below.into_iter().flatten().collect();
        found.extend(level.iter().cloned());
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The children of a znode with their stats; none if it has gone.
async fn children(ensemble: &Ensemble, parent: &str) -> Result<Vec<(String, Stat)>, Error> {
    let names = match ensemble.children(parent).await {
        Ok((names, _)) => names,
        Err(Error::NoNode(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let prefix = parent.trim_end_matches('/');
    let stats = stream::iter(names).map(|name| async move {
        let path = format!("{prefix}/{name}");
        Ok::<_, Error>(ensemble.exists(&path).await?.map(|stat| (path, stat)))
    });
    let stats: Vec<_> = stats.buffered(AT_A_TIME).try_collect().await?;
    Ok(stats.into_iter().flatten().collect())
}
