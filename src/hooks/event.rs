//! An event as a hook receives it: as JSON, and as environment variables.
//!
//! Promises: this format is a contract with programs outside this repository: fields keep their names, new
//! ones may be added; missing values are `null` in JSON and unset in the environment.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::plan::settings::{Millis, rfc3339};
use crate::store::events::QUIET;
use crate::store::history::HistoryLine;
use crate::store::lines::OF_RANGES;
use crate::store::{Reader, StoreError};
use crate::view::routes::RouteRow;

/// Something that happened, or a gap in the delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number in the history; `None` for events that are not in it.
    pub id: Option<u64>,
    /// `leased`, `subnet_granted` ...; see `config::hooks::EVENTS`; or `gap`.
    pub event: String,
    /// When it happened, in RFC 3339.
    pub at: String,
    /// Address space.
    pub space: Option<String>,
    /// `v4` or `v6`.
    pub family: Option<String>,
    /// The prefix of the subnet.
    pub subnet: Option<String>,
    /// The pool from which the subnet was allocated.
    pub pool: Option<String>,
    /// The PoolID of the subnet.
    pub pool_id: Option<String>,
    pub address: Option<String>,
    /// The purpose of the lease: `gateway`, `auxiliary` or `endpoint`.
    pub kind: Option<String>,
    /// The holder's name from Docker's request, otherwise the container that the Engine shows.
    pub holder: Option<String>,
    /// The holder's MAC.
    pub mac: Option<String>,
    /// The network, if the Engine has shown it.
    pub network: Option<String>,
    /// Why the lease was released, or the evidence that repair found.
    pub why: Option<String>,
    /// For `gap`: the first undelivered number.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// For events about fullness: how full the pool or subnet is, in percent.
    pub percent: Option<u8>,
    /// For a reservation: its first and last address, as `FIRST-LAST`.
    pub range: Option<String>,
    /// For `routes_changed`: all routes, as `gipam routes --format json` prints them. Not a variable: it may be too long for one.
    pub routes: Option<Vec<RouteRow>>,
}

impl Event {
    /// Converts a history row.
    fn of(line: HistoryLine) -> Self {
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        let family = if line.subnet.contains(':') { "v6" } else { "v4" };
        let is_range = OF_RANGES.contains(&&*line.event);
        let (range, subnet) = if is_range { (Some(line.subnet), None) } else { (None, Some(line.subnet)) };
        Self {
            id: Some(line.number),
            event: line.event.replace(' ', "_"),
            at: rfc3339(line.at),
            space: said(line.space),
            family: Some(family.to_owned()),
            subnet,
            range,
            pool: line.pool,
            pool_id: said(line.id),
            address: line.address,
            kind: line.kind,
            holder: line.name.or(line.container),
            mac: line.mac,
            network: line.network,
            why: line.why,
            ..Self::default()
        }
    }

    /// The event for numbers that were pruned from the history before they were delivered.
    fn gap(first: u64, last: u64, now: Millis) -> Self {
        Self {
            id: Some(last),
            event: "gap".to_owned(),
            at: rfc3339(now),
            first: Some(first),
            last: Some(last),
            ..Self::default()
        }
    }

    /// The event for a pool or subnet that fills up, or no longer does; space, subnet and pool are set where
    /// they apply.
    pub fn of_filling(
        event: String,
        at: Millis,
        percent: u8,
        family: &str,
        [space, subnet, pool]: [Option<String>; 3],
    ) -> Self {
        let (at, percent, family) = (rfc3339(at), Some(percent), Some(family.to_owned()));
        Self { event, at, percent, family, space, subnet, pool, ..Self::default() }
    }

    /// The event for changed routes between the hosts of a plan.
    pub fn of_routes(routes: Vec<RouteRow>, at: Millis) -> Self {
        let (event, at) = ("routes_changed".to_owned(), rfc3339(at));
        Self { event, at, routes: Some(routes), ..Self::default() }
    }

    /// Whether a hook with this filter receives the event.
    pub fn is_wanted(&self, wanted: Option<&[String]>) -> bool {
        self.event == "gap" || wanted.is_none_or(|wanted| wanted.contains(&self.event))
    }

    /// The fields as environment variables: `EVENT` is the field `event`, `EVENT_ADDRESS` the field
    /// `address`, and so on.
    pub fn variables(&self) -> Vec<(String, String)> {
        let short = Self { routes: None, ..self.clone() };
        let Ok(Value::Object(fields)) = serde_json::to_value(short) else { return Vec::new() };
        let variable = |(name, value): (String, Value)| {
            let value = match value {
                Value::Null => return None,
                Value::String(text) => text.replace('\0', " "),
                other => other.to_string(),
            };
            let name =
                if name == "event" { "EVENT".to_owned() } else { format!("EVENT_{}", name.to_uppercase()) };
            Some((name, value))
        };
        fields.into_iter().filter_map(variable).collect()
    }
}

/// A section of the history.
#[derive(Debug, Default)]
pub(super) struct EventPage {
    /// Its events, in order.
    pub(super) events: Vec<Event>,
    /// The number of the last row that was read.
    pub(super) upto: u64,
    /// Whether there may be more rows.
    pub(super) more: bool,
}

/// Reads up to `most` rows after this number from the books.
pub(super) fn read(books: &Path, after: u64, most: usize, now: Millis) -> Result<EventPage, StoreError> {
    let reader = Reader::open(books)?;
    let lines = reader.lines_after(after, most)?;
    let mut page = EventPage { events: Vec::new(), upto: after, more: lines.len() == most };
    // Numbers have no gaps: rows missing before the first one were pruned.
    let begins = match lines.first() {
        Some(first) => first.number,
        None => reader.log_ends()?.1 + 1,
    };
    if begins > after + 1 {
        page.events.push(Event::gap(after + 1, begins - 1, now));
        page.upto = begins - 1;
    }
    for line in lines {
        page.upto = line.number;
        if !QUIET.contains(&&*line.event) {
            page.events.push(Event::of(line));
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_the_fields_that_are_set() {
        let event = Event { address: Some("192.0.2.7".to_owned()), ..Event::gap(3, 9, 0) };
        let variables = event.variables();
        let expected = [
            ("EVENT_ID", "9"),
            ("EVENT", "gap"),
            ("EVENT_AT", "1970-01-01T00:00:00Z"),
            ("EVENT_ADDRESS", "192.0.2.7"),
            ("EVENT_FIRST", "3"),
            ("EVENT_LAST", "9"),
        ];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_gap_passes_every_filter() {
        let only = ["leased".to_owned()];
        assert!(Event::gap(1, 2, 0).is_wanted(Some(&only)));
        let other = Event { event: "released".to_owned(), ..Event::default() };
        assert!(!other.is_wanted(Some(&only)) && other.is_wanted(None));
    }
}
