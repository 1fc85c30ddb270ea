//! The kind `discards`: an unreachable route for the base of each pool with `discard = true`, so that packets to addresses that no
//! network has are answered with an ICMP error instead of following the default route back to the router.
//!
//! Promises: as for all kinds. The routes of networks are more specific, and every other route to the base itself is preferred.
//! Docker's Engine and gipam's own survey do not count these routes as prefixes in use (P12). An earlier base of a pool has no such
//! route, as somebody else may have it by now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use super::kernel::{KernelSockets, News, Notice, is};
use super::kind::{Agreed, Changes, Facts, KernelKind, KindWish, equalise};
use super::route_messages::{FORBIDDEN, OwnRoutes, RouteCalls, news};
use super::routes::{RouteTarget, SliceRoute};
use crate::plan::prefix::Prefix;
use crate::view::kernel::{KernelRow, KindName, UnmadeObject};
use crate::view::routes::{DISCARD_METRIC, PROTOCOL};

/// The discard routes of all pools.
#[derive(Debug, Default)]
pub(super) struct Discards {
    wanted: BTreeSet<SliceRoute>,
    /// Whether the kernel was made equal to `wanted`.
    is_made: bool,
    /// The bases for which routes of gipam may be there: those wanted, and until they are removed, those wanted before.
    bases: BTreeSet<Prefix>,
}

impl Discards {
    /// An earlier process may have left routes for these bases.
    pub(super) fn after(bases: BTreeSet<Prefix>) -> Self {
        Self { bases, ..Self::default() }
    }
}

impl KernelKind for Discards {
    fn name(&self) -> KindName {
        KindName::Discards
    }

    fn want(&mut self, facts: &Facts<'_>) -> KindWish {
        if facts.discarded.is_empty() {
            return KindWish::Off;
        }
        let route = |prefix: &Prefix| SliceRoute { prefix: *prefix, to: RouteTarget::Unreachable };
        let wanted: BTreeSet<SliceRoute> = facts.discarded.iter().map(route).collect();
        if wanted == self.wanted && self.is_made {
            return KindWish::Same;
        }
        self.bases.extend(facts.discarded);
        (self.wanted, self.is_made) = (wanted, false);
        KindWish::New
    }

    fn wanted(&self) -> usize {
        self.wanted.len()
    }

    fn make_equal(&mut self, kernel: &mut KernelSockets, _doubtful: bool) -> io::Result<Agreed> {
        self.is_made = true;
        let mut refused = BTreeMap::new();
        let mut calls =
            RouteCalls { kernel, meant: OwnRoutes::Discards(&self.bases), reach: &BTreeMap::new() };
        let changes = equalise(&mut calls, self.wanted.iter(), &mut refused)?;
        self.bases = self.wanted.iter().map(|route| route.prefix).collect();
        let row = KernelRow {
            kind: KindName::Discards,
            wanted: self.wanted.len() as u64,
            kept: (self.wanted.len() - refused.len()) as u64,
            unmade: refused.iter().map(|(route, error)| unmade(route.prefix, error)).collect(),
            error: None,
        };
        Ok(Agreed { row, changes })
    }

    fn remove_all(&mut self, kernel: &mut KernelSockets) -> io::Result<usize> {
        (self.wanted, self.is_made) = (BTreeSet::new(), false);
        let meant = OwnRoutes::Discards(&self.bases);
        let mut calls = RouteCalls { kernel, meant, reach: &BTreeMap::new() };
        let Changes { removed, .. } = equalise(&mut calls, std::iter::empty(), &mut BTreeMap::new())?;
        self.bases.clear();
        Ok(removed)
    }

    fn places(&self) -> &BTreeSet<Prefix> {
        &self.bases
    }

    fn news(&self, notice: Notice<'_>) -> News {
        news(notice)
    }

    fn forbidden(&self) -> &'static str {
        FORBIDDEN
    }

    fn by_hand(&self) -> String {
        format!("ip route flush proto {PROTOCOL}; ip -6 route flush proto {PROTOCOL}")
    }
}

/// A route that the kernel did not accept.
fn unmade(prefix: Prefix, error: &io::Error) -> UnmadeObject {
    let why = match is(error, Errno::EXIST) {
        true => format!(
            "another program has a route to it with metric {DISCARD_METRIC}, which gipam does not replace: ip route show {prefix}"
        ),
        false => format!("the kernel refuses the discard route: {error}"),
    };
    UnmadeObject { prefix: prefix.to_string(), why, ..UnmadeObject::default() }
}
