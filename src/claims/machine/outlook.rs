//! What the plan's record and this host's own record mean, compared with the books.
//!
//! Promises: only looks. Whatever follows is decided by a transaction that compares the same records.

use super::listing::Glimpse;
use super::mutants::Mutant;
use super::records::VERSION;
use super::step::Machine;

/// What a host has to do first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Books and store are of one time.
    Good,
    NoPlan,
    /// Nothing can be done here; the text says why.
    Stop(String),
    /// A person forgot this host.
    Forgotten,
    /// This host is new.
    Join,
    /// The store was restored, which is known already, and lacks this host.
    PutBack,
    /// The books are older than the store: a restored backup, or a machine that was set back.
    Older,
    /// The store is older than the books, and nobody has said so.
    Restored,
}

impl Machine {
    pub(super) fn outlook(&self, glimpse: &Glimpse) -> Outlook {
        if glimpse.strange {
            return Outlook::Stop(
                "the plan's records were written by a newer gipam; upgrade this one".to_owned(),
            );
        }
        let Some((_, plan)) = &glimpse.plan else { return Outlook::NoPlan };
        let books = &self.books;
        if plan.version > VERSION {
            let version = plan.version;
            return Outlook::Stop(format!(
                "the plan has version {version}, this gipam knows {VERSION}; upgrade it"
            ));
        }
        if !books.plan.is_empty() && books.plan != plan.id {
            let (own, other) = (&books.plan, &plan.id);
            return Outlook::Stop(format!(
                "the store has plan {other}, this host belongs to plan {own}; check [plan]"
            ));
        }
        // A higher epoch says that the store was restored, and at the same epoch nothing is older.
        let told = plan.epoch > books.epoch.number;
        let Some((_, host)) = &glimpse.host else {
            return match books.acknowledged {
                0 => Outlook::Join,
                _ if told || self.is(Mutant::NoLookForRestored) => Outlook::PutBack,
                _ => Outlook::Restored,
            };
        };
        if host.fenced.is_some() {
            return Outlook::Forgotten;
        }
        if self.beaten && host.run != self.run && host.beat >= books.acknowledged.max(1) {
            let (name, machine) = (&self.me.name, &host.machine);
            return Outlook::Stop(format!(
                "another copy of the books of host {name} is running (machine {machine}); stop one of them, remove its \
                 books, and join it as a new host: gipam join"
            ));
        }
        if host.beat > books.intended {
            return Outlook::Older;
        }
        let lower = host.beat < books.acknowledged || plan.epoch() != books.epoch;
        if lower && !told && !self.is(Mutant::NoLookForRestored) {
            return Outlook::Restored;
        }
        Outlook::Good
    }
}
