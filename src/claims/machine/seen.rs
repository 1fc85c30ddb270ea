//! What the daemon may know about a machine: what it read, what keeps it waiting, and when it has to be woken.
//!
//! Promises: only looks.

use crate::plan::settings::Millis;

use super::event::HostIdentity;
use super::listing::{Glimpse, PlanListing};
use super::own_books::ClaimBooks;
use super::step::{BEAT, Machine};

/// How often a host looks at the plan and its own record, and how often while hosts are awaited at a new epoch.
const LOOK: Millis = 60_000;
const LOOK_UNSETTLED: Millis = 5_000;

impl Machine {
    /// The newest reading of the store, if there is a whole one.
    pub const fn reading(&self) -> Option<(&PlanListing, &Glimpse)> {
        match (&self.listing, &self.glimpse) {
            (Some(listing), Some(glimpse)) => Some((listing, glimpse)),
            _ => None,
        }
    }

    /// How many whole readings there were.
    pub const fn readings(&self) -> u64 {
        self.readings
    }

    /// This host.
    pub const fn identity(&self) -> &HostIdentity {
        &self.me
    }

    /// The books, as far as they are durable.
    pub const fn books(&self) -> &ClaimBooks {
        &self.books
    }

    /// Hosts that have not confirmed their slices since the store was restored.
    pub fn awaited(&self) -> Vec<String> {
        match self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref()) {
            Some((_, plan)) if !plan.is_settled() => self.absent_hosts(),
            _ => Vec::new(),
        }
    }

    /// When something happens without an event, as long as nothing is under way. A machine that was woken then is due later.
    pub fn wakes_at(&self) -> Millis {
        if self.stopped.is_some() {
            return Millis::MAX;
        }
        let has_plan = self.glimpse.as_ref().is_some_and(|glimpse| glimpse.plan.is_some());
        let beat = if has_plan { self.beat_at.saturating_add(BEAT) } else { Millis::MAX };
        self.look_at().min(beat)
    }

    /// When the patience of a want, or of a person, ends.
    pub fn patience_ends_at(&self) -> Option<Millis> {
        let forgetting = self.forgetting.iter().map(|(_, until)| *until);
        self.wants.iter().map(|wanting| wanting.until).chain(forgetting).min()
    }

    pub(super) fn look_is_due(&self) -> bool {
        self.now >= self.look_at()
    }

    /// When the next look is due.
    fn look_at(&self) -> Millis {
        let settled =
            self.glimpse.as_ref().and_then(|it| it.plan.as_ref()).is_some_and(|it| it.1.is_settled());
        self.looked_at.saturating_add(if settled { LOOK } else { LOOK_UNSETTLED })
    }
}
