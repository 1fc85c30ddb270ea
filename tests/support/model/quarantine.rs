//! The naive plan's quarantine: who has an address of a LAN, and which address needs a probe.
//!
//! Promises: implements the rules of `plan/quarantine.rs` a second time, address by address.

use gipam::plan::change::{Kind, Record, SubnetState};
use gipam::plan::prefix::number;
use gipam::plan::request::{AddressRequest, Decision, ProbeResult, Reply, Space};

use super::{Entry, Expected, Model};

/// Whether a record is the lease of a stranger.
pub fn is_strangers(record: &Record) -> bool {
    record.leased && record.kind == Kind::Stranger
}

impl Model {
    fn probes(&self, state: &SubnetState) -> bool {
        let mut bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        let around = bases.find(|base| base.base.contains(state.prefix));
        let mut pools = self.settings.pools.iter();
        let own = pools.find(|pool| Some(&pool.name) == state.pool.as_ref());
        let own = own.and_then(|pool| pool.base(state.prefix.family()));
        state.space == Space::Local && around.or(own).is_some_and(|base| base.probe)
    }

    /// Whether the address may not be given before it was probed.
    pub fn must_probe(&self, entry: &Entry, address: u128, request: &AddressRequest) -> bool {
        let probed = request.probed.as_deref().cloned().unwrap_or_default();
        let recent = entry.records.get(&address).is_some_and(|record| record.since + 60_000 > self.now);
        let silent = probed.silent.contains(&entry.state.prefix.address(address));
        self.probes(&entry.state) && !request.gateway && !probed.is_over && !recent && !silent
    }

    pub fn probed(&mut self, result: &ProbeResult, seen: &Decision) -> Result<(), String> {
        let done = match result {
            ProbeResult::Silent { serial, address, generation } => {
                let at = self.by_serial(*serial).filter(|at| self.subnets[*at].held());
                let same = |at: &usize| {
                    let record = self.subnets[*at].records.get(address);
                    record.is_some_and(|record| is_strangers(record) && record.generation == *generation)
                };
                at.filter(same).map(|at| self.subnets[at].records.remove(address)).is_some()
            }
            ProbeResult::Answered { address, mac, began } => {
                let asked = number(*address);
                let is_around = |at: &usize| {
                    let entry = &self.subnets[*at];
                    let local = entry.state.space == Space::Local;
                    entry.held() && local && entry.state.prefix.contains_address(*address)
                };
                let mut around: Vec<usize> = (0..self.subnets.len()).filter(is_around).collect();
                around.sort_by_key(|at| self.subnets[*at].state.serial);
                let open = |at: &&usize| {
                    let state = &self.subnets[**at].state;
                    self.probes(state) && self.slot(state) != asked
                };
                let probed: Vec<usize> = around.iter().filter(open).copied().collect();
                let record = |at: &usize| self.subnets[*at].records.get(&asked);
                let ours = |record: &Record| {
                    record.kind != Kind::Stranger
                        && (record.leased || record.generation >= *began || record.mac == Some(*mac))
                };
                let stranger = around.iter().find(|at| record(at).is_some_and(is_strangers)).copied();
                let known = stranger.is_some_and(|at| record(&at).is_some_and(|it| it.mac == Some(*mac)));
                let is_ours = around.iter().any(|at| record(at).is_some_and(ours));
                match stranger.or(probed.first().copied()).filter(|_| !known && !is_ours) {
                    None => false,
                    Some(at) => {
                        let since = stranger.and_then(|at| record(&at)).map_or(self.now, |it| it.since);
                        let record = Record {
                            leased: true,
                            kind: Kind::Stranger,
                            name: None,
                            mac: Some(*mac),
                            asked_by_number: false,
                            withheld: false,
                            since,
                            generation: self.generation(),
                        };
                        self.subnets[at].records.insert(asked, record);
                        true
                    }
                }
            }
        };
        self.expect(seen, &Expected::Reply(Reply::Done), done, false)
    }
}
