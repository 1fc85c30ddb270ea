//! How the ledger follows its clock: at startup, and whenever the time of day has stepped.
//!
//! Promises: all changes belong to the transaction of the batch that notices the step, and come before any
//! decision. If the transaction fails, the plan is rebuilt, and the next batch tries again. Each step is
//! logged in one line.

use std::time::Instant;

use super::timeline::{KEY, text};
use super::writer::{Batch, Writer};
use crate::plan::change::Change;
use crate::plan::settings::rfc3339;
use crate::plan::stamps::Shift;

impl Writer {
    /// Advances the plan to the present time, after a step of the clock has been followed.
    pub(super) fn tick(&mut self, batch: &mut Batch) {
        if batch.failed.is_none() {
            if !self.time.is_settled() {
                self.settle(batch);
            } else if let Some(shift) = self.time.stepped() {
                batch.stepped = Some(format!(
                    "the wall clock stepped {}; stored times moved with it, so ages are unchanged",
                    direction(shift.by)
                ));
                self.follow(shift, batch);
            }
        }
        self.plan.advance(self.time.now());
    }

    /// Moves all stamps.
    fn follow(&mut self, shift: Shift, batch: &mut Batch) {
        let begun = Instant::now();
        self.write(&[Change::ClockStepped(shift)], batch);
        if batch.failed.is_none() {
            self.time.follow(begun.elapsed());
            self.note(batch);
        }
    }

    /// At startup: makes sure that no stamp is in the future, and that no age is overestimated.
    fn settle(&mut self, batch: &mut Batch) {
        let noted = match self.books.meta(KEY) {
            Ok(noted) => noted,
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        };
        let newest = self.plan.newest_stamp();
        let known = self.time.settle(noted.as_deref());
        if let Some(shift) = self.time.stepped() {
            batch.stepped = Some(format!(
                "the wall clock stepped {} while gipam was stopped; stored times moved with it, so ages are unchanged",
                direction(shift.by)
            ));
            self.follow(shift, batch);
        } else if newest > self.time.now() {
            batch.stepped = Some(format!(
                "the books contain times in the future, up to {}; gipam treats them as now",
                rfc3339(newest)
            ));
            self.write(&[Change::ClockStepped(Shift { by: 0, now: self.time.now() })], batch);
        } else if !known {
            let cooling = self.plan.go_on_cooling(newest, self.time.now());
            self.write(&cooling, batch);
        }
        let now = self.time.now();
        self.plan.advance(now);
        let cut = self.plan.cut_cooling(now);
        self.write(&cut, batch);
        if noted.as_deref() != Some(&self.time.note()) {
            self.note(batch);
        }
    }

    /// Records the clock that the stamps refer to.
    fn note(&mut self, batch: &mut Batch) {
        if batch.failed.is_none() {
            batch.failed = self.books.put_meta(KEY, &self.time.note()).err();
            batch.changed = true;
        }
    }
}

fn direction(by: i64) -> String {
    let span = text(by.unsigned_abs());
    if by < 0 { format!("back by {span}") } else { format!("ahead by {span}") }
}
