//! Turns [`OldBooks`] back into a file for the old program, for `gipam export --format leases.json`.
//!
//! [`write()`] only formats what it gets. Books that do not come from the old program need [`settle`] first, so that
//! the old program does not grant what is already held; [`obstacles`] lists what it cannot do with them.
//! Both only compute; nothing is read or written here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{OldBooks, OldPool, OldSubnet, digest};

/// The maximum number of free subnets, and of free addresses in one subnet, that [`settle`] lists.
const GAPS: usize = 4096;
/// The old program counts addresses one by one, so it will never reach this host number.
const OUT_OF_REACH: u128 = 1 << 32;

/// Formats a file of the second generation, whatever `generation` says. Reading it gives the same books again, if they
/// keep the promises of [`OldBooks`] and [`OldSubnet`].
pub fn write(books: &OldBooks) -> Vec<u8> {
    let base = |pool: &Option<OldPool>| pool.map_or(String::new(), |pool| pool.base.to_string());
    let size = |pool: &Option<OldPool>| pool.map_or(0, |pool| pool.size);
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
        "v": if subnet.prefix.addr().is_ipv4() { 4 } else { 6 },
        "pool": subnet.prefix.to_string(),
        "idx": subnet.next_index,
        "allocated": subnet.addresses.iter().chain(&subnet.outside).collect::<Vec<_>>(),
        "free": subnet.free,
    })
}

/// Raises the counters past everything that is held, and lists the gaps below them as free, so that the lowest is reused
/// first (at most 4,096 subnets, and 4,096 addresses per subnet). Rebuilds `free`, whose old entries are gaps as well.
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
    let first = bits(subnet.prefix.network());
    let last = bits(subnet.prefix.broadcast());
    let mut held: Vec<u128> = subnet
        .addresses
        .iter()
        .map(|address| bits(*address).wrapping_sub(first))
        .filter(|number| *number < OUT_OF_REACH)
        .collect();
    held.sort_unstable();
    let next = held.last().map_or(1, |highest| highest + 1);
    subnet.next_index = u64::try_from(next).unwrap_or(u64::MAX);
    // the last address of an IPv4 subnet is the broadcast address
    let usable = |number: &u128| subnet.prefix.addr().is_ipv6() || first + number < last;
    let gaps = (1..next).filter(|number| held.binary_search(number).is_err()).filter(usable).take(GAPS);
    subnet.free = gaps.map(|number| address(first + number, &subnet.prefix)).collect();
    subnet.free.reverse(); // the old program reuses the last one first
}

fn settle_subnets(pool: &OldPool, next: &mut u64, held: &[OldSubnet], free: &mut Vec<OldSubnet>) {
    let shift = u32::from(pool.base.max_prefix_len().saturating_sub(pool.size));
    let first = bits(pool.base.network());
    let number = |address: IpAddr| bits(address).saturating_sub(first) >> shift;
    let last = number(pool.base.broadcast());
    let mut taken: Vec<(u128, u128)> = held
        .iter()
        .filter(|subnet| subnet.prefix.contains(&pool.base) || pool.base.contains(&subnet.prefix))
        .map(|subnet| (number(subnet.prefix.network()), number(subnet.prefix.broadcast()).min(last)))
        .collect();
    taken.sort_unstable();
    let mut from = 0; // every number below this one is taken or already listed as free
    let mut gaps = Vec::new();
    for (start, end) in taken {
        gaps.extend((from..start).take(GAPS.saturating_sub(gaps.len())));
        from = from.max(end + 1);
    }
    *next = u64::try_from(from).unwrap_or(u64::MAX);
    for gap in gaps {
        let network = address(first + (gap << shift), &pool.base);
        let Ok(prefix) = IpNet::new(network, pool.size) else { continue };
        free.push(OldSubnet {
            id: id_for(&prefix),
            prefix,
            next_index: 1,
            addresses: Vec::new(),
            free: Vec::new(),
            outside: Vec::new(),
        });
    }
}

/// An id for a free subnet, in the old program's form: 16 letters and digits.
fn id_for(prefix: &IpNet) -> String {
    digest(prefix.to_string().as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// The address with these bits, in the family of `like`.
fn address(bits: u128, like: &IpNet) -> IpAddr {
    match like {
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

/// What the old program could not do with these books, one sentence each; empty if it could use all of them.
pub fn obstacles(books: &OldBooks) -> Vec<String> {
    let mut found = Vec::new();
    if books.v4.is_none() {
        found
            .push("the file has no IPv4 pool: the old gipam considers it unreadable and starts empty".into());
    }
    if books.v6.is_none() {
        found.push(
            "the file has no IPv6 pool: the old gipam then does not make new IPv4 subnets either".into(),
        );
    }
    for OldPool { base, size } in [books.v4, books.v6].into_iter().flatten() {
        if size <= base.prefix_len() || size >= base.max_prefix_len() {
            found.push(format!("subnets of /{size} out of {base}: the old gipam hangs at its start"));
        }
        if base.addr().is_ipv6() && size < 64 {
            found.push(format!(
                "subnets of /{size} out of {base}: the old gipam does not give addresses in subnets wider than /64"
            ));
        }
    }
    for subnet in &books.allocated {
        let pool = if subnet.prefix.addr().is_ipv4() { books.v4 } else { books.v6 };
        let size = pool.map_or(0, |pool| pool.size);
        if size != subnet.prefix.prefix_len() {
            let prefix = subnet.prefix;
            found.push(format!(
                "subnet {prefix}: the old gipam would answer new addresses in it with /{size}"
            ));
        }
    }
    found
}
