//! What the pools let gipam keep in the kernel of this host: proxy entries on an uplink, discard routes.
//!
//! Promises: a key that cannot have an effect in its pool is refused with its position. Does not know whether an interface exists: it
//! may come later.

use serde::Deserialize;

use super::Config;
use super::error::{ConfigError, Problem, problem};
use super::keys::PoolTable;
use super::origin::Value;
use super::resolve::Resolver;
use crate::plan::prefix::Family;
use crate::plan::settings::PoolSettings;

/// The name of a network interface.
pub(super) fn interface(name: &str) -> Result<String, Problem> {
    let refuse = || {
        problem!("{name:?} cannot be an interface; give one name, such as \"eth0\", of at most 15 characters")
    };
    let is_byte = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    let fits = (1..=15).contains(&name.len()) && name.bytes().all(is_byte);
    // These two are directories of /proc/sys/net that are not interfaces.
    let is_taken = ["all", "default", ".", "..", "lo"].contains(&name);
    (fits && !is_taken).then(|| name.to_owned()).ok_or_else(refuse)
}

/// What happens at an orderly end to what gipam keeps in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelAtEnd {
    /// gipam removes it.
    #[default]
    Remove,
    /// It stays, and the next start corrects it, so that containers stay reachable while gipam is replaced.
    Keep,
}

impl Value for KernelAtEnd {
    type Raw = Self;

    fn read(raw: Self) -> Result<Self, Problem> {
        Ok(raw)
    }
}

impl std::fmt::Display for KernelAtEnd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Remove => "remove",
            Self::Keep => "keep",
        })
    }
}

/// What gipam keeps in the kernel for one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolEdge {
    /// The name of the pool.
    pub pool: String,
    /// The interface on which the host answers neighbour solicitations for the IPv6 addresses of containers.
    pub ndp_proxy: Option<String>,
    /// The interface on which it answers ARP requests for their IPv4 addresses.
    pub arp_proxy: Option<String>,
    /// Packets to addresses that no network has are answered with an ICMP error.
    pub discard: bool,
}

impl PoolEdge {
    fn of(table: &PoolTable) -> Self {
        Self {
            pool: table.name.to_string(),
            ndp_proxy: table.ndp_proxy.as_ref().map(|uplink| uplink.0.clone()),
            arp_proxy: table.arp_proxy.as_ref().map(|uplink| uplink.0.clone()),
            discard: table.discard.as_ref().is_some_and(|discard| **discard),
        }
    }

    /// The uplink for the addresses of this family.
    pub fn uplink(&self, family: Family) -> Option<&str> {
        match family {
            Family::V4 => self.arp_proxy.as_deref(),
            Family::V6 => self.ndp_proxy.as_deref(),
        }
    }

    /// The settings in words.
    fn text(&self) -> String {
        let uplink = |key: &str, uplink: &Option<String>| {
            uplink.as_ref().map(|uplink| format!("{key} {uplink}")).into_iter()
        };
        let parts = uplink("ndp_proxy", &self.ndp_proxy)
            .chain(uplink("arp_proxy", &self.arp_proxy))
            .chain(self.discard.then(|| "discard".to_owned()));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }
}

impl Config {
    /// What gipam keeps in the kernel for each pool of the file that asks for something.
    pub fn edge(&self) -> Vec<PoolEdge> {
        let pools = self.keys.pool.iter().map(PoolEdge::of);
        pools.filter(|pool| pool.text() != PoolEdge::default().text()).collect()
    }

    /// What changes about that from `old` to this configuration, one line for each pool.
    pub fn edge_lines(&self, old: &Self) -> Vec<String> {
        let (before, after) = (old.edge(), self.edge());
        let text = |all: &[PoolEdge], name: &str| {
            all.iter().find(|edge| edge.pool == name).cloned().unwrap_or_default().text()
        };
        let mut names: Vec<&str> = before.iter().chain(&after).map(|edge| edge.pool.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let line = |name: &str| {
            let (old, new) = (text(&before, name), text(&after, name));
            (old != new).then(|| format!("pool {name}: in the kernel, {old} becomes {new}"))
        };
        let (was, is) = (*old.keys.kernel_at_end, *self.keys.kernel_at_end);
        let end = (was != is).then(|| format!("kernel_at_end: {was} becomes {is}"));
        names.into_iter().filter_map(line).chain(end).collect()
    }
}

impl Resolver<'_> {
    /// Checks what a pool wants in the kernel, and records it for `gipam config show`.
    pub(super) fn edge(&mut self, table: &PoolTable, pool: &PoolSettings) -> Result<(), ConfigError> {
        let mut shown = Vec::new();
        let proxies =
            [(&table.arp_proxy, "arp_proxy", Family::V4), (&table.ndp_proxy, "ndp_proxy", Family::V6)];
        for (written, key, family) in proxies {
            let Some(written) = written else { continue };
            let is_sourced = pool.provenance.sources[family as usize].is_some();
            self.document.value(written, |_| match pool.base(family) {
                None if is_sourced => Ok(()),
                None => {
                    Err(problem!("{key} also needs {}: pool {} has no such base", family.name(), pool.name))
                }
                Some(base) if base.shared.is_some() => Err(problem!(
                    "{key} does not go with shared: containers of pool {} answer on the LAN themselves",
                    pool.name
                )),
                Some(_) => Ok(()),
            })?;
            shown.push((key, written.to_string(), written.place.clone()));
        }
        if let Some(written) = &table.discard {
            self.document.value(written, |discard| {
                match pool.bases().any(|base| *discard && base.shared.is_some()) {
                    true => Err(problem!("discard does not go with shared: pool {} is a LAN", pool.name)),
                    false => Ok(()),
                }
            })?;
            shown.push(("discard", written.to_string(), written.place.clone()));
        }
        for (key, value, place) in shown {
            self.show(format!("pool.{}.{key}", pool.name), value, &place);
        }
        Ok(())
    }
}
