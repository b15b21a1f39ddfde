//! `zweig tree`: the znodes as a drawing, once or kept up to date.
//!
//! Both come from one watch stream: the subtree as of one zxid, then the changes after it. So the
//! drawing is always of a state that existed.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use serde::Serialize;
use zweig_client::ensemble::{ChangeKind, Error, Stat, WatchItem, WatchStream};

use crate::context::Context;
use crate::output::{JsonData, Output, Tone, preview};
use crate::signals::Signals;
use crate::watch;

/// Characters of data shown on a line.
const SHOWN: usize = 60;

/// Arguments of `zweig tree`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  zweig tree /brokers --depth 3\n  zweig tree / --data --watch")]
pub struct Args {
    /// Where to begin.
    #[arg(default_value = "/")]
    path: String,
    /// Stay, and draw again after each change; not on a terminal: print the changes.
    #[arg(short, long)]
    watch: bool,
    /// With the data of each znode.
    #[arg(short, long)]
    data: bool,
    /// Levels below PATH to draw.
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
}

/// Draws the tree.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let patience = context.patience();
    context
        .with_session(|ensemble| async move {
            let mut stream = ensemble.watch(&args.path, true)?;
            let mut picture = Picture::new(&args);
            let first = tokio::time::timeout(patience, next_state(&mut stream, &mut picture));
            first.await.map_err(|_| {
                let waited = patience.as_secs();
                Error::Unavailable(format!("the subtree was not complete in {waited} s"))
            })??;
            if picture.nodes.is_empty() && !args.watch {
                return Err(Error::NoNode(args.path.clone()).into());
            }
            let mut signals = Signals::with_reader()?;
            picture.show(output, args.watch)?;
            if !args.watch {
                return Ok(());
            }
            loop {
                tokio::select! {
                    _ = signals.told() => return Ok(()),
                    changes = next_state(&mut stream, &mut picture) => {
                        for change in changes?.iter().filter(|_| !output.is_screen()) {
                            watch::print(output, change)?;
                        }
                        if output.is_screen() {
                            picture.show(output, true)?;
                        }
                    }
                }
            }
        })
        .await
}

/// Follows the stream to the next complete state that differs; returns the changes on the way.
async fn next_state(
    stream: &mut WatchStream,
    picture: &mut Picture,
) -> anyhow::Result<Vec<WatchItem>> {
    let mut changes = Vec::new();
    let mut afresh = false;
    loop {
        let Some(item) = stream.next().await else {
            return Err(Error::Protocol("the watch was refused".into()).into());
        };
        let ended = matches!(item, WatchItem::End { .. } | WatchItem::SubtreeEnd { .. });
        afresh |= matches!(item, WatchItem::SubtreeEnd { .. });
        picture.fold(&item);
        if matches!(item, WatchItem::Change { .. }) {
            changes.push(item);
        }
        if ended && (afresh || !changes.is_empty()) {
            return Ok(changes);
        }
    }
}

struct Node {
    data: Option<Bytes>,
    stat: Stat,
    readable: bool,
}

/// The subtree at a zxid. Keys are names from the root on, so that children follow their parent.
struct Picture {
    root: Vec<String>,
    nodes: BTreeMap<Vec<String>, Node>,
    zxid: i64,
    with_data: bool,
    depth: usize,
}

#[derive(Serialize)]
struct JsonNode {
    path: String,
    #[serde(flatten)]
    data: JsonData,
    stat: Stat,
}

fn names(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

impl Picture {
    fn new(args: &Args) -> Self {
        Self {
            root: names(&args.path),
            nodes: BTreeMap::new(),
            zxid: 0,
            with_data: args.data,
            depth: args.depth.unwrap_or(usize::MAX),
        }
    }

    fn fold(&mut self, item: &WatchItem) {
        match item.clone() {
            WatchItem::Reset => self.nodes.clear(),
            WatchItem::Node {
                path,
                data,
                stat,
                readable,
            } => self.put(&path, data, stat, readable),
            WatchItem::Change {
                kind: ChangeKind::Deleted,
                path,
                ..
            } => {
                let key = names(&path);
                self.nodes.remove(&key);
                self.count_child(&key, -1);
            }
            WatchItem::Change {
                kind,
                path,
                data,
                stat: Some(stat),
                readable,
                ..
            } => {
                if kind == ChangeKind::Created {
                    self.count_child(&names(&path), 1);
                }
                self.put(&path, data, stat, readable);
            }
            WatchItem::Change { .. } => {}
            WatchItem::SubtreeEnd { zxid } | WatchItem::End { zxid } => self.zxid = zxid,
        }
    }

    fn put(&mut self, path: &str, data: Option<Bytes>, stat: Stat, readable: bool) {
        let node = Node {
            data,
            stat,
            readable,
        };
        self.nodes.insert(names(path), node);
    }

    /// A parent's own stat is not told with its children's changes.
    fn count_child(&mut self, key: &[String], by: i32) {
        let parent = key.split_last().map(|(_, parent)| parent);
        if let Some(node) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            node.stat.num_children += by;
        }
    }

    fn show(&self, output: Output, on_screen: bool) -> anyhow::Result<()> {
        if output.for_programs() {
            for (key, node) in self.shown() {
                let data = if self.with_data {
                    node.data.as_deref()
                } else {
                    None
                };
                output.document(&JsonNode {
                    path: format!("/{}", key.join("/")),
                    data: data.into(),
                    stat: node.stat,
                })?;
            }
            return Ok(());
        }
        let mut text = String::new();
        if on_screen && output.is_screen() {
            text.push_str("\u{1b}[H\u{1b}[2J");
        }
        self.draw(output, &mut text);
        Ok(output.bytes(text.as_bytes())?)
    }

    fn shown(&self) -> impl Iterator<Item = (&Vec<String>, &Node)> {
        let deepest = self.root.len().saturating_add(self.depth);
        self.nodes
            .iter()
            .filter(move |(key, _)| key.len() <= deepest)
    }

    fn draw(&self, output: Output, text: &mut String) {
        let shown: Vec<_> = self.shown().collect();
        // For each level, whether a sibling follows: known when going backwards.
        let mut follows: Vec<bool> = Vec::new();
        let mut lines: Vec<String> = Vec::with_capacity(shown.len());
        for (key, node) in shown.iter().rev() {
            let level = key.len() - self.root.len();
            follows.resize(level + 1, false);
            let mut line = String::new();
            for above in follows.iter().take(level).skip(1) {
                line.push_str(if *above { "│   " } else { "    " });
            }
            if level > 0 {
                line.push_str(if follows[level] {
                    "├── "
                } else {
                    "└── "
                });
            }
            follows[level] = true;
            lines.push(format!(
                "{}{}",
                output.paint(Tone::Faint, &line),
                self.label(output, key, node, level)
            ));
        }
        for line in lines.iter().rev() {
            text.push_str(line);
            text.push('\n');
        }
        let count = self.nodes.len();
        let count = format!("{count} znodes at zxid {:#x}", self.zxid);
        let _ = writeln!(text, "{}", output.paint(Tone::Faint, &count));
    }

    fn label(&self, output: Output, key: &[String], node: &Node, level: usize) -> String {
        let name = match key.last() {
            Some(name) if level > 0 => name.clone(),
            _ => format!("/{}", key.join("/")),
        };
        let owner = node.stat.ephemeral_owner;
        let mut label = match owner {
            0 => name,
            _ => output.paint(Tone::Ephemeral, &name),
        };
        if owner != 0 {
            let owner = format!(" [session {owner:#x}]");
            label.push_str(&output.paint(Tone::Faint, &owner));
        }
        let below = key.len() - self.root.len();
        if below == self.depth && node.stat.num_children > 0 {
            let hidden = format!(" ({} below)", node.stat.num_children);
            label.push_str(&output.paint(Tone::Faint, &hidden));
        }
        if self.with_data {
            let data = match (&node.data, node.readable) {
                (_, false) => " = <not readable>".to_owned(),
                (Some(data), true) if !data.is_empty() => format!(" = {}", preview(data, SHOWN)),
                _ => String::new(),
            };
            label.push_str(&output.paint(Tone::Notice, &data));
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Color, Format};

    fn args(path: &str, depth: Option<usize>) -> Args {
        Args {
            path: path.into(),
            watch: false,
            data: true,
            depth,
        }
    }

    fn node(path: &str, data: &str, children: i32) -> WatchItem {
        WatchItem::Node {
            path: path.into(),
            data: Some(data.to_owned().into()),
            stat: Stat {
                num_children: children,
                ..Stat::default()
            },
            readable: true,
        }
    }

    fn drawn(picture: &Picture) -> String {
        let mut text = String::new();
        picture.draw(Output::new(Format::Table, Color::Never), &mut text);
        text
    }

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let mut picture = Picture::new(&args("/", None));
        for (path, data, children) in [
            ("/", "", 3),
            ("/a", "x", 1),
            ("/a-b", "", 0),
            ("/a/deep", "", 0),
            ("/z", "", 0),
        ] {
            picture.fold(&node(path, data, children));
        }
        picture.fold(&WatchItem::SubtreeEnd { zxid: 16 });
        assert_eq!(
            drawn(&picture),
            "/\n├── a = x\n│   └── deep\n├── a-b\n└── z\n5 znodes at zxid 0x10\n"
        );
    }

    #[test]
    fn depth_hides_and_says_so_and_changes_are_folded_in() {
        let mut picture = Picture::new(&args("/k", Some(1)));
        picture.fold(&node("/k", "", 1));
        picture.fold(&node("/k/t", "", 1));
        picture.fold(&node("/k/t/p", "", 0));
        picture.fold(&WatchItem::SubtreeEnd { zxid: 1 });
        picture.fold(&WatchItem::Change {
            kind: ChangeKind::Created,
            path: "/k/t/q".into(),
            data: None,
            stat: Some(Stat::default()),
            readable: true,
            zxid: 2,
        });
        picture.fold(&WatchItem::End { zxid: 2 });
        assert_eq!(
            drawn(&picture),
            "/k\n└── t (2 below)\n4 znodes at zxid 0x2\n"
        );
    }
}
