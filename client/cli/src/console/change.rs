//! What a page may do, where it may: topics, znodes, and the processes of `zweig dev`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use zweig_client::ensemble::CreateMode;
use zweig_client::kafka::ErrorCode;
use zweig_client::kafka::admin::{ElectionKind, NewTopic};

use super::refusal::Refusal;
use super::{Console, Order};

/// How long elections are waited for.
const ELECTIONS: Duration = Duration::from_secs(10);

type Done = Result<Json<Value>, Refusal>;

/// A topic to create.
#[derive(Deserialize)]
pub struct Topic {
    name: String,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
}

/// `POST /api/topics`
pub async fn create_topic(State(console): State<Arc<Console>>, Json(topic): Json<Topic>) -> Done {
    let new = NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        ..NewTopic::default()
    };
    console.admin().create_topic(&new).await?;
    Ok(Json(json!({ "created": topic.name })))
}

/// `DELETE /api/topics/{name}`
pub async fn delete_topic(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Done {
    console.admin().delete_topic(&name).await?;
    Ok(Json(json!({ "deleted": name })))
}

/// `POST /api/topics/{name}/elect`: the preferred replicas lead again, where they can.
pub async fn elect(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Done {
    let described = console
        .admin()
        .describe_topics(std::slice::from_ref(&name))
        .await?;
    let mut partitions = Vec::new();
    for topic in described.topics.into_values() {
        let topic = topic?;
        let indexes = topic.partitions.keys().copied();
        partitions.extend(indexes.map(|index| (name.clone(), index)));
    }
    let elections =
        console
            .admin()
            .elect_leaders(ElectionKind::Preferred, Some(&partitions), ELECTIONS);
    let (mut elected, mut refused) = (0, Vec::new());
    for election in elections.await? {
        match election.outcome {
            Ok(()) => elected += 1,
            Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {}
            Err(error) => refused.push(error.to_string()),
        }
    }
    Ok(Json(json!({ "elected": elected, "refused": refused })))
}

/// A znode to write.
#[derive(Deserialize)]
pub struct Znode {
    path: String,
    #[serde(default)]
    data: String,
    /// The version it was read at; not for a new one.
    version: Option<i32>,
}

/// `POST /api/znode`
pub async fn create_znode(State(console): State<Arc<Console>>, Json(znode): Json<Znode>) -> Done {
    let data = Bytes::from(znode.data);
    let ensemble = console.session().await?;
    let created = ensemble
        .create(&znode.path, Some(data), CreateMode::Persistent)
        .await?;
    Ok(Json(json!({ "created": created.path })))
}

/// `PUT /api/znode`
pub async fn set_znode(State(console): State<Arc<Console>>, Json(znode): Json<Znode>) -> Done {
    let Some(version) = znode.version else {
        return Err(Refusal::bad("which version it was read at is not said"));
    };
    let data = Bytes::from(znode.data);
    let ensemble = console.session().await?;
    let stat = ensemble.set(&znode.path, Some(data), Some(version)).await?;
    Ok(Json(json!({ "version": stat.version })))
}

/// Which znode, at which version.
#[derive(Deserialize)]
pub struct ZnodeQuery {
    path: String,
    version: i32,
}

/// `DELETE /api/znode`
pub async fn delete_znode(
    State(console): State<Arc<Console>>,
    Query(query): Query<ZnodeQuery>,
) -> Done {
    let ensemble = console.session().await?;
    ensemble.delete(&query.path, Some(query.version)).await?;
    Ok(Json(json!({ "deleted": query.path })))
}

/// `POST /api/orders`: `kill broker 2`, `start coordinator 1`, as one types them into `zweig dev`.
pub async fn order(State(console): State<Arc<Console>>, Json(line): Json<String>) -> Done {
    let nobody = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "only `zweig dev` has processes to kill",
        )
    };
    let orders = console.orders.as_ref().ok_or_else(nobody)?;
    let (reply, said) = oneshot::channel();
    let order = Order { line, reply };
    orders.send(order).await.map_err(|_| nobody())?;
    let said = said.await.map_err(|_| nobody())?;
    Ok(Json(json!({ "said": said })))
}
