//! Pins made by hand, in the books: their own table, since they outlive subnets, and a row of history for each change.
//!
//! Promises: a row of history about a pin does not change what is known about the address, so `tail` skips it.

use rusqlite::{Row as SqlRow, params};

use super::by_hand::{Loose, OF_PINS};
use super::lines::Happening;
use super::load::{Clear, Unclear, mac, number_in, prefix, space, whole};
use super::sqlite::Books;
use super::write::{Written, signed};
use crate::plan::Plan;
use crate::plan::change::{Change, Kind, Record, Why};
use crate::plan::pins::{Holder, Pin};
use crate::plan::prefix::Prefix;
use crate::plan::request::Space;

impl Books {
    /// Sets or removes a pin.
    pub(super) fn put_pin(
        &mut self,
        plan: &Plan,
        place: (Space, Prefix),
        address: u128,
        pin: Option<&Pin>,
    ) -> Written {
        let (space, prefix) = place;
        let text = prefix.address(address).to_string();
        let pins = plan.pins().find(|(of, at, _)| (*of, *at) == place);
        let before = pins.and_then(|(.., pins)| pins.get(&address));
        match pin {
            Some(pin) => {
                let (name, mac) = parts(pin);
                self.execute(
                    "INSERT OR REPLACE INTO pins VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![space.name(), prefix.to_string(), text, name, mac, signed(pin.since)],
                )?;
            }
            None => self.execute(
                "DELETE FROM pins WHERE space = ?1 AND prefix = ?2 AND address = ?3",
                params![space.name(), prefix.to_string(), text],
            )?,
        }
        let mut there = plan.subnets().filter(|subnet| (subnet.state.space, subnet.state.prefix) == place);
        let Some(pin) = pin.or(before) else { return Ok(()) };
        let holder = whom(pin);
        let event = OF_PINS[usize::from(before.is_some())];
        let Some(subnet) = there.next() else {
            // The subnet is no longer in the books, but the pin outlived it.
            let (at, place) = (plan.now(), prefix.to_string());
            let holder = Some(&holder);
            return self.put_loose(Loose {
                at,
                event,
                space: space.name(),
                place: &place,
                holder,
                why: &text,
            });
        };
        let why = Why::Repair(text.into());
        let row = Happening {
            at: plan.now(),
            event,
            address: None,
            holder: Some(holder),
            known: None,
            why: Some(why),
        };
        self.history(&subnet.state, row)
    }
}

/// Name and MAC, exactly one of which is set.
fn parts(pin: &Pin) -> (Option<&str>, Option<String>) {
    match &pin.holder {
        Holder::Name(name) => (Some(name), None),
        Holder::Mac(mac) => (None, Some(mac.to_string())),
    }
}

/// The holder, in the form that the history uses.
fn whom(pin: &Pin) -> Record {
    let (name, mac) = match &pin.holder {
        Holder::Name(name) => (Some(name.clone()), None),
        Holder::Mac(mac) => (None, Some(*mac)),
    };
    let (kind, since) = (Kind::Endpoint, pin.since);
    Record { leased: false, kind, name, mac, asked_by_number: true, withheld: false, since, generation: 0 }
}

/// Reads a row of the table of pins.
pub(super) fn pinned(row: &SqlRow<'_>) -> Clear<Change> {
    let text = |name: &str| Ok::<_, Unclear>(row.get_ref(name)?.as_str_or_null()?);
    let required = |name: &str| Ok::<_, Unclear>(row.get_ref(name)?.as_str()?);
    let (prefix, address) = (prefix(required("prefix")?)?, required("address")?);
    let holder = match (text("name")?, text("mac")?) {
        (Some(name), None) => Holder::Name(name.into()),
        (None, Some(text)) => Holder::Mac(mac(text)?),
        _ => return Err(Unclear(format!("the pin of {address} does not name one holder"))),
    };
    Ok(Change::AddressPinned {
        space: space(required("space")?)?,
        prefix,
        address: number_in(prefix, address)?,
        pin: Pin { holder, since: whole(row, "since")? },
    })
}
