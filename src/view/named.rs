//! `gipam who NAME`: the addresses of a container, a MAC or a network.
//!
//! Promises: from the books, like all views; who holds addresses now is shown, else who held them last; a network is all
//! that it holds. Says so where the name is unknown, with what looks further back.

use super::query::Query;
use super::rows::{LeaseRow, WhoRow};
use super::views::View;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::request::Mac;

/// With more addresses than this, their history is left out: `gipam history NAME` has it.
const WITH_HISTORY: usize = 16;
/// Least letters of a container's id that mean it.
const SHORT_ID: usize = 12;

/// Whether a row is of this holder: by name, MAC, or the container's id or its beginning.
pub(super) fn is_holder(row: &LeaseRow, name: &str) -> bool {
    let mac = Mac::parse(name).map(|mac| mac.to_string());
    let id = row.container.as_deref();
    row.holder.as_deref() == Some(name)
        || (mac.is_some() && row.mac == mac)
        || id.is_some_and(|id| name.len() >= SHORT_ID && id.starts_with(name))
}

impl View {
    /// Everything about the addresses of this name.
    pub(super) fn who_is(&self, name: &str) -> Result<Vec<WhoRow>, Refusal> {
        let mut rows = self.leases(Query("all=true"))?;
        let leased = |row: &LeaseRow| row.state == "leased";
        let ways: [&dyn Fn(&LeaseRow) -> bool; 3] = [
            &|row| leased(row) && is_holder(row, name),
            &|row| leased(row) && row.network.as_deref() == Some(name),
            &|row| is_holder(row, name),
        ];
        let Some(way) = ways.into_iter().find(|way| rows.iter().any(way)) else {
            let text = format!(
                "no container, MAC or network called {name:?} has an address now; for earlier ones see: gipam history {name}"
            );
            return Err(Refusal::new(ErrorKind::Missing, text));
        };
        rows.retain(|row| way(row));
        let many = rows.len() > WITH_HISTORY;
        let mut found = Vec::new();
        for row in rows {
            let Ok(address) = row.address.parse() else { continue };
            let here = self.who_at(address)?.into_iter();
            let same = here.filter(|one| one.subnet.as_deref().is_none_or(|subnet| subnet == row.subnet));
            found.extend(same.map(|one| if many { WhoRow { history: Vec::new(), ..one } } else { one }));
        }
        Ok(found)
    }
}
