//! HOOKS: programs and URLs that get an event when something happens to a lease or a subnet.
//!
//! ```text
//!   ledger ── "something was committed" ──▶ courier (one for each hook) ──▶ command, webhook
//!                                             │  ▲ reads the history, a numbered log, on its own connection
//!                                             └──┴ after a delivery: the cursor, through the ledger
//! ```
//!
//! Promises: every event of the history is delivered at least once and in order to each hook that wants it, even across
//! crashes, unless the hook permanently rejects it, which is logged and counted; events pruned before delivery are
//! reported as a gap, never skipped silently. All of it runs on its own thread:
//! no request waits for a hook. While nothing is undelivered, the thread does not wake up.

mod command;
mod courier;
mod cursors;
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

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::courier::Courier;
use self::cursors::Cursors;
pub use self::event::Event;
use self::state::HookState;
use crate::config::Hook;
use crate::ledger::Ledger;
use crate::store::{self, Reader};
use crate::view::rows::HookRow;

/// How many events outside the history may be queued for one hook; when the queue is full, new ones are dropped.
const WAITING: usize = 64;

/// A handle to the hooks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hooks {
    desk: Arc<Desk>,
    /// The runtime of the hooks' thread.
    runtime: Handle,
}

/// Starts the thread, at first without hooks; it ends when the sender is dropped. A delivery in progress is then aborted
/// (its process is killed), and repeated after the next start.
pub fn start(
    ledger: Ledger,
    books: PathBuf,
) -> std::io::Result<(Hooks, oneshot::Sender<()>, std::thread::JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (turns, running, cursors) = (watch::Sender::new(0), Mutex::default(), OnceCell::new());
    let desk = Arc::new(Desk { ledger, books, turns, cursors, running, turn: tokio::sync::Mutex::default() });
    let hooks = Hooks { desk, runtime: runtime.handle().clone() };
    let (open, closed) = oneshot::channel();
    let run = move || drop(runtime.block_on(closed));
    let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(run)?;
    Ok((hooks, open, thread))
}

impl Hooks {
    /// Replaces the hooks with these; a known hook continues where it was, a new one starts now or as configured.
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

    /// Signals changes that happen without a commit: a hook starts failing or recovers, hooks are reconfigured, an event
    /// outside the history is sent.
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

/// What all hooks share.
#[derive(Debug)]
struct Desk {
    ledger: Ledger,
    books: PathBuf,
    turns: watch::Sender<u64>,
    cursors: OnceCell<Arc<Cursors>>,
    running: Mutex<Vec<Running>>,
    /// Held while the hooks are being configured.
    turn: tokio::sync::Mutex<()>,
}

impl Desk {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turned(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Configures the hooks; runs on their thread.
    async fn configure(&self, hooks: Vec<Hook>) -> Result<(), store::StoreError> {
        let _turn = self.turn.lock().await;
        let load = async || Cursors::load(self.ledger.clone(), &self.books).map(Arc::new);
        let cursors = self.cursors.get_or_try_init(load).await?;
        let (oldest, newest) = Reader::open(&self.books)?.log_ends()?;
        let gone: Vec<Running> =
            self.running().extract_if(.., |running| !hooks.contains(&running.hook)).collect();
        for running in gone {
            end(running.task).await;
        }
        let begin = |hook: &Hook| {
            let number = if hook.from_start { oldest.saturating_sub(1) } else { newest };
            (hook.name.clone(), number)
        };
        let begin: Vec<_> = hooks.iter().map(begin).collect();
        let numbers = cursors.settle(&begin).await;
        for hook in hooks {
            let mut all = self.running();
            if all.iter().all(|running| running.hook != hook) {
                let number = numbers.get(&hook.name).copied().unwrap_or(newest);
                all.push(self.run(hook, number, cursors.clone()));
            }
        }
        self.turned();
        Ok(())
    }

    fn run(&self, hook: Hook, number: u64, cursors: Arc<Cursors>) -> Running {
        let state = Arc::new(HookState::new(&hook, number, self.turns.clone()));
        let (told, waiting) = mpsc::channel(WAITING);
        let courier = Courier {
            hook: hook.clone(),
            books: self.books.clone(),
            state: state.clone(),
            cursors,
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
    // It was cancelled or it panicked: in either case it has ended.
    let _ = task.await;
}
