//! Folders, their files, and which names are on the platter.
//!
//! A folder has its names twice: as everyone sees them, and as they are on the platter. Changes wait in between until
//! the folder is synced; a power cut keeps some of them, each whole or not at all.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path};

use super::chance::Chance;
use super::content::Content;

pub type Inode = usize;

const ROOT: Inode = 0;

/// After this many removals nodes that nobody can reach any more are dropped.
const SWEEP: usize = 64;

#[derive(Debug, Clone)]
pub enum Node {
    File(Content),
    Folder {
        names: BTreeMap<String, Inode>,
        on_platter: BTreeMap<String, Inode>,
    },
    /// Nobody can reach it.
    Gone,
}

/// A name that is not on the platter yet.
#[derive(Debug, Clone)]
struct Change {
    folder: Inode,
    name: String,
    /// What it stands for from now on.
    to: Option<Inode>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Open handles of each node.
    handles: Vec<u32>,
    /// How many names stand for each node.
    links: Vec<u32>,
    free: Vec<Inode>,
    /// Oldest first; what is in one list happens at once.
    waiting: Vec<Vec<Change>>,
    removals: usize,
    /// Bytes of all files that have a name or are open.
    used: u64,
}

impl Tree {
    pub fn new() -> Tree {
        Tree {
            nodes: vec![folder()],
            handles: vec![0],
            links: vec![1],
            free: Vec::new(),
            waiting: Vec::new(),
            removals: 0,
            used: 0,
        }
    }

    pub fn file(&self, inode: Inode) -> Result<&Content> {
        match self.nodes.get(inode) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder { .. }) => Err(ErrorKind::IsADirectory.into()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    /// Changes a file, and counts the bytes it takes.
    pub fn change<T>(&mut self, inode: Inode, change: impl FnOnce(&mut Content) -> T) -> Result<T> {
        match self.nodes.get_mut(inode) {
            Some(Node::File(content)) => {
                let before = content.size();
                let result = change(content);
                self.used = self.used - before + content.size();
                Ok(result)
            }
            Some(Node::Folder { .. }) => Err(ErrorKind::IsADirectory.into()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    pub fn names(&self, inode: Inode) -> Result<&BTreeMap<String, Inode>> {
        match self.nodes.get(inode) {
            Some(Node::Folder { names, .. }) => Ok(names),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    pub fn find(&self, path: &Path) -> Result<Inode> {
        let mut at = ROOT;
        for name in parts(path) {
            let found = self.names(at)?.get(name?);
            at = *found.ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The folder that holds a path's last name, and that name.
    fn place(&self, path: &Path) -> Result<(Inode, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        self.names(folder)?;
        Ok((folder, name.to_owned()))
    }

    pub fn create_file(&mut self, path: &Path) -> Result<Inode> {
        let (folder, name) = self.place(path)?;
        let inode = self.add(Node::File(Content::default()));
        self.apply(vec![Change {
            folder,
            name,
            to: Some(inode),
        }]);
        Ok(inode)
    }

    pub fn create_folder(&mut self, path: &Path) -> Result<()> {
        let (parent, name) = self.place(path)?;
        let inode = self.add(folder());
        self.apply(vec![Change {
            folder: parent,
            name,
            to: Some(inode),
        }]);
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let inode = self.find(from)?;
        let (folder, name) = self.place(to)?;
        if let Some(&target) = self.names(folder)?.get(&name)
            && let Ok(names) = self.names(target)
            && !names.is_empty()
        {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (old_folder, old_name) = self.place(from)?;
        self.apply(vec![
            Change {
                folder,
                name,
                to: Some(inode),
            },
            Change {
                folder: old_folder,
                name: old_name,
                to: None,
            },
        ]);
        self.removed();
        Ok(())
    }

    /// Removes a file, or an empty folder.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        let inode = self.find(path)?;
        if self.names(inode).is_ok_and(|names| !names.is_empty()) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = self.place(path)?;
        self.apply(vec![Change {
            folder,
            name,
            to: None,
        }]);
        self.removed();
        Ok(())
    }

    pub fn sync_folder(&mut self, inode: Inode) -> Result<()> {
        self.names(inode)?;
        let (now, later) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|group| group.iter().any(|change| change.folder == inode));
        self.waiting = later;
        let now: Vec<Vec<Change>> = now;
        now.into_iter()
            .flatten()
            .for_each(|change| self.put_on_platter(change));
        Ok(())
    }

    /// Names as a power cut leaves them.
    pub fn lose_names(&mut self, mut kept: impl FnMut() -> bool) {
        for group in std::mem::take(&mut self.waiting) {
            if kept() {
                group
                    .into_iter()
                    .for_each(|change| self.put_on_platter(change));
            }
        }
        for node in &mut self.nodes {
            if let Node::Folder { names, on_platter } = node {
                names.clone_from(on_platter);
            }
        }
    }

    /// The process is gone and so are its handles.
    pub fn forget_handles(&mut self) {
        self.handles.fill(0);
        self.links.fill(0);
        self.links[ROOT] = 1;
        let named = self.nodes.iter().filter_map(|node| match node {
            Node::Folder { names, .. } => Some(names.values()),
            _ => None,
        });
        for &inode in named.flatten() {
            self.links[inode] += 1;
        }
        self.sweep();
        let files = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(at, _)| self.links[*at] > 0);
        self.used = files.map(|(_, node)| size(node)).sum();
    }

    pub fn each_file(&mut self, mut change: impl FnMut(&mut Content)) {
        for node in &mut self.nodes {
            if let Node::File(content) = node {
                change(content);
            }
        }
    }

    /// Nodes that are in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub fn hold(&mut self, inode: Inode) {
        if self.handles[inode] + self.links[inode] == 0 {
            self.used += size(&self.nodes[inode]);
        }
        self.handles[inode] += 1;
    }

    pub fn let_go(&mut self, inode: Inode) {
        self.handles[inode] -= 1;
        self.uncount(inode);
    }

    /// Some files of which the system writes a part back by itself.
    pub fn write_back(&mut self, chance: &mut Chance) {
        let at = chance.below(self.nodes.len() as u64) as usize;
        if let Some(Node::File(content)) = self.nodes.get_mut(at) {
            content.write_back(chance);
        }
    }

    /// Nobody but the platter knows a file any more.
    fn uncount(&mut self, inode: Inode) {
        if self.handles[inode] + self.links[inode] == 0 {
            self.used -= size(&self.nodes[inode]);
        }
    }

    fn add(&mut self, node: Node) -> Inode {
        if let Some(inode) = self.free.pop() {
            self.nodes[inode] = node;
            self.handles[inode] = 0;
            self.links[inode] = 0;
            return inode;
        }
        self.nodes.push(node);
        self.handles.push(0);
        self.links.push(0);
        self.nodes.len() - 1
    }

    fn apply(&mut self, group: Vec<Change>) {
        for change in &group {
            let Node::Folder { names, .. } = &mut self.nodes[change.folder] else {
                continue;
            };
            let before = set(names, change.name.clone(), change.to);
            if let Some(inode) = change.to {
                self.links[inode] += 1;
            }
            if let Some(inode) = before {
                self.links[inode] -= 1;
                self.uncount(inode);
            }
        }
        self.waiting.push(group);
    }

    fn put_on_platter(&mut self, change: Change) {
        if let Node::Folder { on_platter, .. } = &mut self.nodes[change.folder] {
            set(on_platter, change.name, change.to);
        }
    }

    fn removed(&mut self) {
        self.removals += 1;
        if self.removals >= SWEEP.max(self.nodes.len() / 2) {
            self.sweep();
        }
    }

    /// Drops what no name, here or on the platter, and no handle leads to.
    fn sweep(&mut self) {
        self.removals = 0;
        let mut seen = vec![false; self.nodes.len()];
        let mut next = vec![ROOT];
        next.extend(self.waiting.iter().flatten().filter_map(|change| change.to));
        next.extend(self.waiting.iter().flatten().map(|change| change.folder));
        next.extend((0..self.nodes.len()).filter(|&at| self.handles[at] > 0));
        while let Some(at) = next.pop() {
            if !std::mem::replace(&mut seen[at], true)
                && let Node::Folder { names, on_platter } = &self.nodes[at]
            {
                next.extend(names.values().chain(on_platter.values()));
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if seen[at] || matches!(node, Node::Gone) {
                continue;
            }
            *node = Node::Gone;
            self.free.push(at);
        }
    }
}

fn folder() -> Node {
    Node::Folder {
        names: BTreeMap::new(),
        on_platter: BTreeMap::new(),
    }
}

fn set(names: &mut BTreeMap<String, Inode>, name: String, to: Option<Inode>) -> Option<Inode> {
    match to {
        Some(inode) => names.insert(name, inode),
        None => names.remove(&name),
    }
}

fn size(node: &Node) -> u64 {
    match node {
        Node::File(content) => content.size(),
        _ => 0,
    }
}

fn parts(path: &Path) -> impl Iterator<Item = Result<&str>> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str().ok_or(ErrorKind::InvalidInput)),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir => Some(Err(ErrorKind::InvalidInput)),
    });
    named.map(|name| name.map_err(Error::from))
}
