//! A ledger in a separate thread, so that tests can block it.

use std::thread::JoinHandle;

use gipam::clock::Clock;
use gipam::ledger::{Fatal, Ledger, Writer};
use gipam::plan::Plan;
use gipam::store::Books;

/// Starts the ledger; `ended` receives the reason when the ledger ends.
pub fn start(
    plan: Plan,
    books: Books,
    clock: Clock,
    ended: impl FnOnce(Result<(), Fatal>) + Send + 'static,
) -> (Ledger, JoinHandle<()>) {
    let (ledger, writer) = Writer::new(plan, books, clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    (ledger, std::thread::spawn(move || ended(runtime.block_on(writer.run()))))
}
