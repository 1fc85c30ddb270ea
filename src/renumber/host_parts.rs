//! The prefixes of a network before and after a move, and what follows for addresses: the host part stays the same.
//!
//! Promises: pure; an address outside of the prefixes has no counterpart.

use std::net::IpAddr;

use serde_json::Value;

use super::RenumberError;
use crate::plan::prefix::{Prefix, number};
use crate::view::rows::SubnetRow;

/// The prefixes of a network, before and after; both are the same if a subnet stays.
pub(super) struct HostParts(pub(super) Vec<(Prefix, Prefix)>);

impl HostParts {
    /// Those of the network with this name and these subnets of the books.
    pub(super) fn of(name: &str, rows: &[&SubnetRow]) -> Result<Self, RenumberError> {
        let mut pairs = Vec::new();
        for row in rows {
            let Some(from) = Prefix::parse(&row.prefix) else { continue };
            let to = match &row.stale {
                None => from,
                Some(stale) => match stale.same_number.as_deref().and_then(Prefix::parse) {
                    Some(to) => to,
                    None => {
                        let (prefix, base) = (&row.prefix, &stale.base);
                        return Err(RenumberError(format!(
                            "network {name}: {base} has no place for the number of {prefix}; remove the network and create it \
                             again"
                        )));
                    }
                },
            };
            pairs.push((from, to));
        }
        Ok(Self(pairs))
    }

    /// The address with the same host part.
    pub(super) fn address(&self, address: IpAddr) -> Option<IpAddr> {
        let (from, to) = self.0.iter().find(|(from, _)| from.contains_address(address))?;
        Some(to.address(to.first() + (number(address) - from.first())))
    }

    /// Like [`HostParts::address`], for text; a prefix length after the address is dropped.
    pub(super) fn text(&self, text: &str) -> Option<String> {
        let alone = text.split('/').next().unwrap_or(text);
        Some(self.address(alone.parse().ok()?)?.to_string())
    }

    /// Moves a prefix that lies inside one of the network's prefixes.
    pub(super) fn prefix(&self, prefix: Prefix) -> Option<Prefix> {
        let (from, to) = self.0.iter().find(|(from, _)| from.contains(prefix))?;
        Some(Prefix::new(to.family(), to.first() + (prefix.first() - from.first()), prefix.length()))
    }

    /// Replaces every address and prefix in the strings of a value.
    pub(super) fn replace(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let prefix = || Some(self.prefix(Prefix::parse(text)?)?.to_string());
                let new = if text.contains('/') { prefix() } else { self.text(text) };
                if let Some(new) = new {
                    *text = new;
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|one| self.replace(one)),
            Value::Object(all) => all.values_mut().for_each(|one| self.replace(one)),
            _ => {}
        }
    }
}
