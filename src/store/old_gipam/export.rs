//! Turns [`OldBooks`] back into a file for the old program, for `gipam export --format leases.json`.
//!
//! [`write()`] only formats its input. Books that do not come from the old program need [`settle`] first, so
//! that the old program does not grant addresses or subnets that are already held; [`obstacles`] lists what
//! it cannot do with them. These functions do not read or write any files.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{OldBooks, OldSubnet, digest};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::settings::Base;

/// The maximum number of free subnets, and of free addresses in one subnet, that [`settle`] lists.
const GAPS: usize = 4096;
/// The old program counts addresses one by one, so it will never reach this host number.
const OUT_OF_REACH: u128 = 1 << 32;

/// Formats a file of the second generation. Reading it gives the same books again if they keep the promises
/// of [`OldBooks`] and [`OldSubnet`].
pub fn write(books: &OldBooks) -> Vec<u8> {
    let base = |pool: &Option<Base>| pool.map_or(String::new(), |pool| pool.base.to_string());
    let size = |pool: &Option<Base>| pool.map_or(0, |pool| pool.size);
    let value = json!({
        "v6": base(&books.v6), "v6ab": size(&books.v6), "v6idx": books.v6_next_index,
        "v4": base(&books.v4), "v4ab": size(&books.v4), "v4idx": books.v4_next_index,
        "allocated": books.allocated.iter().map(subnet).collect::<Vec<_>>(),
        "free": books.free.iter().map(subnet).collect::<Vec<_>>(),
    });
    format!("{value:#}\n").into_bytes()
}

fn subnet(subnet: &OldSubnet) -> Value {
    json!({
        "id": subnet.id,
        "v": if subnet.prefix.family() == Family::V4 { 4 } else { 6 },
        "pool": subnet.prefix.to_string(),
        "idx": subnet.next_index,
        "allocated": subnet.addresses.iter().chain(&subnet.outside).collect::<Vec<_>>(),
        "free": subnet.free,
    })
}

/// Raises the counters past everything that is held, and lists the gaps below them as free, so that the
/// lowest is reused first (at most 4,096 subnets, and 4,096 addresses per subnet). Rebuilds `free`, whose old
/// entries are gaps as well.
pub fn settle(books: &mut OldBooks) {
    books.free.clear();
    for subnet in &mut books.allocated {
        settle_addresses(subnet);
    }
    for (pool, next) in [(books.v4, &mut books.v4_next_index), (books.v6, &mut books.v6_next_index)] {
        if let Some(pool) = pool {
            settle_subnets(&pool, next, &books.allocated, &mut books.free);
        }
    }
}

fn settle_addresses(subnet: &mut OldSubnet) {
    let prefix = subnet.prefix;
    let host = |address: &IpAddr| number(*address).wrapping_sub(prefix.first());
    let mut held: Vec<u128> = subnet.addresses.iter().map(host).filter(|host| *host < OUT_OF_REACH).collect();
    held.sort_unstable();
    let next = held.last().map_or(1, |highest| highest + 1);
    subnet.next_index = u64::try_from(next).unwrap_or(u64::MAX);
    // the last address of an IPv4 subnet is the broadcast address
    let usable = |host: &u128| prefix.family() == Family::V6 || prefix.first() + host < prefix.last();
    let gaps = (1..next).filter(|host| held.binary_search(host).is_err()).filter(usable).take(GAPS);
    subnet.free = gaps.map(|host| prefix.address(prefix.first() + host)).collect();
    subnet.free.reverse(); // the old program reuses the last one first
}

fn settle_subnets(pool: &Base, next: &mut u64, held: &[OldSubnet], free: &mut Vec<OldSubnet>) {
    let (family, first) = (pool.base.family(), pool.base.first());
    let shift = u32::from(family.bits().saturating_sub(pool.size));
    let place = |address: u128| address.saturating_sub(first) >> shift;
    let last = place(pool.base.last());
    let inside = held.iter().map(|subnet| subnet.prefix).filter(|prefix| prefix.overlaps(pool.base));
    let mut taken: Vec<(u128, u128)> =
        inside.map(|prefix| (place(prefix.first()), place(prefix.last()).min(last))).collect();
    taken.sort_unstable();
    let mut from = 0; // every number below this one is taken or already listed as free
    let mut gaps = Vec::new();
    for (start, end) in taken {
        gaps.extend((from..start).take(GAPS.saturating_sub(gaps.len())));
        from = from.max(end + 1);
    }
    *next = u64::try_from(from).unwrap_or(u64::MAX);
    free.extend(gaps.into_iter().map(|gap| {
        let prefix = Prefix::new(family, first + (gap << shift), pool.size);
        // An id in the old program's form: 16 letters and digits.
        let id = digest(prefix.to_string().as_bytes()).chars().take(16).collect();
        OldSubnet { id, prefix, next_index: 1, addresses: Vec::new(), free: Vec::new(), outside: Vec::new() }
    }));
}

/// The reasons why the old program cannot use these books completely, one sentence each; empty if it can.
pub fn obstacles(books: &OldBooks) -> Vec<String> {
    let mut found = Vec::new();
    if books.v4.is_none() {
        found.push(
            "the file has no IPv4 pool: the old gipam considers it unreadable and starts with empty books"
                .into(),
        );
    }
    if books.v6.is_none() {
        found.push(
            "the file has no IPv6 pool: the old gipam then does not create new IPv4 subnets either".into(),
        );
    }
    for Base { base, size, .. } in [books.v4, books.v6].into_iter().flatten() {
        if size <= base.length() || size >= base.family().bits() {
            found.push(format!("/{size} subnets of {base}: the old gipam hangs at startup"));
        }
        if base.family() == Family::V6 && size < 64 {
            found.push(format!(
                "/{size} subnets of {base}: the old gipam does not grant addresses in subnets larger than /64"
            ));
        }
    }
    for subnet in &books.allocated {
        let pool = if subnet.prefix.family() == Family::V4 { books.v4 } else { books.v6 };
        let size = pool.map_or(0, |pool| pool.size);
        if size != subnet.prefix.length() {
            let prefix = subnet.prefix;
            found.push(format!(
                "subnet {prefix}: the old gipam would return new addresses in it with the length /{size}"
            ));
        }
    }
    found
}
