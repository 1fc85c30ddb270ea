//! What all kinds of objects have in common, and the steps that make the kernel's set equal to the wanted one.
//!
//! Promises: an object that the kernel refuses does not keep others from being made; what is surplus goes before what is lacking comes.
//! Knows no kind of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use super::difference::{Difference, KernelObject, difference};
use super::kernel::{KernelSockets, News, Notice, is};
use super::leases::LeaseChanges;
use super::proxies::ProxiedBase;
use super::translated::TranslatedPool;
use crate::claims::HostsPlan;
use crate::config::{KernelAtEnd, PoolEdge};
use crate::plan::prefix::Prefix;
use crate::view::kernel::{KernelRow, KindName};
use crate::view::rows::RouteRow;

/// How often the kernel's set is read again after a change before a difference is left for the next check.
const PASSES: u32 = 3;

/// What the thread keeps in the kernel, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The routes of the plan of several hosts.
    pub routes: bool,
    /// What the pools want.
    pub pools: Vec<PoolEdge>,
    /// The pools whose prefixes are translated.
    pub translations: Vec<TranslatedPool>,
    /// What happens to all of it at an orderly end.
    pub at_end: KernelAtEnd,
}

/// From what the kinds derive what they want.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a EdgeSettings,
    /// The plan of all hosts, if there is one.
    pub(super) hosts: Option<&'a HostsPlan>,
    /// Its routes on this host; `None` if they are not known.
    pub(super) routes: Option<&'a [RouteRow]>,
    /// The bases that want a discard route.
    pub(super) discarded: &'a [Prefix],
    /// The bases and stale subnets for whose containers the host answers on an uplink; of several that contain an address, the first
    /// counts.
    pub(super) proxied: &'a [ProxiedBase],
    /// The addresses of containers in `proxied`; `None` if they are not known.
    pub(super) leases: Option<&'a LeaseChanges>,
    /// Why the kernel does not use the proxy entries.
    pub(super) sysctl_trouble: Option<&'a str>,
}

/// What a kind wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KindWish {
    /// Nothing is to be in the kernel.
    Off,
    /// It is not known; what is in the kernel stays.
    Unknown,
    /// What it last made the kernel equal to.
    Same,
    /// Something else than that.
    New,
}

/// The outcome of a comparison.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) row: KernelRow,
    /// How many objects were added, and how many removed.
    pub(super) changes: Changes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// One kind of objects that gipam keeps in the kernel. Each kind remembers what it wants, and never touches an object that it cannot
/// tell from those of others.
pub(super) trait KernelKind: Send {
    fn name(&self) -> KindName;

    /// Derives what is wanted now.
    fn want(&mut self, facts: &Facts<'_>) -> KindWish;

    /// How many objects are wanted.
    fn wanted(&self) -> usize;

    /// Makes the kernel's set equal to the wanted one. If it is not `doubtful`, the kernel has what it was last made equal to.
    fn make_equal(&mut self, kernel: &mut KernelSockets, doubtful: bool) -> io::Result<Agreed>;

    /// Removes all objects of gipam, and forgets what was wanted; returns how many were removed.
    fn remove_all(&mut self, kernel: &mut KernelSockets) -> io::Result<usize>;

    /// Where objects of gipam may be in the kernel, or are about to be made.
    fn places(&self) -> &BTreeSet<Prefix>;

    /// Whether objects of gipam may be in the kernel.
    fn may_have_objects(&self) -> bool {
        !self.places().is_empty()
    }

    /// What a notification says about these objects.
    fn news(&self, notice: Notice<'_>) -> News;

    /// The words for a person if gipam may not change these objects.
    fn forbidden(&self) -> &'static str;

    /// The command that removes these objects if gipam cannot.
    fn by_hand(&self) -> String;
}

/// Reads, adds and removes single objects of a kind.
pub(super) trait ObjectCalls<W> {
    /// The objects of gipam in the kernel.
    fn found(&mut self) -> io::Result<Vec<KernelObject<W>>>;
    fn add(&mut self, object: &W) -> io::Result<()>;
    /// It may be gone already.
    fn remove(&mut self, raw: &[u8]) -> io::Result<()>;
}

/// Makes the kernel's set equal to the wanted one. Those that the kernel does not accept are added to `refused`.
pub(super) fn equalise<'w, W: Ord + Clone + 'w>(
    calls: &mut impl ObjectCalls<W>,
    wanted: impl Iterator<Item = &'w W> + Clone,
    refused: &mut BTreeMap<W, io::Error>,
) -> io::Result<Changes> {
    let mut changes = Changes::default();
    for _ in 0..PASSES {
        let possible = wanted.clone().filter(|object| !refused.contains_key(object)).cloned();
        let Difference { surplus, lacking } = difference(possible, calls.found()?);
        if surplus.is_empty() && lacking.is_empty() {
            break;
        }
        for raw in &surplus {
            calls.remove(raw)?;
        }
        changes.removed += surplus.len();
        for object in lacking {
            match calls.add(&object) {
                Ok(()) => changes.added += 1,
                Err(error) if is(&error, Errno::PERM) || error.raw_os_error().is_none() => return Err(error),
                Err(error) => _ = refused.insert(object, error),
            }
        }
    }
    Ok(changes)
}
