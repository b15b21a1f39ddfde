//! "Did you mean …?": the name nearest to one that is not there.

use zweig_client::ensemble::{Ensemble, Error};
use zweig_client::kafka::{Admin, ErrorCode, KafkaError};

use crate::failure::Failure;
use crate::kafka::failed;

/// The nearest of the names, if it is near enough to be meant: a letter in three may differ, and capitals do not count.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    let most = (lower.chars().count() / 3).max(1);
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let near = known.into_iter().filter(|name| *name != wanted);
    let near = near.map(|name| (distance(name), name));
    near.filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// What to say of a path that does not exist: the nearest one that does, or how far it goes.
///
/// # Errors
/// Those of looking; whoever has an error to tell already tells that one.
async fn znode(ensemble: &Ensemble, path: &str) -> Result<String, Error> {
    let mut parent = String::new();
    for name in path.split('/').skip(1) {
        let here = if parent.is_empty() { "/" } else { &parent };
        let (children, _) = ensemble.children(here).await?;
        if children.iter().any(|child| child == name) {
            parent = format!("{parent}/{name}");
            continue;
        }
        return Ok(match nearest(name, children.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean {parent}/{near}?"),
            None => format!("`zweig ls {here}` shows what there is."),
        });
    }
    Ok(format!("{path} is there now."))
}

/// The same failure; if it is about a znode that does not exist, with what was meant.
pub async fn about_znode(ensemble: &Ensemble, failure: anyhow::Error) -> anyhow::Error {
    let Some(Error::NoNode(path)) = failure.downcast_ref() else {
        return failure;
    };
    match znode(ensemble, path).await {
        Ok(hint) => Failure::of(&failure).with_hint(hint).into(),
        Err(_) => failure,
    }
}

/// The failure that an error about a topic comes to; if there is no such topic, with what was meant.
pub async fn about_topic(admin: &Admin, error: &KafkaError, topic: &str) -> anyhow::Error {
    let failure = failed(error);
    if error.code() != Some(ErrorCode::UnknownTopicOrPartition) {
        return failure;
    }
    let Ok(cluster) = admin.describe_cluster().await else {
        return failure;
    };
    match nearest(topic, cluster.topics.keys().map(String::as_str)) {
        Some(near) if !cluster.topics.contains_key(topic) => {
            let hint =
                format!("Did you mean {near}? `zweig topic list` shows the topics there are.");
            Failure::of(&failure).with_hint(hint).into()
        }
        _ => failure,
    }
}

/// As [`about_topic`], of a group.
pub async fn about_group(admin: &Admin, failure: anyhow::Error, group: &str) -> anyhow::Error {
    let Ok(groups) = admin.list_groups().await else {
        return failure;
    };
    match nearest(group, groups.iter().map(|one| one.group.as_str())) {
        Some(near) if groups.iter().all(|one| one.group != group) => {
            let hint =
                format!("Did you mean {near}? `zweig group list` shows the groups there are.");
            Failure::of(&failure).with_hint(hint).into()
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_name_is_not() {
        let known = ["orders", "payments", "brokers", "b"];
        assert_eq!(nearest("oders", known), Some("orders"));
        assert_eq!(nearest("Orders", known), Some("orders"));
        assert_eq!(nearest("ordesr", known), Some("orders"));
        assert_eq!(nearest("payment", known), Some("payments"));
        assert_eq!(nearest("invoices", known), None);
        assert_eq!(nearest("", known), Some("b"));
        assert_eq!(nearest("orders", ["orders"]), None, "it is there");
    }
}
