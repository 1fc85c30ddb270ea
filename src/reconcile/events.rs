//! The Engine's events: each one triggers a check.
//!
//! Promises: at most one stream at a time, and no new one until a check has succeeded after the last one
//! ended. If streams end at once (a proxy that forbids `/events` answers 403), the pauses between attempts
//! grow. Does not read what events contain.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::docker::engine;

/// The pause after the first stream that ended early; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(600);
/// A stream that lasted this long worked: dockerd restarts, and proxies close idle streams. A refused stream
/// ends at once.
const GOOD: Duration = Duration::from_secs(5);

/// What the stream reports.
pub(super) enum Heard {
    /// Something happened.
    Event,
    /// The stream ended.
    End,
}

/// The stream, or the time before which none is opened.
pub(super) struct Events {
    engine: PathBuf,
    happens: mpsc::Sender<Heard>,
    /// The task of the stream, which ends when this is dropped, and its start time.
    stream: Option<(JoinSet<()>, Instant)>,
    /// Number of consecutive streams that ended early.
    early: u32,
    not_before: Instant,
}

impl Events {
    /// Creates the state for this Engine; events are sent to `happens`.
    pub(super) fn new(engine: PathBuf, happens: mpsc::Sender<Heard>) -> Self {
        Self { engine, happens, stream: None, early: 0, not_before: Instant::now() }
    }

    /// Call this after a successful check: opens a stream if needed. If it is too early for that, returns
    /// when to check again.
    pub(super) fn open(&mut self) -> Option<Instant> {
        if self.stream.is_some() {
            return None;
        }
        if Instant::now() < self.not_before {
            return Some(self.not_before);
        }
        let (engine, happens) = (self.engine.clone(), self.happens.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            // If the channel is full, a check is already due.
            let end = engine::follow_events(&engine, || drop(happens.try_send(Heard::Event))).await;
            tracing::debug!("repair: the stream of the Engine's events ended: {end:?}");
            let _ = happens.send(Heard::End).await;
        });
        self.stream = Some((task, Instant::now()));
        None
    }

    /// Call this after the stream ended: returns when to check and open another one.
    pub(super) fn ended(&mut self) -> Instant {
        let good = self.stream.take().is_some_and(|(_, since)| since.elapsed() >= GOOD);
        self.early = if good { 0 } else { self.early.saturating_add(1) };
        self.not_before = Instant::now() + wait_after(self.early);
        self.not_before
    }
}

fn wait_after(early: u32) -> Duration {
    match early {
        0 => FIRST,
        n => FIRST.saturating_mul(2u32.saturating_pow(n - 1)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_end_at_once_are_retried_with_growing_pauses() {
        let waits: Vec<u64> = (0..12).map(|early| wait_after(early).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(wait_after(u32::MAX), LONGEST);
    }

    #[test]
    fn a_check_that_is_too_early_for_a_stream_returns_when_to_check_again() {
        let (happens, _happened) = mpsc::channel(1);
        let mut events = Events::new(PathBuf::from("/nowhere"), happens);
        let due = events.ended();
        assert_eq!(events.open(), Some(due), "otherwise no stream opens until the next scheduled check");
        assert!(events.stream.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_worked_before_they_ended_do_not_lengthen_the_pause() {
        let (happens, _happened) = mpsc::channel(1);
        let mut events = Events::new(PathBuf::from("/nowhere"), happens);
        for _ in 0..10 {
            let mut watch = JoinSet::new();
            watch.spawn(std::future::pending());
            events.stream = Some((watch, Instant::now()));
            tokio::time::advance(GOOD).await;
            assert_eq!(events.ended(), Instant::now() + FIRST);
        }
    }
}
