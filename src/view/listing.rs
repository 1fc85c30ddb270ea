//! Searches, sorts and pages rows for a query with `limit`.
//!
//! Promises: a page has at most [`MOST`] rows; memory use depends on the position of the page, not on the number of rows; an
//! unknown column is refused; the order is stable. Does not know where the rows come from.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde::Serialize;

use super::query::Query;
use super::rows::{LeaseRow, SliceRow, SubnetRow};
use super::{ErrorKind, Refusal};
use crate::plan::prefix::Prefix;

/// The maximum number of rows in one page.
const MOST: usize = 500;
/// The largest offset: a later page would need too many rows in memory.
const FARTHEST: usize = 100_000;

/// One page of rows.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// Number of rows before the search.
    pub total: usize,
    /// Number of rows that match.
    pub matching: usize,
    /// The position of the first of these rows among the matching ones, from 0.
    pub offset: usize,
    pub rows: Vec<T>,
}

/// A kind of row that can be searched and sorted.
pub trait Listed {
    /// The columns by which it can be sorted. `address`, the order in which the rows come, is always possible.
    const COLUMNS: &'static [&'static str];
    /// Compares two rows by one of the columns.
    fn compare(&self, other: &Self, column: &str) -> Ordering;
    /// Whether one of its texts contains `text`, which is in lower case.
    fn contains(&self, text: &str) -> bool;
    /// Whether it is about this address.
    fn covers(&self, address: IpAddr) -> bool;
}

fn holds(texts: &[Option<&str>], part: &str) -> bool {
    let lower = |text: &&str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    texts
        .iter()
        .flatten()
        .any(|text| if lower(text) { text.to_lowercase().contains(part) } else { text.contains(part) })
}

impl Listed for SubnetRow {
    const COLUMNS: &'static [&'static str] =
        &["pool", "network", "space", "leases", "cooling", "free", "share", "since"];

    fn compare(&self, other: &Self, column: &str) -> Ordering {
        match column {
            "pool" => self.pool.cmp(&other.pool),
            "network" => self.network.cmp(&other.network),
            "space" => self.space.cmp(&other.space),
            "leases" => self.leases.cmp(&other.leases),
            "cooling" => self.cooling.cmp(&other.cooling),
            "free" => self.free.cmp(&other.free),
            "share" => self.share.0.total_cmp(&other.share.0),
            _ => self.since.cmp(&other.since),
        }
    }

    fn contains(&self, text: &str) -> bool {
        let texts =
            [Some(self.prefix.as_str()), Some(&self.id), self.pool.as_deref(), self.gateway.as_deref()];
        holds(&texts, text)
            || holds(&[self.network.as_deref(), Some(&self.space), self.range.as_deref()], text)
    }

    fn covers(&self, address: IpAddr) -> bool {
        Prefix::parse(&self.prefix).is_some_and(|prefix| prefix.contains_address(address))
    }
}

impl Listed for LeaseRow {
    const COLUMNS: &'static [&'static str] = &["holder", "kind", "state", "mac", "network", "since"];

    fn compare(&self, other: &Self, column: &str) -> Ordering {
        match column {
            "holder" => self.holder.cmp(&other.holder),
            "kind" => self.kind.cmp(&other.kind),
            "state" => self.state.cmp(&other.state),
            "mac" => self.mac.cmp(&other.mac),
            "network" => self.network.cmp(&other.network),
            _ => self.since.cmp(&other.since),
        }
    }

    fn contains(&self, text: &str) -> bool {
        let texts =
            [Some(self.address.as_str()), Some(&self.subnet), self.holder.as_deref(), self.mac.as_deref()];
        holds(&texts, text)
            || holds(&[self.network.as_deref(), self.container.as_deref(), self.kind.as_deref()], text)
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.address.parse() == Ok(address)
    }
}

impl Listed for SliceRow {
    const COLUMNS: &'static [&'static str] = &["pool", "host", "state", "used", "room"];

    fn compare(&self, other: &Self, column: &str) -> Ordering {
        match column {
            "pool" => self.pool.cmp(&other.pool),
            "host" => self.host.cmp(&other.host),
            "state" => self.state.cmp(&other.state),
            "used" => self.used.cmp(&other.used),
            _ => self.room.cmp(&other.room),
        }
    }

    fn contains(&self, text: &str) -> bool {
        holds(&[Some(&self.slice), self.pool.as_deref(), self.host.as_deref(), Some(&self.state)], text)
    }

    fn covers(&self, address: IpAddr) -> bool {
        Prefix::parse(&self.slice).is_some_and(|prefix| prefix.contains_address(address))
    }
}

/// Selects rows, which come in the order of their addresses, by the parameters of a query: `search`, `sort` (a leading `-`
/// reverses the order), `offset`, `limit`.
pub(super) struct Listing<T> {
    search: Option<String>,
    address: Option<IpAddr>,
    /// `None` keeps the order in which the rows come.
    column: Option<String>,
    down: bool,
    offset: usize,
    limit: usize,
    /// How many rows there are, if that is known in advance.
    known: Option<usize>,
    total: usize,
    matching: usize,
    /// The best rows so far, each with its position in the original order.
    kept: Vec<(usize, T)>,
}

impl<T: Listed> Listing<T> {
    /// Reads a query; `None` if it has no `limit`, because all rows are then sent as they arrive.
    pub(super) fn read(query: Query<'_>) -> Result<Option<Self>, Refusal> {
        let number = |name: &str| query.parsed::<usize>(name, "number");
        let Some(limit) = number("limit")? else { return Ok(None) };
        let search = query.text("search")?.map(|search| search.trim().to_lowercase());
        let sort = query.text("sort")?.unwrap_or_else(|| "address".to_owned());
        let (column, down) = sort.strip_prefix('-').map_or((sort.as_str(), false), |column| (column, true));
        if column != "address" && !T::COLUMNS.contains(&column) {
            let known = T::COLUMNS.join(", ");
            let text = format!("unknown column {column:?}; the columns are address, {known}");
            return Err(Refusal::new(ErrorKind::Invalid, text));
        }
        Ok(Some(Self {
            address: search.as_deref().and_then(|search| search.parse().ok()),
            search,
            column: Some(column.to_owned()).filter(|column| column != "address"),
            down,
            offset: number("offset")?.unwrap_or(0).min(FARTHEST),
            limit: limit.min(MOST),
            known: None,
            total: 0,
            matching: 0,
            kept: Vec::new(),
        }))
    }

    /// Whether the query neither searches nor sorts.
    pub(super) const fn is_plain(&self) -> bool {
        self.search.is_none() && self.column.is_none() && !self.down
    }

    /// Sets the number of rows; all of them match.
    pub(super) const fn is_of(&mut self, rows: usize) {
        self.known = Some(rows);
    }

    /// Takes one more row. Returns whether to continue.
    pub(super) fn take(&mut self, row: T) -> bool {
        self.total += 1;
        let is_found =
            |search: &str| row.contains(search) || self.address.is_some_and(|address| row.covers(address));
        if !self.search.as_deref().is_none_or(is_found) {
            return true;
        }
        self.matching += 1;
        let enough = self.offset + self.limit;
        if self.column.is_none() && !self.down && self.kept.len() >= enough {
            return self.known.is_none();
        }
        self.kept.push((self.matching, row));
        if self.kept.len() > 2 * enough.max(MOST) {
            self.cut();
        }
        true
    }

    /// Sorts the kept rows, and drops those after the end of the page.
    fn cut(&mut self) {
        let (column, down) = (self.column.as_deref(), self.down);
        let compare = |(number, row): &(usize, T), (other_number, other): &(usize, T)| {
            let by_column = column.map_or(Ordering::Equal, |column| row.compare(other, column));
            let by_column = if down { by_column.reverse() } else { by_column };
            let coming = number.cmp(other_number);
            by_column.then(if down && column.is_none() { coming.reverse() } else { coming })
        };
        self.kept.sort_unstable_by(compare);
        self.kept.truncate(self.offset + self.limit);
    }

    /// The finished page.
    pub(super) fn page(mut self) -> Page<T> {
        self.cut();
        let (total, matching) = self.known.map_or((self.total, self.matching), |known| (known, known));
        let offset = self.offset;
        Page {
            total,
            matching,
            offset,
            rows: self.kept.into_iter().skip(offset).map(|(_, row)| row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(address: &str, holder: Option<&str>, since: &str) -> LeaseRow {
        let row = serde_json::json!({
            "subnet": "192.0.2.0/24", "address": address, "kind": "endpoint", "holder": holder, "mac": null, "state": "leased",
            "since": since, "id": "x", "space": "local", "container": null, "network": "Front"
        });
        serde_json::from_value(row).unwrap()
    }

    fn page(rows: impl IntoIterator<Item = LeaseRow>, query: &str) -> Result<Page<LeaseRow>, Refusal> {
        let mut listing = Listing::read(Query(query))?.expect("a limit");
        for row in rows {
            let _ = listing.take(row);
        }
        Ok(listing.page())
    }

    fn found(query: &str) -> Vec<String> {
        let rows = [
            lease("192.0.2.2", Some("Web"), "2026-01-03T00:00:00Z"),
            lease("192.0.2.3", None, "2026-01-01T00:00:00Z"),
            lease("192.0.2.22", Some("db"), "2026-01-02T00:00:00Z"),
        ];
        let page = page(rows, &format!("{query}&limit=100")).unwrap();
        assert_eq!(page.total, 3);
        page.rows.iter().map(|row| row.address.rsplit('.').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn rows_are_searched_sorted_and_paged() {
        assert_eq!(found(""), ["2", "3", "22"]);
        assert_eq!(found("search=web"), ["2"], "a search ignores case");
        assert_eq!(found("search=front"), ["2", "3", "22"]);
        assert_eq!(found("search=192.0.2.2"), ["2", "22"]);
        assert_eq!(found("sort=-address"), ["22", "3", "2"]);
        assert_eq!(found("sort=since"), ["3", "22", "2"]);
        assert_eq!(found("sort=-holder"), ["22", "2", "3"]);
        assert_eq!(found("offset=1&limit=1"), ["3"]);
        assert_eq!(found("offset=9"), Vec::<String>::new());
        assert_eq!(found("search=db"), ["22"]);
    }

    #[test]
    fn a_page_has_a_bounded_number_of_rows_for_any_query() {
        let rows: Vec<LeaseRow> =
            (0..MOST + 100).map(|_| lease("192.0.2.2", None, "2026-01-01T00:00:00Z")).collect();
        for (query, expected) in [("limit=100", 100), ("limit=99999", MOST), ("limit=99999&offset=590", 10)] {
            let page = page(rows.clone(), query).unwrap();
            assert_eq!((page.rows.len(), page.matching), (expected, MOST + 100), "{query}");
        }
    }

    #[test]
    fn invalid_queries_are_refused() {
        for query in ["limit=1&sort=color", "limit=1&offset=-1", "limit=many"] {
            assert!(page([], query).is_err(), "{query}");
        }
    }
}
