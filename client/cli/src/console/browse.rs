//! Looking into it: a znode with its children by pages, and whether it is still as it was.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zweig_client::ensemble::{Acl, Stat};

use super::Console;
use super::refusal::Refusal;
use crate::output::JsonData;

/// Children on one page.
const CHILDREN: usize = 500;

/// Data of a znode, or of a record's key or value, that is sent, in bytes.
const SHOWN: usize = 64 << 10;

/// Data, cut to what is shown.
#[derive(Serialize)]
pub struct Data {
    #[serde(flatten)]
    data: JsonData,
    /// Bytes there are.
    length: usize,
}

impl Data {
    /// What there is to compare with another; `None` if it was cut.
    pub fn whole(&self) -> Option<&JsonData> {
        let whole = self.length <= SHOWN;
        whole.then_some(&self.data)
    }

    /// Of a znode, or of a record's key or value.
    pub fn of(data: Option<&Bytes>) -> Self {
        let whole = data.map_or(&[][..], |data| data);
        let mut shown = whole.get(..SHOWN).unwrap_or(whole);
        if shown.len() < whole.len() && std::str::from_utf8(whole).is_ok() {
            // Not within a character.
            while std::str::from_utf8(shown).is_err() {
                shown = &shown[..shown.len() - 1];
            }
        }
        Self {
            data: data.map(|_| shown).into(),
            length: whole.len(),
        }
    }
}

/// Which znode, and which of its children.
#[derive(Deserialize)]
pub struct ZnodeQuery {
    path: String,
    /// Children behind this name.
    #[serde(default)]
    after: String,
    /// Children with this in their name.
    #[serde(default)]
    holds: String,
}

/// A session as it is printed everywhere; empty for nobody's.
pub fn session_name(session: i64) -> String {
    match session {
        0 => String::new(),
        session => format!("{session:#x}"),
    }
}

/// A znode.
#[derive(Serialize)]
pub struct Znode {
    path: String,
    stat: Stat,
    /// The session it lives with, if it is ephemeral. Scripts round the number that `stat` has.
    owner: String,
    #[serde(flatten)]
    data: Data,
    acl: Vec<Acl>,
    children: Vec<String>,
    /// Children that match and come behind those.
    more: usize,
    /// Another one once anything of this is no longer so.
    mark: String,
}

/// What tells a znode, its access list and the names of its children from what they were.
fn mark(stat: Option<&Stat>) -> String {
    stat.map_or_else(
        || "gone".to_owned(),
        |stat| {
            let Stat {
                czxid,
                mzxid,
                pzxid,
                aversion,
                ..
            } = stat;
            format!("{czxid:x}-{mzxid:x}-{pzxid:x}-{aversion}")
        },
    )
}

/// `GET /api/znode`
pub async fn znode(
    State(console): State<Arc<Console>>,
    Query(query): Query<ZnodeQuery>,
) -> Result<Json<Znode>, Refusal> {
    let ensemble = console.session().await?;
    let (data, stat) = ensemble.get(&query.path).await?;
    let (acl, _) = ensemble.get_acl(&query.path).await?;
    let (mut names, _) = ensemble.children(&query.path).await?;
    names.retain(|name| name.contains(&query.holds));
    names.sort_unstable();
    let from = names.partition_point(|name| query.after.as_str() >= name.as_str());
    let from = if query.after.is_empty() { 0 } else { from };
    let more = (names.len() - from).saturating_sub(CHILDREN);
    let children = names.into_iter().skip(from).take(CHILDREN).collect();
    Ok(Json(Znode {
        path: query.path,
        owner: session_name(stat.ephemeral_owner),
        mark: mark(Some(&stat)),
        stat,
        data: Data::of(data.as_ref()),
        acl,
        children,
        more,
    }))
}

/// Which znode.
#[derive(Deserialize)]
pub struct MarkQuery {
    path: String,
}

/// Whether a znode is still as it was.
#[derive(Serialize)]
pub struct Mark {
    mark: String,
}

/// `GET /api/znode/mark`: what a page asks for again and again, as long as somebody looks at it: one read, whatever goes on below
/// the znode.
pub async fn mark_now(
    State(console): State<Arc<Console>>,
    Query(query): Query<MarkQuery>,
) -> Result<Json<Mark>, Refusal> {
    let stat = console.session().await?.exists(&query.path).await?;
    let mark = mark(stat.as_ref());
    Ok(Json(Mark { mark }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ä".repeat(SHOWN);
        let data = Data::of(Some(&Bytes::from(text)));
        assert_eq!(data.length, 2 * SHOWN);
        assert_eq!(data.data.data.map(|text| text.len()), Some(SHOWN));
        let odd = format!("x{}", "ä".repeat(SHOWN));
        let data = Data::of(Some(&Bytes::from(odd)));
        assert_eq!(data.data.data.map(|text| text.len()), Some(SHOWN - 1));
        let bytes = Data::of(Some(&Bytes::from_static(&[0xff, 0])));
        assert!(bytes.data.data_base64.is_some());
    }
}
