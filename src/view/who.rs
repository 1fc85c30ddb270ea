//! `gipam who`: everything about one address, or about the addresses of a name.
//!
//! Promises: one row for each subnet that contains an address; an unknown address is an error. Changes nothing.

use std::net::IpAddr;

use super::places::ListedPlace;
use super::query::Query;
use super::rows::WhoRow;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::prefix::{AddressRange, Prefix};
use crate::plan::{Plan, written};

/// The maximum number of history lines for an address.
const HISTORY: u32 = 10;

/// What the plan knows about an address.
struct Around {
    pool: Option<String>,
    /// Where its reservation comes from, if it is reserved.
    reserved_by: Option<&'static str>,
    /// The held subnets that contain it, each with the last holder of the address if it is free there.
    subnets: Vec<(ListedPlace, Option<String>)>,
}

fn around(plan: &Plan, address: IpAddr) -> Around {
    let host = Prefix::host(address);
    let here = AddressRange::of(host);
    let last_holder = |record: &crate::plan::change::Record| {
        record.name.as_deref().filter(|_| !record.leased).map(str::to_owned)
    };
    let subnet = |subnet: &crate::plan::Subnet| {
        (ListedPlace::of(subnet), subnet.addresses.get(host.first()).and_then(last_holder))
    };
    Around {
        pool: plan.pool_around(host).map(|pool| pool.name.clone()),
        reserved_by: plan.reserved_by().find(|(range, _)| range.covers(&here)).map(|(_, by)| by.name()),
        subnets: plan.held_around(address).map(subnet).collect(),
    }
}

impl View {
    /// Everything about an address, or about all addresses of a name.
    pub(super) fn who(&self, query: Query<'_>) -> Result<Vec<WhoRow>, Refusal> {
        let invalid = |text: String| Refusal::new(ErrorKind::Invalid, text);
        let missing = || invalid("gipam who needs an address or a name".to_owned());
        let text = query.text("address")?.ok_or_else(missing)?;
        match written::address(&text) {
            Ok(address) => self.who_at(address, true),
            Err(error @ written::Unreadable::Length { .. }) => Err(invalid(error.to_string())),
            Err(_) => self.who_is(&text),
        }
    }

    /// Everything about an address; one row for each subnet that contains it.
    pub(super) fn who_at(&self, address: IpAddr, with_history: bool) -> Result<Vec<WhoRow>, Refusal> {
        let Around { pool, reserved_by, subnets } = self.source.look(move |plan| around(plan, address))?;
        let history = match with_history {
            true => self.history_of(Some(&address.to_string()), HISTORY, 0, None)?,
            false => Vec::new(),
        };
        let nowhere = WhoRow {
            address,
            subnet: None,
            state: "free".to_owned(),
            lease: None,
            last_holder: None,
            pool: pool.clone(),
            reserved: reserved_by.is_some(),
            reserved_by: reserved_by.map(str::to_owned),
            history,
            host: None,
            slice: None,
        };
        let (host, slice) = self.owner_of(address).unzip();
        let nowhere = WhoRow { host, slice, ..nowhere };
        let mut found = Vec::new();
        for (place, last_holder) in subnets {
            let lease = self.lease_at(place, Prefix::host(address).first())?;
            found.push(WhoRow {
                subnet: Some(place.prefix.to_string()),
                state: lease.as_ref().map_or_else(|| "free".to_owned(), |lease| lease.state.to_string()),
                lease,
                last_holder,
                ..nowhere.clone()
            });
        }
        if found.is_empty() && pool.is_none() && nowhere.history.is_empty() && nowhere.host.is_none() {
            let text = format!("{address} is outside all pools and subnets, and the books do not contain it");
            return Err(Refusal::new(ErrorKind::Missing, text));
        }
        Ok(if found.is_empty() { vec![nowhere] } else { found })
    }
}
