//! The plan as rows: pools, subnets, leases, history.
//!
//! Promises: the same rows whether a daemon runs or not, because both read the books; sorted by prefix and address.
//! Works on a plan of its own, never on the ledger's, so that no look holds up a request.

use std::path::Path;

use super::error::{AdminError, Kind as ErrorKind};
use super::rows::{Count, HistoryRow, LeaseRow, PoolRow, Status, SubnetRow};
use crate::plan::change::Record;
use crate::plan::prefix::Family;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet, mac_text};
use crate::store::history::HistoryLine;
use crate::store::{Error as StoreError, Reader};

/// The books as they are now.
pub struct View {
    reader: Reader,
    plan: Plan,
    now: Millis,
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let kind =
            if matches!(error, StoreError::Absent(_)) { ErrorKind::Missing } else { ErrorKind::Failed };
        Self::new(kind, text)
    }
}

impl From<HistoryLine> for HistoryRow {
    fn from(line: HistoryLine) -> Self {
        Self {
            at: rfc3339(line.at),
            event: line.event,
            subnet: Some(line.subnet),
            address: line.address,
            kind: line.kind,
            holder: line.name,
            mac: line.mac,
            space: Some(line.space),
            why: line.why,
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, AdminError> {
    serde_json::to_vec(value).map_err(|error| AdminError::new(ErrorKind::Failed, error.to_string()))
}

/// One value of a query, decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let (mut bytes, mut rest) = (Vec::new(), value.bytes());
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

impl View {
    /// Reads the books at this path.
    pub fn open(books: &Path, now: Millis) -> Result<Self, AdminError> {
        let reader = Reader::open(books)?;
        let mut plan = Plan::new(reader.settings()?);
        reader.load(|change| plan.apply(&change))?;
        plan.advance(now);
        Ok(Self { reader, plan, now })
    }

    /// The plan that was read.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan alone; the books are let go.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Answers a `GET` of a view; `None` if there is no such view.
    pub fn answer(&self, path: &str, query: &str) -> Option<Result<Vec<u8>, AdminError>> {
        Some(match path {
            "/v1/pools" => json(&self.pools()),
            "/v1/subnets" => json(&self.subnets()),
            "/v1/leases" => {
                self.leases(parameter(query, "all").as_deref() == Some("true")).and_then(|rows| json(&rows))
            }
            "/v1/history" => self.history(query).and_then(|rows| json(&rows)),
            _ => return None,
        })
    }

    /// The status as far as the books know it.
    pub fn status(&self, books: &Path) -> Status {
        let held: Vec<&Subnet> = self.plan.subnets().filter(|subnet| subnet.is_held()).collect();
        Status {
            running: false,
            names: Vec::new(),
            doors: Vec::new(),
            version: None,
            books: books.display().to_string(),
            pools: self.plan.settings().pools.len() as u64,
            subnets: held.len() as u64,
            leases: held.iter().map(|subnet| subnet.addresses.leased() as u64).sum(),
            started: None,
            last_error: None,
            last_error_at: None,
        }
    }

    /// The pools, in the order of the settings.
    pub fn pools(&self) -> Vec<PoolRow> {
        let mut rows = Vec::new();
        for pool in &self.plan.settings().pools {
            for (family, base) in
                Family::BOTH.into_iter().filter_map(|family| Some((family, pool.base(family)?)))
            {
                let counts = self.plan.count_subnets(base);
                rows.push(PoolRow {
                    pool: pool.name.clone(),
                    family: family.name().to_owned(),
                    base: base.base.to_string(),
                    size: base.size,
                    subnets: Count(counts.held.into()),
                    free: Count(if pool.closed { 0 } else { counts.free }),
                    cooling: Count(counts.cooling.into()),
                    closed: pool.closed,
                });
            }
        }
        rows
    }

    fn sorted(&self) -> Vec<&Subnet> {
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
            }
        };
        held.map(row).collect()
    }

    /// The leases, sorted; with `all` also what cools or is pinned.
    pub fn leases(&self, all: bool) -> Result<Vec<LeaseRow>, AdminError> {
        let names = self.reader.names()?;
        let mut rows = Vec::new();
        for subnet in self.sorted() {
            for (address, record) in subnet.addresses.records() {
                if let Some(state) = self.state(subnet, record).filter(|state| all || *state == "leased") {
                    let (serial, text) =
                        (subnet.state.serial, subnet.state.prefix.address(address).to_string());
                    let shown =
                        names.get(&(serial, text)).filter(|(generation, _)| *generation == record.generation);
                    let shown = shown.map(|(_, shown)| shown);
                    rows.push(LeaseRow {
                        subnet: subnet.state.prefix.to_string(),
                        address: subnet.state.prefix.address(address).to_string(),
                        kind: record.kind.name().map(str::to_owned),
                        holder: record
                            .name
                            .as_deref()
                            .or(shown.map(|shown| shown.container.as_ref()))
                            .map(str::to_owned),
                        mac: record.mac.map(mac_text),
                        state: state.to_owned(),
                        since: Some(rfc3339(record.since)),
                        id: subnet.is_held().then(|| subnet.state.id.clone()),
                        space: subnet.state.space.name().to_owned(),
                        container: shown.map(|shown| shown.container_id.to_string()),
                        network: shown.map(|shown| shown.network.to_string()),
                    });
                }
            }
        }
        Ok(rows)
    }

    /// What an address is to a person; nothing for a mere memory.
    fn state(&self, subnet: &Subnet, record: &Record) -> Option<&'static str> {
        let cools = record.since.saturating_add(self.plan.cooling_of(subnet)) > self.now;
        match (record.leased, subnet.is_held() && cools, record.pinned) {
            (true, ..) => Some("leased"),
            (false, true, _) => Some("cooling"),
            (false, false, true) => Some("pinned"),
            (false, false, false) => None,
        }
    }

    fn history(&self, query: &str) -> Result<Vec<HistoryRow>, AdminError> {
        let limit = parameter(query, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(1_000);
        let of = parameter(query, "of");
        let lines = self.reader.history(of.as_deref(), limit)?;
        Ok(lines.into_iter().map(HistoryRow::from).collect())
    }
}
