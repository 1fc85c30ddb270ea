//! Limits how many reads run at a time on behalf of people.
//!
//! Promises: all clones together run at most the given number of reads at a time, each to its end. If the client disconnects,
//! a request that waits for a turn is dropped, and a read that runs keeps its thread and its turn. So abandoned requests
//! occupy only a few threads, however many there are. Reads nothing itself.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::plan::error::{ErrorKind, Refusal};

/// The turns; clones share them.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Semaphore>);

impl Readers {
    /// Allows this many reads at a time.
    pub fn new(turns: usize) -> Self {
        Self(Arc::new(Semaphore::new(turns)))
    }

    /// Waits for a turn, then runs `work` on a separate thread.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let failed = |text: String| Refusal::new(ErrorKind::Failed, text);
        let turn = self.0.clone().acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.unwrap_or_else(|error| Err(failed(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_number_of_concurrent_reads_is_limited_even_if_clients_disconnect() {
        let (readers, running, most) =
            (Readers::new(2), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..20 {
            let (running, most) = (running.clone(), most.clone());
            let read = readers.read(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            });
            // Abandon the reads: some while they wait for a turn, some while they run.
            let _ = tokio::time::timeout(Duration::from_millis(2), read).await;
        }
        let last = readers.read(|| Ok(7)).await;
        assert_eq!((last, most.load(Ordering::SeqCst)), (Ok(7), 2));
    }
}
