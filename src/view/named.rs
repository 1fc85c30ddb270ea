//! `gipam who NAME`: the addresses of a container, a MAC or a network.
//!
//! Promises: shows the addresses that the name holds now, otherwise those that it held last; a network stands for all addresses
//! in it. If the name is unknown, the error names the command that searches further back. Names that the Engine has reported
//! come from the books, everything else from the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use smol_str::ToSmolStr;

use super::leases::{KnownAddress, ListedPlace, PlaceFilter};
use super::rows::{LeaseRow, WhoRow};
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::change::Serial;
use crate::plan::pins::Holder;
use crate::plan::prefix::number;
use crate::plan::request::Mac;

/// With more addresses than this, their history is omitted; `gipam history NAME` shows it.
const WITH_HISTORY: usize = 16;
/// The minimum length of an abbreviated container id.
const SHORT_ID: usize = 12;

/// Whether a row belongs to this holder: a name, a MAC, or a full or abbreviated container id.
pub(super) fn is_holder(row: &LeaseRow, name: &str) -> bool {
    let mac = Mac::parse(name).map(|mac| mac.to_smolstr());
    let id = row.container.as_deref();
    row.holder.as_deref() == Some(name)
        || (mac.is_some() && row.mac == mac)
        || id.is_some_and(|id| name.len() >= SHORT_ID && id.starts_with(name))
}

/// A name to search for, and where it occurs in the books.
pub(super) struct Sought {
    name: String,
    mac: Option<Mac>,
    /// The addresses for which the Engine has reported it, as container or network.
    shown: BTreeSet<(Serial, u128)>,
    /// The subnets for which the Engine has reported it as the network.
    networks: BTreeSet<Serial>,
}

impl Sought {
    /// Whether an address may match the name; the final decision needs its row.
    pub(super) fn may_be(&self, place: ListedPlace, known: &KnownAddress) -> bool {
        let by_record = known.record.as_ref().is_some_and(|record| {
            record.name.as_deref() == Some(&*self.name) || (self.mac.is_some() && record.mac == self.mac)
        });
        let by_pin = known.pin.as_ref().is_some_and(|pin| match &pin.holder {
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
    /// Finds where this name occurs in the books.
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
            let wanted = Arc::new(move |place, known: &KnownAddress| sought.may_be(place, known));
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
