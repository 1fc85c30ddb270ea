//! Where the plan is that is looked at: with the ledger of this daemon, or read from books that no daemon serves.
//!
//! Promises: there is one plan in a daemon; a look at it happens between two batches and takes at most [`BITE`] and one step
//! more, so whatever is long is walked in bites. What changes between two bites may be seen or not. Waits, so it is for threads
//! that may; while the disk hangs it gives up after a while and says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::ledger::{Ledger, Refusal};
use crate::plan::Plan;
use crate::plan::error::ErrorKind;

/// A look takes no longer than this, and one step more.
const BITE: Duration = Duration::from_micros(300);
/// How long a look may wait for its turn, for a view without which there is no answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The same where there is another answer.
pub const HASTE: Duration = Duration::from_secs(2);

/// The plan, wherever it is.
#[derive(Clone, Debug)]
pub enum Source {
    /// The ledger that has it, a runtime to wait in, and how long.
    Ledger(Ledger, Handle, Duration),
    /// Nobody changes it.
    Plan(Arc<Plan>),
}

/// The time that is left of one look.
#[derive(Debug)]
pub struct Budget(Instant);

impl Budget {
    /// Of a look that begins now.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether the rest is for the next look.
    pub fn is_spent(&self) -> bool {
        self.0.elapsed() > BITE
    }
}

impl Source {
    /// Of a ledger, for looks that wait so long for their turn; to be called on a runtime with time enabled.
    pub fn of(ledger: &Ledger, patience: Duration) -> Self {
        Self::Ledger(ledger.clone(), Handle::current(), patience)
    }

    /// Looks at the plan. Keep it short.
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Plan) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        match self {
            Self::Plan(plan) => Ok(look(plan)),
            Self::Ledger(ledger, runtime, patience) => {
                let looking = runtime.block_on(async { timeout(*patience, ledger.look(look)).await });
                looking.unwrap_or_else(|_| Err(stalled(ledger, *patience)))
            }
        }
    }

    /// Walks something long: each look gets where to begin and a budget, and brings what it found and where the next begins, if
    /// that is not all. `take` says whether to go on.
    pub fn walk<C: Send + 'static, T: Send + 'static>(
        &self,
        first: C,
        bite: impl Fn(&Plan, C, &Budget) -> (T, Option<C>) + Clone + Send + 'static,
        mut take: impl FnMut(T) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let mut from = Some(first);
        while let Some(here) = from {
            let bite = bite.clone();
            let (found, next) = self.look(move |plan| bite(plan, here, &Budget::now()))?;
            from = if take(found)? { next } else { None };
        }
        Ok(())
    }
}

/// Why the ledger does not let anybody look.
fn stalled(ledger: &Ledger, patience: Duration) -> Refusal {
    let stalled = ledger.meters().stalled().unwrap_or(patience).as_secs();
    let text = format!("the disk of the books has held up a write for {stalled} s; see: gipam doctor");
    Refusal::new(ErrorKind::Unavailable, text)
}
