//! The kind `discards`: an unreachable route for the base of each pool with `discard = true`, so that packets to addresses that no
//! network has are answered with an ICMP error instead of following the default route back to the router.
//!
//! Promises: as for all kinds. The routes of networks are more specific, and every other route to the base itself is preferred.
//! Docker's Engine and gipam's own survey do not count these routes as prefixes in use (P12).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use super::difference::KernelObject;
use super::kernel::{KernelSockets, News, Notice, is};
use super::kind::{Agreed, Changes, Facts, KernelKind, KindWish, ObjectCalls, equalise};
use super::route_messages::{OwnRoutes, news};
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
    /// Where routes of gipam may be: at the bases that its pools have had since the start.
    pools: BTreeSet<Prefix>,
    /// No route of gipam is in the kernel.
    is_clean: bool,
}

impl KernelKind for Discards {
    fn name(&self) -> KindName {
        KindName::Discards
    }

    fn want(&mut self, facts: &Facts<'_>) -> KindWish {
        self.pools.extend(facts.bases);
        if facts.discarded.is_empty() {
            return KindWish::Off;
        }
        let route = |prefix: &Prefix| SliceRoute { prefix: *prefix, to: RouteTarget::Unreachable };
        let wanted: BTreeSet<SliceRoute> = facts.discarded.iter().map(route).collect();
        if wanted == self.wanted && self.is_made {
            return KindWish::Same;
        }
        (self.wanted, self.is_made) = (wanted, false);
        KindWish::New
    }

    fn wanted(&self) -> usize {
        self.wanted.len()
    }

    fn make_equal(&mut self, kernel: &mut KernelSockets, _doubtful: bool) -> io::Result<Agreed> {
        (self.is_made, self.is_clean) = (true, false);
        let mut refused = BTreeMap::new();
        let mut calls = DiscardCalls { kernel, pools: &self.pools };
        let changes = equalise(&mut calls, self.wanted.iter(), &mut refused)?;
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
        let mut calls = DiscardCalls { kernel, pools: &self.pools };
        let done = equalise(&mut calls, std::iter::empty(), &mut BTreeMap::new());
        (self.wanted, self.is_made) = (BTreeSet::new(), false);
        let Changes { removed, .. } = done?;
        self.is_clean = true;
        Ok(removed)
    }

    fn may_have_objects(&self) -> bool {
        !self.is_clean
    }

    fn news(&self, notice: Notice<'_>) -> News {
        match notice {
            Notice::Changed(kind, payload) => news(kind, payload),
            Notice::Table => News::Nothing,
            Notice::Lost => News::Doubtful,
        }
    }

    fn forbidden(&self) -> &'static str {
        "gipam may not change the routes of this host: it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf (see docs/install.md)"
    }

    fn by_hand(&self) -> String {
        format!("ip route flush proto {PROTOCOL}; ip -6 route flush proto {PROTOCOL}")
    }
}

/// The calls that read and change the discard routes of these pools.
struct DiscardCalls<'a> {
    kernel: &'a mut KernelSockets,
    pools: &'a BTreeSet<Prefix>,
}

impl ObjectCalls<SliceRoute> for DiscardCalls<'_> {
    fn found(&mut self) -> io::Result<Vec<KernelObject<SliceRoute>>> {
        self.kernel.routes(OwnRoutes::Discards(self.pools), &BTreeMap::new())
    }

    fn add(&mut self, route: &SliceRoute) -> io::Result<()> {
        self.kernel.add_route(route)
    }

    fn remove(&mut self, raw: &[u8]) -> io::Result<()> {
        self.kernel.remove_route(raw)
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
