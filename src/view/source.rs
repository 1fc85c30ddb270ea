//! Where a view gets the plan: from the ledger of this daemon, or from books that no daemon serves.
//!
//! Promises: a daemon has one plan; a look at it runs between two batches and is limited by a [`Budget`], so long
//! reads are split into bites. A change between two bites may or may not be seen. A look blocks, so it must run on a thread
//! that may block; while the disk hangs, it gives up after a while with an error that says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

pub use crate::ledger::Budget;
use crate::ledger::{Ledger, Refusal};
use crate::plan::Plan;
use crate::plan::error::ErrorKind;

/// How long a look may wait for its turn if the view has no other data to show.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a look may wait for its turn if older data can be shown instead.
pub const HASTE: Duration = Duration::from_secs(2);

/// Access to the plan.
#[derive(Clone, Debug)]
pub enum Source {
    /// The ledger that has the plan, a runtime on which to wait, and how long to wait.
    Ledger(Ledger, Handle, Duration),
    /// A plan that nobody changes.
    Plan(Arc<Plan>),
}

impl Source {
    /// The plan of a ledger; looks wait up to `patience` for their turn. Must be called on a runtime with time enabled.
    pub fn of(ledger: &Ledger, patience: Duration) -> Self {
        Self::Ledger(ledger.clone(), Handle::current(), patience)
    }

    /// Runs `look` on the plan; it must be short.
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

    /// Reads something long in several looks. Each look gets a start and a budget, and returns what it found and where the next
    /// look starts, if there is more. `take` returns whether to continue.
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

/// The refusal for a look that did not get its turn in time.
fn stalled(ledger: &Ledger, patience: Duration) -> Refusal {
    let stalled = ledger.meters().stalled().unwrap_or(patience).as_secs();
    let text = format!("the disk of the books has held up a write for {stalled} s; see: gipam doctor");
    Refusal::new(ErrorKind::Unavailable, text)
}
