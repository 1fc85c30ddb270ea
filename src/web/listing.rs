//! Searching, sorting and paging of rows.
//!
//! Promises: one page of at most [`MOST`] rows; an unknown column is refused; the order is stable.
//! Does not read books.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde::Serialize;

use super::picture::ShownSubnet;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::prefix::Prefix;
use crate::view::query::Query;
use crate::view::rows::LeaseRow;

/// Most rows of one page.
pub const MOST: usize = 500;

/// One page of rows.
#[derive(Debug, Serialize)]
pub struct Page<'a, T> {
    /// Rows before searching.
    pub total: usize,
    /// Rows that match.
    pub matching: usize,
    /// The first of these rows among them, from 0.
    pub offset: usize,
    pub rows: Vec<&'a T>,
}

/// What can be listed.
pub trait Listed {
    /// The columns by which it can be sorted, besides `address`, which is the order of the rows.
    const COLUMNS: &'static [&'static str];
    /// Compares two rows by one of the columns.
    fn compare(&self, other: &Self, column: &str) -> Ordering;
    /// Whether one of its texts contains this, in lower case.
    fn contains(&self, text: &str) -> bool;
    /// Whether it concerns this address.
    fn covers(&self, address: IpAddr) -> bool;
    fn state(&self) -> &str;
    /// Whether it belongs to the subnet of this prefix or PoolID.
    fn belongs(&self, subnet: &str) -> bool;
}

fn holds(texts: &[Option<&str>], part: &str) -> bool {
    let lower = |text: &&str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    texts
        .iter()
        .flatten()
        .any(|text| if lower(text) { text.to_lowercase().contains(part) } else { text.contains(part) })
}

impl Listed for ShownSubnet {
    const COLUMNS: &'static [&'static str] =
        &["pool", "network", "space", "leases", "cooling", "free", "share", "since"];

    fn compare(&self, other: &Self, column: &str) -> Ordering {
        match column {
            "pool" => self.row.pool.cmp(&other.row.pool),
            "network" => self.row.network.cmp(&other.row.network),
            "space" => self.row.space.cmp(&other.row.space),
            "leases" => self.row.leases.cmp(&other.row.leases),
            "cooling" => self.row.cooling.cmp(&other.row.cooling),
            "free" => self.free.cmp(&other.free),
            "share" => self.share.0.total_cmp(&other.share.0),
            _ => self.row.since.cmp(&other.row.since),
        }
    }

    fn contains(&self, text: &str) -> bool {
        let row = &self.row;
        let texts = [Some(row.prefix.as_str()), Some(&row.id), row.pool.as_deref(), row.gateway.as_deref()];
        holds(&texts, text) || holds(&[row.network.as_deref(), Some(&row.space), row.range.as_deref()], text)
    }

    fn covers(&self, address: IpAddr) -> bool {
        Prefix::parse(&self.row.prefix).is_some_and(|prefix| prefix.contains_address(address))
    }

    fn state(&self) -> &str {
        "used"
    }

    fn belongs(&self, subnet: &str) -> bool {
        self.row.prefix == subnet || self.row.id == subnet
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

    fn state(&self) -> &str {
        &self.state
    }

    fn belongs(&self, subnet: &str) -> bool {
        self.subnet == subnet || self.id.as_deref() == Some(subnet)
    }
}

/// One page of these rows, as the query wants it: `search`, `state`, `subnet`, `sort` (`-` before it reverses it),
/// `offset`, `limit`.
pub fn page<'a, T: Listed>(rows: &'a [T], query: &str) -> Result<Page<'a, T>, Refusal> {
    let query = Query(query);
    let number = |name: &str| query.parsed::<usize>(name, "number");
    let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?.unwrap_or(100).min(MOST));
    let search = query.text("search")?.map(|search| search.trim().to_lowercase());
    let address: Option<IpAddr> = search.as_deref().and_then(|search| search.parse().ok());
    let (state, subnet) = (query.text("state")?, query.text("subnet")?);
    let wanted = |row: &&T| {
        state.as_deref().is_none_or(|state| row.state() == state)
            && subnet.as_deref().is_none_or(|subnet| row.belongs(subnet))
            && search.as_deref().is_none_or(|search| {
                row.contains(search) || address.is_some_and(|address| row.covers(address))
            })
    };
    let mut found: Vec<&T> = rows.iter().filter(wanted).collect();
    let sort = query.text("sort")?.unwrap_or_else(|| "address".to_owned());
    let (column, down) = sort.strip_prefix('-').map_or((sort.as_str(), false), |column| (column, true));
    if T::COLUMNS.contains(&column) {
        found.sort_by(|a, b| if down { b.compare(a, column) } else { a.compare(b, column) });
    } else if column == "address" {
        if down {
            found.reverse();
        }
    } else {
        let known = T::COLUMNS.join(", ");
        let text = format!("unknown column {column:?}; the columns are address, {known}");
        return Err(Refusal::new(ErrorKind::Invalid, text));
    }
    let matching = found.len();
    let total = rows.len();
    let rows = found.into_iter().skip(offset).take(limit).collect();
    Ok(Page { total, matching, offset, rows })
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

    fn found(query: &str) -> Vec<String> {
        let rows = [
            lease("192.0.2.2", Some("Web"), "2026-01-03T00:00:00Z"),
            lease("192.0.2.3", None, "2026-01-01T00:00:00Z"),
            lease("192.0.2.22", Some("db"), "2026-01-02T00:00:00Z"),
        ];
        let page = page(&rows, query).unwrap();
        assert_eq!(page.total, 3);
        page.rows.iter().map(|row| row.address.rsplit('.').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn rows_are_searched_sorted_and_paged() {
        assert_eq!(found(""), ["2", "3", "22"]);
        assert_eq!(found("search=web"), ["2"], "whatever the case");
        assert_eq!(found("search=front"), ["2", "3", "22"]);
        assert_eq!(found("search=192.0.2.2"), ["2", "22"]);
        assert_eq!(found("sort=-address"), ["22", "3", "2"]);
        assert_eq!(found("sort=since"), ["3", "22", "2"]);
        assert_eq!(found("sort=-holder"), ["22", "2", "3"]);
        assert_eq!(found("offset=1&limit=1"), ["3"]);
        assert_eq!(found("offset=9"), Vec::<String>::new());
        assert_eq!(found("state=cooling"), Vec::<String>::new());
        assert_eq!(found("subnet=192.0.2.0%2F24&search=db"), ["22"]);
    }

    #[test]
    fn a_page_has_a_bounded_number_of_rows_whatever_is_asked() {
        let rows: Vec<LeaseRow> =
            (0..MOST + 100).map(|_| lease("192.0.2.2", None, "2026-01-01T00:00:00Z")).collect();
        for (query, expected) in [("", 100), ("limit=99999", MOST), ("limit=99999&offset=590", 10)] {
            let page = page(&rows, query).unwrap();
            assert_eq!((page.rows.len(), page.matching), (expected, MOST + 100), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let rows: [LeaseRow; 0] = [];
        for query in ["sort=color", "offset=-1", "limit=many"] {
            assert!(page(&rows, query).is_err(), "{query}");
        }
    }
}
