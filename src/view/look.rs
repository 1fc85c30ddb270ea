//! Closer looks: the picture of a pool or subnet, everything about one address, and why something would be given.
//!
//! Promises: from the books, like all views; `explain` asks the plan itself for the verdict. Changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::meant;
use super::query::Query;
use super::rows::{Count, ExplainRow, ReservedRow, StepRow, WhoRow};
use super::views::View;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::explain::{ExplainStep, Foreseen};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::request::{AddressRequest, Context, Mac, Request, Space, SubnetRequest, Wanted};
use crate::plan::{Plan, ReservedBy, Subnet, written};
use crate::store::names::Names;
use crate::view::Size;
use crate::view::map::{Drawing, MapRow, Whose};

/// Most lines of history with an address.
const HISTORY: u32 = 10;

fn missing(text: String) -> Refusal {
    Refusal::new(ErrorKind::Missing, text)
}

fn invalid(text: &str) -> Refusal {
    Refusal::new(ErrorKind::Invalid, text.to_owned())
}

/// The most places of a line, and lines, of a map that is asked for.
const MOST_PLACES: u16 = 256;

/// The map of all pools, or of the pool, subnet or prefix that is named; folded to `columns` and `lines` where these are given.
pub fn map(
    plan: &Plan,
    in_use: &HostUse,
    query: Query<'_>,
    names: &dyn Fn(Whose) -> Option<String>,
) -> Result<Vec<MapRow>, Refusal> {
    let of = query.text("of")?;
    of.as_deref().map_or(Ok(()), meant::check_prefix)?;
    let number = |name: &str| query.parsed::<u16>(name, "number");
    let size = number("columns")?.zip(number("lines")?);
    let size = size.map(|(columns, lines)| Size {
        columns: columns.clamp(1, MOST_PLACES),
        lines: lines.clamp(1, MOST_PLACES),
    });
    let mut drawings = Drawing::find(plan, of.as_deref(), size, in_use);
    if let Some(of) = of.filter(|_| drawings.is_empty()) {
        let what = match Prefix::parse(&of) {
            Some(prefix) => format!("{prefix} is neither in a pool nor in a subnet"),
            None => format!("{of} is neither a pool nor a held subnet"),
        };
        return Err(missing(format!("{what}; gipam pools and gipam subnets list them")));
    }
    for drawing in &mut drawings {
        drawing.bite(plan, || false);
    }
    Ok(drawings.into_iter().map(|drawing| drawing.finish(names)).collect())
}

impl View {
    /// The map, with the names of these books.
    pub(super) fn map(&self, query: Query<'_>) -> Result<Vec<MapRow>, Refusal> {
        let names = self.names()?;
        map(self.plan(), self.in_use(), query, &|whose| self.name_of(whose, &names))
    }

    /// What the Engine calls a network or a holder.
    fn name_of(&self, (serial, generation, address): Whose, names: &Names) -> Option<String> {
        let Some(address) = address else {
            return self.network_of(self.plan().subnet(serial)?).map(str::to_owned);
        };
        let (named, shown) = names.get(&(serial, address.to_string()))?;
        (*named == generation).then(|| shown.container.to_string())
    }

    /// Every reservation.
    pub(super) fn reservations(&self) -> Vec<ReservedRow> {
        let row = |(range, by): (AddressRange, ReservedBy)| ReservedRow {
            first: range.family.address(range.first),
            last: range.family.address(range.last),
            origin: by.name().to_owned(),
            pools: self.plan().pools_touching(range).map(|pool| pool.name.clone()).collect(),
            leases: Count(self.plan().leases_in(range).len() as u128),
        };
        self.plan().reserved_by().map(row).collect()
    }

    /// Held subnets of this prefix or PoolID.
    pub(super) fn named<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Subnet> {
        let prefix = Prefix::parse(text);
        self.plan().subnets().filter(move |subnet| {
            subnet.is_held() && (subnet.state.id == text || Some(subnet.state.prefix) == prefix)
        })
    }

    /// Held subnets around an address.
    pub(super) fn around(&self, address: IpAddr) -> impl Iterator<Item = &Subnet> {
        self.plan()
            .subnets()
            .filter(move |subnet| subnet.is_held() && subnet.state.prefix.contains_address(address))
    }

    /// Everything about an address, or about all that are held by this name.
    pub(super) fn who(&self, query: Query<'_>) -> Result<Vec<WhoRow>, Refusal> {
        let text = query.text("address")?.ok_or_else(|| invalid("gipam who needs an address or a name"))?;
        match written::address(&text) {
            Ok(address) => self.who_at(address),
            Err(error @ written::Unreadable::Length(_)) => Err(invalid(&error.to_string())),
            Err(_) => self.who_is(&text),
        }
    }

    /// Everything about an address; a row for each subnet that it lies in.
    pub(super) fn who_at(&self, address: IpAddr) -> Result<Vec<WhoRow>, Refusal> {
        let host = Prefix::host(address);
        let pool = self.plan().pool_around(host).map(|pool| pool.name.clone());
        let here = AddressRange::of(host);
        let reserved = self.plan().reserved_by().find(|(range, _)| range.covers(&here));
        let reserved_by = reserved.map(|(_, by)| by.name().to_owned());
        let history = self.history_of(Some(&address.to_string()), HISTORY, 0)?;
        let nowhere = WhoRow {
            address,
            subnet: None,
            state: "free".to_owned(),
            lease: None,
            last_holder: None,
            pool: pool.clone(),
            reserved: reserved_by.is_some(),
            reserved_by,
            history,
        };
        let mut found = Vec::new();
        for subnet in self.around(address) {
            let number = host.first();
            let record = subnet.addresses.get(number);
            let state = self.state(subnet, number).unwrap_or("free");
            let lease = if state == "free" { None } else { self.lease_row(subnet, number)? };
            let last_holder =
                record.filter(|record| !record.leased).and_then(|record| record.name.as_deref());
            found.push(WhoRow {
                subnet: Some(subnet.state.prefix.to_string()),
                state: state.to_owned(),
                lease,
                last_holder: last_holder.map(str::to_owned),
                ..nowhere.clone()
            });
        }
        if found.is_empty() && pool.is_none() && nowhere.history.is_empty() {
            return Err(missing(format!(
                "{address} is outside all pools and subnets, and the books do not know it"
            )));
        }
        Ok(if found.is_empty() { vec![nowhere] } else { found })
    }

    /// Why an address or a subnet would be given or refused. `in_use` is what this host uses now.
    pub(super) fn explain(&self, query: Query<'_>, in_use: &HostUse) -> Result<Vec<ExplainRow>, Refusal> {
        let context = Context { now: self.now(), random: 0 };
        let mut rows = Vec::new();
        for (question, request) in self.questions(query, in_use)? {
            let explanation = self.plan().explain(&request, context);
            let (given, refused, depends) = match explanation.verdict {
                Foreseen::Given(given) => (Some(given), None, None),
                Foreseen::Refused(refused) => (None, Some(refused), None),
                Foreseen::Depends(depends) => (None, None, Some(depends)),
            };
            let step = |step: ExplainStep| StepRow { what: step.what, found: step.found };
            rows.push(ExplainRow {
                question,
                given,
                refused,
                depends,
                steps: explanation.steps.into_iter().map(step).collect(),
            });
        }
        Ok(rows)
    }

    /// The request as Docker would send it: for an address if one is named (or `any`) or a holder is, else for a
    /// subnet.
    fn questions(&self, query: Query<'_>, in_use: &HostUse) -> Result<Vec<(String, Request)>, Refusal> {
        let pool = query.text("pool")?;
        pool.as_deref().map_or(Ok(()), meant::check_prefix)?;
        let wants = ["address", "holder", "mac"].into_iter().map(|name| query.text(name));
        if wants.collect::<Result<Vec<_>, _>>()?.into_iter().any(|wanted| wanted.is_some()) {
            return self.address_questions(pool.as_deref(), query);
        }
        match pool.as_deref().and_then(Prefix::parse) {
            Some(prefix) => {
                // A network would have the masked prefix; which of both is meant, nobody knows.
                written::range(pool.as_deref().unwrap_or_default())
                    .map_err(|error| invalid(&error.to_string()))?;
                let request = self.subnet_request(prefix.family(), Wanted::Exact(prefix), None, in_use);
                Ok(vec![(format!("the subnet {prefix}"), request)])
            }
            None => self.subnet_questions(pool, query, in_use),
        }
    }

    /// An address in the subnet that is named, or in those around it.
    fn address_questions(
        &self,
        pool: Option<&str>,
        query: Query<'_>,
    ) -> Result<Vec<(String, Request)>, Refusal> {
        let any = query.text("address")?.as_deref() == Some("any");
        let address = query.text("address")?.filter(|_| !any);
        let address: Option<IpAddr> = address.as_deref().map(meant::address).transpose()?;
        let holder = query.text("holder")?;
        let mac = query.text("mac")?;
        let no_mac = || invalid(&format!("mac: {:?} is not a MAC", mac.as_deref().unwrap_or_default()));
        let mac: Option<Mac> = mac.as_deref().map(|text| Mac::parse(text).ok_or_else(no_mac)).transpose()?;
        let held: Vec<&Subnet> = match (pool, address) {
            (Some(text), _) => self.named(text).collect(),
            (None, Some(address)) => self.around(address).collect(),
            (None, None) => return Err(invalid("--address needs a subnet: add --pool PREFIX")),
        };
        if held.is_empty() {
            let place = pool.map_or_else(
                || address.map_or_else(String::new, |address| address.to_string()),
                str::to_owned,
            );
            return Err(missing(format!(
                "no network has a subnet {place}; gipam subnets lists those that networks have"
            )));
        }
        let question = |subnet: &Subnet| {
            let what = address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
            let whom = holder.as_deref().map_or_else(String::new, |holder| format!(" for {holder}"));
            let request = AddressRequest {
                id: subnet.asked_as(),
                address,
                name: holder.as_deref().map(Into::into),
                // By number, without name and MAC, it could be taken for an auxiliary address of a new network; so this uses a MAC
                // as Docker invents it.
                mac: mac.or((address.is_some() && holder.is_none()).then_some(Mac([2, 0, 0, 0, 0, 0]))),
                dead: self.known(),
                ..AddressRequest::default()
            };
            (format!("{what} in {}{whom}", subnet.state.prefix), Request::Address(request))
        };
        Ok(held.into_iter().map(question).collect())
    }

    /// A dynamic subnet of each family that the pool has.
    fn subnet_questions(
        &self,
        pool: Option<String>,
        query: Query<'_>,
        in_use: &HostUse,
    ) -> Result<Vec<(String, Request)>, Refusal> {
        let size: Option<u8> = query.parsed("size", "prefix length")?;
        let known = &self.plan().settings().pools;
        if let Some(name) = pool.as_ref().filter(|name| !known.iter().any(|pool| pool.name == **name)) {
            return Err(missing(format!(
                "{name} is neither a pool nor a prefix; gipam pools lists the pools"
            )));
        }
        let has = |family: &Family| {
            known.iter().any(|known| {
                known.base(*family).is_some() && pool.as_ref().is_none_or(|pool| known.name == *pool)
            })
        };
        let question = |family: Family| {
            let from = pool.as_deref().map_or_else(String::new, |pool| format!(" from pool {pool}"));
            let length = size.map_or_else(String::new, |size| format!(" /{size}"));
            let request = self.subnet_request(family, Wanted::Any { size }, pool.as_deref(), in_use);
            (format!("an {family} subnet{length}{from}"), request)
        };
        let fits = |family: &Family| size.is_none_or(|size| size <= family.bits());
        let questions: Vec<_> = Family::BOTH.into_iter().filter(has).filter(fits).map(question).collect();
        if let (true, Some(size)) = (questions.is_empty(), size) {
            let most = Family::BOTH.into_iter().filter(has).map(Family::bits).max().unwrap_or_default();
            return Err(invalid(&format!(
                "/{size} is longer than an address; give a length up to /{most}, as these pools have them"
            )));
        }
        Ok(questions)
    }

    fn subnet_request(
        &self,
        family: Family,
        wanted: Wanted,
        pool: Option<&str>,
        in_use: &HostUse,
    ) -> Request {
        let option = pool.map(|pool| ("pool".to_owned(), pool.to_owned()));
        Request::Subnet(SubnetRequest {
            space: Space::Local,
            family,
            wanted,
            range: None,
            options: option.into_iter().collect::<BTreeMap<_, _>>(),
            pools: None,
            in_use: in_use.clone(),
            in_a_row: 0,
            dead: self.known(),
        })
    }
}
