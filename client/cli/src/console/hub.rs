//! What every open page knows: the present picture, and changes of it as they come. A page that opens, or that has
//! fallen behind, gets the picture; everybody gets the changes. Each part is kept as the JSON it is sent as.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::Stream;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::story::{Story, Told};
use crate::clock::unix_ms;

/// Messages a page may be behind before it gets the picture anew.
const BEHIND: usize = 1_024;

/// Lines of the time line that are kept.
const STORIES: usize = 500;

/// A message to the pages: the name of an event, and JSON.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which part of the picture it is about.
    pub event: &'static str,
    /// JSON.
    pub data: Arc<str>,
}

#[derive(Default)]
struct Picture {
    /// Parts sent whole, by event.
    parts: BTreeMap<&'static str, Arc<str>>,
    /// Topics by name.
    topics: BTreeMap<String, Arc<str>>,
    stories: VecDeque<Story>,
    told: u64,
}

/// See the module.
pub struct Hub {
    picture: Mutex<Picture>,
    out: broadcast::Sender<Message>,
}

/// Nothing that is sent fails to become JSON: maps have strings for keys.
fn json(value: &impl Serialize) -> Arc<str> {
    let text = serde_json::to_string(value);
    text.unwrap_or_else(|_| "null".to_owned()).into()
}

impl Hub {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self {
            picture: Mutex::default(),
            out: broadcast::Sender::new(BEHIND),
        }
    }

    /// Whether anybody looks.
    pub fn is_watched(&self) -> bool {
        self.out.receiver_count() > 0
    }

    fn send(&self, event: &'static str, data: &Arc<str>) {
        // Without any page there is nobody to tell.
        let _ = self.out.send(Message {
            event,
            data: data.clone(),
        });
    }

    /// A part of the picture, sent where it differs from before.
    pub fn put(&self, event: &'static str, value: &impl Serialize) {
        let data = json(value);
        let mut picture = self.picture.lock();
        if picture.parts.get(event) != Some(&data) {
            self.send(event, &data);
            picture.parts.insert(event, data);
        }
    }

    /// A topic is there, or other than it was.
    pub fn put_topic(&self, name: &str, value: &impl Serialize) {
        let data = json(value);
        let mut picture = self.picture.lock();
        if picture.topics.get(name) != Some(&data) {
            self.send("topic", &data);
            picture.topics.insert(name.to_owned(), data);
        }
    }

    /// A topic is gone.
    pub fn remove_topic(&self, name: &str) {
        if self.picture.lock().topics.remove(name).is_some() {
            self.send("topic-gone", &json(&name));
        }
    }

    /// Topics that are not among these are gone: the picture begins anew.
    pub fn keep_topics(&self, keep: impl Fn(&str) -> bool) {
        let mut picture = self.picture.lock();
        picture.topics.retain(|name, _| {
            let stays = keep(name);
            if !stays {
                self.send("topic-gone", &json(name));
            }
            stays
        });
    }

    /// Lines for the time line.
    pub fn tell(&self, told: Vec<Told>) {
        let mut picture = self.picture.lock();
        for (tone, what, why, partitions) in told {
            picture.told += 1;
            let story = Story {
                number: picture.told,
                at_ms: unix_ms(),
                tone,
                what,
                why,
                partitions,
            };
            self.send("story", &json(&story));
            picture.stories.push_back(story);
            if picture.stories.len() > STORIES {
                picture.stories.pop_front();
            }
        }
    }

    fn snapshot(picture: &Picture) -> Vec<Message> {
        let raw = |data: &Arc<str>| RawValue::from_string(data.to_string()).ok();
        let topics: Vec<_> = picture.topics.values().filter_map(raw).collect();
        let whole = [
            ("topics", json(&topics)),
            ("stories", json(&picture.stories)),
        ];
        let parts = picture.parts.iter();
        let parts = parts.map(|(event, data)| (*event, data.clone()));
        parts
            .chain(whole)
            .map(|(event, data)| Message { event, data })
            .collect()
    }

    /// The picture, then every change of it.
    pub fn follow(self: &Arc<Self>) -> impl Stream<Item = Message> + use<> {
        let picture = self.picture.lock();
        // Subscribed under the lock: no change between the picture and the changes is missed.
        let (first, changes) = (Self::snapshot(&picture), self.out.subscribe());
        drop(picture);
        let hub = Arc::clone(self);
        let changes = BroadcastStream::new(changes).flat_map(move |change| {
            stream::iter(match change {
                Ok(message) => vec![message],
                Err(_) => Self::snapshot(&hub.picture.lock()),
            })
        });
        stream::iter(first).chain(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::story::Tone;

    async fn next(stream: &mut (impl Stream<Item = Message> + Unpin)) -> (&'static str, String) {
        let message = stream.next().await.expect("open");
        (message.event, message.data.to_string())
    }

    #[tokio::test]
    async fn a_page_gets_the_picture_and_then_what_differs() {
        let hub = Arc::new(Hub::new());
        hub.put("brokers", &[1, 2]);
        hub.put_topic("t", &"first");
        let mut page = Box::pin(hub.follow());
        assert_eq!(next(&mut page).await, ("brokers", "[1,2]".to_owned()));
        assert_eq!(next(&mut page).await, ("topics", r#"["first"]"#.to_owned()));
        assert_eq!(next(&mut page).await, ("stories", "[]".to_owned()));
        hub.put("brokers", &[1, 2]);
        hub.put_topic("t", &"second");
        hub.tell(vec![(Tone::Bad, "what".into(), "why".into(), Vec::new())]);
        hub.remove_topic("t");
        assert_eq!(next(&mut page).await, ("topic", r#""second""#.to_owned()));
        assert_eq!(next(&mut page).await.0, "story");
        assert_eq!(next(&mut page).await, ("topic-gone", r#""t""#.to_owned()));
    }

    #[tokio::test]
    async fn a_page_that_fell_behind_gets_the_picture_again() {
        let hub = Arc::new(Hub::new());
        let mut page = Box::pin(hub.follow());
        for number in 0..BEHIND + 100 {
            hub.put("brokers", &number);
        }
        let mut seen = Vec::new();
        while seen
            .last()
            .is_none_or(|(_, data)| *data != (BEHIND + 99).to_string())
        {
            seen.push(next(&mut page).await);
        }
        assert!(seen.len() < BEHIND);
    }
}
