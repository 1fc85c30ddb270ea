//! This host's own record: joining, and the signs it gives.
//!
//! Promises: a beat is in the books before it is in the store, and acknowledged there before anything depends on it.

use super::calls::{Compare, Effect, StoreCall};
use super::own_books::BookEntry;
use super::records::{Epoch, HostRecord, PLAN, host_key, written};
use super::stage::Stage;
use super::step::Machine;
use crate::plan::slices::SliceState;

impl Machine {
    pub(super) fn look(&mut self) -> bool {
        let keys = vec![PLAN.to_owned(), host_key(&self.me.id)];
        self.call(StoreCall::Get { keys }, Stage::Look)
    }

    pub(super) fn list(&mut self) -> bool {
        self.call(StoreCall::List, Stage::List)
    }

    /// The condition that the plan is as it was read.
    pub(super) fn plan_as_known(&self) -> Compare {
        let plan = self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref());
        Compare { key: PLAN.to_owned(), value: plan.map(|(value, _)| value.clone()) }
    }

    /// The condition that this host's own record is as it was read or last written.
    pub(super) fn host_as_known(&self) -> Compare {
        let host = self.glimpse.as_ref().and_then(|glimpse| glimpse.host.as_ref());
        Compare { key: host_key(&self.me.id), value: host.map(|(value, _)| value.clone()) }
    }

    /// The plan's epoch.
    pub(super) fn epoch(&self) -> Epoch {
        let plan = self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref());
        plan.map(|(_, plan)| plan.epoch()).unwrap_or_default()
    }

    fn record(&self, beat: u64, epoch: Epoch) -> String {
        written(&HostRecord {
            name: self.me.name.clone(),
            via: self.me.via.clone(),
            fenced: None,
            beat,
            epoch: epoch.number,
            mark: epoch.mark,
            machine: self.me.machine.clone(),
            run: self.run.clone(),
        })
    }

    /// A host without a record in the store, whose books never had one there, owns nothing: it is at the plan's epoch at once.
    pub(super) fn join(&mut self) -> bool {
        let plan = self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref());
        let id = plan.map(|(_, plan)| plan.id.clone()).unwrap_or_default();
        let entries = vec![BookEntry::Plan(id), BookEntry::Epoch(self.epoch()), BookEntry::Intended(1)];
        self.write(entries, Stage::JoinIntended)
    }

    pub(super) fn join_now(&mut self) -> bool {
        self.put_host(1, self.epoch(), None, vec![self.plan_as_known()])
    }

    /// The restored store lacks this host: it gets its record back, and has not arrived.
    pub(super) fn put_back_own(&mut self) -> bool {
        self.beat(None)
    }

    /// Gives a sign; with an epoch, says that this host has arrived there.
    pub(super) fn beat(&mut self, arrived: Option<Epoch>) -> bool {
        let host = self.glimpse.as_ref().and_then(|glimpse| glimpse.host.as_ref());
        let beat = host.map_or(0, |(_, host)| host.beat).max(self.books.intended).saturating_add(1);
        self.write(vec![BookEntry::Intended(beat)], Stage::BeatIntended { arrived })
    }

    pub(super) fn beat_now(&mut self, arrived: Option<Epoch>) -> bool {
        let epoch = arrived.clone().unwrap_or_else(|| self.books.epoch.clone());
        self.put_host(self.books.intended, epoch, arrived, Vec::new())
    }

    fn put_host(&mut self, beat: u64, epoch: Epoch, arrived: Option<Epoch>, more: Vec<Compare>) -> bool {
        let (key, value) = (host_key(&self.me.id), self.record(beat, epoch));
        let mut compares = vec![self.host_as_known()];
        compares.extend(more);
        let effect = Effect::Put { key: key.clone(), value: value.clone() };
        self.call(StoreCall::Transact { compares, effect }, Stage::Host { key, value, beat, arrived })
    }

    /// A mutant says too early that it has arrived.
    pub(super) fn arrive_early(&mut self) -> bool {
        let (beat, epoch) = (self.books.acknowledged, self.epoch());
        let (key, value) = (host_key(&self.me.id), self.record(beat, epoch));
        let effect = Effect::Put { key, value: value.clone() };
        self.call(
            StoreCall::Transact { compares: vec![self.host_as_known()], effect },
            Stage::EarlyArrival { value },
        )
    }

    /// From here on no call of an earlier run changes anything: they all compare the record before this beat.
    pub(super) fn acknowledged(&mut self) {
        self.beaten = true;
        self.unsure = false;
        self.cleared = self.books.with(SliceState::Leaving).collect();
    }

    /// The books are older than the store: from now on the store wins, until they agree.
    pub(super) fn older(&mut self) -> bool {
        let glimpse = self.glimpse.as_ref();
        let (Some((_, plan)), Some((_, host))) =
            (glimpse.and_then(|it| it.plan.as_ref()), glimpse.and_then(|it| it.host.as_ref()))
        else {
            return false;
        };
        let entries = vec![
            BookEntry::Plan(plan.id.clone()),
            BookEntry::Epoch(host.epoch()),
            BookEntry::Intended(host.beat),
            BookEntry::Acknowledged(host.beat),
            BookEntry::Older(!self.is(super::mutants::Mutant::OldBooksWin)),
        ];
        self.note(
            "these books are older than the plan's store; the store's list of this host's slices counts"
                .to_owned(),
        );
        self.write(entries, Stage::Written)
    }
}
