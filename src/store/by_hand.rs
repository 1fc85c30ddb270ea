//! Writes changes that people make by hand: pins, which have their own table because they outlive subnets,
//! and the history rows of pins and reservations.
//!
//! Promises: each row is written in the same transaction as the change itself.

use rusqlite::{Row, params};

use super::lines::{BY_HAND, Happening, OF_PINS, OF_RANGES};
use super::load::{Clear, Unclear, mac, number_in, prefix, space};
use super::sqlite::{Books, CommitError};
use super::write::{Written, signed};
use crate::plan::Plan;
use crate::plan::change::{Change, Kind, Record, Why};
use crate::plan::pins::{Holder, Pin};
use crate::plan::prefix::Prefix;
use crate::plan::request::{Mac, Space};
use crate::plan::settings::Settings;

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
        let before = plan.pins_of(space, prefix).and_then(|pins| pins.get(&address));
        match pin.map(|pin| (parts(pin), pin.since)) {
            Some(((name, mac), since)) => self.execute(
                "INSERT OR REPLACE INTO pins VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    space.name(),
                    prefix.to_string(),
                    text,
                    name,
                    mac.map(|mac| mac.to_string()),
                    signed(since)
                ],
            )?,
            None => self.execute(
                "DELETE FROM pins WHERE space = ?1 AND prefix = ?2 AND address = ?3",
                params![space.name(), prefix.to_string(), text],
            )?,
        }
        let Some(pin) = pin.or(before) else { return Ok(()) };
        let (at, event) = (plan.now(), OF_PINS[usize::from(before.is_some())]);
        let mut there = plan.subnets().filter(|subnet| (subnet.state.space, subnet.state.prefix) == place);
        let line = match there.next() {
            Some(subnet) => Happening::of(&subnet.state, at, event),
            // The subnet is no longer in the books, but the pin outlived it.
            None => Happening::loose(at, event, space.name(), prefix.to_string()),
        };
        self.history(Happening { holder: Some(whom(pin)), ..line.because(&Why::Repair(text.into())) })
    }

    /// Records in the history which reservations `settings` adds or removes. `plan` is the plan before the
    /// change.
    pub fn write_reservations(&mut self, plan: &Plan, settings: &Settings) -> Result<(), CommitError> {
        let (before, after) = (&plan.settings().reserved_by_hand, &settings.reserved_by_hand);
        // Both lists are sorted.
        let gone = before.iter().filter(|range| after.binary_search(range).is_err());
        let new = after.iter().filter(|range| before.binary_search(range).is_err());
        let [reserved, unreserved] = OF_RANGES;
        for (event, range) in gone.map(|range| (unreserved, range)).chain(new.map(|range| (reserved, range)))
        {
            self.begin()?;
            let line = Happening::loose(plan.now(), event, "", range.to_string());
            self.history(line.because(&Why::Repair(BY_HAND.into())))?;
        }
        Ok(())
    }
}

/// Name and MAC, exactly one of which is set.
fn parts(pin: &Pin) -> (Option<&str>, Option<Mac>) {
    match &pin.holder {
        Holder::Name(name) => (Some(name), None),
        Holder::Mac(mac) => (None, Some(*mac)),
    }
}

/// The holder, in the form that the history uses.
fn whom(pin: &Pin) -> Record {
    let (name, mac) = parts(pin);
    let (name, kind, since) = (name.map(Into::into), Kind::Endpoint, pin.since);
    Record { leased: false, kind, name, mac, asked_by_number: true, withheld: false, since, generation: 0 }
}

/// Reads a row of the table of pins.
pub(super) fn pinned(row: &Row<'_>) -> Clear<Change> {
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
        pin: Pin { holder, since: row.get("since")? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Reader;

    #[test]
    fn pins_without_a_subnet_and_reservations_are_in_the_history_and_row_numbers_have_no_gaps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gipam.db");
        let mut books = Books::open(&path).unwrap();
        let mut plan = Plan::new(Settings::default());
        let (space, prefix) = (Space::Local, Prefix::parse("192.0.2.0/24").unwrap());
        let address = prefix.first() + 9;
        let pin = Pin { holder: Holder::Mac(Mac([2, 0, 0, 0, 0, 7])), since: 5 };
        let range = crate::plan::prefix::AddressRange::parse("192.0.2.8-192.0.2.15").unwrap();
        let settings = Settings { reserved_by_hand: vec![range], ..Settings::default() };
        for change in [
            Change::AddressPinned { space, prefix, address, pin },
            Change::AddressUnpinned { space, prefix, address },
        ] {
            books.write(&plan, &change).unwrap();
            plan.apply(&change);
        }
        books.put_settings(&settings).unwrap();
        books.write_reservations(&plan, &settings).unwrap();
        books.commit().unwrap();
        let reader = Reader::open(&path).unwrap();
        let lines = reader.history(None, 10).unwrap();
        let events: Vec<&str> = lines.iter().map(|line| line.event.as_str()).collect();
        assert_eq!(events, ["reserved", "unpinned", "pinned"]);
        let pinned = &lines[2];
        assert_eq!((&*pinned.subnet, pinned.address.as_deref()), ("192.0.2.0/24", Some("192.0.2.9")));
        assert_eq!((pinned.mac.as_deref(), &*pinned.id), (Some("02:00:00:00:00:07"), ""));
        let numbers: Vec<u64> = reader.lines_after(0, 10).unwrap().iter().map(|row| row.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let of = |text| reader.history(Some(text), 10).unwrap().len();
        assert_eq!((of("192.0.2.9"), of("192.0.2.8"), of("192.0.2.16"), of("192.0.2.0/24")), (3, 1, 0, 3));
        assert_eq!((of("192.0.2.8-192.0.2.15"), of("02:00:00:00:00:07"), of("reserved")), (1, 2, 0));
        assert_eq!(reader.history(Some("192.0.2.9"), 2).unwrap().len(), 2, "skipped rows are not counted");
    }
}
