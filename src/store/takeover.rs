//! Converts old lease files into changes of the plan, and the plan back into an old lease file.
//!
//! Promises: subnets and addresses keep their ids, so running Docker networks continue to work. Every lease
//! in the file is in the changes or named in the warnings. Does not apply the changes. Rules R74 and R75.

use std::collections::BTreeMap;

use super::old_gipam::{OldBooks, OldSubnet};
use crate::plan::Plan;
use crate::plan::Subnet;
use crate::plan::change::{Change, Kind, Marks, Record, SubnetState};
use crate::plan::prefix::{Family, number};
use crate::plan::request::Space;
use crate::plan::settings::{Millis, PoolSettings, Settings};

/// The old program saves every 30 s: since its last save, it may have granted this many addresses beyond its
/// counter.
const MARGIN: u128 = 64;

/// Key in the books: the digest of the lease file that was taken over.
pub const TAKEN_DIGEST: &str = "old_file_digest";
/// Key in the books: the digest of the lease file that was last exported.
pub const EXPORTED_DIGEST: &str = "exported_digest";

/// The pools of an old lease file, as the pool `default`; `None` if the file has none.
pub fn pools(books: &OldBooks, settings: &Settings) -> Option<PoolSettings> {
    let (v4, v6) = (books.v4, books.v6);
    (v4.is_some() || v6.is_some()).then(|| PoolSettings {
        name: "default".to_owned(),
        v4,
        v6,
        cooling: settings.cooling,
        subnet_cooling: settings.subnet_cooling,
        closed: false,
        provenance: Default::default(),
    })
}

/// The subnets and leases of an old lease file, as changes to a plan that may already hold others.
pub fn changes(books: &OldBooks, plan: &Plan, settings: &Settings, now: Millis) -> Vec<Change> {
    let (mut generation, mut serial) = plan.counters();
    let mut changes = Vec::new();
    for subnet in &books.allocated {
        let prefix = subnet.prefix;
        let in_pool =
            |pool: &&PoolSettings| pool.base(prefix.family()).is_some_and(|base| base.base.contains(prefix));
        let beyond = prefix.first().saturating_add(u128::from(subnet.next_index)).saturating_add(MARGIN);
        changes.push(Change::SubnetGranted(Box::new(SubnetState {
            serial,
            id: subnet.id.clone(),
            space: Space::Local,
            prefix,
            range: None,
            pool: settings.pools.iter().find(in_pool).map(|pool| pool.name.clone()),
            options: BTreeMap::new(),
            dynamic: true,
            granted_at: now,
            generation,
            start_beyond: Some(beyond.min(prefix.last())),
            marks: Marks { addressed: true, had_endpoint: true, set_up_at: now, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        })));
        generation += 1;
        for address in &subnet.addresses {
            let record = Record {
                leased: true,
                kind: Kind::Unknown,
                name: None,
                mac: None,
                asked_by_number: false,
                withheld: false,
                since: now,
                generation,
            };
            changes.push(Change::AddressGranted { serial, address: number(*address), record });
            generation += 1;
        }
        serial += 1;
    }
    changes
}

/// A held subnet of space local as the old program would have written it; `None` for any other subnet.
pub fn exported(subnet: &Subnet) -> Option<OldSubnet> {
    let state = &subnet.state;
    let leased = subnet.addresses.leases();
    (subnet.is_held() && state.space == Space::Local).then_some(OldSubnet {
        id: state.id.clone(),
        prefix: state.prefix,
        next_index: 1,
        addresses: leased.map(|(address, _)| state.prefix.address(address)).collect(),
        free: Vec::new(),
        outside: Vec::new(),
    })
}

/// These subnets and pools as the old program would have written them.
pub fn export(pools: &[PoolSettings], allocated: Vec<OldSubnet>) -> OldBooks {
    let pool = |family| pools.iter().find_map(|pool| pool.base(family)).copied();
    let (v4, v6) = (pool(Family::V4), pool(Family::V6));
    let mut books = OldBooks { v4, v6, v4_next_index: 0, v6_next_index: 0, allocated, free: Vec::new() };
    super::old_gipam::settle(&mut books);
    books
}
