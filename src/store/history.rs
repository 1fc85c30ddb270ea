//! Reading the history: who held what and when.
//!
//! Promises: newest first, bounded by what was asked for; rows that only say what is known of an address are left out; who
//! asks for an address sees the reservations that it lay in. Does not write it (see `write`).

use rusqlite::{Row, params};

use super::by_hand::{BY_HAND, OF_PINS, OF_RANGES};
use super::sqlite::{Error, Reader, sqlite};
use super::write::signed;
use crate::plan::prefix::AddressRange;

/// One line of history, as the books have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// Milliseconds since the UNIX epoch.
    pub at: u64,
    /// `leased`, `released`, `undone`, `adopted`, `identified`, `named`; the same of subnets: `subnet granted`, `subnet adopted` ...;
    /// `pinned`, `unpinned`, `reserved`, `unreserved`.
    pub event: String,
    /// Address space; empty where it is all of them.
    pub space: String,
    /// Prefix of the subnet, or what is reserved.
    pub subnet: String,
    /// Its PoolID; empty where there is no subnet.
    pub id: String,
    /// The address, but for lines about the subnet itself.
    pub address: Option<String>,
    /// gateway, auxiliary, endpoint.
    pub kind: Option<String>,
    /// Holder's name.
    pub name: Option<String>,
    /// Holder's MAC.
    pub mac: Option<String>,
    /// docker or force, or the evidence of repair.
    pub why: Option<String>,
}

impl Reader {
    /// The newest lines of all times; see [`Reader::history_since`].
    pub fn history(&self, of: Option<&str>, limit: u32) -> Result<Vec<HistoryLine>, Error> {
        self.history_since(of, limit, 0)
    }

    /// The newest lines; `of` narrows to an address, a subnet, a PoolID, a holder's name or a MAC; none older than `since`.
    pub fn history_since(&self, of: Option<&str>, limit: u32, since: u64) -> Result<Vec<HistoryLine>, Error> {
        let sql = "SELECT at, event, space, subnet, id, address, kind, name, mac, why FROM history \
                   WHERE event NOT IN ('forgotten', 'restored') AND at >= ?3 \
                   AND (?1 IS NULL OR address = ?1 OR subnet = ?1 OR id = ?1 OR name = ?1 OR mac = ?1 \
                   OR (event IN ('pinned', 'unpinned') AND why = ?1) OR (event IN ('reserved', 'unreserved') AND ?2)) \
                   ORDER BY seq DESC";
        let mut statement = self.connection.prepare(sql).map_err(sqlite(&self.path, "reading history"))?;
        // Whether a range lies there is nothing that SQLite can tell.
        let range = of.and_then(AddressRange::parse);
        let about = |line: &HistoryLine| {
            of.is_none()
                || !OF_RANGES.contains(&&*line.event)
                || range.is_some_and(|range| meets(line, &range))
        };
        let rows = statement
            .query_map(params![of, range.is_some(), signed(since)], line)
            .map_err(sqlite(&self.path, "reading history"))?;
        let lines = rows.filter(|line| line.as_ref().map_or(true, about));
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        lines.take(most).collect::<Result<_, _>>().map_err(sqlite(&self.path, "reading history"))
    }
}

fn meets(line: &HistoryLine, range: &AddressRange) -> bool {
    AddressRange::parse(&line.subnet).is_some_and(|reserved| reserved.meets(range))
}

fn line(row: &Row<'_>) -> Result<HistoryLine, rusqlite::Error> {
    plain(row).map(as_told)
}

/// Of a pin, the address stands where it says nothing of what is known of the address (see `pins`).
pub(super) fn as_told(mut line: HistoryLine) -> HistoryLine {
    if OF_PINS.contains(&&*line.event) {
        (line.address, line.why) = (line.why, Some(BY_HAND.to_owned()));
    }
    line
}

fn plain(row: &Row<'_>) -> Result<HistoryLine, rusqlite::Error> {
    Ok(HistoryLine {
        at: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        event: row.get(1)?,
        space: row.get(2)?,
        subnet: row.get(3)?,
        id: row.get(4)?,
        address: row.get(5)?,
        kind: row.get(6)?,
        name: row.get(7)?,
        mac: row.get(8)?,
        why: row.get(9)?,
    })
}
