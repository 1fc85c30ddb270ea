//! The plan as rows: pools, subnets, leases, history.
//!
//! Promises: the same rows whether a daemon runs or not, because both read the books; sorted by prefix and address.
//! Works on a plan of its own, never on the ledger's, so reading never holds up a request.

use std::path::Path;
use std::sync::Arc;

use super::query::Query;
use super::rows::{Count, HistoryRow, PoolRow, SubnetRow};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::request::Dead;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet};
use crate::store::Reader;
use crate::store::history::HistoryLine;
use crate::store::names::{Names, Networks};
use crate::view::Fullness;

/// The books as they are now.
pub struct View {
    reader: Reader,
    plan: Plan,
    networks: Networks,
    now: Millis,
    /// What this host uses, as far as somebody looked.
    in_use: HostUse,
    /// What repair knows, where it runs.
    known: Arc<Dead>,
}

impl From<HistoryLine> for HistoryRow {
    fn from(line: HistoryLine) -> Self {
        Self {
            at: rfc3339(line.at),
            event: line.event,
            subnet: Some(line.subnet),
            address: line.address,
            kind: line.kind,
            holder: line.name.or(line.container),
            mac: line.mac,
            space: Some(line.space).filter(|space| !space.is_empty()),
            why: line.why,
            network: line.network,
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

impl View {
    /// Reads the books at this path.
    pub fn open(books: &Path, now: Millis) -> Result<Self, Refusal> {
        let reader = Reader::open(books)?;
        let mut plan = Plan::new(reader.settings()?);
        reader.load(|change| plan.apply(&change))?;
        plan.advance(now);
        let networks = reader.networks()?;
        Ok(Self { reader, plan, networks, now, in_use: HostUse::default(), known: Arc::default() })
    }

    /// The same view, with what repair knows about the Engine.
    #[must_use]
    pub fn knowing(self, known: Arc<Dead>) -> Self {
        Self { known, ..self }
    }

    /// What repair knows.
    pub(super) fn known(&self) -> Arc<Dead> {
        self.known.clone()
    }

    /// The same on a host that uses this.
    #[must_use]
    pub fn on(self, look: impl FnOnce(Box<[Prefix]>) -> HostUse) -> Self {
        Self { in_use: look(self.plan.bases()), ..self }
    }

    /// Why this host's own use leaves no part of a base free, if so.
    pub fn unusable(&self, base: Prefix) -> Option<String> {
        Plan::unusable(base, &self.in_use)
    }

    /// What this host uses.
    pub(super) const fn in_use(&self) -> &HostUse {
        &self.in_use
    }

    /// The plan that was read.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan alone; the books are let go.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// What the Engine calls the network of a held subnet.
    pub(super) fn network_of(&self, subnet: &Subnet) -> Option<&str> {
        let (generation, network) = self.networks.get(&subnet.state.serial)?;
        (subnet.is_held() && *generation == subnet.state.generation).then_some(&**network)
    }

    /// When it was read.
    pub(super) const fn now(&self) -> Millis {
        self.now
    }

    /// Answers a `GET` of a view; `None` if there is no such view. `look` says what this host uses.
    pub fn answer(
        &self,
        path: &str,
        query: &str,
        look: impl FnOnce(Box<[Prefix]>) -> HostUse,
    ) -> Option<Result<Vec<u8>, Refusal>> {
        let query = Query(query);
        Some(match path {
            "/v1/pools" => json(&self.pools()),
            "/v1/subnets" => json(&self.subnets()),
            "/v1/leases" => self.leases(query).and_then(|rows| json(&rows)),
            "/v1/history" => self.history(query).and_then(|rows| json(&rows)),
            "/v1/reserved" => json(&self.reservations()),
            "/v1/map" => self.map(query).and_then(|rows| json(&rows)),
            "/v1/who" => self.who(query).and_then(|rows| json(&rows)),
            "/v1/explain" => self.explain(query, &look(self.plan.bases())).and_then(|rows| json(&rows)),
            _ => return None,
        })
    }

    /// The pools, in the order of the settings.
    pub fn pools(&self) -> Vec<PoolRow> {
        let mut rows = Vec::new();
        for pool in &self.plan.settings().pools {
            for (family, base) in
                Family::BOTH.into_iter().filter_map(|family| Some((family, pool.base(family)?)))
            {
                let counts = self.plan.count_subnets(base);
                let share = Fullness::of_pool(base, &counts);
                let unusable = self.unusable(base.base);
                rows.push(PoolRow {
                    pool: pool.name.clone(),
                    family: family.name().to_owned(),
                    base: base.base.to_string(),
                    size: base.size,
                    subnets: Count(counts.held.into()),
                    free: Count(if pool.closed || unusable.is_some() { 0 } else { counts.free }),
                    cooling: Count(counts.cooling.into()),
                    closed: pool.closed,
                    unusable,
                    reserved: Count(counts.reserved),
                    share,
                    full: share.to_string(),
                });
            }
        }
        rows
    }

    pub(super) fn sorted(&self) -> Vec<&Subnet> {
        let mut subnets: Vec<&Subnet> = self.plan.subnets().collect();
        subnets.sort_by_key(|subnet| (subnet.state.prefix, subnet.state.space, subnet.state.serial));
        subnets
    }

    /// The held subnets, sorted.
    pub fn subnets(&self) -> Vec<SubnetRow> {
        let held = self.sorted().into_iter().filter(|subnet| subnet.is_held());
        let row = |subnet: &Subnet| {
            let state = &subnet.state;
            SubnetRow {
                id: state.id.clone(),
                prefix: state.prefix.to_string(),
                pool: state.pool.clone(),
                space: state.space.name().to_owned(),
                range: state.range.map(|range| range.to_string()),
                gateway: subnet.gateway_lease().map(|(address, _)| state.prefix.address(address).to_string()),
                leases: Count(subnet.addresses.leased() as u128),
                cooling: Count(self.plan.count_addresses(subnet).cooling),
                since: Some(rfc3339(state.granted_at)),
                options: state.options.clone(),
                network: self.network_of(subnet).map(str::to_owned),
            }
        };
        held.map(row).collect()
    }

    /// What the Engine calls holders.
    pub(super) fn names(&self) -> Result<Names, Refusal> {
        Ok(self.reader.names()?)
    }

    fn history(&self, query: Query<'_>) -> Result<Vec<HistoryRow>, Refusal> {
        let limit = query.parsed("limit", "number")?.unwrap_or(1_000);
        let since = query.since(self.now)?.unwrap_or(0);
        let of = query.text("of")?;
        of.as_deref().map_or(Ok(()), super::meant::check_prefix)?;
        self.history_of(of.as_deref(), limit, since)
    }

    /// The latest lines since that time, of everything or of one thing.
    pub(super) fn history_of(
        &self,
        of: Option<&str>,
        limit: u32,
        since: Millis,
    ) -> Result<Vec<HistoryRow>, Refusal> {
        let lines = self.reader.history_since(of, limit, since)?;
        Ok(lines.into_iter().map(HistoryRow::from).collect())
    }
}
