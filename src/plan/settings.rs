//! The plan's settings: pools, reservations, times and limits.
//!
//! Promises: plain values that are comparable and cheap to pass on; [`Settings::check`] refuses what the plan could not
//! honour (overlapping pools, sizes outside their base). Does not read files.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::grant_address::never_given_name;
use super::prefix::{AddressRange, Family, Prefix, meeting, number};
use super::renumbering::Provenance;
use super::subnet::merged;
use super::written::never_serves;

/// Milliseconds since the UNIX epoch. The plan never reads a clock; the time is passed in.
pub type Millis = u64;

/// What both clocks read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, milliseconds since the UNIX epoch. It may step in both directions.
    pub wall: Millis,
    /// Milliseconds since the boot, suspends included. It never steps.
    pub steady: Millis,
}

impl Moment {
    /// The time of day when the steady clock was 0: it changes only when the time of day steps.
    pub fn offset(self) -> i64 {
        let signed = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
        signed(self.wall).saturating_sub(signed(self.steady))
    }
}

/// The order in which an IPv6 pool gives its dynamic addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOrder {
    /// Next-fit: in ascending order, while some addresses were never given.
    #[default]
    Sequential,
    /// The modified EUI-64 interface identifier of the MAC (RFC 4291, appendix A).
    Eui64,
    /// A semantically opaque identifier from holder, subnet and secret (RFC 7217).
    Stable,
}

/// One family of a pool: the base from which subnets are cut, and how large to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub base: Prefix,
    /// Prefix length of a subnet if the request does not give one.
    pub size: u8,
    /// Order of dynamic addresses.
    pub addresses: AddressOrder,
    /// The pool is divided among several hosts in slices of this length, and this host gives only from its own slices.
    pub slice: Option<u8>,
    /// The gateway of each subnet that contains it, usually the router of a LAN; never given to a container.
    pub gateway: Option<u128>,
    /// Addresses are probed before their first use, because machines that gipam does not know may have them.
    pub probe: bool,
    /// The whole base is one subnet that networks of several hosts share, so slices contain addresses instead of subnets.
    pub shared: Option<Shared>,
}

/// A subnet that networks of several hosts share: one LAN, with macvlan or ipvlan networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// In this part, every address is its own slice and is given only by number, so that a service can move
    /// between hosts.
    pub by_number: Option<Prefix>,
}

impl Shared {
    /// Why a base cannot be shared in this way.
    pub fn wrong(self, base: &Base) -> Option<String> {
        let Base { base, size, addresses, slice, .. } = *base;
        if slice.is_none() {
            return Some(format!("{base} is shared among hosts, so it also needs slice = LENGTH"));
        }
        if size != base.length() {
            return Some(format!(
                "{base} is shared, so it is one subnet: leave size out, or set it to {}",
                base.length()
            ));
        }
        if addresses != AddressOrder::Sequential {
            return Some(format!("{base} is shared, so its addresses must be sequential"));
        }
        let outside = self.by_number.filter(|part| !base.contains(*part));
        outside.map(|part| format!("{part} lies outside {base}"))
    }
}

impl Base {
    /// A base that belongs to this host alone.
    pub const fn new(base: Prefix, size: u8, addresses: AddressOrder) -> Self {
        Self { base, size, addresses, slice: None, gateway: None, probe: false, shared: None }
    }

    /// Whether its networks are on a LAN (macvlan, ipvlan), where the host may have an address, too.
    pub const fn is_of_a_lan(&self) -> bool {
        self.probe || self.gateway.is_some() || self.shared.is_some()
    }

    /// Why no subnet can have the gateway.
    pub fn wrong_gateway(&self) -> Option<String> {
        let Self { base, size, gateway, .. } = *self;
        let gateway = base.address(gateway?);
        if !base.contains_address(gateway) {
            return Some(format!("{gateway} lies outside {base}"));
        }
        let subnet = Prefix::new(base.family(), number(gateway), size);
        let why = never_given_name(subnet, number(gateway))?;
        Some(format!("the gateway {gateway} {why}"))
    }
}

/// One configured pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// The name, unique.
    pub name: String,
    pub v4: Option<Base>,
    pub v6: Option<Base>,
    /// How long a released address is not given to others, in milliseconds; 0 = off.
    pub cooling: Millis,
    /// How long a released subnet is not given to others, in milliseconds; 0 = off.
    pub subnet_cooling: Millis,
    /// A closed pool gives no new subnets: it was removed from the configuration while some of its subnets were held.
    pub closed: bool,
    /// Where its bases come from if they can change, and its earlier ones.
    pub provenance: Provenance,
}

impl PoolSettings {
    /// The pool's base of this family.
    pub const fn base(&self, family: Family) -> Option<&Base> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    pub(super) const fn base_mut(&mut self, family: Family) -> &mut Option<Base> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The pool's bases, of one family or of both.
    pub fn bases(&self) -> impl Iterator<Item = &Base> {
        self.v4.iter().chain(&self.v6)
    }

    /// Why this pool cannot be used; `base` says which of its bases is wrong.
    fn refused(&self, base: Option<Prefix>, text: String) -> Result<(), SettingsError> {
        Err(SettingsError { pool: self.name.clone(), base, text })
    }
}

/// Prefix length of a subnet if no setting gives one.
pub const fn default_size(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

/// Ten minutes (R45).
pub const DEFAULT_COOLING: Millis = 600_000;
/// One minute (R28).
pub const DEFAULT_SUBNET_COOLING: Millis = 60_000;
/// A restarted container requests an address again within moments of its release; 15 s allow for a busy host.
pub const DEFAULT_RESTART_WINDOW: Millis = 15_000;
/// How many dynamic subnets of one kind may be granted within a minute, without an address request in any of them, before the
/// next is refused. This limit is for subnets requested directly one after another; otherwise it is 16 times as high.
pub const DEFAULT_STORM_LIMIT: u32 = 64;

/// All settings of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// All pools, in the order of the configuration.
    pub pools: Vec<PoolSettings>,
    /// Addresses never given dynamically, for all pools together, as configured.
    pub reserved: Vec<AddressRange>,
    /// Reservations added at run time; sorted. Only the books contain them.
    pub reserved_by_hand: Vec<AddressRange>,
    /// Cooling time of addresses in subnets outside all pools.
    pub cooling: Millis,
    /// Cooling time of subnets outside all pools.
    pub subnet_cooling: Millis,
    /// How long a released address is kept for its holder, if Docker does not send names; 0 = off.
    pub restart_window: Millis,
    /// See [`DEFAULT_STORM_LIMIT`]; 0 = off.
    pub storm_limit: u32,
    /// Secret of the host for `stable` addresses (RFC 7217).
    pub secret: [u8; 32],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            reserved: Vec::new(),
            reserved_by_hand: Vec::new(),
            cooling: DEFAULT_COOLING,
            subnet_cooling: DEFAULT_SUBNET_COOLING,
            restart_window: DEFAULT_RESTART_WINDOW,
            storm_limit: DEFAULT_STORM_LIMIT,
            secret: [0; 32],
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SettingsError {
    /// The pool that cannot be used together with the pools before it.
    pub pool: String,
    /// The pool's base, if that is wrong.
    pub base: Option<Prefix>,
    text: String,
}

impl Settings {
    /// These settings, but with the secret and the reservations made by hand of `known`: only the books
    /// contain those.
    pub fn with_books(self, known: &Self) -> Self {
        Self { secret: known.secret, reserved_by_hand: known.reserved_by_hand.clone(), ..self }
    }

    pub fn pool(&self, name: &str) -> Option<&PoolSettings> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// Refuses pools that overlap, repeat a name, have no family or a size outside their base, and pools that can never
    /// give an address to a container.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut checked = Checked::default();
        let reserved = merged(&self.reserved);
        for pool in &self.pools {
            checked.add(pool)?;
            for Base { base, .. } in pool.bases().filter(|_| !pool.closed) {
                if reserved[base.family() as usize].covers(base.first(), base.last()) {
                    let text = format!(
                        "pool {}: all of {base} is reserved, so it can never give a subnet; reserve less, or remove the pool",
                        pool.name
                    );
                    return pool.refused(Some(*base), text);
                }
            }
        }
        Ok(())
    }
}

/// The pools checked so far, which can be used together.
#[derive(Clone, Debug, Default)]
pub struct Checked<'a> {
    names: BTreeSet<&'a str>,
    /// The position of the pool and its name, by base.
    bases: BTreeMap<Prefix, (usize, &'a str)>,
}

impl<'a> Checked<'a> {
    /// Adds a pool, if it can be used together with the others.
    pub fn add(&mut self, pool: &'a PoolSettings) -> Result<(), SettingsError> {
        let name = &pool.name;
        if pool.bases().next().is_none() && pool.awaits().next().is_none() {
            return pool.refused(
                None,
                format!("pool {name} has neither v4 nor v6; give it a prefix of at least one of them"),
            );
        }
        for (family, Base { base, size, slice, shared, .. }) in
            Family::BOTH.into_iter().filter_map(|family| Some((family, pool.base(family)?)))
        {
            let (least, most) = (base.length(), family.bits());
            if base.family() != family {
                return pool.refused(None, format!("pool {name}: {base} is not {family}"));
            }
            if *size < least || *size > most {
                let text = format!(
                    "pool {name}: size /{size} does not fit {base}; give a length from {least} to {most}"
                );
                return pool.refused(None, text);
            }
            let longest = if shared.is_some() { most } else { *size };
            if let Some(slice) = slice.filter(|slice| *slice < least || *slice > longest) {
                let text = format!(
                    "pool {name}: slice /{slice} does not fit {base}; give a length from {least} to {longest}"
                );
                return pool.refused(None, text);
            }
            let wrong =
                |base: &Base| base.wrong_gateway().or_else(|| shared.and_then(|shared| shared.wrong(base)));
            if let Some(text) = pool.base(family).and_then(wrong) {
                return pool.refused(Some(*base), format!("pool {name}: {text}"));
            }
            if let Some((never, what)) = never_serves(*base) {
                let text = format!(
                    "pool {name}: {base} overlaps {never}: {what}; no container can have such an address, use another base"
                );
                return pool.refused(Some(*base), text);
            }
            if self.names.contains(name.as_str()) {
                return pool.refused(None, format!("pool {name} is configured twice"));
            }
            // The first pool that overlaps it.
            let overlapped =
                self.bases.range(meeting(&self.bases, *base)).min_by_key(|(_, (place, _))| *place);
            if let Some((other, (_, first))) = overlapped {
                let text = format!(
                    "pool {first} ({other}) overlaps pool {name} ({base}); pools must not share addresses"
                );
                return pool.refused(Some(*base), text);
            }
        }
        let place = self.names.len();
        self.names.insert(name);
        self.bases.extend(pool.bases().map(|base| (base.base, (place, name.as_str()))));
        Ok(())
    }
}

/// Parses an RFC 3339 time; returns `None` if the text is something else or the time is before 1970.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// A time for people and programs: RFC 3339, UTC, in seconds.
pub fn rfc3339(millis: Millis) -> String {
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}
