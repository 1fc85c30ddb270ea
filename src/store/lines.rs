//! Rows of the history: gathered while a batch is decided, written together by one statement.
//!
//! Promises: all of them are in the transaction before it is committed; a bounded number waits in memory. A row says what
//! happened and, of an address, what is known of it since (see `tail`). Does not number them.

use rusqlite::Connection;

use super::write::signed;
use crate::plan::change::{Kind, Record, Serial, SubnetState, Why};
use crate::plan::prefix::{Prefix, text};
use crate::plan::request::Space;
use crate::plan::settings::Millis;

/// Most rows that wait.
pub(super) const MOST: usize = 256;

/// What one row tells.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) at: Millis,
    pub(super) event: &'static str,
    /// Of whom it tells: an address, or only the subnet.
    pub(super) address: Option<u128>,
    /// Who holds, or held, the address.
    pub(super) holder: Option<Record>,
    /// What is known of the address now; nothing if absent.
    pub(super) known: Option<KnownState>,
    pub(super) why: Option<Why>,
}

/// What is known of an address, besides its holder.
#[derive(Debug)]
pub(super) struct KnownState {
    pub(super) leased: bool,
    pub(super) since: Millis,
}

/// The column `pinned`, bit by bit: 1, it was once asked for by number; 2, it is not given to an anonymous request.
pub(super) fn marks(record: &Record) -> i64 {
    i64::from(record.asked_by_number) | i64::from(record.withheld) << 1
}

impl Happening {
    pub(super) fn of_subnet(at: Millis, event: &'static str, why: Option<&Why>) -> Self {
        Self { at, event, address: None, holder: None, known: None, why: why.cloned() }
    }

    /// The address is as the record says.
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

/// Writes them into the open transaction, and forgets them.
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
        // Bound already, where the row before tells of the same subnet: what a burst of starts does.
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
