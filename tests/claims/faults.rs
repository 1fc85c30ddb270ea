//! The faults and changes that people and chance cause in a history.
//!
//! Promises: each function changes one host, or the store, if the change is possible there at the moment.

use gipam::claims::machine::calls::StoreCall;
use gipam::claims::machine::event::{ClaimEvent, Need};
use gipam::claims::machine::records::{
    HostRecord, PLAN, PlanRecord, host_key, host_of, read, slice_of, written,
};
use gipam::plan::prefix::Prefix;

use crate::host::Host;
use crate::pools::pools;
use crate::world::{HOSTS, Restores, World};

impl World {
    /// A slice is claimed ahead of need.
    pub fn want(&mut self, host: usize) {
        if let Some(pool) = self.chance.one_of(&pools()) {
            let need = Need::Room { part: pool.base };
            self.want_of(host, None, pool, need);
        }
    }

    /// A slice seems to be empty, and often is.
    pub fn give_back(&mut self, host: usize) {
        let it = &self.hosts[host];
        // Repair has not compared the books with Docker yet.
        if it.stale {
            return;
        }
        let slices: Vec<Prefix> = it.books.slices.keys().copied().collect();
        let used = |slice: &Prefix| it.docker.taken().any(|taken| taken.overlaps(*slice));
        let empty: Vec<Prefix> = slices.iter().filter(|slice| !used(slice)).copied().collect();
        let from = if self.chance.in_1000(200) { slices } else { empty };
        if let Some(prefix) = self.chance.one_of(&from) {
            self.step(host, ClaimEvent::GiveBack { prefix });
        }
    }

    pub fn kill(&mut self, host: usize) {
        if !self.hosts[host].is_running() {
            return;
        }
        self.tally.kills += 1;
        let committed = self.chance.in_1000(500);
        let before = self.hosts[host].books.clone();
        self.hosts[host].kill(committed);
        self.count(host, &before);
        self.check_disk(host);
        let id = self.hosts[host].id.clone();
        self.tell(|| format!("{id} is killed"));
        // The calls of the killed process continue without it, or are lost.
        let run = self.hosts[host].run.clone();
        let chance = &mut self.chance;
        self.flights.retain(|flight| flight.run != run || (flight.reply.is_none() && chance.in_1000(600)));
        for index in 0..self.flights.len() {
            if self.flights[index].run == run && !self.flights[index].late {
                self.flights[index].late = true;
                self.flights[index].wakes = self.later();
            }
        }
    }

    /// Everything that was answered is on disk.
    fn check_disk(&mut self, host: usize) {
        let it = &self.hosts[host];
        let missing = it.docker.missing_in(&it.disk.plan(self.now));
        if let Some(what) = missing.filter(|_| !it.stale) {
            self.fail(format!("{} has lost {what} in a crash", self.hosts[host].id));
        }
    }

    pub fn start(&mut self, host: usize) {
        if self.hosts[host].gone {
            if self.hosts[host].forgotten {
                // A new machine takes the place of the host.
                self.renew(host);
            }
            return;
        }
        if self.hosts[host].stopped().is_some() && self.hosts[host].forgotten {
            // A person lets the host join again.
            self.kill(host);
            self.renew(host);
        }
        if !self.hosts[host].is_running() {
            let number = self.number();
            let actions = self.hosts[host].start(number, self.now, self.script.faulty);
            self.act(host, actions);
        }
    }

    fn renew(&mut self, host: usize) {
        let id = format!("h{}", self.number());
        let before = std::mem::replace(&mut self.hosts[host], Host::new(id));
        self.buried.push(before.id);
    }

    pub fn bury(&mut self, host: usize) {
        // Somebody has to be left to forget the others.
        let left = self.hosts.iter().filter(|it| !it.gone).count();
        if self.chance.in_1000(250) && !self.hosts[host].gone && left > 1 {
            self.kill(host);
            self.hosts[host].gone = true;
        }
    }

    /// A person forgets a host that is gone for good, or, wrongly, one that is alive.
    pub fn forget(&mut self) {
        let fenced = |id: &str| {
            let host: Option<HostRecord> = self.store.get(&host_key(id)).and_then(|value| read(value));
            host.is_none_or(|host| host.fenced.is_some())
        };
        let gone = self.hosts.iter().filter(|host| host.gone).map(|host| &host.id).chain(&self.buried);
        let mut victims: Vec<String> = gone.filter(|id| !fenced(id)).cloned().collect();
        if self.script.forget_living && !self.calm {
            victims.extend(self.hosts.iter().filter(|host| !fenced(&host.id)).map(|host| host.id.clone()));
        }
        let Some(victim) = self.chance.one_of(&victims) else { return };
        let by = self.chance.below(HOSTS);
        if self.hosts[by].is_running() && self.hosts[by].id != victim {
            self.step(by, ClaimEvent::Forget { host: victim });
        }
    }

    pub fn copy(&mut self, host: usize) {
        let copy = self.hosts[host].disk.clone();
        let copies = &mut self.hosts[host].copies;
        copies.push(copy);
        if copies.len() > 3 {
            copies.remove(0);
        }
    }

    /// A machine is set back to an older copy of its books; its networks continue to run.
    pub fn set_books_back(&mut self, host: usize) {
        let Some(copy) = self.chance.one_of(&self.hosts[host].copies).filter(|_| self.script.books_back)
        else {
            return;
        };
        if self.hosts[host].gone || self.hosts[host].forgotten {
            return;
        }
        self.kill(host);
        self.tally.books_back += 1;
        let now = self.now;
        let it = &mut self.hosts[host];
        it.stale = true;
        it.disk = copy;
        it.books = it.disk.books(&it.disk.plan(now));
        let id = it.id.clone();
        self.tell(|| format!("{id} has an older copy of its books"));
    }

    /// Snapshots of the store, and a restore; most restores happen at moments when a claim is in flight.
    pub fn restore(&mut self) {
        let script = self.script;
        if script.restores == Restores::Never {
            return;
        }
        let claiming = self.flights.iter().any(|flight| match &flight.what {
            StoreCall::Transact { compares, .. } => compares.iter().any(|it| slice_of(&it.key).is_some()),
            _ => false,
        });
        if self.snapshots.is_empty() || self.chance.in_1000(500) {
            self.snapshots.push(self.store.clone());
            if self.snapshots.len() > 3 {
                self.snapshots.remove(0);
            }
            return;
        }
        if !self.chance.in_1000(if claiming { 800 } else { 300 }) {
            return;
        }
        let Some(snapshot) = self.chance.one_of(&self.snapshots) else { return };
        self.tally.restores += 1;
        self.restored = true;
        let before = std::mem::replace(&mut self.store, snapshot);
        self.tell(|| "the store is restored".to_owned());
        if script.restores == Restores::Announced {
            // A person who restores the store knows the hosts of the plan.
            for (key, value) in &before {
                if host_of(key).is_some()
                    && let Some(host) = read::<HostRecord>(value)
                {
                    let missing = written(&HostRecord::missing(&host.name, host.fenced));
                    self.store.entry(key.clone()).or_insert(missing);
                }
            }
            let mark = format!("p{}", self.number());
            let plan = read::<PlanRecord>(&self.store[PLAN]).unwrap().restored(0, &mark);
            self.store.insert(PLAN.to_owned(), written(&plan));
        }
        self.plan = read(&self.store[PLAN]).unwrap();
    }
}
