//! HOOKS: programs and URLs that get an event when something happens to a lease or a subnet.
//!
//! ```text
//!   ledger ── "something was committed" ──▶ courier (one for each hook) ──▶ command, webhook
//!                                             │  ▲ reads the history, a numbered log, on its own connection
//!                                             └──┴ after a delivery: the cursor, through the ledger
//! ```
//!
//! Promises: every event of the history is delivered at least once, in order, to each hook that wants it, over all crashes
//! when, except one that the hook permanently rejects, which is logged and counted; what was pruned before delivery is reported as a gap, never
//! left out silently. All of it runs on a thread of its own:
//! no request waits for a hook. While nothing is undelivered, nothing wakes up.

mod command;
mod courier;
mod cursors;
mod event;
mod secure;
mod state;
mod webhook;

/// Why a delivery failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It may succeed later.
    Later(String),
    /// This event will never be taken.
    Never(String),
}

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::courier::Courier;
use self::cursors::Cursors;
pub use self::event::Event;
use self::state::HookState;
pub use self::state::Report;
use crate::config::Hook;
use crate::ledger::Ledger;
use crate::store::{self, Reader};

/// Events outside the history that wait for one hook; beyond them the newest are dropped.
const WAITING: usize = 64;

/// Messages to the thread.
enum Order {
    Configure { hooks: Vec<Hook>, done: oneshot::Sender<Result<(), String>> },
    Tell(Box<Event>),
    Stop,
}

/// The way to the hooks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hooks {
    orders: mpsc::UnboundedSender<Order>,
    states: Arc<Mutex<Vec<Arc<HookState>>>>,
    turns: watch::Sender<u64>,
    books: PathBuf,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Configure { .. } => "Configure",
            Self::Tell(_) => "Tell",
            Self::Stop => "Stop",
        })
    }
}

/// Starts the thread, which has nothing to do yet.
pub fn start(ledger: Ledger, books: PathBuf) -> std::io::Result<(Hooks, std::thread::JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, orders) = mpsc::unbounded_channel();
    let (states, turns) = (Arc::default(), watch::Sender::new(0));
    let hooks = Hooks { orders: sender, states, turns, books: books.clone() };
    let (states, turns) = (hooks.states.clone(), hooks.turns.clone());
    let desk = Desk { ledger, books, states, turns, cursors: None, running: Vec::new() };
    let thread = std::thread::Builder::new()
        .name("hooks".to_owned())
        .spawn(move || runtime.block_on(desk.serve(orders)))?;
    Ok((hooks, thread))
}

impl Hooks {
    /// From now on these are the hooks; their events begin here, or where they were before.
    pub async fn configure(&self, hooks: Vec<Hook>) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let stopping = || "gipam is stopping".to_owned();
        self.orders.send(Order::Configure { hooks, done }).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Sends an event that is not in the history.
    pub fn tell(&self, event: Event) {
        // If the thread has ended, the event is lost.
        let _ = self.orders.send(Order::Tell(Box::new(event)));
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Follows changes without a commit: a hook starts failing or recovers, hooks are reconfigured, an event outside the
    /// history is sent.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Ends the thread; a delivery under way is cut off, and repeated at the next start.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    /// The state of each hook. Reads the books.
    pub fn report(&self) -> Vec<Report> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner).clone();
        states.iter().map(|state| state.report(&self.books)).collect()
    }
}

/// One running hook.
struct Running {
    hook: Hook,
    state: Arc<HookState>,
    told: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

/// The thread's own.
struct Desk {
    ledger: Ledger,
    books: PathBuf,
    states: Arc<Mutex<Vec<Arc<HookState>>>>,
    turns: watch::Sender<u64>,
    cursors: Option<Arc<Cursors>>,
    running: Vec<Running>,
}

impl Desk {
    async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Configure { hooks, done } => {
                    let configured = self.configure(hooks).await;
                    let _ = done.send(configured.map_err(|error| error.to_string()));
                }
                Order::Tell(event) => self.tell(&event),
                Order::Stop => break,
            }
        }
        // Aborted and waited for: so their processes are killed before the thread ends.
        for running in std::mem::take(&mut self.running) {
            end(running.task).await;
        }
    }

    async fn configure(&mut self, hooks: Vec<Hook>) -> Result<(), store::StoreError> {
        let cursors = match &self.cursors {
            Some(cursors) => cursors.clone(),
            None => Arc::new(Cursors::load(self.ledger.clone(), &self.books)?),
        };
        self.cursors = Some(cursors.clone());
        let (oldest, newest) = Reader::open(&self.books)?.log_ends()?;
        let begin = |hook: &Hook| {
            let number = if hook.from_start { oldest.saturating_sub(1) } else { newest };
            (hook.name.clone(), number)
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| hooks.contains(&running.hook));
        self.running = kept;
        for running in gone {
            end(running.task).await;
        }
        let begin: Vec<_> = hooks.iter().map(begin).collect();
        let numbers = cursors.settle(&begin).await;
        for hook in hooks {
            if self.running.iter().all(|running| running.hook != hook) {
                let number = numbers.get(&hook.name).copied().unwrap_or(newest);
                let running = self.run(hook, number, cursors.clone());
                self.running.push(running);
            }
        }
        let states = self.running.iter().map(|running| running.state.clone()).collect();
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = states;
        self.turns.send_modify(|turns| *turns += 1);
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

    fn tell(&self, event: &Event) {
        for running in &self.running {
            if event.is_wanted(running.hook.events.as_deref())
                && running.told.try_send(event.clone()).is_err()
            {
                tracing::warn!(
                    "hook {}: its queue is full; {} is not delivered",
                    running.hook.name,
                    event.event
                );
            }
        }
    }
}

/// Ends a task, and waits for it.
async fn end(task: JoinHandle<()>) {
    task.abort();
    // Cancelled, or ended in a panic: ended.
    let _ = task.await;
}
