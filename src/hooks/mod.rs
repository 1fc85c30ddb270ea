//! HOOKS: programs and URLs that get an event when something happens to a lease or a subnet.
//!
//! ```text
//!   ledger ── "something was committed" ──▶ courier (one for each hook) ──▶ command, webhook
//!                                             │  ▲ reads the history, a numbered log, on its own connection
//!                                             └──┴ after a delivery: the cursor, through the ledger
//! ```
//!
//! Promises: every event of the history is delivered at least once and in order to each hook that wants it,
//! even across crashes, unless the hook permanently rejects it, which is logged and counted; events pruned
//! before delivery are reported as a gap, never skipped silently. All hooks run on one thread of their own:
//! no request waits for a hook. Once all events are delivered, the thread sleeps.

mod command;
mod courier;
mod event;
mod secure;
mod state;
mod webhook;

/// Why a delivery failed, and whether to retry it.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// A retry may succeed.
    Later(String),
    /// The hook permanently rejects this event.
    Never(String),
}

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::courier::Courier;
pub use self::event::Event;
use self::state::HookState;
use crate::config::Hook;
use crate::ledger::{Altered, Ledger};
use crate::store::{Reader, StoreError};
use crate::view::rows::HookRow;

/// The key of the cursors in the table `meta`.
const KEY: &str = "hooks";
/// How many events outside the history may be queued for one hook; when the queue is full, new ones are
/// dropped.
const WAITING: usize = 64;

/// A handle to the hooks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hooks {
    desk: Arc<Desk>,
    /// The runtime of the hooks' thread.
    runtime: Handle,
}

/// Starts the thread, at first without hooks; it ends when the sender is dropped. A delivery in progress is
/// then aborted (its process is killed), and repeated after the next start.
pub fn start(
    ledger: Ledger,
    books: PathBuf,
) -> std::io::Result<(Hooks, oneshot::Sender<()>, std::thread::JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cursors = tokio::sync::Mutex::default();
    let desk = Desk { ledger, books, turns: watch::Sender::new(0), cursors, running: Mutex::default() };
    let desk = Arc::new(desk);
    let hooks = Hooks { desk, runtime: runtime.handle().clone() };
    let (open, closed) = oneshot::channel();
    let run = move || drop(runtime.block_on(closed));
    let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(run)?;
    Ok((hooks, open, thread))
}

impl Hooks {
    /// Replaces the hooks with these; a known hook continues where it left off, and a new one starts with the
    /// next event or as configured.
    pub async fn configure(&self, hooks: Vec<Hook>) -> Result<(), String> {
        let desk = self.desk.clone();
        let configured = self.runtime.spawn(async move { desk.configure(hooks).await }).await;
        configured.map_err(|_| "gipam is stopping".to_owned())?.map_err(|error| error.to_string())
    }

    /// Sends an event that is not in the history.
    pub fn tell(&self, event: &Event) {
        for running in self.desk.running().iter() {
            let name = &running.hook.name;
            if event.is_wanted(running.hook.events.as_deref())
                && running.told.try_send(event.clone()).is_err()
            {
                tracing::warn!("hook {name}: its queue is full; {} is not delivered", event.event);
            }
        }
        self.desk.turned();
    }

    /// Signals changes that happen without a commit: a hook starts failing or recovers, hooks are
    /// reconfigured, an event outside the history is sent.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.desk.turns.subscribe()
    }

    /// The state of each hook. Reads the books.
    pub fn rows(&self) -> Vec<HookRow> {
        let states: Vec<_> = self.desk.running().iter().map(|running| running.state.clone()).collect();
        states.iter().map(|state| state.row(&self.desk.books)).collect()
    }
}

/// One running hook.
#[derive(Debug)]
struct Running {
    hook: Hook,
    state: Arc<HookState>,
    told: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

/// The state that all hooks share.
#[derive(Debug)]
struct Desk {
    ledger: Ledger,
    books: PathBuf,
    turns: watch::Sender<u64>,
    /// The number of the last event delivered to each hook, as in the books; `None` before the first
    /// configuration. A cursor is written after the delivery, so a crash between the two repeats an event but
    /// does not lose one. A cursor that cannot be written is written with the next one.
    cursors: tokio::sync::Mutex<Option<BTreeMap<String, u64>>>,
    running: Mutex<Vec<Running>>,
}

impl Desk {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turned(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Configures the hooks; runs on their thread.
    async fn configure(self: &Arc<Self>, hooks: Vec<Hook>) -> Result<(), StoreError> {
        let mut cursors = self.cursors.lock().await;
        let reader = Reader::open(&self.books)?;
        let (oldest, newest) = reader.log_ends()?;
        let known = match cursors.take() {
            Some(known) => known,
            None => self.load(&reader, newest)?,
        };
        let gone: Vec<Running> =
            self.running().extract_if(.., |running| !hooks.contains(&running.hook)).collect();
        for running in gone {
            end(running.task).await;
        }
        // This deletes the cursors of hooks that the configuration does not contain.
        let begin = |hook: &Hook| if hook.from_start { oldest.saturating_sub(1) } else { newest };
        let number = |hook: &Hook| known.get(&hook.name).copied().unwrap_or_else(|| begin(hook));
        let numbers = hooks.iter().map(|hook| (hook.name.clone(), number(hook))).collect();
        if known != numbers
            && let Err(error) = self.write(&numbers).await
        {
            tracing::warn!("cannot save the progress of the hooks: {error}");
        }
        for hook in hooks {
            let mut all = self.running();
            if all.iter().all(|running| running.hook != hook) {
                let number = number(&hook);
                all.push(self.run(hook, number));
            }
        }
        *cursors = Some(numbers);
        self.turned();
        Ok(())
    }

    /// Loads the cursors from the books.
    fn load(&self, reader: &Reader, newest: u64) -> Result<BTreeMap<String, u64>, StoreError> {
        let Some(text) = reader.meta(KEY)? else { return Ok(BTreeMap::new()) };
        let damaged = |error| {
            let what = format!("table meta, key {KEY}: {error}");
            StoreError::Damaged { path: self.books.clone(), what }
        };
        let mut numbers: BTreeMap<String, u64> = serde_json::from_str(&text).map_err(damaged)?;
        for (name, number) in numbers.iter_mut().filter(|(_, number)| **number > newest) {
            // Without a history, numbering may start again at a lower number; the earlier events were
            // delivered.
            tracing::debug!("hook {name}: continues at {newest} instead of {number}");
            *number = newest;
        }
        Ok(numbers)
    }

    /// Records that everything up to this number was delivered to this hook.
    async fn advance(&self, name: &str, number: u64) {
        let mut cursors = self.cursors.lock().await;
        let Some(numbers) = cursors.as_mut() else { return };
        numbers.insert(name.to_owned(), number);
        if let Err(error) = self.write(numbers).await {
            tracing::debug!("hook {name}: cannot save its progress up to {number}: {error}");
        }
    }

    async fn write(&self, numbers: &BTreeMap<String, u64>) -> Result<(), crate::ledger::Refusal> {
        let meta = vec![(KEY.to_owned(), serde_json::to_string(numbers).unwrap_or_default())];
        self.ledger.alter(|_| Ok((Altered { meta, ..Altered::default() }, ()))).await
    }

    fn run(self: &Arc<Self>, hook: Hook, number: u64) -> Running {
        let state = Arc::new(HookState::new(&hook, number, self.turns.clone()));
        let (told, waiting) = mpsc::channel(WAITING);
        let courier = Courier {
            hook: hook.clone(),
            desk: self.clone(),
            state: state.clone(),
            commits: self.ledger.meters().follow(),
            told: waiting,
            position: number,
            kept: number,
        };
        Running { hook, state, told, task: tokio::spawn(courier.run()) }
    }
}

/// Aborts a task, and waits until it has ended.
async fn end(task: JoinHandle<()>) {
    task.abort();
    // Whether the task was cancelled or panicked, it has ended.
    let _ = task.await;
}
