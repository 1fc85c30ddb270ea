//! Resolves an address on the command line to the address and the subnet that contains it.
//!
//! Promises: `ADDRESS/LENGTH`, as Docker prints it, means the address, never its whole subnet; an address in several subnets
//! is refused, unless it is leased in exactly one of them. Reads only.

use std::net::IpAddr;

use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::prefix::Prefix;
use crate::plan::{Plan, Subnet, written};

/// Parses an address that a person wrote.
pub fn address(text: &str) -> Result<IpAddr, Refusal> {
    written::address(text).map_err(|error| Refusal::new(ErrorKind::Invalid, error.to_string()))
}

/// The address in `gipam release WHAT`; `None` if `WHAT` means a subnet: the prefix of a network, or a PoolID.
pub fn lone_address(plan: &Plan, text: &str) -> Result<Option<IpAddr>, Refusal> {
    if plan.subnets_named(text).iter().any(|subnet| subnet.state.id == text || !has_host_bits(text)) {
        return Ok(None);
    }
    match written::address(text) {
        Ok(address) if !text.contains('/') || has_host_bits(text) => Ok(Some(address)),
        // A prefix without host bits stays a prefix; the error says that it is not held.
        Ok(address) if Prefix::parse(text) == Some(Prefix::host(address)) => Ok(Some(address)),
        Err(error @ written::Unreadable::Length(_)) => {
            Err(Refusal::new(ErrorKind::Invalid, error.to_string()))
        }
        _ => Ok(None),
    }
}

/// Refuses a text that looks like a prefix but is not a valid one; accepts names and PoolIDs.
pub fn check_prefix(text: &str) -> Result<(), Refusal> {
    use written::Unreadable::{Length, Netmask};
    match written::prefix(text) {
        Err(error @ (Length(_) | Netmask(_))) => Err(Refusal::new(ErrorKind::Invalid, error.to_string())),
        _ => Ok(()),
    }
}

fn has_host_bits(text: &str) -> bool {
    matches!(written::prefix(text), Ok((_, true)))
}

/// The PoolID of the only subnet that contains an address. If the text has a length, only subnets of that length count.
pub fn subnet_of(plan: &Plan, address: IpAddr, text: &str) -> Result<String, Refusal> {
    let length = written::prefix(text).ok().map(|(prefix, _)| prefix.length());
    let whole = Prefix::host(address).length();
    let fits = |subnet: &&Subnet| {
        length.is_none_or(|length| length == whole || length == subnet.state.prefix.length())
    };
    let mut found: Vec<&Subnet> = plan.held_around(address).filter(fits).collect();
    // If several subnets contain the address, the person means the one in which it is leased.
    if found.len() > 1 {
        let leased = |subnet: &&&Subnet| {
            subnet.number_of(address).is_some_and(|number| subnet.addresses.is_leased(number))
        };
        let only: Vec<&Subnet> = found.iter().filter(leased).copied().collect();
        found = if only.len() == 1 { only } else { found };
    }
    match found.as_slice() {
        [subnet] => Ok(subnet.state.id.clone()),
        [] => {
            let text = format!("no held subnet contains {text}; see: gipam subnets");
            Err(Refusal::new(ErrorKind::Missing, text))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|subnet| subnet.state.id.as_str()).collect();
            let text = format!(
                "{address} is in several subnets; give the PoolID of one: gipam release POOLID {address} --force (PoolIDs: {})",
                ids.join(", ")
            );
            Err(Refusal::new(ErrorKind::Invalid, text))
        }
    }
}
