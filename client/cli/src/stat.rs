//! `zweig stat`: what the ensemble knows of a znode beside its data.

use serde::Serialize;
use zweig_client::ensemble::{Acl, Error, Permissions, Stat};

use crate::context::Context;
use crate::output::{Output, Tone};

/// Arguments of `zweig stat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig stat /controller --acl")]
pub struct Args {
    /// The znode.
    path: String,
    /// With its access list.
    #[arg(long)]
    acl: bool,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    #[serde(flatten)]
    stat: Stat,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<Acl>>,
}

/// Prints the stat by ZooKeeper's names.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let answer = context
        .with_session(|ensemble| async move {
            let (stat, acl) = if args.acl {
                let (acl, stat) = ensemble.get_acl(&args.path).await?;
                (stat, Some(acl))
            } else {
                let stat = ensemble.exists(&args.path).await?;
                (stat.ok_or_else(|| Error::NoNode(args.path.clone()))?, None)
            };
            let path = args.path;
            Ok(Answer { path, stat, acl })
        })
        .await?;
    if output.for_programs() {
        output.document(&answer)?;
        return Ok(());
    }
    print(output, &answer.stat)?;
    for entry in answer.acl.iter().flatten() {
        let letters = letters(entry.permissions);
        let id = format!("{}:{}", entry.scheme, entry.id);
        field(output, "acl", &format!("{id} {letters}"))?;
    }
    Ok(())
}

/// Prints a stat.
///
/// # Errors
/// Of the write.
pub fn print(output: Output, stat: &Stat) -> anyhow::Result<()> {
    let rows = [
        ("cZxid", format!("{:#x}", stat.czxid)),
        ("ctime", format!("{} ms", stat.ctime_ms)),
        ("mZxid", format!("{:#x}", stat.mzxid)),
        ("mtime", format!("{} ms", stat.mtime_ms)),
        ("pZxid", format!("{:#x}", stat.pzxid)),
        ("cversion", stat.cversion.to_string()),
        ("dataVersion", stat.version.to_string()),
        ("aclVersion", stat.aversion.to_string()),
        ("ephemeralOwner", format!("{:#x}", stat.ephemeral_owner)),
        ("dataLength", stat.data_length.to_string()),
        ("numChildren", stat.num_children.to_string()),
    ];
    for (name, value) in rows {
        field(output, name, &value)?;
    }
    Ok(())
}

fn field(output: Output, name: &str, value: &str) -> anyhow::Result<()> {
    let name = output.paint(Tone::Faint, &format!("{name:<14}"));
    Ok(output.line(&format!("{name}  {value}"))?)
}

/// ZooKeeper's letters: create, delete, read, write, admin.
pub fn letters(permissions: Permissions) -> String {
    let each = [
        ('c', Permissions::CREATE),
        ('d', Permissions::DELETE),
        ('r', Permissions::READ),
        ('w', Permissions::WRITE),
        ('a', Permissions::ADMIN),
    ];
    let has = |p: Permissions| permissions.0 & p.0 != 0;
    each.iter()
        .filter(|(_, p)| has(*p))
        .map(|(c, _)| *c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_zookeepers_letters() {
        assert_eq!(letters(Permissions::ALL), "cdrwa");
        assert_eq!(letters(Permissions(1 | 2)), "rw");
        assert_eq!(letters(Permissions(0)), "");
    }
}
