//! DescribeConfigs (32): the settings in force of topics and of this broker.

use super::create_topics::config_source;
use super::{Context, distinct};
use crate::config::{self, Config, Key, Kind, Source};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

/// Kafka's numbers of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation && version >= 3,
    };
    let key = |one: &DescribeConfigsResource| (one.resource_type, one.resource_name.clone());
    let resources = distinct(request.resources, key);
    let results = resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(ctx, version, &resource, detail) {
            Ok(configs) => result.with_configs(configs),
            Err((error, message)) => result
                .with_error_code(error.code())
                .with_error_message(Some(text(message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

type Refused = (ResponseError, &'static str);

fn describe(
    ctx: &Context,
    version: i16,
    resource: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let wanted = |key: &Key| {
        let keys = resource.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|name| **name == *key.name))
    };
    match resource.resource_type {
        TOPIC => {
            let image = ctx.image();
            if image.topic(&resource.resource_name).is_none() {
                return Err((ResponseError::UnknownTopicOrPartition, "no such topic"));
            }
            let own = image
                .topic_configs
                .get(&*resource.resource_name)
                .map(|configs| &**configs);
            let rows = config::TOPIC_KEYS
                .iter()
                .filter(|row| wanted(&row.key))
                .map(|row| {
                    let (value, source) = config::effective(row, own, &ctx.config);
                    let mut synonyms = Vec::new();
                    if source == Source::Topic {
                        synonyms.push((row.key.name, value.clone(), source));
                    }
                    synonyms.extend(broker_synonyms(&ctx.config, row.broker_key));
                    setting(version, &row.key, (value, source), synonyms, detail)
                });
            Ok(rows.collect())
        }
        BROKER if *resource.resource_name == *ctx.replicas.broker_id().to_string() => {
            let rows = config::KEYS.iter().filter(|key| wanted(key)).map(|key| {
                let source = if ctx.config.is_set(key.name) {
                    Source::StaticBroker
                } else {
                    Source::Default
                };
                let in_force = (ctx.config.effective(key.name), source);
                let synonyms = broker_synonyms(&ctx.config, key.name);
                setting(version, key, in_force, synonyms, detail).with_read_only(true)
            });
            Ok(rows.collect())
        }
        BROKER if resource.resource_name.is_empty() => Ok(Vec::new()),
        BROKER => Err((
            ResponseError::InvalidRequest,
            "only the broker itself can describe its settings",
        )),
        _ => Err((
            ResponseError::InvalidRequest,
            "only topics and brokers have settings here",
        )),
    }
}

/// A key under which a setting's value may be given, the value there, and where that comes from.
type Synonym = (&'static str, String, Source);

/// Where the value of a broker's key comes from, the one in force first.
fn broker_synonyms(config: &Config, name: &'static str) -> Vec<Synonym> {
    let mut synonyms = Vec::new();
    let Some(key) = config::key(name) else {
        return synonyms;
    };
    let in_force = config.effective(name);
    let default = if config.is_set(name) {
        synonyms.push((name, in_force, Source::StaticBroker));
        key.default.to_owned()
    } else {
        in_force
    };
    if !default.is_empty() {
        synonyms.push((name, default, Source::Default));
    }
    synonyms
}

fn setting(
    version: i16,
    key: &Key,
    (value, source): (String, Source),
    synonyms: Vec<Synonym>,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let synonym = |(name, value, source): Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(config_source(source))
    };
    let synonyms = synonyms.into_iter().filter(|_| detail.synonyms);
    let synonyms = synonyms.map(synonym).collect();
    DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(Some(text(value)))
        .with_config_source(config_source(source))
        .with_synonyms(synonyms)
        .with_config_type(if version >= 3 {
            config_type(&key.kind)
        } else {
            0
        })
        .with_documentation(detail.documentation.then(|| text(key.doc)))
}

/// Kafka's number of a kind of value.
fn config_type(kind: &Kind) -> i8 {
    match kind {
        Kind::Bool => 1,
        Kind::Int(..) => 3,
        Kind::Long(..) => 5,
        Kind::Double(..) => 6,
        Kind::ListOf(_) => 7,
        Kind::Text | Kind::OneOf(_) => 2,
    }
}
