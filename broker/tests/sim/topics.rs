//! Topics: those that every run has, and the one that is deleted and created again.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};

use crate::client::{Client, name, text};
use crate::ensemble::SimEnsemble;

const EXISTS: i16 = 36;

/// `a`, and `s` which is synced before each acknowledgement, and `c` which comes and goes.
pub async fn make_all(mut client: Client) {
    make(&mut client, "a", 2, &[]).await;
    make(&mut client, "s", 1, &[("flush.messages", "1")]).await;
    make(&mut client, "c", 1, &[]).await;
}

async fn make(client: &mut Client, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    loop {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
        });
        let wanted = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(3)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(5_000);
        let broker = client.any();
        let answer = client.call(broker, 5, &request).await;
        if answer.is_ok_and(|answer| [0, EXISTS].contains(&answer.topics[0].error_code)) {
            return;
        }
        client.rest(500).await;
    }
}

/// Deletes `c`, and creates it again as soon as it is gone.
pub async fn churn(mut client: Client, ensemble: SimEnsemble) {
    let made = || ensemble.look(|nodes| nodes.get("/brokers/topics/c").map(|(_, s)| s.czxid));
    let before = made();
    client.setting.history.bury("c");
    while before.is_some() && made() == before {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![name("c")])
            .with_timeout_ms(5_000);
        let broker = client.any();
        // Whatever it says: the tree tells whether the topic is gone.
        let _ = client.call(broker, 3, &request).await;
        client.rest(500).await;
    }
    make(&mut client, "c", 1, &[]).await;
}
