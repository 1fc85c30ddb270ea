//! Writes the slices of this host, and the history rows about them.
//!
//! Promises: each row is written in the same transaction as the change itself. Does not interpret claims.

use rusqlite::{Row, params};

use super::lines::{Happening, OF_SLICES};
use super::load::{Clear, Unclear, prefix};
use super::sqlite::Books;
use super::write::Written;
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::prefix::Prefix;
use crate::plan::slices::{Slice, SliceState};

impl Books {
    /// Writes a slice.
    pub(super) fn put_slice(&mut self, plan: &Plan, slice: &Slice) -> Written {
        let Slice { prefix, state, claim } = slice;
        self.execute(
            "INSERT OR REPLACE INTO slices VALUES (?1, ?2, ?3)",
            params![prefix.to_string(), state.name(), claim],
        )?;
        let before = plan.slices().get(*prefix).map(|known| known.state);
        let [held, leaving, lost, _] = OF_SLICES;
        let event = match state {
            _ if before == Some(*state) => return Ok(()),
            SliceState::Held => held,
            SliceState::Leaving => leaving,
            SliceState::Lost => lost,
        };
        self.history(Happening::loose(plan.now(), event, "", prefix.to_string()))
    }

    /// Deletes a slice.
    pub(super) fn forget_slice(&mut self, plan: &Plan, prefix: Prefix) -> Written {
        self.execute("DELETE FROM slices WHERE prefix = ?1", [prefix.to_string()])?;
        let [.., gone] = OF_SLICES;
        self.history(Happening::loose(plan.now(), gone, "", prefix.to_string()))
    }
}

/// Reads a row of the table of slices.
pub(super) fn slice(row: &Row<'_>) -> Clear<Change> {
    let state = row.get_ref("state")?.as_str()?;
    Ok(Change::SlicePut(Slice {
        prefix: prefix(row.get_ref("prefix")?.as_str()?)?,
        state: SliceState::parse(state).ok_or_else(|| Unclear(format!("{state:?} is not a slice state")))?,
        claim: row.get("claim")?,
    }))
}
