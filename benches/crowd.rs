//! What the hosts of a simulated plan request, and what their machines call the store for.
//!
//! Promises: counts each call once, for the request that waits for it.

use std::collections::{BTreeMap, BTreeSet};

use gipam::claims::machine::calls::StoreCall;
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, Need};
use gipam::claims::machine::own_books::BookEntry;
use gipam::claims::machine::records::slice_key;
use gipam::plan::change::Change;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{AddressRequest, Reply, Request, Space, SubnetRequest, Want, Wanted};
use gipam::plan::slices::{Slice, SliceState};

use crate::cluster::{DEAD, Event, GIVEN_UP, OUTAGE, WAY, Waiting, World, host_id, lan, put_slice, routed};

/// A request for a network of this prefix.
pub fn exact(prefix: Prefix) -> Request {
    subnet(Wanted::Exact(prefix))
}

fn subnet(wanted: Wanted) -> Request {
    Request::Subnet(SubnetRequest {
        space: Space::Local,
        family: Family::V4,
        wanted,
        range: None,
        options: BTreeMap::new(),
        pools: None,
        in_use: Default::default(),
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    })
}

/// Requests and their answers.
impl World {
    pub fn network(&mut self, host: usize) {
        if self.hosts[host].machine.is_some() {
            self.ask(host, subnet(Wanted::Any { size: None }));
        }
    }

    pub fn container(&mut self, host: usize) {
        let it = &self.hosts[host];
        if it.machine.is_some() && !it.lan.is_empty() {
            let id = it.lan.clone();
            self.ask(host, Request::Address(AddressRequest { id, ..AddressRequest::default() }));
        }
    }

    /// A person forgets a dead host; another host then creates a network in one of its slices.
    pub fn forget(&mut self, dead: usize) {
        let id = host_id(dead);
        let by = dead - DEAD;
        self.step(by, ClaimEvent::Forget { host: id });
        let slice = self.hosts[dead].plan.slices().iter().find(|it| routed().base.contains(it.prefix));
        if let Some(prefix) = slice.map(|slice| Prefix::new(Family::V4, slice.prefix.first(), 26)) {
            self.ask(by, exact(prefix));
        }
    }

    pub fn ask(&mut self, host: usize, request: Request) {
        let (now, it) = (self.now, &mut self.hosts[host]);
        it.plan.advance(now);
        it.numbers += 1;
        let decision = it.plan.decide(&request, it.numbers);
        match decision.reply {
            Ok(Reply::Claim(want)) => self.want(host, want, Some(request)),
            Ok(reply) => {
                let calls = self.counts.calls + self.counts.upkeep;
                let it = &mut self.hosts[host];
                decision.changes.iter().for_each(|change| it.plan.apply(change));
                self.counts.own_calls += self.counts.calls + self.counts.upkeep - calls;
                self.granted(host, reply);
            }
            Err(refusal) => {
                let again = matches!(request, Request::Subnet(_));
                if OUTAGE.contains(&now.saturating_sub(3 * GIVEN_UP)) || OUTAGE.contains(&now) {
                    self.counts.outage_refused += 1;
                } else {
                    self.counts.refused_otherwise += 1;
                    self.counts.why.get_or_insert(refusal.text);
                }
                // The person repeats it when the store is back.
                let at = OUTAGE.end + self.below(60_000);
                if now < OUTAGE.end {
                    self.at(at, if again { Event::Network(host) } else { Event::Container(host) });
                }
            }
        }
    }

    fn granted(&mut self, host: usize, reply: Reply) {
        match reply {
            Reply::Subnet { id, prefix, .. } if prefix == lan().base => self.hosts[host].lan = id,
            Reply::Subnet { .. } => {
                self.hosts[host].networks += 1;
                self.counts.networks += 1;
                self.counts.outage_made += usize::from(OUTAGE.contains(&self.now));
                if self.hosts[host].needs_spare() {
                    self.want(host, Want::Room { base: routed().base }, None);
                }
            }
            Reply::Address { .. } => self.counts.lan_addresses += 1,
            _ => {}
        }
    }

    fn want(&mut self, host: usize, want: Want, request: Option<Request>) {
        let it = &mut self.hosts[host];
        it.numbers += 1;
        let (number, since) = (it.numbers, self.now);
        it.waiting.insert(number, Waiting { want, request, since });
        let (Want::Room { base: part } | Want::These(part)) = want;
        let pool = if lan().base.contains(part) { lan() } else { routed() };
        let need = match want {
            Want::Room { base } => Need::Room { part: base },
            Want::These(these) => Need::These(these),
        };
        if self.hosts[host].machine.as_ref().is_some_and(|machine| !machine.retries()) {
            self.step(host, ClaimEvent::Tick { now: self.now });
        }
        self.step(host, ClaimEvent::Want { want: number, pool, need });
    }

    fn answered(&mut self, host: usize, number: u64, why: Option<&str>) {
        let Some(Waiting { want, request, since }) = self.hosts[host].waiting.remove(&number) else { return };
        if !OUTAGE.contains(&since) {
            self.counts.slowest = self.counts.slowest.max(self.now - since);
        }
        let Some(mut request) = request else { return };
        if let Some(why) = why {
            request.note_cannot(want, why);
        }
        self.ask(host, request);
    }
}

/// The machine of a host, and the store.
impl World {
    pub fn step(&mut self, host: usize, event: ClaimEvent) {
        let actions = self.hosts[host].machine.as_mut().map(|machine| machine.step(event));
        for action in actions.into_iter().flatten() {
            match action {
                ClaimAction::Call { call, what } => self.call(host, call, what),
                ClaimAction::Write { write, entries } => {
                    self.write(host, entries);
                    self.step(host, ClaimEvent::Committed { write });
                }
                ClaimAction::Owned { want, .. } => self.answered(host, want, None),
                ClaimAction::Cannot { want, text } => self.answered(host, want, Some(&text)),
                ClaimAction::Forgotten { .. } | ClaimAction::Note(_) => {}
            }
        }
        self.plan_wake(host);
    }

    /// As the task of the daemon does: for a look, for the next attempt, and when a want has waited long enough.
    fn plan_wake(&mut self, host: usize) {
        let Some(machine) = &self.hosts[host].machine else { return };
        let next = match () {
            () if machine.is_under_way() => u64::MAX,
            () if machine.retries() => self.now + GIVEN_UP,
            () => machine.wakes_at(),
        };
        let next = machine.patience_ends_at().map_or(next, |ends| ends.min(next)).max(self.now + 1);
        if next != u64::MAX && self.hosts[host].wakes != next {
            self.hosts[host].wakes = next;
            self.at(next, Event::Wake(host));
        }
    }

    fn call(&mut self, host: usize, call: u64, what: StoreCall) {
        self.count(host, &what);
        match OUTAGE.contains(&self.now) {
            true => self.at(self.now + GIVEN_UP, Event::Answer(host, call, None)),
            false => self.at(self.now + WAY, Event::Call(host, call, what)),
        }
    }

    /// Counts a call that reaches the store.
    fn count(&mut self, host: usize, what: &StoreCall) {
        if OUTAGE.contains(&self.now) {
            return;
        }
        let second = self.now / 1_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.counts.peak = self.counts.peak.max(self.second.1);
        let first = self.hosts[host].waiting.values().next().map(|waiting| waiting.want);
        let Some(Want::Room { base: part } | Want::These(part)) =
            first.filter(|_| !matches!(what, StoreCall::Get { .. }))
        else {
            self.counts.upkeep += 1;
            return;
        };
        self.counts.calls += 1;
        self.counts.lan_calls += usize::from(lan().base.contains(part));
        if let Some(old) = put_slice(what) {
            self.counts.claims += 1;
            self.counts.taken += usize::from(old);
        }
    }

    /// The entries enter the books at once.
    fn write(&mut self, host: usize, entries: Vec<BookEntry>) {
        let it = &mut self.hosts[host];
        for entry in entries {
            match &entry {
                BookEntry::Slice { prefix, state, claim } => {
                    let (prefix, state, claim) = (*prefix, *state, claim.as_str().into());
                    it.plan.apply(&Change::SlicePut(Slice { prefix, state, claim }));
                }
                BookEntry::SliceGone { prefix } => it.plan.apply(&Change::SliceGone { prefix: *prefix }),
                _ => {}
            }
            it.books.apply(entry);
        }
    }

    /// How many slices two living hosts have, or a host has and the store lacks.
    pub fn doubles(&self) -> usize {
        let mut seen: BTreeSet<Prefix> = BTreeSet::new();
        let living = self.hosts.iter().filter(|host| host.machine.is_some());
        let held = living.flat_map(|host| host.books.with(SliceState::Held));
        held.filter(|slice| !self.store.contains_key(&slice_key(*slice)) || !seen.insert(*slice)).count()
    }
}
