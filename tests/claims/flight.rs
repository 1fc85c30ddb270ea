//! Calls on their way to the store and back: late, doubled, lost, or without an answer.
//!
//! Promises: the store carries out a call completely or not at all, at one moment.

use gipam::claims::machine::calls::StoreReply;
use gipam::claims::machine::event::ClaimEvent;
use gipam::claims::machine::records::{HostRecord, PLAN, PlanRecord, host_key, read};

use crate::world::{Flight, HOSTS, World};

impl World {
    /// Moves one call or answer on its way.
    pub fn fly(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let index = self.chance.below(self.flights.len());
        if self.flights[index].late && self.flights[index].wakes > self.steps && !self.calm {
            return;
        }
        let mut flight = self.flights.swap_remove(index);
        if let Some(reply) = flight.reply {
            if self.hosts[flight.host].run == flight.run {
                self.step(flight.host, ClaimEvent::Replied { call: flight.call, reply });
            }
            return;
        }
        let fate = if self.calm { 1_000 } else { self.chance.below(1_000) };
        let cut = self.hosts[flight.host].cut && !flight.late;
        match fate {
            // Late: the caller gives up, but the call continues.
            0..=29 if !flight.late => {
                flight.late = true;
                flight.wakes = self.later();
                let (host, run, call) = (flight.host, flight.run.clone(), flight.call);
                self.flights.push(flight);
                self.unknown(host, &run, call);
            }
            // Lost.
            30..=49 => self.unknown(flight.host, &flight.run, flight.call),
            _ if cut && fate % 2 == 0 => self.unknown(flight.host, &flight.run, flight.call),
            _ => {
                let reply = flight.what.apply(&mut self.store);
                let id = self.hosts[flight.host].id.clone();
                self.tell(|| format!("store: {id} call {} of {}: {reply:?}", flight.call, flight.run));
                if reply == StoreReply::Done {
                    self.noticed();
                }
                // Doubled.
                if (50..=79).contains(&fate) {
                    let (run, what, wakes) = (flight.run.clone(), flight.what.clone(), self.later());
                    self.flights.push(Flight { run, what, reply: None, late: true, wakes, ..flight });
                }
                if cut || (80..=109).contains(&fate) {
                    self.unknown(flight.host, &flight.run, flight.call);
                } else if !flight.late {
                    self.flights.push(Flight { reply: Some(reply), ..flight });
                }
            }
        }
    }

    /// When a late call goes on: mostly soon, sometimes when nobody thinks of it any more.
    pub fn later(&mut self) -> usize {
        let most = if self.chance.in_1000(300) { 500 } else { 30 };
        self.steps + self.chance.below(most)
    }

    fn unknown(&mut self, host: usize, run: &str, call: u64) {
        if self.hosts[host].run == run {
            self.tally.unknown += 1;
            self.step(host, ClaimEvent::Unknown { call, why: "cut".to_owned() });
        }
    }

    /// Records the changes by a call that concern all hosts.
    fn noticed(&mut self) {
        let plan: PlanRecord = read(&self.store[PLAN]).unwrap();
        if plan.epoch() != self.plan.epoch() && !self.restored {
            self.fail(format!("epoch {} began without a restore", plan.epoch));
        }
        self.plan = plan;
        let fenced = |id: &str| {
            let host: Option<HostRecord> = self.store.get(&host_key(id)).and_then(|value| read(value));
            host.is_some_and(|host| host.fenced.is_some())
        };
        let newly: Vec<usize> =
            (0..HOSTS).filter(|it| !self.hosts[*it].forgotten && fenced(&self.hosts[*it].id)).collect();
        for host in newly {
            self.hosts[host].forgotten = true;
            self.tally.forgotten += 1;
        }
    }
}
