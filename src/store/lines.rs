//! Rows of history, collected while a batch is decided and then written together by one statement.
//!
//! Promises: all rows are in the transaction before it is committed, and only a limited number waits in memory. A row says
//! what happened and, for an address, what is known about it from then on (see `tail`). Does not number the rows.

use rusqlite::Connection;

use super::write::signed;
use crate::plan::change::{Kind, Record, Serial, SubnetState, Why};
use crate::plan::prefix::{Prefix, text};
use crate::plan::request::Space;
use crate::plan::settings::Millis;

/// Maximum number of rows that wait in memory.
pub(super) const MOST: usize = 256;

/// The content of one row.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) at: Millis,
    pub(super) event: &'static str,
    /// The address that the row is about; `None` if it is only about the subnet.
    pub(super) address: Option<u128>,
    /// Who holds, or held, the address.
    pub(super) holder: Option<Record>,
    /// What is known about the address now; `None` if nothing is.
    pub(super) known: Option<KnownState>,
    pub(super) why: Option<Why>,
}

/// What is known about an address, apart from its holder.
#[derive(Debug)]
pub(super) struct KnownState {
    pub(super) leased: bool,
    pub(super) since: Millis,
}

/// The column `pinned` as bits: 1 if the address was ever requested by number, 2 if anonymous requests do not get it.
pub(super) fn marks(record: &Record) -> i64 {
    i64::from(record.asked_by_number) | i64::from(record.withheld) << 1
}

impl Happening {
    pub(super) fn of_subnet(at: Millis, event: &'static str, why: Option<&Why>) -> Self {
        Self { at, event, address: None, holder: None, known: None, why: why.cloned() }
    }

    /// A row that sets the address to the state of the record.
    pub(super) fn of_address(at: Millis, event: &'static str, address: u128, record: &Record) -> Self {
        let known = Some(KnownState { leased: record.leased, since: record.since });
        Self { at, event, address: Some(address), holder: Some(record.clone()), known, why: None }
    }
}

/// A row with its number and its subnet.
#[derive(Debug)]
pub(super) struct NumberedRow {
    seq: i64,
    serial: Serial,
    space: Space,
    prefix: Prefix,
    id: Box<str>,
    row: Happening,
}

impl NumberedRow {
    pub(super) fn new(seq: i64, state: &SubnetState, row: Happening) -> Self {
        let (serial, space, prefix) = (state.serial, state.space, state.prefix);
        Self { seq, serial, space, prefix, id: state.id.as_str().into(), row }
    }
}

/// Writes the rows into the open transaction and clears the list.
pub(super) fn write(connection: &Connection, lines: &mut Vec<NumberedRow>) -> Result<(), rusqlite::Error> {
    if lines.is_empty() {
        return Ok(());
    }
    let sql =
        "INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut before: Option<NumberedRow> = None;
    for line in lines.drain(..) {
        let NumberedRow { seq, serial, space, prefix, id, row } = &line;
        let (holder, known) = (row.holder.as_ref(), row.known.as_ref());
        statement.raw_bind_parameter(1, seq)?;
        statement.raw_bind_parameter(2, signed(row.at))?;
        statement.raw_bind_parameter(3, row.event)?;
        // If the previous row is about the same subnet, as in a burst of starts, these are already bound.
        if before.is_none_or(|before| before.serial != *serial || before.id != *id) {
            statement.raw_bind_parameter(4, space.name())?;
            statement.raw_bind_parameter(5, prefix.text())?;
            statement.raw_bind_parameter(6, &**id)?;
            statement.raw_bind_parameter(12, signed(*serial))?;
        }
        statement
            .raw_bind_parameter(7, row.address.map(|address| text(prefix.address(address))).as_deref())?;
        statement.raw_bind_parameter(8, holder.map_or(Kind::Unknown, |record| record.kind).name())?;
        statement.raw_bind_parameter(9, holder.and_then(|record| record.name.as_deref()))?;
        statement
            .raw_bind_parameter(10, holder.and_then(|record| record.mac).map(|mac| mac.text()).as_deref())?;
        statement.raw_bind_parameter(11, row.why.as_ref().map(Why::text))?;
        statement.raw_bind_parameter(13, known.map(|known| known.leased))?;
        statement.raw_bind_parameter(14, holder.map(marks))?;
        statement.raw_bind_parameter(15, known.map(|known| signed(known.since)))?;
        statement.raw_bind_parameter(16, holder.map(|record| signed(record.generation)))?;
        statement.raw_execute()?;
        before = Some(line);
    }
    Ok(())
}
