//! `gipam who NAME`: the addresses of a container, a MAC or a network.
//!
//! Promises: who holds addresses now is shown, else who held them last; a network is all that it holds. Says so where the
//! name is unknown, with what looks further back. The names that the Engine has shown are found in the books, all else in the
//! plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use smol_str::ToSmolStr;

use super::leases::{KnownRef, ListedPlace, PlaceFilter};
use super::rows::{LeaseRow, WhoRow};
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::change::Serial;
use crate::plan::pins::Holder;
use crate::plan::prefix::number;
use crate::plan::request::Mac;

/// With more addresses than this, their history is left out: `gipam history NAME` has it.
const WITH_HISTORY: usize = 16;
/// Least letters of a container's id that mean it.
const SHORT_ID: usize = 12;

/// Whether a row is of this holder: by name, MAC, or the container's id or its beginning.
pub(super) fn is_holder(row: &LeaseRow, name: &str) -> bool {
    let mac = Mac::parse(name).map(|mac| mac.to_smolstr());
    let id = row.container.as_deref();
    row.holder.as_deref() == Some(name)
        || (mac.is_some() && row.mac == mac)
        || id.is_some_and(|id| name.len() >= SHORT_ID && id.starts_with(name))
}

/// A name that is looked for, and where the books have it.
pub(super) struct Sought {
    name: String,
    mac: Option<Mac>,
    /// The Engine has shown it at these addresses, as container or network.
    shown: BTreeSet<(Serial, u128)>,
    /// The Engine has shown it as the network of these subnets.
    networks: BTreeSet<Serial>,
}

impl Sought {
    /// Whether an address may be of that name; its row tells.
    pub(super) fn may_be(&self, place: ListedPlace, known: &KnownRef<'_>) -> bool {
        let by_record = known.record.is_some_and(|record| {
            record.name.as_deref() == Some(&*self.name) || (self.mac.is_some() && record.mac == self.mac)
        });
        let by_pin = known.pin.is_some_and(|pin| match &pin.holder {
            Holder::Name(name) => **name == *self.name,
            Holder::Mac(mac) => self.mac == Some(*mac),
        });
        let by_book = place.serial.is_some_and(|serial| {
            self.networks.contains(&serial) || self.shown.contains(&(serial, known.address))
        });
        by_record || by_pin || by_book
    }
}

impl View {
    /// Where the books have this name.
    pub(super) fn sought(&self, name: Option<&str>) -> Result<Option<Sought>, Refusal> {
        let Some(name) = name else { return Ok(None) };
        let id = Some(name).filter(|name| name.len() >= SHORT_ID);
        let (shown, networks) = self.reader()?.shown_as(name, id)?;
        let address = |(serial, text): (Serial, String)| Some((serial, number(text.parse().ok()?)));
        Ok(Some(Sought {
            name: name.to_owned(),
            mac: Mac::parse(name),
            shown: shown.into_iter().filter_map(address).collect(),
            networks: networks.into_iter().collect(),
        }))
    }

    /// Everything about the addresses of this name.
    pub(super) fn who_is(&self, name: &str) -> Result<Vec<WhoRow>, Refusal> {
        let mut rows = Vec::new();
        if let Some(sought) = self.sought(Some(name))? {
            let wanted = Arc::new(move |place, known: &KnownRef<'_>| sought.may_be(place, known));
            self.each(self.places(PlaceFilter::All)?, wanted, |row| {
                rows.push(row);
                Ok(true)
            })?;
        }
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
            let here = self.who_at(address, !many)?.into_iter();
            found.extend(here.filter(|one| one.subnet.as_deref().is_none_or(|subnet| subnet == row.subnet)));
        }
        Ok(found)
    }
}
