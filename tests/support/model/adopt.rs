//! The naive plan's adopted networks: *fenced*, *disjoint*, and the network to which an unknown PoolID
//! belongs.
//!
//! Promises: implements the rules of `plan/adopt.rs` a second time. Does not deal with what a person may
//! write.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gipam::plan::change::{Change, Kind, Marks, Record, SubnetState};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Adoption, Decision, Reply, Space};

use super::siblings::{Part, apart, part};
use super::{Entry, Expected, Model};

/// Whether the subnet was adopted and its PoolID is still unknown.
fn awaits(state: &SubnetState) -> bool {
    state.id.contains("#?")
}

impl Model {
    fn local(&self) -> impl Iterator<Item = &SubnetState> {
        self.subnets.iter().map(|entry| &entry.state).filter(|state| state.space == Space::Local)
    }

    fn part_of(asked: &Adoption) -> Part<'_> {
        let range = asked.range.filter(|range| asked.prefix.contains(*range));
        (Space::Local, range, &asked.options)
    }

    /// Whether the two cannot both be held.
    fn clashes(asked: &Adoption, prefix: Prefix, other: Part<'_>) -> bool {
        let shares = prefix == asked.prefix && apart(Self::part_of(asked), other);
        prefix.overlaps(asked.prefix) && !shares
    }

    pub fn adopt_subnets(&mut self, all: &[Adoption], seen: &Decision) -> Result<(), String> {
        for (n, asked) in all.iter().enumerate() {
            let there = |state: &&SubnetState| Self::clashes(asked, state.prefix, part(state));
            let recent = |state: &SubnetState| state.released_at.is_some_and(|at| at + 5_000 > asked.read.at);
            let rival = |other: &Adoption| Self::clashes(asked, other.prefix, Self::part_of(other));
            let refused = if all[..n].iter().any(rival) {
                Some("OverlapPool")
            } else if self.local().filter(there).any(|state| state.released_at.is_none()) {
                Some("PoolOverlap")
            } else if self.local().filter(there).any(recent) {
                Some("OutOfDate")
            } else if asked.id.as_ref().is_some_and(|id| self.exactly(id).is_some()) {
                Some("OverlapPool")
            } else {
                None
            };
            if let Some(variant) = refused {
                return self.expect(seen, &Expected::Refused(variant), false, false);
            }
        }
        self.expect(seen, &Expected::Reply(Reply::Done), true, false)?;
        let held = |prefix: Prefix| self.local().any(|it| it.prefix == prefix && it.released_at.is_none());
        let shares: Vec<bool> = all.iter().map(|it| all.len() > 1 || held(it.prefix)).collect();
        for (asked, shares) in all.iter().zip(shares) {
            self.adopt_one(asked, shares);
        }
        Ok(())
    }

    fn adopt_one(&mut self, asked: &Adoption, shares: bool) {
        let prefix = asked.prefix;
        let (now, generation) = (self.now, self.generation());
        let its_own = |at: &usize| !shares || !apart(part(&self.subnets[*at].state), Self::part_of(asked));
        let memory = self.memory_for(Space::Local, prefix, Self::part_of(asked)).filter(its_own);
        let serial = memory.map_or(self.next_serial, |at| self.subnets[at].state.serial);
        self.next_serial = self.next_serial.max(serial + 1);
        let mut records = memory.map_or_else(BTreeMap::new, |at| self.subnets.remove(at).records);
        let mut gateway = None;
        for lease in &asked.leases {
            let known = records.get(&lease.address);
            if !prefix.contains_number(lease.address) || known.is_some_and(|record| record.leased) {
                continue;
            }
            let rival = self.subnets.iter().position(|entry| {
                let state = &entry.state;
                let shares = entry.held() && (state.space, state.prefix) == (Space::Local, prefix);
                shares && entry.leased(lease.address).is_some()
            });
            if let Some(at) = rival.filter(|_| shares) {
                let other = self.subnets[at].records.get_mut(&lease.address).unwrap();
                let old = other.generation < asked.read.generation;
                match (other.kind, lease.kind) {
                    (Kind::Gateway, Kind::Gateway) => {}
                    (Kind::Endpoint, _) if old => {
                        (other.leased, other.since, other.withheld) = (false, now, true);
                    }
                    _ => continue,
                }
            }
            if lease.kind == Kind::Gateway {
                gateway = gateway.or(Some(lease.address));
            }
            let (kind, mac, asked_by_number) =
                (lease.kind, lease.mac, known.is_some_and(|record| record.asked_by_number));
            let generation = self.generation();
            let record = Record {
                leased: true,
                kind,
                name: lease.name.clone(),
                mac,
                asked_by_number,
                withheld: false,
                since: now,
                generation,
            };
            records.insert(lease.address, record);
        }
        let range = Self::part_of(asked).1;
        let shared = range.filter(|_| shares).map_or_else(String::new, |range| range.to_string());
        let pool = self
            .settings
            .pools
            .iter()
            .find(|pool| pool.base(prefix.family()).is_some_and(|base| base.base.contains(prefix)));
        let state = SubnetState {
            serial,
            id: asked.id.clone().unwrap_or_else(|| format!("local/{prefix}#?{shared}")),
            space: Space::Local,
            prefix,
            range,
            pool: pool.map(|pool| pool.name.clone()),
            options: asked.options.clone(),
            dynamic: false,
            granted_at: now,
            generation,
            start_beyond: None,
            marks: Marks { addressed: true, had_endpoint: true, set_up_at: now, gateway, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        self.subnets.push(Entry { state, records });
    }

    pub fn name_subnet(&mut self, prefix: Prefix, id: &str, seen: &Decision) -> Result<(), String> {
        let there = |of: &dyn Fn(&SubnetState) -> bool| -> Vec<usize> {
            let all = self.subnets.iter().enumerate();
            all.filter(|(_, it)| it.held() && awaits(&it.state) && of(&it.state)).map(|(at, _)| at).collect()
        };
        let mut waiting = there(&|state| state.prefix == prefix);
        if waiting.is_empty() {
            waiting = there(&|state| state.range == Some(prefix));
        }
        if waiting.len() > 1 {
            return self.expect(seen, &Expected::Refused("InvalidRequest"), false, false);
        }
        let waiting = waiting.first().copied();
        let held = self.local().any(|state| state.released_at.is_none() && state.prefix == prefix);
        let variant = match (waiting, self.exactly(id)) {
            (None, _) if held => "OverlapPool",
            (None, _) => "NotFound",
            (Some(_), Some(_)) => "OverlapPool",
            (Some(at), None) => {
                self.expect(seen, &Expected::Reply(Reply::Done), true, false)?;
                self.known_as(at, id);
                return Ok(());
            }
        };
        self.expect(seen, &Expected::Refused(variant), false, false)
    }

    /// The first request for an address sets an adopted subnet's PoolID, if the PoolID fits: exactly its
    /// prefix, perhaps its range, and 16 hex digits. Returns the rest of the decision.
    pub fn learn(&mut self, id: &str, seen: &Decision) -> Result<Option<Decision>, String> {
        if self.held(id).is_some() {
            return Ok(None);
        }
        let Some(at) = self.could_be(id) else { return Ok(None) };
        let serial = self.subnets[at].state.serial;
        match seen.changes.split_first() {
            Some((Change::SubnetIdLearned { serial: whose, id: learned, .. }, rest))
                if *whose == serial && learned == id =>
            {
                let released = self.known_as(at, id);
                let rest = &rest[released.min(rest.len())..];
                let (reply, changes, warnings) = (seen.reply.clone(), rest.to_vec(), seen.warnings.clone());
                Ok(Some(Decision { reply, changes, warnings, undo: seen.undo.clone() }))
            }
            _ => Err(format!("expected the plan to learn {id}")),
        }
    }

    /// The adopted subnets that wait for their PoolID and could have this one.
    pub(super) fn waiting(&self, id: &str) -> Vec<usize> {
        let is = |entry: &Entry| {
            let state = &entry.state;
            let with_range = state.range.map(|range| format!("local/{}/{range}#", state.prefix));
            let named = [Some(format!("local/{}#", state.prefix)), with_range].into_iter().flatten();
            let random = named.filter_map(|named| id.strip_prefix(&named)).next();
            let hex = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
            entry.held() && awaits(state) && random.is_some_and(hex)
        };
        (0..self.subnets.len()).filter(|at| is(&self.subnets[*at])).collect()
    }

    /// The subnet with this PoolID: the only candidate, or the only one with a lease that was released under
    /// this PoolID.
    fn could_be(&self, id: &str) -> Option<usize> {
        let waiting = self.waiting(id);
        if let [at] = waiting[..] {
            return Some(at);
        }
        let released = |at: &usize| {
            let entry = &self.subnets[*at];
            self.kept.iter().any(|(serial, address, generation, named, _)| {
                let lease = entry.leased(*address).filter(|record| record.generation == *generation);
                *serial == entry.state.serial && named == id && lease.is_some()
            })
        };
        let found: Vec<usize> = waiting.into_iter().filter(released).collect();
        if let [at] = found[..] { Some(at) } else { None }
    }

    /// Keeps a release under an unknown PoolID: the last one for each address, if it differs from the one
    /// kept.
    pub fn keep_release(&mut self, id: &str, address: IpAddr) -> bool {
        let there =
            self.waiting(id).into_iter().filter_map(|at| self.lease_at(at, address)).collect::<Vec<_>>();
        let [(at, address, record)] = there[..] else { return false };
        let (serial, generation) = (self.subnets[at].state.serial, record.generation);
        let same = |kept: &&(u64, u128, u64, String, u64)| (kept.0, kept.1) == (serial, address);
        let known = self.kept.iter().find(same);
        if known.is_some_and(|known| known.2 == generation && known.3 == id) {
            return false;
        }
        self.kept.retain(|kept| !same(&kept));
        self.kept.push((serial, address, generation, id.to_owned(), self.now));
        true
    }

    /// Sets the PoolID: leases released under it count as free since their release. Returns how many.
    fn known_as(&mut self, at: usize, id: &str) -> usize {
        let entry = &mut self.subnets[at];
        entry.state.id = id.to_owned();
        let (serial, mut released) = (entry.state.serial, 0);
        for (_, address, generation, _, since) in
            self.kept.iter().filter(|kept| kept.0 == serial && kept.3 == id)
        {
            let lease = entry.records.get_mut(address);
            let Some(record) = lease.filter(|it| it.leased && it.generation == *generation) else { continue };
            (record.leased, record.since) = (false, *since);
            released += 1;
        }
        self.kept.retain(|kept| kept.0 != serial);
        released
    }
}
