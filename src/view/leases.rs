//! Leased, cooling and pinned addresses as rows: who holds them, and to whom they are pinned.
//!
//! Promises: one row for each leased, cooling or pinned address, sorted by prefix and address; a pin made by hand is shown
//! even if no network has its subnet. One look at the plan reads a limited number of addresses, and the names that the
//! Engine has reported are added afterwards.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};

use super::listing::Listing;
use super::named::is_holder;
use super::places::{ListedPlace, PlaceFilter, PlaceSpan, STEP};
use super::query::Query;
use super::rows::LeaseRow;
use super::sink::Sink;
use super::source::Budget;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::change::{Kind, Record, Serial};
use crate::plan::pins::{Holder, Pin, Pins};
use crate::plan::prefix::Prefix;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet};
use crate::store::names::NamesOfSubnet;

/// The states of an address.
const STATES: [&str; 4] = ["leased", "quarantined", "cooling", "pinned"];

/// An address with something to show.
#[derive(Clone, Debug)]
pub(super) struct KnownAddress {
    pub(super) address: u128,
    pub(super) record: Option<Record>,
    pub(super) pin: Option<Pin>,
    /// One of [`STATES`].
    state: &'static str,
}

impl KnownAddress {
    /// When its state began.
    fn since(&self) -> Millis {
        match (&self.record, &self.pin) {
            (Some(record), _) if record.leased => record.since,
            (_, Some(pin)) => pin.since,
            (record, None) => record.as_ref().map_or(0, |record| record.since),
        }
    }
}

/// What one look read from a place.
#[derive(Debug)]
pub(super) struct LeasePart {
    place: ListedPlace,
    /// PoolID and generation of a held subnet.
    grant: Option<(SmolStr, u64)>,
    known: Vec<KnownAddress>,
}

/// Decides which addresses a look collects.
type AddressFilter = Arc<dyn Fn(&KnownAddress) -> bool + Send + Sync>;

impl View {
    /// Answers with the leases that match the query: all of them in order, or one page if it has a `limit`.
    pub(super) fn leases(&self, query: Query<'_>, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let wanted = LeaseFilter::read(query, self.now())?;
        let place = match query.text("subnet")? {
            Some(text) => PlaceFilter::Named(Prefix::parse(&text), text),
            None if wanted.by_hand => PlaceFilter::Pinned,
            None => PlaceFilter::All,
        };
        let is_everything = wanted.is_everything() && place == PlaceFilter::All;
        let holder = wanted.holder.clone();
        let is_of = |row: &LeaseRow| {
            holder.as_deref().is_none_or(|name| is_holder(row, name) || row.network.as_deref() == Some(name))
        };
        let mut spans: Vec<_> = self.places(place)?.into_iter().map(PlaceSpan::whole).collect();
        if let Some(name) = holder.as_deref() {
            let places: BTreeSet<_> = spans.into_iter().map(|span| span.place).collect();
            spans = self.spans_of(name)?;
            spans.retain(|span| places.contains(&span.place));
        }
        let (filter, listing) = (move |known: &KnownAddress| wanted.takes(known), Listing::read(query)?);
        let Some(mut listing) = listing else {
            self.each_where(spans, filter, |row| match is_of(&row) {
                true => sink.row(&row).map(|()| true),
                false => Ok(true),
            })?;
            return sink.end();
        };
        if is_everything && listing.is_plain() {
            // The number of rows is known, so the walk can end after the page.
            listing.is_of(self.census_or_last()?.rows());
        }
        self.each_where(spans, filter, |row| Ok(!is_of(&row) || listing.take(row)))?;
        sink.value(&listing.page())
    }

    /// Passes the rows of these addresses to `take`, in order, until it returns false.
    pub(super) fn each(
        &self,
        spans: Vec<PlaceSpan>,
        take: impl FnMut(LeaseRow) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        self.each_where(spans, |_| true, take)
    }

    /// Passes the rows of those addresses that match to `take`, in order, until it returns false.
    fn each_where(
        &self,
        spans: Vec<PlaceSpan>,
        wanted: impl Fn(&KnownAddress) -> bool + Send + Sync + 'static,
        mut take: impl FnMut(LeaseRow) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let (spans, wanted): (Arc<[PlaceSpan]>, AddressFilter) = (spans.into(), Arc::new(wanted));
        let mut names = None;
        let bite = move |plan: &Plan, from, budget: &Budget| bite(plan, &spans, from, &*wanted, budget);
        self.source.walk((0, 0), bite, |parts: Vec<LeasePart>| {
            for part in &parts {
                if !self.rows_of(part, &mut names, &mut take)? {
                    return Ok(false);
                }
            }
            // Release the snapshot, so that a slow client does not keep the WAL from being reset.
            self.reader()?.forget_snapshot()?;
            Ok(true)
        })
    }

    /// The row of one address, if there is anything to show.
    pub(super) fn lease_at(&self, place: ListedPlace, address: u128) -> Result<Option<LeaseRow>, Refusal> {
        let mut found = None;
        self.each(vec![PlaceSpan { place, first: address, last: address }], |row| {
            found = Some(row);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Passes the rows of a part to `take`, with the Engine's names for the holders. Returns whether to continue.
    fn rows_of(
        &self,
        part: &LeasePart,
        cache: &mut Option<(Serial, Rc<NamesOfSubnet>)>,
        take: &mut dyn FnMut(LeaseRow) -> Result<bool, Refusal>,
    ) -> Result<bool, Refusal> {
        let names = self.names_of(part, cache)?;
        let network = match (&part.grant, part.place.serial) {
            (Some((_, generation)), Some(serial)) => self.reader()?.network_of(serial, *generation)?,
            _ => None,
        };
        for known in &part.known {
            if !take(row(part, known, &names, network.as_deref()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names of a part's addresses. A large subnet comes in several parts, so its names are kept in the cache.
    fn names_of(
        &self,
        part: &LeasePart,
        cache: &mut Option<(Serial, Rc<NamesOfSubnet>)>,
    ) -> Result<Rc<NamesOfSubnet>, Refusal> {
        let Some(serial) = part.place.serial else { return Ok(Rc::default()) };
        if let [known] = part.known.as_slice() {
            let address = part.place.prefix.address(known.address).to_string();
            return Ok(Rc::new(self.reader()?.names_of(serial, Some(&address))?));
        }
        if let Some((_, names)) = cache.as_ref().filter(|(of, _)| *of == serial) {
            return Ok(names.clone());
        }
        let names = Rc::new(self.reader()?.names_of(serial, None)?);
        *cache = Some((serial, names.clone()));
        Ok(names)
    }
}

/// What one look collects from these spans, starting at an address in one of them, and where the next look begins.
fn bite(
    plan: &Plan,
    spans: &[PlaceSpan],
    (mut at, mut from): (usize, u128),
    wanted: &dyn Fn(&KnownAddress) -> bool,
    budget: &Budget,
) -> (Vec<LeasePart>, Option<(usize, u128)>) {
    let mut parts = Vec::new();
    while let Some(span) = spans.get(at) {
        let rest = PlaceSpan { first: span.first.max(from), ..*span };
        let (part, rest) = part(plan, rest, wanted, budget);
        parts.extend(part.filter(|part| !part.known.is_empty()));
        (at, from) = rest.map_or((at + 1, 0), |rest| (at, rest));
        if budget.is_spent() {
            return (parts, Some((at, from)));
        }
    }
    (parts, None)
}

fn part(
    plan: &Plan,
    PlaceSpan { place, first, last }: PlaceSpan,
    wanted: &dyn Fn(&KnownAddress) -> bool,
    budget: &Budget,
) -> (Option<LeasePart>, Option<u128>) {
    let subnet = match place.serial.map(|serial| plan.subnet(serial)) {
        // The subnet has been removed since the last look.
        Some(None) => return (None, None),
        subnet => subnet.flatten(),
    };
    let held = subnet.filter(|subnet| subnet.is_held());
    let cooling = held.map(|subnet| plan.cooling_of(subnet));
    let grant = held.map(|subnet| (SmolStr::new(&subnet.state.id), subnet.state.generation));
    let mut part = LeasePart { place, grant, known: Vec::new() };
    let pins = subnet.map_or_else(|| plan.pins_of(place.space, place.prefix), |subnet| Some(subnet.pins()));
    let known = with_pins(subnet, pins, first).take_while(|(address, ..)| *address <= last);
    for (n, (address, record, pin)) in known.enumerate() {
        if n % STEP == STEP - 1 && budget.is_spent() {
            return (Some(part), Some(address));
        }
        let cools = |record: &Record| {
            cooling.is_some_and(|cooling| record.since.saturating_add(cooling) > plan.now())
        };
        let Some(state) = state(record, pin, cools) else { continue };
        let known = KnownAddress { address, record: record.cloned(), pin: pin.cloned(), state };
        if wanted(&known) {
            part.known.push(known);
        }
    }
    (Some(part), None)
}

/// The records and pins of one place in address order, starting at an address.
fn with_pins<'a>(
    subnet: Option<&'a Subnet>,
    pins: Option<&'a Pins>,
    from: u128,
) -> impl Iterator<Item = (u128, Option<&'a Record>, Option<&'a Pin>)> {
    let mut records =
        subnet.into_iter().flat_map(move |subnet| subnet.addresses.records_from(from)).peekable();
    let mut pins = pins.into_iter().flat_map(move |pins| pins.range(from..)).peekable();
    std::iter::from_fn(move || {
        let at = |address: u128| move |next: &(&u128, &Pin)| *next.0 == address;
        match (records.peek(), pins.peek()) {
            (Some((address, _)), pin) if pin.is_none_or(|(pinned, _)| address <= *pinned) => {
                let (address, record) = records.next()?;
                Some((address, Some(record), pins.next_if(at(address)).map(|(_, pin)| pin)))
            }
            _ => pins.next().map(|(address, pin)| (*address, None, Some(pin))),
        }
    })
}

/// The state of an address in the views; `None` if only its last holder is remembered.
fn state(
    record: Option<&Record>,
    pin: Option<&Pin>,
    cools: impl Fn(&Record) -> bool,
) -> Option<&'static str> {
    match (record, pin) {
        (Some(record), _) if record.leased && record.kind == Kind::Stranger => Some("quarantined"),
        (Some(record), _) if record.leased => Some("leased"),
        (_, Some(_)) => Some("pinned"),
        (Some(record), _) if cools(record) => Some("cooling"),
        (Some(record), _) if record.asked_by_number => Some("pinned"),
        _ => None,
    }
}

fn row(part: &LeasePart, known: &KnownAddress, names: &NamesOfSubnet, network: Option<&str>) -> LeaseRow {
    let ListedPlace { prefix, space, .. } = part.place;
    let KnownAddress { address, record, pin, state } = known;
    // A pin made by hand hides the previous holder.
    let record = record.as_ref().filter(|record| record.leased || pin.is_none());
    let named = record.and_then(|record| {
        let (generation, shown) = names.get(address)?;
        (*generation == record.generation).then_some(shown)
    });
    let (name, mac, kind) = match (record, pin.as_ref().map(|pin| &pin.holder)) {
        (Some(record), _) => (record.name.as_deref(), record.mac, record.kind),
        (None, Some(Holder::Name(name))) => (Some(&**name), None, Kind::Endpoint),
        (None, Some(Holder::Mac(mac))) => (None, Some(*mac), Kind::Endpoint),
        (None, None) => (None, None, Kind::Unknown),
    };
    let leased = record.is_some_and(|record| record.leased);
    LeaseRow {
        subnet: prefix.to_smolstr(),
        address: prefix.address(*address).to_smolstr(),
        kind: kind.name().map(SmolStr::new_static),
        holder: name.or(named.map(|shown| shown.container.as_ref())).map(SmolStr::new),
        mac: mac.map(|mac| mac.to_smolstr()),
        state: SmolStr::new_static(state),
        since: Some(rfc3339(known.since()).into()),
        id: part.grant.as_ref().map(|(id, _)| id.clone()),
        space: SmolStr::new_static(space.name()),
        container: named.map(|shown| SmolStr::new(&shown.container_id)),
        network: named.map(|shown| &*shown.network).or(network.filter(|_| leased)).map(SmolStr::new),
        pinned_to: pin.as_ref().map(|pin| pin.holder.to_smolstr()),
    }
}

/// Which leases a query asks for.
struct LeaseFilter {
    all: bool,
    /// Only addresses that a person pinned.
    by_hand: bool,
    state: Option<String>,
    holder: Option<String>,
    since: Option<Millis>,
}

impl LeaseFilter {
    fn read(query: Query<'_>, now: Millis) -> Result<Self, Refusal> {
        let state = query.text("state")?;
        if let Some(unknown) = state.as_deref().filter(|state| !STATES.contains(state)) {
            let text = format!("unknown state {unknown:?}; the states are {}", STATES.join(", "));
            return Err(Refusal::new(ErrorKind::Invalid, text));
        }
        let (all, by_hand) = (query.flag("all"), query.flag("by_hand"));
        Ok(Self { all, by_hand, state, holder: query.text("holder")?, since: query.since(now)? })
    }

    const fn is_everything(&self) -> bool {
        let Self { all, by_hand, state, holder, since } = self;
        *all && !*by_hand && state.is_none() && holder.is_none() && since.is_none()
    }

    fn takes(&self, known: &KnownAddress) -> bool {
        let state = known.state;
        let wanted = self.state.as_deref().map_or(self.all || state == "leased", |wanted| wanted == state);
        let by_hand = !self.by_hand || known.pin.is_some();
        wanted && by_hand && self.since.is_none_or(|wanted| known.since() >= wanted)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::change::{Change, Marks, SubnetState};
    use crate::plan::request::Space;
    use crate::plan::settings::Settings;

    #[test]
    fn reading_the_row_of_one_address_does_not_visit_its_neighbours() {
        let prefix = Prefix::parse("192.0.2.0/24").unwrap();
        let state = SubnetState {
            serial: 1,
            id: "a".to_owned(),
            space: Space::Local,
            prefix,
            range: None,
            pool: None,
            options: BTreeMap::new(),
            dynamic: false,
            granted_at: 0,
            generation: 1,
            start_beyond: None,
            marks: Marks::default(),
            released_at: None,
            cool_until: 0,
        };
        let mut plan = Plan::new(Settings::default());
        plan.apply(&Change::SubnetGranted(Box::new(state)));
        for (n, address) in (2..).zip(prefix.first() + 2..prefix.last()) {
            let record = Record {
                leased: true,
                kind: Kind::Endpoint,
                name: None,
                mac: None,
                asked_by_number: false,
                withheld: false,
                since: 0,
                generation: n,
            };
            plan.apply(&Change::AddressGranted { serial: 1, address, record });
        }
        let place = ListedPlace::of(plan.subnet(1).unwrap());
        let passed = Cell::new(0);
        let count = |_: &KnownAddress| {
            passed.set(passed.get() + 1);
            true
        };
        let address = prefix.first() + 9;
        let one = PlaceSpan { place, first: address, last: address };
        let (found, rest) = part(&plan, one, &count, &Budget::now());
        assert_eq!((found.unwrap().known.len(), rest, passed.get()), (1, None, 1));
    }
}
