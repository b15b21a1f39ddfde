//! A load on several threads: lanes are dealt to them, run until their end, and what they measured is added up.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::oneshot;

use super::recorder::{Recorder, as_f64};
use crate::clock::{elapsed, now};
use crate::progress::Meter;

/// How often the progress is told.
const TOLD: Duration = Duration::from_secs(1);

/// What was done so far, by all lanes together.
#[derive(Debug, Default)]
pub struct Progress {
    /// Answers.
    pub operations: AtomicU64,
    /// Records in them; none of an ensemble.
    pub records: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
    /// How long it takes, if that is known.
    pub whole: Option<Duration>,
}

impl Progress {
    fn read(&self) -> [u64; 3] {
        [&self.operations, &self.records, &self.bytes].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Deals `lanes` to so many threads, each with a runtime of its own, has `work` done with each share, and tells the progress
/// meanwhile.
///
/// # Errors
/// The first one of `work`; the other threads are not waited for then.
pub async fn run<T, Work, Done>(
    threads: usize,
    lanes: Vec<T>,
    progress: &Progress,
    work: Work,
) -> anyhow::Result<Recorder>
where
    T: Send + 'static,
    Work: FnOnce(Vec<T>) -> Done + Clone + Send + 'static,
    Done: Future<Output = anyhow::Result<Recorder>>,
{
    let mut shares: Vec<Vec<T>> = Vec::new();
    shares.resize_with(threads.min(lanes.len()).max(1), Vec::new);
    let count = shares.len();
    for (number, lane) in lanes.into_iter().enumerate() {
        shares[number % count].push(lane);
    }
    let mut started = Vec::new();
    for share in shares {
        started.push(start(share, work.clone())?);
    }
    let mut all = Recorder::default();
    let mut told = Told {
        progress,
        last: progress.read(),
        begun: now(),
        meter: Meter::begin(false, progress.whole.map(|whole| whole.as_secs())),
    };
    for ended in started {
        let recorder = told
            .until(ended)
            .await
            .map_err(|_| anyhow!("a thread of the load has died"))??;
        all.merge(&recorder);
    }
    Ok(all)
}

type Ended = oneshot::Receiver<anyhow::Result<Recorder>>;

fn start<T, Work, Done>(share: Vec<T>, work: Work) -> anyhow::Result<Ended>
where
    T: Send + 'static,
    Work: FnOnce(Vec<T>) -> Done + Send + 'static,
    Done: Future<Output = anyhow::Result<Recorder>>,
{
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let done = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::from)
                .and_then(|runtime| runtime.block_on(work(share)));
            // Nobody waits any more if another thread failed first.
            let _ = end.send(done);
        })?;
    Ok(ended)
}

/// How fast it goes, and how far it has come.
struct Told<'a> {
    progress: &'a Progress,
    last: [u64; 3],
    begun: Instant,
    meter: Meter,
}

impl Told<'_> {
    async fn until<T>(
        &mut self,
        mut ended: oneshot::Receiver<T>,
    ) -> Result<T, oneshot::error::RecvError> {
        let mut every = tokio::time::interval(TOLD);
        every.tick().await;
        loop {
            tokio::select! {
                biased;
                done = &mut ended => return done,
                _ = every.tick() => self.tell(),
            }
        }
    }

    fn tell(&mut self) {
        let now = self.progress.read();
        let [operations, records, bytes] =
            [0, 1, 2].map(|count| now[count].saturating_sub(self.last[count]));
        self.last = now;
        let mut line = format!("{operations} operations/s");
        if now[1] > 0 {
            line = format!(
                "{records} records/s, {:.1} MB/s, {line}",
                as_f64(bytes) / 1e6
            );
        }
        self.meter.at(elapsed(self.begun).as_secs(), || line);
    }
}
