//! The naive plan's adopted networks: *fenced*, *disjoint*, and whose PoolID it is that an address is asked for under.
//!
//! Promises: the rules of `plan/adopt.rs` written down a second time. Knows nothing of what a person may write.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gipam::plan::change::{Change, Kind, Marks, Record, SubnetState};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Adoption, Decision, Reply, Space};

use super::{Entry, Expected, Model};

impl Model {
    fn local(&self) -> impl Iterator<Item = &SubnetState> {
        self.subnets.iter().map(|entry| &entry.state).filter(|state| state.space == Space::Local)
    }

    pub fn adopt_subnet(&mut self, asked: &Adoption, seen: &Decision) -> Result<(), String> {
        let (prefix, read) = (asked.prefix, asked.read);
        let there = |state: &&SubnetState| state.prefix.overlaps(prefix);
        let recent = |state: &SubnetState| state.released_at.is_some_and(|at| at + 5_000 > read.at);
        let refused = if self.local().filter(there).any(|state| state.released_at.is_none()) {
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
        self.expect(seen, &Expected::Reply(Reply::Done), true, false)?;
        let (now, generation) = (self.now, self.generation());
        let memory = self.memory(Space::Local, prefix);
        let serial = memory.map_or(self.next_serial, |at| self.subnets[at].state.serial);
        self.next_serial = self.next_serial.max(serial + 1);
        let mut records = memory.map_or_else(BTreeMap::new, |at| self.subnets.remove(at).records);
        let mut gateway = None;
        for lease in &asked.leases {
            let known = records.get(&lease.address);
            if !prefix.contains_number(lease.address) || known.is_some_and(|record| record.leased) {
                continue;
            }
            if lease.kind == Kind::Gateway {
                gateway = gateway.or(Some(lease.address));
            }
            let (kind, mac, pinned) = (lease.kind, lease.mac, known.is_some_and(|record| record.pinned));
            let generation = self.generation();
            let record = Record {
                leased: true,
                kind,
                name: lease.name.clone(),
                mac,
                pinned,
                withheld: false,
                since: now,
                generation,
            };
            records.insert(lease.address, record);
        }
        let pool = self
            .settings
            .pools
            .iter()
            .find(|pool| pool.base(prefix.family()).is_some_and(|base| base.base.contains(prefix)));
        let state = SubnetState {
            serial,
            id: asked.id.clone().unwrap_or_else(|| format!("local/{prefix}#?")),
            space: Space::Local,
            prefix,
            range: asked.range.filter(|range| prefix.contains(*range)),
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
        Ok(())
    }

    pub fn name_subnet(&mut self, prefix: Prefix, id: &str, seen: &Decision) -> Result<(), String> {
        let waiting = self.exactly(&format!("local/{prefix}#?"));
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

    /// The first request for an address says an adopted subnet's PoolID, if it could be one: exactly its prefix, and 16
    /// hex digits. What else was decided then is handed back.
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
            _ => Err(format!("expected that {id} is learned")),
        }
    }

    /// The adopted subnet that waits for its PoolID and could be called so.
    fn could_be(&self, id: &str) -> Option<usize> {
        self.subnets.iter().position(|entry| {
            let state = &entry.state;
            let random = id.strip_prefix(&format!("local/{}#", state.prefix));
            let hex = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
            entry.held() && state.id.ends_with('?') && random.is_some_and(hex)
        })
    }

    /// Keeps a release under a PoolID that nobody knows yet: one for each address, the last one that differs.
    pub fn keep_release(&mut self, id: &str, address: IpAddr) -> bool {
        let Some(at) = self.could_be(id) else { return false };
        let Some((at, address, record)) = self.lease_at(at, address) else { return false };
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

    /// The PoolID is known: what was released under it is free since then. Returns how many.
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
