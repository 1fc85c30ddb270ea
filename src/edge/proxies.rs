//! The kind `proxies`: the host answers on its uplink for the address of each container in pools with `ndp_proxy` or `arp_proxy`.
//!
//! Promises: as for all kinds; a lease that is given or released costs two requests to the kernel, however many leases there
//! are. The kernel does not report changes of these entries: gipam compares all of them at its start, at each reload, and when an
//! uplink changes. An uplink that does not exist is not an error of the others. Containers in stale subnets, which lie in an earlier base
//! of their pool, are answered for until their leases are released.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use netlink_packet_core::parse_u32;
use rustix::io::Errno;

use super::difference::KernelObject;
use super::kernel::{KernelSockets, News, Notice, RTM_NEWNETCONF, is};
use super::kind::{Agreed, Changes, Facts, KernelKind, KindWish, ObjectCalls, equalise};
use super::leases::LeaseChanges;
use super::proxy_messages::{ProxyEntry, read};
use crate::host::routes::attributes;
use crate::host::watch::{RTM_DELADDR, RTM_DELLINK, RTM_NEWLINK};
use crate::plan::prefix::Prefix;
use crate::view::kernel::{KernelRow, KindName, UNMADE, UnmadeObject};

const IFLA_IFNAME: u16 = 3;
/// `struct ifinfomsg`, and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;

/// The base of a pool, or one of its stale subnets, for whose containers the host answers on an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxiedBase {
    pub(super) pool: String,
    pub(super) base: Prefix,
    pub(super) uplink: String,
}

/// The proxy entries of all pools.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    bases: Vec<ProxiedBase>,
    /// Where entries of gipam may be: in `bases`, and until they are removed, in those before.
    places: BTreeSet<Prefix>,
    wanted: BTreeSet<IpAddr>,
    /// What has changed since the kernel was last made equal; `None` if everything may have.
    changed: Option<BTreeSet<IpAddr>>,
    /// The uplinks that exist.
    links: BTreeMap<String, u32>,
    /// Why addresses have no entry, if the uplink exists.
    refused: BTreeMap<IpAddr, String>,
    /// Why the host does not answer although the entries are there.
    trouble: Option<String>,
}

impl Proxies {
    /// An earlier process may have left entries in these places.
    pub(super) fn after(places: BTreeSet<Prefix>) -> Self {
        Self { places, ..Self::default() }
    }
}

impl KernelKind for Proxies {
    fn name(&self) -> KindName {
        KindName::Proxies
    }

    fn want(&mut self, facts: &Facts<'_>) -> KindWish {
        if facts.proxied.is_empty() {
            return KindWish::Off;
        }
        let Some(leases) = facts.leases else { return KindWish::Unknown };
        let is_new = self.bases != facts.proxied || self.trouble.as_deref() != facts.sysctl_trouble;
        if is_new {
            self.changed = None;
        }
        self.bases = facts.proxied.to_vec();
        self.places.extend(self.bases.iter().map(|base| base.base));
        self.trouble = facts.sysctl_trouble.map(ToOwned::to_owned);
        let mut changed = BTreeSet::new();
        match leases {
            LeaseChanges::All(all) => {
                changed.extend(all.symmetric_difference(&self.wanted));
                self.wanted.clone_from(all);
            }
            LeaseChanges::Some(some) => {
                for (address, is_leased) in some {
                    let is_other = match is_leased {
                        true => self.wanted.insert(*address),
                        false => self.wanted.remove(address),
                    };
                    changed.extend(is_other.then_some(*address));
                }
            }
        }
        let is_same = changed.is_empty() && self.changed.as_ref().is_some_and(BTreeSet::is_empty);
        if let Some(known) = &mut self.changed {
            known.extend(changed);
        }
        if is_same && !is_new { KindWish::Same } else { KindWish::New }
    }

    fn wanted(&self) -> usize {
        self.wanted.len()
    }

    fn make_equal(&mut self, kernel: &mut KernelSockets, doubtful: bool) -> io::Result<Agreed> {
        // If this fails, the next time compares everything.
        let changed = self.changed.take();
        let changes = match &changed {
            Some(changed) if !doubtful => self.follow(kernel, changed)?,
            _ => self.compare(kernel)?,
        };
        self.changed = Some(BTreeSet::new());
        Ok(Agreed { row: self.row(), changes })
    }

    fn remove_all(&mut self, kernel: &mut KernelSockets) -> io::Result<usize> {
        let places = std::mem::take(&mut self.places);
        let mut calls = ProxyCalls { kernel, places: &places };
        let done = equalise(&mut calls, std::iter::empty(), &mut BTreeMap::new());
        *self = Self { places, ..Self::default() };
        let Changes { removed, .. } = done?;
        self.places.clear();
        Ok(removed)
    }

    fn places(&self) -> &BTreeSet<Prefix> {
        &self.places
    }

    fn news(&self, notice: Notice<'_>) -> News {
        let (kind, payload) = match notice {
            Notice::Changed(kind, payload) => (kind, payload),
            Notice::Table => return News::Nothing,
            Notice::Lost => return News::Doubtful,
        };
        let interface = payload.get(4..8).and_then(|bytes| parse_u32(bytes).ok());
        let is_uplink = || interface.is_some_and(|index| self.links.values().any(|link| *link == index));
        let is_meant = match kind {
            RTM_NEWLINK | RTM_DELLINK => is_uplink() || self.is_named(payload),
            RTM_DELADDR => is_uplink(),
            RTM_NEWNETCONF => true,
            _ => false,
        };
        if is_meant { News::Doubtful } else { News::Nothing }
    }

    fn forbidden(&self) -> &'static str {
        "gipam may not change the neighbour entries of this host: it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf \
         (see docs/install.md)"
    }

    fn by_hand(&self) -> String {
        let uplinks: BTreeSet<&str> = self.bases.iter().map(|base| base.uplink.as_str()).collect();
        let flush = |uplink: &str| format!("ip neigh flush proxy dev {uplink}");
        uplinks.into_iter().map(flush).collect::<Vec<_>>().join("; ")
    }
}

impl Proxies {
    /// The uplink on which the host answers for this address.
    fn uplink(&self, address: IpAddr) -> Option<&str> {
        let host = Prefix::host(address);
        self.bases.iter().find(|base| base.base.contains(host)).map(|base| base.uplink.as_str())
    }

    /// The entry for this address, if its uplink exists.
    fn entry(&self, address: IpAddr) -> Option<ProxyEntry> {
        let interface = *self.links.get(self.uplink(address)?)?;
        Some(ProxyEntry { interface, address })
    }

    /// Whether a message about a link is about an uplink, by its name.
    fn is_named(&self, payload: &[u8]) -> bool {
        let name = |(kind, value): (u16, &[u8])| {
            let name = value.strip_suffix(b"\0").unwrap_or(value);
            kind == IFLA_IFNAME && self.bases.iter().any(|base| base.uplink.as_bytes() == name)
        };
        attributes(payload.get(LINK_HEADER..).unwrap_or_default()).any(name)
    }

    /// Compares all entries.
    fn compare(&mut self, kernel: &mut KernelSockets) -> io::Result<Changes> {
        self.links.clear();
        for base in &self.bases {
            if let Some(index) = kernel.netlink.index_of(&base.uplink) {
                self.links.insert(base.uplink.clone(), index);
            }
        }
        let wanted: BTreeSet<ProxyEntry> =
            self.wanted.iter().filter_map(|address| self.entry(*address)).collect();
        let mut refused = BTreeMap::new();
        let mut calls = ProxyCalls { kernel, places: &self.places };
        let changes = equalise(&mut calls, wanted.iter(), &mut refused)?;
        self.places = self.bases.iter().map(|base| base.base).collect();
        let why = |(entry, error): (ProxyEntry, io::Error)| (entry.address, self.why(entry.address, &error));
        self.refused = refused.into_iter().map(why).collect();
        Ok(changes)
    }

    /// Follows single leases.
    fn follow(&mut self, kernel: &mut KernelSockets, changed: &BTreeSet<IpAddr>) -> io::Result<Changes> {
        let mut changes = Changes::default();
        for address in changed {
            let Some(entry) = self.entry(*address) else { continue };
            self.refused.remove(address);
            if !self.wanted.contains(address) {
                changes.removed += usize::from(kernel.remove_proxy(&entry)?);
                continue;
            }
            match kernel.add_proxy(&entry) {
                Ok(()) => changes.added += 1,
                Err(error) if is(&error, Errno::PERM) || error.raw_os_error().is_none() => return Err(error),
                Err(error) => _ = self.refused.insert(*address, self.why(*address, &error)),
            }
        }
        Ok(changes)
    }

    fn why(&self, address: IpAddr, error: &io::Error) -> String {
        let uplink = self.uplink(address).unwrap_or("?");
        if is(error, Errno::EXIST) {
            return format!(
                "another program has a proxy entry for it on {uplink}, which gipam does not replace: ip neigh show proxy dev {uplink}"
            );
        }
        format!("the kernel refuses the proxy entry on {uplink}: {error}")
    }

    fn row(&self) -> KernelRow {
        let absent: BTreeSet<&str> = self
            .bases
            .iter()
            .map(|base| base.uplink.as_str())
            .filter(|uplink| !self.links.contains_key(*uplink))
            .collect();
        let waiting = match absent.is_empty() {
            true => 0,
            false => self.wanted.iter().filter(|address| self.entry(**address).is_none()).count(),
        };
        let missing = (!absent.is_empty()).then(|| {
            let names = absent.into_iter().collect::<Vec<_>>().join(", ");
            format!("interface {names} does not exist; its proxy entries will be made when it comes")
        });
        let unmade = self.refused.iter().take(UNMADE).map(|(address, why)| UnmadeObject {
            prefix: address.to_string(),
            why: why.clone(),
            ..UnmadeObject::default()
        });
        KernelRow {
            kind: KindName::Proxies,
            wanted: self.wanted.len() as u64,
            kept: (self.wanted.len() - self.refused.len() - waiting) as u64,
            unmade: unmade.collect(),
            error: missing.or_else(|| self.trouble.clone()),
        }
    }
}

/// The calls that read and change the entries in these places.
struct ProxyCalls<'a> {
    kernel: &'a mut KernelSockets,
    places: &'a BTreeSet<Prefix>,
}

impl ObjectCalls<ProxyEntry> for ProxyCalls<'_> {
    fn found(&mut self) -> io::Result<Vec<KernelObject<ProxyEntry>>> {
        self.kernel.proxies(self.places)
    }

    fn add(&mut self, entry: &ProxyEntry) -> io::Result<()> {
        self.kernel.add_proxy(entry)
    }

    fn remove(&mut self, raw: &[u8]) -> io::Result<()> {
        match read(raw) {
            Some((entry, _)) => self.kernel.remove_proxy(&entry).map(drop),
            None => Ok(()),
        }
    }
}
