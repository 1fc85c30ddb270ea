//! Parses the bytes of a lease file into [`OldBooks`], with a list of oddities.
//!
//! Rules: a pool, subnet or address that cannot be understood is an error, since a wrong guess could give a
//! running container's address to another one. A held address that can be understood is kept, however odd it
//! is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, ipv4_mask_to_prefix};

use super::json::{JsonPlace, read};
use super::{LeaseFileError, OldBooks, OldSubnet, Parsed, without_mark};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::settings::{AddressOrder, Base};

/// The spellings of one family's keys, with the first generation's last. Errors use the first spelling.
struct FamilyKeys {
    family: Family,
    pool: [&'static str; 2],
    size: [&'static str; 2],
    /// A misspelled key that the first generation itself looked for.
    size_misspelt: &'static str,
    next: [&'static str; 1],
    default_size: u8,
}

const V4: FamilyKeys = FamilyKeys {
    family: Family::V4,
    pool: ["v4", "V4Pool"],
    size: ["v4ab", "V4AllocateBlock"],
    size_misspelt: "V4AllocatedBlock",
    next: ["v4idx"],
    default_size: 24,
};
const V6: FamilyKeys = FamilyKeys {
    family: Family::V6,
    pool: ["v6", "V6Pool"],
    size: ["v6ab", "V6AllocateBlock"],
    size_misspelt: "V6AllocatedBlock",
    next: ["v6idx"],
    default_size: 64,
};
/// The first generation wrote the first spelling but looked for the second.
const ALLOCATED: [&str; 2] = ["allocated", "Allocate"];
const FREE: [&str; 1] = ["free"];

/// Reads a lease file of either generation.
///
/// # Errors
/// If a value cannot be understood; see [`LeaseFileError`]. The parser never guesses.
pub fn parse(bytes: &[u8]) -> Result<Parsed, LeaseFileError> {
    let node = read(without_mark(bytes))?;
    let top = JsonPlace::top(&node);
    let mut oddities = Vec::new();
    check_keys(&top)?;
    let v4 = pool(&top, &V4, &mut oddities)?;
    let v6 = pool(&top, &V6, &mut oddities)?;
    let read_all = |keys: &[&str], oddities: &mut Vec<String>| -> Result<Vec<OldSubnet>, LeaseFileError> {
        top.key(keys)?.list()?.iter().map(|place| subnet(place, oddities)).collect()
    };
    let allocated = read_all(&ALLOCATED, &mut oddities)?;
    let mut free = read_all(&FREE, &mut oddities)?;
    let mut seen = SeenBefore::default();
    for subnet in &allocated {
        seen.held(subnet, &mut oddities)?;
    }
    free.retain(|subnet| seen.is_free(subnet, &mut oddities));
    let books = OldBooks {
        v4,
        v6,
        v4_next_index: top.key(&V4.next)?.number()?,
        v6_next_index: top.key(&V6.next)?.number()?,
        allocated,
        free,
    };
    Ok(Parsed { books, oddities })
}

/// Refuses a file that has none of the keys of either generation.
fn check_keys(top: &JsonPlace<'_>) -> Result<(), LeaseFileError> {
    for key in V4.pool.iter().chain(&V6.pool).chain(&V4.size).chain(&V6.size).chain(&ALLOCATED).chain(&FREE) {
        if top.key(&[key])?.is_set() {
            return Ok(());
        }
    }
    Err(LeaseFileError(
        "this is not a gipam lease file: it has none of the keys v4, v6, allocated, V4Pool, V6Pool; give the right --file"
            .to_owned(),
    ))
}

/// The value of the second generation's key or, if that is not set, of the first's.
fn either<'a>(
    top: &JsonPlace<'a>,
    [second, first]: [&'static str; 2],
    same: impl Fn(&JsonPlace<'a>, &JsonPlace<'a>) -> Result<bool, LeaseFileError>,
    oddities: &mut Vec<String>,
) -> Result<JsonPlace<'a>, LeaseFileError> {
    let (later, earlier) = (top.key(&[second])?, top.key(&[first])?);
    if !later.is_set() {
        return Ok(if earlier.is_set() { earlier } else { later });
    }
    if earlier.is_set() && !same(&later, &earlier)? {
        oddities.push(format!(
            "{first} and {second} differ: {second} is used, as in later versions of the old gipam"
        ));
    }
    Ok(later)
}

fn pool(
    top: &JsonPlace<'_>,
    keys: &FamilyKeys,
    oddities: &mut Vec<String>,
) -> Result<Option<Base>, LeaseFileError> {
    let base_at = either(top, keys.pool, |a, b| Ok(a.text()? == b.text()?), oddities)?;
    if base_at.text()?.is_empty() {
        return Ok(None);
    }
    let base = prefix(&base_at, oddities)?;
    if base.family() != keys.family {
        return Err(base_at.wrong(base_at.text()?, "a prefix of the other family"));
    }
    let mut size_at = either(top, keys.size, |a, b| Ok(a.number()? == b.number()?), oddities)?;
    if size_at.number()? == 0 {
        size_at = top.key(&[keys.size_misspelt])?;
    }
    let size = match size_at.number()? {
        0 => {
            let (key, size) = (keys.size[0], keys.default_size);
            oddities.push(format!("{key} is not set: subnets are assumed to be /{size}"));
            keys.default_size.into()
        }
        size => size,
    };
    let lengths = base.length()..=keys.family.bits();
    let Some(size) = u8::try_from(size).ok().filter(|size| lengths.contains(size)) else {
        let why =
            format!("subnets of {base} have a prefix length from {} to {}", lengths.start(), lengths.end());
        return Err(size_at.wrong(&size.to_string(), why));
    };
    Ok(Some(Base::new(base, size, AddressOrder::Sequential)))
}

fn subnet(place: &JsonPlace<'_>, oddities: &mut Vec<String>) -> Result<OldSubnet, LeaseFileError> {
    let id = place.key(&["id"])?;
    if id.text()?.is_empty() {
        return Err(id.wrong("", "a subnet needs the id under which Docker knows it"));
    }
    let id = id.text()?.to_owned();
    let prefix = prefix(&place.key(&["pool"])?, oddities)?;
    let version = place.key(&["v"])?.number()?;
    if version != if prefix.family() == Family::V4 { 4 } else { 6 } {
        oddities.push(format!("subnet {id} has v {version}, but its pool is {prefix}: the pool decides"));
    }
    let (mut addresses, mut free, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    let mut held = HashSet::new();
    for place in place.key(&ALLOCATED[..1])?.list()? {
        let address = address(&place)?;
        if !held.insert(address) {
            oddities.push(format!("subnet {id} lists {address} twice: imported once"));
        } else if prefix.contains_address(address) {
            addresses.push(address);
        } else {
            oddities.push(format!("subnet {id} holds {address}, which lies outside {prefix}: kept apart"));
            outside.push(address);
        }
    }
    let mut released = HashSet::new();
    for place in place.key(&FREE)?.list()? {
        let address = address(&place)?;
        if held.contains(&address) {
            oddities.push(format!("subnet {id} lists {address} as held and as free: imported as held"));
        } else if prefix.contains_address(address) && released.insert(address) {
            free.push(address);
        }
    }
    let next_index = place.key(&["idx"])?.number()?;
    Ok(OldSubnet { id, prefix, next_index, addresses, free, outside })
}

/// Reads `10.0.0.0/16` and the forms that the old program also accepts: `10.0.0.0/255.255.0.0`, `10.0.0.0
/// 255.255.0.0`.
fn prefix(place: &JsonPlace<'_>, oddities: &mut Vec<String>) -> Result<Prefix, LeaseFileError> {
    let text = place.text()?;
    let wrong = || place.wrong(text, "not a prefix like 10.9.0.0/24 or 2001:db8::/64");
    let (address, length) = text.split_once(['/', ' ']).ok_or_else(wrong)?;
    let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
    let length = match length.trim().parse::<Ipv4Addr>() {
        Ok(mask) if address.is_ipv4() => ipv4_mask_to_prefix(mask).map_err(|_| wrong())?,
        _ => length.trim().parse().map_err(|_| wrong())?,
    };
    let given = IpNet::new(address, length).map_err(|_| wrong())?;
    let used = Prefix::from_net(given);
    if used.first() != number(address) {
        oddities.push(format!("{} is {text}: read as {used}", place.at));
    }
    Ok(used)
}

/// Reads an address, with or without a prefix length after it.
fn address(place: &JsonPlace<'_>) -> Result<IpAddr, LeaseFileError> {
    let text = place.text()?;
    let parsed = match text.split_once('/') {
        Some(_) => text.parse::<IpNet>().ok().map(|net| net.addr()),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| place.wrong(text, "not an address like 10.9.0.7 or 2001:db8::7"))
}

/// The subnets read so far, to find duplicate ids and overlapping prefixes. Of two prefixes that overlap, one
/// contains the other.
#[derive(Default)]
struct SeenBefore {
    ids: HashMap<String, Prefix>,
    /// The id of the first subnet with this prefix.
    prefixes: BTreeMap<Prefix, String>,
}

impl SeenBefore {
    fn held(&mut self, subnet: &OldSubnet, oddities: &mut Vec<String>) -> Result<(), LeaseFileError> {
        let OldSubnet { id, prefix, .. } = subnet;
        if let Some(first) = self.ids.insert(id.clone(), *prefix) {
            return Err(LeaseFileError(format!(
                "the lease file has two subnets with the id {id}, {first} and {prefix}; remove one by hand"
            )));
        }
        if let Some((other, its)) = self.meets(*prefix) {
            oddities.push(format!("subnet {id} ({prefix}) overlaps subnet {other} ({its}): both are kept"));
        }
        self.add(subnet);
        Ok(())
    }

    /// Whether a subnet in `free` may stay there.
    fn is_free(&mut self, subnet: &OldSubnet, oddities: &mut Vec<String>) -> bool {
        let OldSubnet { id, prefix, addresses, outside, .. } = subnet;
        let count = addresses.len() + outside.len();
        if count > 0 {
            oddities.push(format!(
                "free subnet {id} ({prefix}) still holds addresses ({count}): they are imported as free"
            ));
        }
        let same_id = self.ids.get(id).map(|other| (id, *other));
        if let Some((other, its)) = same_id.or_else(|| self.meets(*prefix)) {
            oddities.push(format!(
                "free subnet {id} ({prefix}) is, or overlaps, subnet {other} ({its}): not imported"
            ));
            return false;
        }
        self.ids.insert(id.clone(), *prefix);
        self.add(subnet);
        true
    }

    fn add(&mut self, subnet: &OldSubnet) {
        self.prefixes.entry(subnet.prefix).or_insert_with(|| subnet.id.clone());
    }

    /// A subnet whose prefix contains `prefix` or lies inside it.
    fn meets(&self, prefix: Prefix) -> Option<(&String, Prefix)> {
        let around = successors(Some(prefix), |inner| inner.parent());
        let around = around.filter_map(|around| self.prefixes.get_key_value(&around)).next();
        around.or_else(|| self.prefixes.range(prefix.within()).next()).map(|(prefix, id)| (id, *prefix))
    }
}
