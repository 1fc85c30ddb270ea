//! Changes that people make by hand, as rows of history without a subnet: reservations, and pins whose subnet is gone.
//!
//! Promises: each row is written in the same transaction as the change itself and does not change what is known about an
//! address, so `tail` skips it. A range is stored in the column `subnet`.

use rusqlite::params;

use super::sqlite::{Books, CommitError};
use super::write::{Written, signed};
use crate::plan::Plan;
use crate::plan::change::Record;
use crate::plan::settings::{Millis, Settings};

/// Events whose row names a range, which applies to all spaces.
pub const OF_RANGES: [&str; 2] = ["reserved", "unreserved"];
/// Events whose row keeps the pinned address in the column `why`, where other rows keep a reason.
pub const OF_PINS: [&str; 2] = ["pinned", "unpinned"];

/// The reason in these rows, where other rows name Docker or repair.
pub const BY_HAND: &str = "by hand";

/// A row of history without a subnet.
pub(super) struct Loose<'a> {
    pub(super) at: Millis,
    pub(super) event: &'static str,
    pub(super) space: &'a str,
    /// A range or a prefix.
    pub(super) place: &'a str,
    pub(super) holder: Option<&'a Record>,
    pub(super) why: &'a str,
}

impl Books {
    /// Records in the history which reservations `settings` adds or removes. `plan` is the plan before the change.
    pub fn write_reservations(&mut self, plan: &Plan, settings: &Settings) -> Result<(), CommitError> {
        let (before, after) = (&plan.settings().reserved_by_hand, &settings.reserved_by_hand);
        // Both lists are sorted.
        let gone = before.iter().filter(|range| after.binary_search(range).is_err());
        let new = after.iter().filter(|range| before.binary_search(range).is_err());
        let [reserved, unreserved] = OF_RANGES;
        for (event, range) in gone.map(|range| (unreserved, range)).chain(new.map(|range| (reserved, range)))
        {
            let (at, place) = (plan.now(), range.to_string());
            self.begin()?;
            self.put_loose(Loose { at, event, space: "", place: &place, holder: None, why: BY_HAND })
                .map_err(|error| CommitError::of(&error))?;
        }
        Ok(())
    }

    /// Adds a row. Rows that are not written yet already have their numbers, so the order stays correct.
    pub(super) fn put_loose(&mut self, row: Loose<'_>) -> Written {
        let seq = self.tail.next_row();
        let Loose { at, event, space, place, holder, why } = row;
        let kind = holder.and_then(|record| record.kind.name());
        let name = holder.and_then(|record| record.name.as_deref());
        let mac = holder.and_then(|record| record.mac).map(|mac| mac.to_string());
        self.execute(
            "INSERT INTO history (seq, at, event, space, subnet, id, kind, name, mac, why) \
             VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, ?7, ?8, ?9)",
            params![seq, signed(at), event, space, place, kind, name, mac, why],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::change::Change;
    use crate::plan::pins::{Holder, Pin};
    use crate::plan::prefix::Prefix;
    use crate::plan::request::{Mac, Space};
    use crate::store::Reader;

    #[test]
    fn a_pin_that_outlived_its_subnet_leaves_its_rows_and_numbers_have_no_holes() {
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
