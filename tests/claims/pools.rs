//! The pools of the simulated hosts: one that is cut into networks, and one that is a LAN of all hosts; each of both families.

use gipam::claims::machine::event::{Geometry, Need};
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::Want;
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings, Shared};

pub fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// Four slices of networks.
pub fn private() -> Geometry {
    Geometry { base: prefix("203.0.113.0/25"), slice: 27, shared: false, by_number: None }
}

/// Three slices of addresses, and a part that is claimed by number.
pub fn shared() -> Geometry {
    let by_number = Some(prefix("198.51.100.48/28"));
    Geometry { base: prefix("198.51.100.0/26"), slice: 28, shared: true, by_number }
}

/// The same in IPv6: four slices of two networks each.
fn private6() -> Geometry {
    Geometry { base: prefix("2001:db8:0:10::/61"), slice: 63, shared: false, by_number: None }
}

/// Three slices of addresses, and a part that is claimed by number.
fn shared6() -> Geometry {
    let by_number = Some(prefix("2001:db8:5::30/124"));
    Geometry { base: prefix("2001:db8:5::/122"), slice: 124, shared: true, by_number }
}

/// The pool that is cut into networks, and the LAN, of this family.
pub fn pool(family: Family, is_shared: bool) -> Geometry {
    match (family, is_shared) {
        (Family::V4, false) => private(),
        (Family::V4, true) => shared(),
        (Family::V6, false) => private6(),
        (Family::V6, true) => shared6(),
    }
}

pub fn pools() -> [Geometry; 4] {
    [private(), shared(), private6(), shared6()]
}

/// The router of a LAN.
pub fn router(pool: &Geometry) -> u128 {
    pool.base.first() + 1
}

/// The length of a network of a pool.
pub const fn size(pool: &Geometry) -> u8 {
    match (pool.shared, pool.base.family()) {
        (true, _) => pool.base.length(),
        (false, Family::V4) => 29,
        (false, Family::V6) => 64,
    }
}

/// The same settings on every host.
pub fn settings() -> Settings {
    let base = |pool: Geometry| {
        let lan = Shared { by_number: pool.by_number };
        let gateway = pool.shared.then(|| router(&pool));
        let base = Base::new(pool.base, size(&pool), AddressOrder::Sequential);
        Base { slice: Some(pool.slice), gateway, shared: pool.shared.then_some(lan), ..base }
    };
    let pool = |name: &str, v4, v6| PoolSettings {
        name: name.to_owned(),
        v4: Some(base(v4)),
        v6: Some(base(v6)),
        cooling: 4_000,
        subnet_cooling: 2_000,
        closed: false,
        provenance: Default::default(),
    };
    let pools = vec![pool("routed", private(), private6()), pool("lan", shared(), shared6())];
    Settings { pools, storm_limit: 0, ..Settings::default() }
}

/// What the machine is asked for a want of the ledger.
pub fn asked(want: Want) -> (Geometry, Need) {
    let (Want::Room { base: part } | Want::These(part)) = want;
    let pool = pools().into_iter().find(|pool| pool.base.contains(part)).unwrap();
    match want {
        Want::Room { base } => (pool, Need::Room { part: base }),
        Want::These(these) => (pool, Need::These(these)),
    }
}
