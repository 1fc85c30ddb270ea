//! Reads the history: who held what, and when.
//!
//! Promises: rows come newest first, up to the caller's limit. Rows that only record what is known about an
//! address are left out. A query for an address includes the reservations that contained it. Does not write
//! (see `write`).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Row, params};
use smol_str::SmolStr;

use super::lines::{BY_HAND, OF_PINS, OF_RANGES};
use super::sqlite::{StoreError, Tables, sqlite};
use super::write::signed;
use crate::plan::prefix::AddressRange;
use crate::text;

/// Longer reasons are truncated to this many bytes.
const LONGEST_WHY: usize = 1_024;

/// One history row, as the books store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// Its number in the history; numbers are consecutive.
    pub number: u64,
    /// The pool of the subnet.
    pub pool: Option<String>,
    /// Milliseconds since the UNIX epoch.
    pub at: u64,
    /// Of addresses: `leased`, `released`, `undone`, `adopted`, `identified`, `named`; of subnets: `subnet
    /// granted`, `subnet adopted` ...; by hand: `pinned`, `unpinned`, `reserved`, `unreserved`.
    pub event: String,
    /// Address space; empty if the row applies to all spaces.
    pub space: String,
    /// Prefix of the subnet, or the reserved range.
    pub subnet: String,
    /// PoolID of the subnet; empty if the row has no subnet.
    pub id: String,
    /// The address; `None` in rows about the subnet itself.
    pub address: Option<String>,
    /// `gateway`, `auxiliary` or `endpoint`.
    pub kind: Option<String>,
    /// The holder's name.
    pub name: Option<String>,
    /// The holder's MAC.
    pub mac: Option<String>,
    /// `docker` or `force`, or the evidence that repair found.
    pub why: Option<String>,
    /// The generation of the lease that the row is about.
    pub generation: Option<u64>,
    /// The container that held the address, if the Engine ever showed it.
    pub container: Option<String>,
    /// The network of that container, or of the subnet.
    pub network: Option<String>,
}

/// When something happened, and the event.
pub type Occurrence = (u64, SmolStr);

impl Tables {
    /// The newest rows of any age; see [`Tables::history_since`].
    pub fn history(&self, of: Option<&str>, limit: u32) -> Result<Vec<HistoryLine>, StoreError> {
        self.history_since(of, limit, 0, None)
    }

    /// The newest rows. `of` narrows them to an address, a subnet, a PoolID, a MAC, or the name of a holder,
    /// a container or a network. Returns only rows from `since` on whose number is lower than `before`.
    pub fn history_since(
        &self,
        of: Option<&str>,
        limit: u32,
        since: u64,
        before: Option<u64>,
    ) -> Result<Vec<HistoryLine>, StoreError> {
        // SQLite cannot tell whether ranges overlap, so this is checked here.
        let range = of.and_then(AddressRange::parse);
        let about = |line: &HistoryLine| {
            of.is_none()
                || !OF_RANGES.contains(&&*line.event)
                || range.is_some_and(|range| meets(line, &range))
        };
        let before = signed(before.unwrap_or(u64::MAX));
        let wanted = params![of, range.is_some(), signed(since), before];
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql())?;
            let lines = statement.query_map(wanted, line)?;
            lines.filter(|line| line.as_ref().map_or(true, about)).take(most).collect::<Result<Vec<_>, _>>()
        };
        let mut lines = read().map_err(sqlite(&self.path, "reading history"))?;
        self.name_lines(&mut lines)?;
        Ok(lines)
    }

    /// Adds container and network names to the rows, as the Engine showed them at the time of each lease.
    fn name_lines(&self, lines: &mut [HistoryLine]) -> Result<(), StoreError> {
        let nameless = |line: &&mut HistoryLine| line.container.is_none() && line.generation.is_some();
        let wanted: BTreeSet<u64> =
            lines.iter_mut().filter(nameless).filter_map(|line| line.generation).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let sql = "SELECT generation, why FROM history WHERE event = 'named' AND why IS NOT NULL \
                   AND generation IS NOT NULL ORDER BY seq";
        let named: Vec<Option<_>> = self.rows("reading the names of holders", sql, [], |row| {
            let generation: u64 = row.get(0)?;
            let is_wanted = wanted.contains(&generation);
            let shown = if is_wanted { as_shown(row.get_ref(1)?.as_str()?) } else { None };
            Ok(shown.map(|shown| (generation, shown)))
        })?;
        let names: BTreeMap<u64, (String, String)> = named.into_iter().flatten().collect();
        for line in lines.iter_mut().filter(|line| line.container.is_none()) {
            let shown = line.generation.and_then(|generation| names.get(&generation));
            if let Some((container, network)) = shown {
                line.container = Some(container.clone());
                line.network = Some(network.clone());
            }
        }
        Ok(())
    }
}

/// How the text of a `named` row begins. The whole text is `the Engine shows CONTAINER in NETWORK`, which is
/// also parsed.
const SHOWS: &str = "the Engine shows ";

/// The text of a `named` row.
pub(super) fn shown_text(container: &str, network: &str) -> String {
    format!("{SHOWS}{container} in {network}")
}

/// Container and network from such a text. Container names contain no spaces.
fn as_shown(text: &str) -> Option<(String, String)> {
    let (container, network) = text.strip_prefix(SHOWS)?.split_once(" in ")?;
    Some((container.to_owned(), network.to_owned()))
}

/// The query for rows: `h` is the history, `s` the subnet, and `n` and `w` the Engine's names for the holder
/// and the network. Its columns are those that [`line`] reads.
pub(super) const LINES: &str = "SELECT h.at, h.event, h.space, h.subnet, h.id, h.address, h.kind, h.name, h.mac, h.why, \
    h.generation, n.container, coalesce(n.network, w.network), h.seq, s.pool FROM history AS h \
    LEFT JOIN names AS n ON n.subnet = h.serial AND n.address = h.address AND n.generation = h.generation \
    LEFT JOIN subnets AS s ON s.serial = h.serial \
    LEFT JOIN networks AS w ON w.subnet = h.serial AND w.generation = s.generation AND h.at >= s.granted_at";

/// Finds a lease by its holder's current name and by the name that the Engine showed at the time, and a
/// network by the grant of its subnet.
fn sql() -> String {
    format!(
        "{LINES} WHERE h.event NOT IN ('forgotten', 'restored') AND h.at >= ?3 AND h.seq < ?4 \
         AND (?1 IS NULL OR h.address = ?1 OR h.subnet = ?1 OR h.id = ?1 OR h.name = ?1 OR h.mac = ?1 \
         OR (h.event IN ('pinned', 'unpinned') AND h.why = ?1) OR (h.event IN ('reserved', 'unreserved') AND ?2) \
         OR n.container = ?1 OR n.network = ?1 OR w.network = ?1 \
         OR (length(?1) >= 12 AND substr(n.container_id, 1, length(?1)) = ?1) \
         OR h.generation IN (SELECT generation FROM history WHERE event = 'named' AND (why LIKE '{SHOWS}%' \
         AND (substr(why, {from}, length(?1) + 4) = ?1 || ' in ' OR substr(why, -4 - length(?1)) = ' in ' || ?1)))) \
         ORDER BY h.seq DESC",
        from = SHOWS.len() + 1
    )
}

impl Tables {
    /// Times and events of some subnets since `since`, newest first, and the time from which they are
    /// complete. Reads at most `most` rows and uses little memory for each.
    pub fn happened(
        &self,
        since: u64,
        most: u32,
        mut is_about: impl FnMut(&str) -> bool,
    ) -> Result<(Vec<Occurrence>, Option<u64>), StoreError> {
        let sql = "SELECT at, event, subnet FROM history WHERE event NOT IN ('forgotten', 'restored') \
                   ORDER BY seq DESC LIMIT ?1";
        let (mut happened, mut known) = (Vec::new(), None);
        let mut read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([most])?;
            while let Some(row) = rows.next()? {
                let at = row.get(0)?;
                known = Some(at);
                if is_about(row.get_ref(2)?.as_str()?) {
                    happened.push((at, row.get_ref(1)?.as_str()?.into()));
                }
                if at < since {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(sqlite(&self.path, "reading history"))?;
        Ok((happened, known))
    }
}

fn meets(line: &HistoryLine, range: &AddressRange) -> bool {
    AddressRange::parse(&line.subnet).is_some_and(|reserved| reserved.meets(range))
}

/// Reads a row of [`LINES`]. Texts from outside are truncated and escaped, since older books store them
/// unchanged.
pub(super) fn line(row: &Row<'_>) -> Result<HistoryLine, rusqlite::Error> {
    let shown = |text: String| text::name(&text).into_owned();
    let named = |at: usize| row.get::<_, Option<String>>(at).map(|text| text.map(shown));
    let why: Option<String> = row.get(9)?;
    let mut line = HistoryLine {
        number: row.get(13)?,
        pool: row.get(14)?,
        at: row.get(0)?,
        event: row.get(1)?,
        space: row.get(2)?,
        subnet: row.get(3)?,
        id: row.get(4)?,
        address: row.get(5)?,
        kind: row.get(6)?,
        name: named(7)?,
        mac: row.get(8)?,
        why: why.map(|why| text::cut(&why, LONGEST_WHY).into_owned()),
        generation: row.get(10)?,
        container: named(11)?,
        network: named(12)?,
    };
    // The address of a pin is in a column that does not change what is known about the address (see `pins`).
    if OF_PINS.contains(&&*line.event) {
        (line.address, line.why) = (line.why, Some(BY_HAND.to_owned()));
    }
    Ok(line)
}
