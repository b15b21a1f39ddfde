//! Native watch streams of one process: `wire/grpc/watch` itself, each as a task.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use zweig_coordinator::wire::grpc::watch;
use zweig_proto::grpc::{WatchRequest, WatchResponse};

use super::Door;

/// What a stream says; nothing: it has ended.
pub type Told = Option<Result<WatchResponse, Status>>;

struct Running {
    responses: mpsc::Receiver<Result<WatchResponse, Status>>,
    task: u64,
}

#[derive(Default)]
pub struct Streams {
    next: u64,
    running: BTreeMap<u64, Running>,
}

impl Door {
    /// Begins a stream; returns its number.
    pub fn follow(&mut self, request: WatchRequest) -> u64 {
        let (serving, responses) =
            watch::serve(self.front.clone(), request, CancellationToken::new()).unwrap();
        let task = self.tasks.spawn(serving);
        self.streams.next += 1;
        let running = Running { responses, task };
        self.streams.running.insert(self.streams.next, running);
        self.streams.next
    }

    /// The client is gone.
    pub fn unfollow(&mut self, number: u64) {
        if let Some(running) = self.streams.running.remove(&number) {
            self.tasks.stop(running.task);
        }
    }

    /// What streams have to say, which makes room for more.
    pub fn take_told(&mut self) -> Vec<(u64, Told)> {
        let mut told = Vec::new();
        for (&number, running) in &mut self.streams.running {
            loop {
                match running.responses.try_recv() {
                    Ok(response) => told.push((number, Some(response))),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        told.push((number, None));
                        break;
                    }
                }
            }
        }
        told
    }
}
