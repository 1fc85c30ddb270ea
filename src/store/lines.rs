//! History rows, collected while a batch is decided and then written together with one prepared statement.
//!
//! Promises: all rows are in the transaction before it is committed, and only a limited number waits in
//! memory. A row says what happened and, for an address, what is known about it from then on (see `tail`).
//! Rows of changes that people make leave the address column empty, so that `tail` skips them: they keep a
//! pinned address in the column `why` and a range in the column `subnet`.

use rusqlite::Connection;

use super::write::{Written, signed};
use crate::plan::change::{Kind, Record, Serial, SubnetState, Why};
use crate::plan::prefix::{Prefix, text};
use crate::plan::request::Space;
use crate::plan::settings::Millis;

/// Maximum number of rows that wait in memory.
pub(super) const MOST: usize = 256;

/// Events whose row names a range, which applies to all spaces.
pub const OF_RANGES: [&str; 2] = ["reserved", "unreserved"];
/// Events whose row keeps the pinned address in the column `why`, where other rows keep a reason.
pub const OF_PINS: [&str; 2] = ["pinned", "unpinned"];
/// Events whose row names a slice, which applies to all spaces: this host holds it, is giving it back, lost
/// it to another host, or no longer has it.
pub const OF_SLICES: [&str; 4] = ["slice held", "slice leaving", "slice lost", "slice gone"];
/// Events of held subnets that come to lie outside the base of their pool, or in it again; the column `why` has the base.
pub const OF_STALE: [&str; 2] = ["subnet stale", "subnet current"];
/// The reason in rows of changes that people make; other rows name Docker or repair.
pub const BY_HAND: &str = "by hand";

/// A history row that is not written yet.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) at: Millis,
    pub(super) event: &'static str,
    pub(super) place: HappeningPlace,
    /// The address that the row is about; `None` if it is only about the place.
    pub(super) address: Option<u128>,
    /// Who holds, or held, the address.
    pub(super) holder: Option<Record>,
    /// Whether the address is leased, and since when it has been leased or free; `None` if nothing is known
    /// about it.
    pub(super) known: Option<(bool, Millis)>,
    pub(super) why: Option<Why>,
}

/// The subject of a row.
#[derive(Debug)]
pub(super) enum HappeningPlace {
    Subnet {
        serial: Serial,
        space: Space,
        prefix: Prefix,
        id: Box<str>,
    },
    /// A range, in all spaces, or a prefix whose subnet is not in the books.
    Loose {
        space: &'static str,
        place: String,
    },
}

impl HappeningPlace {
    /// The subnet and its PoolID.
    const fn key(&self) -> Option<(Serial, &str)> {
        match self {
            Self::Subnet { serial, id, .. } => Some((*serial, id)),
            Self::Loose { .. } => None,
        }
    }
}

/// The column `pinned` as bits: 1 if the address was ever requested by number, 2 if anonymous requests do not
/// get it.
pub(super) fn marks(record: &Record) -> i64 {
    i64::from(record.asked_by_number) | i64::from(record.withheld) << 1
}

impl Happening {
    /// A row about a subnet.
    pub(super) fn of(state: &SubnetState, at: Millis, event: &'static str) -> Self {
        let (serial, space, prefix) = (state.serial, state.space, state.prefix);
        let place = HappeningPlace::Subnet { serial, space, prefix, id: state.id.as_str().into() };
        Self { at, event, place, address: None, holder: None, known: None, why: None }
    }

    /// A row about a range or a prefix that is not a subnet of the books.
    pub(super) const fn loose(at: Millis, event: &'static str, space: &'static str, place: String) -> Self {
        let place = HappeningPlace::Loose { space, place };
        Self { at, event, place, address: None, holder: None, known: None, why: None }
    }

    /// Makes this a row about an address of the subnet, whose state is `record` from now on.
    pub(super) fn holding(self, address: u128, record: &Record) -> Self {
        let known = Some((record.leased, record.since));
        Self { address: Some(address), holder: Some(record.clone()), known, ..self }
    }

    pub(super) fn because(self, why: &Why) -> Self {
        Self { why: Some(why.clone()), ..self }
    }
}

/// Writes the rows into the open transaction and clears the list.
pub(super) fn write(connection: &Connection, lines: &mut Vec<(i64, Happening)>) -> Written {
    if lines.is_empty() {
        return Ok(());
    }
    let sql =
        "INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut before: Option<Happening> = None;
    for (seq, line) in lines.drain(..) {
        let Happening { at, event, place, address, holder, known, why } = &line;
        let (holder, mut shown) = (holder.as_ref(), None);
        statement.raw_bind_parameter(1, seq)?;
        statement.raw_bind_parameter(2, signed(*at))?;
        statement.raw_bind_parameter(3, event)?;
        match place {
            HappeningPlace::Subnet { serial, space, prefix, id } => {
                shown = address.map(|address| text(prefix.address(address)));
                // If the previous row is about the same subnet, as in a burst of starts, these columns are
                // already bound.
                if before.is_none_or(|before| before.place.key() != place.key()) {
                    statement.raw_bind_parameter(4, space.name())?;
                    statement.raw_bind_parameter(5, prefix.text())?;
                    statement.raw_bind_parameter(6, &**id)?;
                    statement.raw_bind_parameter(12, signed(*serial))?;
                }
            }
            HappeningPlace::Loose { space, place } => {
                statement.raw_bind_parameter(4, space)?;
                statement.raw_bind_parameter(5, place)?;
                statement.raw_bind_parameter(6, "")?;
                statement.raw_bind_parameter(12, None::<i64>)?;
            }
        }
        statement.raw_bind_parameter(7, shown.as_deref())?;
        statement.raw_bind_parameter(8, holder.map_or(Kind::Unknown, |record| record.kind).name())?;
        statement.raw_bind_parameter(9, holder.and_then(|record| record.name.as_deref()))?;
        statement
            .raw_bind_parameter(10, holder.and_then(|record| record.mac).map(|mac| mac.text()).as_deref())?;
        statement.raw_bind_parameter(11, why.as_ref().map(Why::text))?;
        statement.raw_bind_parameter(13, known.map(|(leased, _)| leased))?;
        statement.raw_bind_parameter(14, holder.map(marks))?;
        statement.raw_bind_parameter(15, known.map(|(_, since)| signed(since)))?;
        statement.raw_bind_parameter(16, holder.map(|record| signed(record.generation)))?;
        statement.raw_execute()?;
        before = Some(line);
    }
    Ok(())
}
