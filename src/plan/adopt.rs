//! Adopting a whole network that Docker has and the books do not hold: lost books, or books from an old backup.
//!
//! Promises: *fenced*, *disjoint*; the subnet and all that the Engine shows live in it come into the books in one
//! decision, so a live address is never free, not even for a moment. The Engine shows no PoolIDs: an adopted subnet
//! has none until the first RequestAddress, or a person, says it. Only a request for an address can say it: a release
//! may be a late one of an earlier grant (P19), and whoever believed it would take the network its subnet away.

use std::collections::BTreeSet;

use super::change::{Change, Kind, Marks, Record, Serial, SubnetState, Why};
use super::error::Error;
use super::prefix::Prefix;
use super::repair::SETTLING;
use super::request::{Adoption, Context, Dead, Fence, Space};
use super::settings::rfc3339;
use super::subnet::Subnet;
use super::{Millis, Plan};

/// Longest PoolID accepted from a person.
const LONGEST_ID: usize = 255;

/// Placeholder for a PoolID until it is learned; no grant ever has it.
fn unlearned_id(space: Space, prefix: Prefix) -> String {
    format!("{space}/{prefix}#?")
}

/// Whether a PoolID of ours ends like this: 64 bits in hex.
fn is_random(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Subnet {
    /// A PoolID that a RequestAddress for this subnet may carry: its own, or one that it would learn as its own.
    pub fn asked_as(&self) -> String {
        match self.awaits_id() {
            true => format!("{}/{}#{:016x}", self.state.space, self.state.prefix, 0),
            false => self.state.id.clone(),
        }
    }

    /// Adopted, and its PoolID is not known yet.
    pub fn awaits_id(&self) -> bool {
        self.state.id.ends_with("#?") && self.state.id == unlearned_id(self.state.space, self.state.prefix)
    }
}

impl Plan {
    /// The held subnet with this PoolID; subnets whose PoolID is not known yet are not found here.
    pub(super) fn granted(&self, id: &str) -> Option<&Subnet> {
        self.held(id).filter(|subnet| !subnet.awaits_id())
    }

    /// The held subnet that a request for an address means, and what is learned from it: an unknown PoolID of our form
    /// can only have come from us, and names exactly the prefix of an adopted subnet.
    pub(super) fn called(&self, id: &str) -> Option<(&Subnet, Option<Change>)> {
        if let Some(subnet) = self.granted(id) {
            return Some((subnet, None));
        }
        let (named, _) = id.rsplit_once('#').filter(|(_, random)| is_random(random))?;
        let subnet = self.held(&format!("{named}#?")).filter(|subnet| subnet.awaits_id())?;
        let serial = subnet.state.serial;
        Some((subnet, Some(Change::SubnetIdLearned { serial, id: id.to_owned(), why: Why::Docker })))
    }

    /// Takes a network into the books.
    pub(super) fn adopt_subnet(&self, seen: &Adoption, context: Context) -> Result<Vec<Change>, Error> {
        let prefix = seen.prefix;
        self.refuse_overlap(Space::Local, prefix, &Dead::default())?;
        self.refuse_recent(prefix, seen.read)?;
        if let Some(id) = &seen.id {
            self.check_id(prefix, id)?;
        }
        let (serial, mut changes) = self.adopted(seen, self.next_serial, self.next_generation, context.now);
        changes.extend(self.trim_remembered(0, &[serial], context.now));
        Ok(changes)
    }

    /// A network as it comes into the books: the serial that it gets (a new one is `new`), and its changes.
    pub(super) fn adopted(
        &self,
        seen: &Adoption,
        new: Serial,
        generation: u64,
        now: Millis,
    ) -> (Serial, Vec<Change>) {
        let prefix = seen.prefix;
        let memory = self.remembered(Space::Local, prefix);
        let serial = memory.map_or(new, |subnet| subnet.state.serial);
        let (leases, gateway) = self.shown_leases(seen, serial, generation + 1, now);
        let state = SubnetState {
            serial,
            id: seen.id.clone().unwrap_or_else(|| unlearned_id(Space::Local, prefix)),
            space: Space::Local,
            prefix,
            range: seen.range.filter(|range| prefix.contains(*range)),
            pool: self.pool_around(prefix).map(|pool| pool.name.clone()),
            options: seen.options.clone(),
            dynamic: false,
            granted_at: now,
            generation,
            start_beyond: None,
            marks: Marks { addressed: true, had_endpoint: true, set_up_at: now, gateway, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let evidence = seen.evidence.clone();
        let mut changes = vec![Change::SubnetAdopted { state: Box::new(state), evidence }];
        changes.extend(leases);
        (serial, changes)
    }

    /// What lives in it, each address once, and which of them is the gateway.
    fn shown_leases(
        &self,
        seen: &Adoption,
        serial: Serial,
        first_generation: u64,
        now: Millis,
    ) -> (Vec<Change>, Option<u128>) {
        let memory = self.remembered(Space::Local, seen.prefix);
        let (mut known, mut gateway) = (BTreeSet::new(), None);
        let inside = seen.leases.iter().filter(|lease| seen.prefix.contains_number(lease.address));
        let once: Vec<_> = inside.filter(|lease| known.insert(lease.address)).collect();
        let changes = once.into_iter().zip(first_generation..).map(|(lease, generation)| {
            if lease.kind == Kind::Gateway && gateway.is_none() {
                gateway = Some(lease.address);
            }
            let old = memory.and_then(|subnet| subnet.addresses.get(lease.address));
            let record = Record {
                leased: true,
                kind: lease.kind,
                name: lease.name.clone(),
                mac: lease.mac,
                pinned: old.is_some_and(|old| old.pinned),
                withheld: false,
                since: now,
                generation,
            };
            let evidence = lease.evidence.clone();
            Change::AddressLearned { serial, address: lease.address, record, evidence }
        });
        (changes.collect(), gateway)
    }

    /// Docker releases a subnet first and takes its network off the list later: what was released shortly before the
    /// books were read, or since, may be such a one.
    pub(super) fn refuse_recent(&self, prefix: Prefix, read: Fence) -> Result<(), Error> {
        let since = (read.at.saturating_sub(SETTLING).saturating_add(1), 0);
        let mut recent = self.released.range(since..).filter_map(|(at, serial)| {
            let state = &self.subnet(*serial)?.state;
            (state.space == Space::Local && state.prefix.overlaps(prefix)).then_some((at, state.prefix))
        });
        match recent.next_back() {
            None => Ok(()),
            Some((at, released)) => Err(Error::OutOfDate(format!(
                "{released} was released at {}, so the Engine's list may be out of date; try again in a few seconds",
                rfc3339(*at)
            ))),
        }
    }

    /// A PoolID that a person gives.
    pub(super) fn check_id(&self, prefix: Prefix, id: &str) -> Result<(), Error> {
        let shown: String = id.chars().take(LONGEST_ID).flat_map(char::escape_debug).collect();
        if let Some(subnet) = self.held(id) {
            let text = format!("PoolID {shown:?} belongs to {}", subnet.state.prefix);
            return Err(Error::OverlapPool(text));
        }
        if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) || id.ends_with("#?") {
            return Err(Error::InvalidRequest(format!("{shown:?} is not a PoolID")));
        }
        let other = id
            .rsplit_once('#')
            .filter(|(named, random)| is_random(random) && *named != format!("{}/{prefix}", Space::Local));
        match other {
            Some((named, _)) => {
                Err(Error::InvalidRequest(format!("the PoolID names {named}, not {}/{prefix}", Space::Local)))
            }
            None => Ok(()),
        }
    }

    /// Gives an adopted subnet its PoolID.
    pub(super) fn name_subnet(&self, prefix: Prefix, id: &str) -> Result<Change, Error> {
        let waiting = self.held(&unlearned_id(Space::Local, prefix));
        let Some(subnet) = waiting.filter(|subnet| subnet.awaits_id()) else {
            let there = self.at(Space::Local, prefix).first().and_then(|serial| self.subnet(*serial));
            return Err(match there.map(|subnet| &subnet.state) {
                Some(state) => Error::OverlapPool(format!(
                    "{prefix} is held since {} under PoolID {:?}",
                    rfc3339(state.granted_at),
                    state.id
                )),
                None => Error::NotFound(format!("no subnet {prefix} waits for its PoolID; see: gipam gc")),
            });
        };
        self.check_id(prefix, id)?;
        Ok(Change::SubnetIdLearned { serial: subnet.state.serial, id: id.to_owned(), why: Why::Force })
    }
}
