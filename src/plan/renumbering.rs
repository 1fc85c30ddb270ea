//! Pools whose base changes (RFC 4192 calls this renumbering): the provider delegates another prefix, or a person edits the
//! configuration.
//!
//! A subnet's number is its place in the base: 2001:db8:a:3::/64 has number 3 in 2001:db8:a::/56. After a change, held
//! subnets stay in the books and work on; they are *stale*. Their numbers are kept for them in the new base as long as others
//! are free; the same network gets the same number there, and a holder the same host part.
//!
//! Promises: pure; everything here follows from the settings and the books, so that a base that comes back finds its
//! subnets as it left them. Does not know where prefixes come from.

use super::Plan;
use super::change::{Change, Kind, Record, Serial};
use super::prefix::{Family, Prefix};
use super::request::Space;
use super::settings::{AddressOrder, Base, PoolSettings, Settings};
use super::subnet::Subnet;

/// How many earlier bases of a pool are known.
const FORMER: usize = 8;
/// At most this many memories of holders are taken along into a new prefix.
const TAKEN_ALONG: usize = 1_000;

/// Where a base comes from, if it can change without the configuration, and how subnets are cut from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSource {
    /// As it is shown to people: `file:/run/gipam/prefix`, `pd:eth0/56`.
    pub text: String,
    /// Prefix length of a subnet if the request does not give one.
    pub size: u8,
    pub addresses: AddressOrder,
    /// Addresses are probed before their first use.
    pub probe: bool,
}

/// Where the bases of a pool come from if they can change, and its earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// For IPv4 and IPv6; `None` if the base is written in the configuration.
    pub sources: [Option<BaseSource>; 2],
    /// Earlier bases that the current ones do not contain, the latest first.
    pub former: Vec<Prefix>,
}

impl PoolSettings {
    /// The families whose base is not known yet, with their sources.
    pub fn awaits(&self) -> impl Iterator<Item = (Family, &BaseSource)> {
        Family::BOTH.into_iter().zip(&self.provenance.sources).filter_map(|(family, source)| {
            let source = source.as_ref().filter(|_| self.base(family).is_none())?;
            Some((family, source))
        })
    }

    /// Sets the base of a family that has a source; the source says how it is cut.
    pub fn set_sourced(&mut self, family: Family, base: Option<Prefix>) {
        let Some(source) = &self.provenance.sources[family as usize] else { return };
        let probe = source.probe;
        let base = base.map(|base| Base { probe, ..Base::new(base, source.size, source.addresses) });
        *self.base_mut(family) = base;
    }

    /// Remembers the bases that this pool had `before`.
    pub fn remember_former(&mut self, before: &Self) {
        let gone = before.bases().map(|base| base.base).chain(before.provenance.former.iter().copied());
        let mut former: Vec<Prefix> = Vec::new();
        for prefix in gone {
            let lies_in_current = self.bases().any(|base| base.base.contains(prefix));
            if !lies_in_current && !former.contains(&prefix) && former.len() < FORMER {
                former.push(prefix);
            }
        }
        self.provenance.former = former;
    }

    /// The prefix with the same number in the current base, if this prefix lies in an earlier one.
    pub fn renumbered(&self, prefix: Prefix) -> Option<Prefix> {
        let current = self.base(prefix.family())?.base;
        let former = self.provenance.former.iter().find(|former| former.contains(prefix))?;
        same_place(prefix, *former, current)
    }

    /// The prefixes with the same number in the earlier bases, the latest first.
    fn earlier(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        let current = self.base(prefix.family()).map(|base| base.base).filter(|base| base.contains(prefix));
        let former = current.into_iter().flat_map(move |current| {
            self.provenance.former.iter().filter_map(move |former| same_place(prefix, current, *former))
        });
        former.filter(move |earlier| !current.is_some_and(|current| current.contains(*earlier)))
    }
}

/// The prefix at the same place in another base of the family; `None` if the other base ends before that place.
pub fn same_place(prefix: Prefix, from: Prefix, to: Prefix) -> Option<Prefix> {
    if from.family() != to.family() {
        return None;
    }
    let first = to.first().checked_add(prefix.first() - from.first())?;
    let moved = Prefix::new(prefix.family(), first, prefix.length());
    (moved.first() == first && to.contains(moved)).then_some(moved)
}

impl Settings {
    /// The base of the pool from which this subnet comes, if the subnet lies outside it.
    fn left_by(&self, pool: &str, prefix: Prefix) -> Option<&PoolSettings> {
        self.pool(pool).filter(|pool| is_outside(pool, prefix))
    }
}

fn is_outside(pool: &PoolSettings, prefix: Prefix) -> bool {
    pool.base(prefix.family()).is_some_and(|base| !base.base.contains(prefix))
}

/// A held subnet that a change of the settings makes stale, or current again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleChange {
    pub serial: Serial,
    pub stale: bool,
    /// What happened, for the history.
    pub why: String,
}

impl Plan {
    /// The current base of the subnet's pool, if the subnet is held and lies outside that base.
    pub fn stale(&self, subnet: &Subnet) -> Option<Prefix> {
        let (state, pool) = (&subnet.state, self.pool_of(subnet)?);
        let is_stale = subnet.is_held() && is_outside(pool, state.prefix);
        pool.base(state.prefix.family()).map(|base| base.base).filter(|_| is_stale)
    }

    /// The prefix with the same number in the current base of the subnet's pool, if the subnet is stale.
    pub fn renumbered(&self, subnet: &Subnet) -> Option<Prefix> {
        self.stale(subnet)?;
        self.pool_of(subnet)?.renumbered(subnet.state.prefix)
    }

    /// Which held subnets become stale under these settings, and which are no longer stale.
    pub fn stale_changes(&self, settings: &Settings) -> Vec<StaleChange> {
        let bases = |pool: &PoolSettings| Family::BOTH.map(|family| pool.base(family).map(|base| base.base));
        let changed = |name: &str| {
            let (old, new) = (self.pool(name), settings.pool(name));
            old.map(bases) != new.map(bases)
        };
        let names = self.settings.pools.iter().map(|pool| pool.name.as_str()).filter(|name| changed(name));
        let names: std::collections::BTreeSet<&str> = names.collect();
        if names.is_empty() {
            return Vec::new();
        }
        let held = self.subnets().filter(|subnet| subnet.is_held());
        let held = held.filter_map(|subnet| Some((subnet, subnet.state.pool.as_deref()?)));
        let changes = held.filter(|(_, pool)| names.contains(pool)).filter_map(|(subnet, pool)| {
            let prefix = subnet.state.prefix;
            let now = settings.left_by(pool, prefix);
            if self.stale(subnet).is_some() == now.is_some() {
                return None;
            }
            let base = settings.pool(pool)?.base(prefix.family())?.base;
            let why = match now.map(|pool| pool.renumbered(prefix)) {
                None => format!("the base of pool {pool} is {base} again"),
                Some(None) => format!("the base of pool {pool} is now {base}"),
                Some(Some(number)) => format!("the base of pool {pool} is now {base}; same number: {number}"),
            };
            Some(StaleChange { serial: subnet.state.serial, stale: now.is_some(), why })
        });
        changes.collect()
    }

    /// The last address of this candidate that is kept for a stale subnet of the pool with the same number.
    pub(super) fn kept_for_stale(&self, pool: &PoolSettings, candidate: Prefix) -> Option<u128> {
        if pool.provenance.former.is_empty() {
            return None;
        }
        let mine = |serial: &Serial| {
            let state = self.subnet(*serial).map(|subnet| &subnet.state);
            state.is_some_and(|state| state.pool.as_deref() == Some(&pool.name))
        };
        let kept = pool.earlier(candidate).any(|earlier| {
            let mut held = self.held_by_space().iter();
            held.any(|held| held.all_inside(earlier).chain(held.all_covering(earlier)).any(mine))
        });
        kept.then_some(candidate.last())
    }

    /// The prefix to which `key=WORD` points, with its number in the current base if it lies in an earlier one. `searched` are
    /// the pools that may give it.
    pub(super) fn key_now<'a>(
        &self,
        prefix: Prefix,
        mut searched: impl Iterator<Item = &'a PoolSettings>,
    ) -> Prefix {
        if self.spaces.around(prefix).is_some() {
            return prefix;
        }
        searched.find_map(|pool| pool.renumbered(prefix)).unwrap_or(prefix)
    }

    /// What the books know about holders in the subnet with the same number in an earlier base, as changes for the new
    /// subnet `serial`: every holder that requests name gets the same host part, and pins stay.
    pub(super) fn taken_along(&self, space: Space, prefix: Prefix, serial: Serial) -> Vec<Change> {
        if !self.spaces.renumbered() {
            return Vec::new();
        }
        let Some(pool) = self.pool_around(prefix) else { return Vec::new() };
        let known = |earlier: Prefix| {
            let all = self.grants_of(space, earlier).chain(self.memories(space, earlier));
            all.filter(|subnet| subnet.state.pool.as_deref() == Some(&pool.name))
                .max_by_key(|subnet| (subnet.is_held(), subnet.state.generation))
        };
        let Some((earlier, before)) = pool.earlier(prefix).find_map(|it| Some((it, known(it)?))) else {
            return Vec::new();
        };
        let moved = |address: u128| prefix.first() + (address - earlier.first());
        // Not within the restart window, in which an address belongs to whoever asks next.
        let window = self.settings.restart_window.saturating_add(1);
        let latest = self.now.saturating_sub(window);
        let mut records: Vec<(u128, Record)> = before
            .addresses
            .records()
            .filter(|(_, record)| record.kind == Kind::Endpoint && identifies(record))
            .map(|(address, record)| {
                let since = record.since.min(latest);
                (moved(address), Record { leased: false, since, ..record.clone() })
            })
            .collect();
        records.sort_by_key(|(_, record)| std::cmp::Reverse(record.generation));
        records.truncate(TAKEN_ALONG);
        let records =
            records.into_iter().map(|(address, record)| Change::AddressRestored { serial, address, record });
        let pins = self.pins_of(space, prefix).is_none().then(|| self.pins_of(space, earlier)).flatten();
        let pins = pins.into_iter().flatten().map(|(address, pin)| Change::AddressPinned {
            space,
            prefix,
            address: moved(*address),
            pin: pin.clone(),
        });
        records.chain(pins).collect()
    }

    /// Why no pool has a base of this family yet, if one of the pools waits for it.
    pub(super) fn awaited<'a>(
        pools: impl Iterator<Item = &'a PoolSettings>,
        family: Family,
    ) -> Option<String> {
        let waiting = |pool: &'a PoolSettings| {
            let (_, source) = pool.awaits().find(|(awaited, _)| *awaited == family)?;
            Some(format!("pool {} has no {family} prefix yet: {} has not given one", pool.name, source.text))
        };
        pools.filter(|pool| !pool.closed).find_map(waiting)
    }
}

/// Whether a later request can show that it comes from the same holder.
fn identifies(record: &Record) -> bool {
    record.name.is_some() || record.mac.is_some() || record.asked_by_number
}
