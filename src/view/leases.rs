//! The addresses as rows: leased, cooling, pinned; by whom they are held, were asked for, or to whom they are pinned.
//!
//! Promises: a row for each address that is more than a memory, sorted by prefix and address; a pin by hand is shown also
//! where no network has its subnet. From the books, like all views.

use super::meant;
use super::named::is_holder;
use super::query::Query;
use super::rows::LeaseRow;
use super::views::View;
use crate::plan::Subnet;
use crate::plan::change::{Kind, Record};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::pins::{Holder, Pin, Pins};
use crate::plan::prefix::Prefix;
use crate::plan::request::Space;
use crate::plan::settings::{Millis, rfc3339};
use crate::store::names::Names;

/// What an address can be.
const STATES: [&str; 3] = ["leased", "cooling", "pinned"];

/// An address with something to show.
#[derive(Clone, Copy)]
struct KnownAddress<'a> {
    address: u128,
    record: Option<&'a Record>,
    pin: Option<&'a Pin>,
}

impl View {
    /// The leases that are wanted, sorted.
    pub fn leases(&self, query: Query<'_>) -> Result<Vec<LeaseRow>, Refusal> {
        let names = self.names()?;
        let wanted = LeaseFilter::read(query, self.now())?;
        let mut rows = Vec::new();
        for (prefix, space, subnet, pins) in self.places().into_iter().filter(|place| wanted.place(place)) {
            for known in known(subnet, pins) {
                let Some(state) = self.state_of(subnet, known) else { continue };
                let row = self.row((prefix, space, subnet), known, state, &names);
                if wanted.state(state, since(known)) && wanted.holder(&row) {
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    /// How many addresses are cooling, and how many are pinned: as many as there are rows of each.
    pub(super) fn cooling_and_pinned(&self) -> (u64, u64) {
        let (mut cooling, mut pinned) = (0, 0);
        for (.., subnet, pins) in self.places() {
            for known in known(subnet, pins) {
                match self.state_of(subnet, known) {
                    Some("cooling") => cooling += 1,
                    Some("pinned") => pinned += 1,
                    _ => {}
                }
            }
        }
        (cooling, pinned)
    }

    /// Every subnet with its pins, and every prefix with pins alone, sorted.
    fn places(&self) -> Vec<(Prefix, Space, Option<&Subnet>, &Pins)> {
        let subnets = self.sorted().into_iter();
        let mut places: Vec<(Prefix, Space, Option<&Subnet>, &Pins)> = subnets
            .map(|subnet| (subnet.state.prefix, subnet.state.space, Some(subnet), subnet.pins()))
            .collect();
        let there = places.len();
        for (space, prefix, pins) in self.plan().pins() {
            if !self
                .plan()
                .subnets()
                .any(|subnet| (subnet.state.space, subnet.state.prefix) == (space, prefix))
            {
                places.push((prefix, space, None, pins));
            }
        }
        if places.len() > there {
            places.sort_by_key(|(prefix, space, ..)| (*prefix, *space));
        }
        places
    }

    /// The row of one address, if there is anything to show.
    pub(super) fn lease_row(&self, subnet: &Subnet, address: u128) -> Result<Option<LeaseRow>, Refusal> {
        let names = self.names()?;
        let known =
            KnownAddress { address, record: subnet.addresses.get(address), pin: subnet.pins().get(&address) };
        let place = (subnet.state.prefix, subnet.state.space, Some(subnet));
        let shown = self.state_of(Some(subnet), known);
        Ok(shown.map(|state| self.row(place, known, state, &names)))
    }

    fn row(
        &self,
        (prefix, space, subnet): (Prefix, Space, Option<&Subnet>),
        known: KnownAddress<'_>,
        state: &str,
        names: &Names,
    ) -> LeaseRow {
        let text = prefix.address(known.address).to_string();
        // A pin by hand hides the previous holder.
        let record = known.record.filter(|record| record.leased || known.pin.is_none());
        let serial = subnet.map(|subnet| subnet.state.serial);
        let named = serial.zip(record).and_then(|(serial, record)| {
            let (generation, shown) = names.get(&(serial, text.clone()))?;
            (*generation == record.generation).then_some(shown)
        });
        let (name, mac, kind) = match (record, known.pin.map(|pin| &pin.holder)) {
            (Some(record), _) => (record.name.as_deref(), record.mac, record.kind),
            (None, Some(Holder::Name(name))) => (Some(&**name), None, Kind::Endpoint),
            (None, Some(Holder::Mac(mac))) => (None, Some(*mac), Kind::Endpoint),
            (None, None) => (None, None, Kind::Unknown),
        };
        let holder = name.or(named.map(|shown| shown.container.as_ref()));
        LeaseRow {
            subnet: prefix.to_string(),
            address: text,
            kind: kind.name().map(str::to_owned),
            holder: holder.map(str::to_owned),
            mac: mac.map(|mac| mac.to_string()),
            state: state.to_owned(),
            since: Some(rfc3339(since(known))),
            id: subnet.filter(|subnet| subnet.is_held()).map(|subnet| subnet.state.id.clone()),
            space: space.name().to_owned(),
            container: named.map(|shown| shown.container_id.to_string()),
            network: named.map(|shown| shown.network.to_string()).or_else(|| {
                let leased = record.is_some_and(|record| record.leased);
                subnet.filter(|_| leased).and_then(|subnet| self.network_of(subnet)).map(str::to_owned)
            }),
            pinned_to: known.pin.map(|pin| pin.holder.to_string()),
        }
    }

    /// The state of an address for people; nothing for a mere memory.
    pub(super) fn state(&self, subnet: &Subnet, address: u128) -> Option<&'static str> {
        let (record, pin) = (subnet.addresses.get(address), subnet.pins().get(&address));
        self.state_of(Some(subnet), KnownAddress { address, record, pin })
    }

    fn state_of(&self, subnet: Option<&Subnet>, known: KnownAddress<'_>) -> Option<&'static str> {
        let cools = subnet.zip(known.record).is_some_and(|(subnet, record)| {
            subnet.is_held() && record.since.saturating_add(self.plan().cooling_of(subnet)) > self.now()
        });
        match (known.record, known.pin.is_some()) {
            (Some(record), _) if record.leased => Some("leased"),
            (_, true) => Some("pinned"),
            (Some(_), _) if cools => Some("cooling"),
            (Some(record), _) if record.asked_by_number => Some("pinned"),
            _ => None,
        }
    }
}

/// Records and pins of one place, by address.
fn known<'a>(subnet: Option<&'a Subnet>, pins: &'a Pins) -> Vec<KnownAddress<'a>> {
    let records = subnet.into_iter().flat_map(|subnet| subnet.addresses.records());
    let mut all: Vec<KnownAddress<'a>> = records
        .map(|(address, record)| KnownAddress { address, record: Some(record), pin: pins.get(&address) })
        .collect();
    let there = all.len();
    let lacking = pins
        .iter()
        .filter(|(address, _)| subnet.is_none_or(|subnet| subnet.addresses.get(**address).is_none()));
    all.extend(lacking.map(|(address, pin)| KnownAddress {
        address: *address,
        record: None,
        pin: Some(pin),
    }));
    if all.len() > there {
        all.sort_by_key(|known| known.address);
    }
    all
}

/// Since when an address has its state.
fn since(known: KnownAddress<'_>) -> Millis {
    match (known.record, known.pin) {
        (Some(record), _) if record.leased => record.since,
        (_, Some(pin)) => pin.since,
        (record, None) => record.map_or(0, |record| record.since),
    }
}

/// Which leases are wanted.
struct LeaseFilter {
    all: bool,
    state: Option<String>,
    subnet: Option<String>,
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
        let (subnet, holder) = (query.text("subnet")?, query.text("holder")?);
        subnet.as_deref().map_or(Ok(()), meant::check_prefix)?;
        Ok(Self { all: query.flag("all"), state, subnet, holder, since: query.since(now)? })
    }

    fn place(&self, (prefix, _, subnet, _): &(Prefix, Space, Option<&Subnet>, &Pins)) -> bool {
        let is = |wanted: &String| {
            subnet.is_some_and(|subnet| *wanted == subnet.state.id) || Prefix::parse(wanted) == Some(*prefix)
        };
        self.subnet.as_ref().is_none_or(is)
    }

    fn state(&self, state: &str, since: Millis) -> bool {
        let wanted = self.state.as_deref().map_or(self.all || state == "leased", |wanted| wanted == state);
        wanted && self.since.is_none_or(|wanted| since >= wanted)
    }

    /// By name, by container's id or its beginning, by MAC, or by network.
    fn holder(&self, row: &LeaseRow) -> bool {
        let Some(wanted) = self.holder.as_deref() else { return true };
        is_holder(row, wanted) || row.network.as_deref() == Some(wanted)
    }
}
