//! `GET /v1/...`: the views, with a daemon and without one.
//!
//! Promises: the same code and the same rows in both cases; a plan is built from the books only if no daemon runs; rows are
//! sorted by prefix and address. Runs on threads that may block, and changes nothing.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::census::{Census, CensusAge, Counting, FULLEST};
use super::query::Query;
use super::rows::{Count, HistoryRow, ReservedRow, Status};
use super::sink::Sink;
use super::source::Source;
use super::{ErrorKind, Refusal, explain};
use crate::claims::HostsPlan;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{AddressRange, Prefix};
use crate::plan::request::Dead;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, ReservedBy, Subnet};
use crate::store::Reader;
use crate::store::history::HistoryLine;

/// What a daemon knows in addition to the plan and the books.
pub struct AroundView {
    /// Returns which parts of the given base prefixes this host uses.
    pub host: Box<dyn Fn(Box<[Prefix]>) -> HostUse + Send>,
    /// What repair learned from the Engine: which leases and subnets are dead or alive, and the names of their holders.
    pub known: Arc<Dead>,
    /// Counts that are shared with other views.
    pub counting: Arc<Counting>,
    /// The maximum number of history lines in one answer.
    pub most_lines: u32,
    /// Adds to a status what only the running daemon knows.
    pub running: Box<dyn Fn(Status) -> Status + Send>,
}

/// The sources of one answer: the plan, the books, and what only a daemon knows.
pub struct View {
    pub(super) source: Source,
    books: PathBuf,
    reader: OnceCell<Reader>,
    now: Millis,
    hosts: Option<Arc<HostsPlan>>,
    daemon: Option<AroundView>,
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
            number: Some(line.number),
        }
    }
}

impl View {
    /// A view of a plan and its books.
    pub fn new(source: Source, books: PathBuf, now: Millis) -> Self {
        let reader = OnceCell::new();
        Self { source, books, reader, now, hosts: None, daemon: None }
    }

    /// A view of books that no daemon serves.
    pub fn open(books: &Path, now: Millis) -> Result<Self, Refusal> {
        let reader = Reader::open(books)?;
        let mut plan = reader.plan()?;
        plan.advance(now);
        Ok(Self::new(Source::Plan(Arc::new(plan)), books.to_owned(), now))
    }

    /// The same view, in a daemon.
    #[must_use]
    pub fn in_daemon(self, daemon: AroundView) -> Self {
        Self { daemon: Some(daemon), ..self }
    }

    /// The same view, where several hosts divide the pools.
    #[must_use]
    pub fn among(self, hosts: Option<Arc<HostsPlan>>) -> Self {
        Self { hosts, ..self }
    }

    /// What is known of all hosts, if several divide the pools.
    pub(super) fn known_hosts(&self) -> Option<Arc<HostsPlan>> {
        self.hosts.clone()
    }

    /// Access to the plan.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Which parts of the pools this host uses.
    pub(super) fn in_use(&self) -> Result<HostUse, Refusal> {
        let Some(daemon) = &self.daemon else { return Ok(HostUse::default()) };
        Ok((daemon.host)(self.source.look(Plan::bases)?))
    }

    /// When the view was created.
    pub(super) const fn now(&self) -> Millis {
        self.now
    }

    pub(super) fn books(&self) -> &Path {
        &self.books
    }

    /// The reader of the books, for names and history.
    pub fn reader(&self) -> Result<&Reader, Refusal> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader = Reader::open(&self.books)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// Counts of everything that include the last commit; while the disk hangs, the last counts.
    pub(super) fn census_or_last(&self) -> Result<Arc<Census>, Refusal> {
        let Some(daemon) = &self.daemon else {
            return Ok(Arc::new(Census::take(&self.source, FULLEST, HostUse::default())?));
        };
        match daemon.counting.look(&daemon.host, CensusAge::Current) {
            Err(refusal) if refusal.kind == ErrorKind::Unavailable => {
                Ok(daemon.counting.last().unwrap_or_default())
            }
            census => census,
        }
    }

    /// Answers a `GET` of a view.
    pub fn answer(&self, path: &str, query: &str, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let query = Query(query);
        match path {
            "/v1/status" => {
                let status = self.status_for(query)?;
                sink.value(&match &self.daemon {
                    Some(daemon) => (daemon.running)(status),
                    None => status,
                })
            }
            "/v1/pools" => sink.rows(&self.pools()?),
            "/v1/subnets" => self.subnets(query, sink),
            "/v1/leases" => self.leases(query, sink),
            "/v1/history" => sink.rows(&self.history(query)?),
            "/v1/reserved" => sink.rows(&self.reservations()?),
            "/v1/hosts" => sink.rows(&self.host_rows()?),
            "/v1/slices" => self.slices(query, sink),
            "/v1/routes" => sink.rows(&self.routes(query)?),
            "/v1/map" => sink.rows(&self.map(query)?),
            "/v1/usage" => sink.value(&self.usage(query)?),
            "/v1/who" => sink.rows(&self.who(query)?),
            "/v1/explain" => {
                let question = explain::Question::read(query)?;
                let known = self.daemon.as_ref().map(|daemon| daemon.known.clone()).unwrap_or_default();
                let in_use = self.in_use()?;
                sink.rows(&self.source.look(move |plan| question.answer(plan, &known, &in_use))??)
            }
            _ => {
                let path: String = path.chars().take(100).collect();
                Err(Refusal::new(ErrorKind::Missing, format!("unknown view {path}")))
            }
        }
    }

    fn history(&self, query: Query<'_>) -> Result<Vec<HistoryRow>, Refusal> {
        let most = self.daemon.as_ref().map_or(u32::MAX, |daemon| daemon.most_lines);
        let limit = query.parsed("limit", "number")?.unwrap_or(1_000).min(most);
        let since = query.since(self.now)?.unwrap_or(0);
        let of = query.text("of")?;
        of.as_deref().map_or(Ok(()), super::meant::check_prefix)?;
        self.history_of(of.as_deref(), limit, since, query.parsed("before", "number")?)
    }

    /// The latest history lines since that time, about everything or about one thing.
    pub(super) fn history_of(
        &self,
        of: Option<&str>,
        limit: u32,
        since: Millis,
        before: Option<u64>,
    ) -> Result<Vec<HistoryRow>, Refusal> {
        let lines = self.reader()?.history_since(of, limit, since, before)?;
        Ok(lines.into_iter().map(HistoryRow::from).collect())
    }

    /// Every reservation, with the number of leases in it.
    fn reservations(&self) -> Result<Vec<ReservedRow>, Refusal> {
        let mut rows = Vec::new();
        let ranges = self.source.look(|plan| plan.reserved_by().collect::<Vec<_>>())?;
        let mut leases = self.leases_in(ranges.iter().map(|(range, _)| *range).collect())?.into_iter();
        let row = |plan: &Plan, (range, by): &(AddressRange, ReservedBy)| {
            Some(ReservedRow {
                first: range.family.address(range.first),
                last: range.family.address(range.last),
                origin: by.name().to_owned(),
                pools: plan.pools_touching(*range).map(|pool| pool.name.clone()).collect(),
                leases: Count(0),
            })
        };
        self.source.each_of(ranges, row, |row| {
            let leases = leases.next().map(|[leases, _]| Count(leases)).unwrap_or_default();
            rows.push(ReservedRow { leases, ..row });
            Ok(())
        })?;
        Ok(rows)
    }

    /// The number of leases in each of these ranges, and the number of held subnets that overlap it.
    pub(super) fn leases_in(&self, ranges: Vec<AddressRange>) -> Result<Vec<[u128; 2]>, Refusal> {
        let mut found = vec![[0; 2]; ranges.len()];
        let count = move |_: &Plan, subnet: &Subnet| {
            let all = AddressRange::of(subnet.state.prefix);
            let leases = |range: &AddressRange| match range.covers(&all) {
                true => subnet.addresses.leased() as u128,
                false => subnet.addresses.leased_between(range.first, range.last),
            };
            let met = ranges.iter().enumerate().filter(|(_, range)| range.meets(&all));
            subnet.is_held().then(|| met.map(|(n, range)| (n, leases(range))).collect::<Vec<_>>())
        };
        self.source.each_subnet(count, |met| {
            met.into_iter().for_each(|(n, leases)| found[n] = [found[n][0] + leases, found[n][1] + 1]);
            Ok(())
        })?;
        Ok(found)
    }
}
