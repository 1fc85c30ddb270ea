//! `gipam explain`: why an address or a subnet would be given or refused.
//!
//! Promises: the verdict comes from the plan itself. Changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::meant;
use super::query::Query;
use super::rows::Explanation;
use super::{ErrorKind, Refusal};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::request::{AddressRequest, Dead, Mac, Request, Space, SubnetRequest, Wanted};
use crate::plan::{Plan, Subnet, written};

/// What `gipam explain` was asked to explain.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    pool: Option<String>,
    size: Option<u8>,
    /// `any`, or an address.
    address: Option<String>,
    holder: Option<String>,
    mac: Option<String>,
}

/// The plan, and everything else on which a decision depends.
struct Grounds<'a> {
    plan: &'a Plan,
    known: &'a Arc<Dead>,
    /// What this host uses now.
    in_use: &'a HostUse,
}

fn missing(text: String) -> Refusal {
    Refusal::new(ErrorKind::Missing, text)
}

fn invalid(text: &str) -> Refusal {
    Refusal::new(ErrorKind::Invalid, text)
}

impl Question {
    /// Reads the question from a query.
    pub(super) fn read(query: Query<'_>) -> Result<Self, Refusal> {
        let pool = query.text("pool")?;
        pool.as_deref().map_or(Ok(()), meant::check_prefix)?;
        Ok(Self {
            pool,
            size: query.parsed("size", "prefix length")?,
            address: query.text("address")?,
            holder: query.text("holder")?,
            mac: query.text("mac")?,
        })
    }

    /// The plan's answers to the question.
    pub(super) fn answer(
        &self,
        plan: &Plan,
        known: &Arc<Dead>,
        in_use: &HostUse,
    ) -> Result<Vec<Explanation>, Refusal> {
        let mut rows = Vec::new();
        for (question, request) in (Grounds { plan, known, in_use }).questions(self)? {
            rows.push(Explanation { question, ..plan.explain(&request) });
        }
        Ok(rows)
    }
}

impl Grounds<'_> {
    /// The requests as Docker would send them: for an address if the question has an address (or `any`), a holder or a MAC,
    /// otherwise for a subnet.
    fn questions(&self, asked: &Question) -> Result<Vec<(String, Request)>, Refusal> {
        if [&asked.address, &asked.holder, &asked.mac].into_iter().any(Option::is_some) {
            return self.address_questions(asked);
        }
        let text = asked.pool.as_deref();
        match text.and_then(Prefix::parse) {
            Some(prefix) => {
                // A network would get the masked prefix, which may not be the one that the person meant: refuse host bits.
                written::range(text.unwrap_or_default()).map_err(|error| invalid(&error.to_string()))?;
                let request = self.subnet_request(prefix.family(), Wanted::Exact(prefix), None);
                Ok(vec![(format!("the subnet {prefix}"), request)])
            }
            None => self.subnet_questions(asked),
        }
    }

    /// Questions about an address in the named subnet, or in the subnets that contain the address.
    fn address_questions(&self, asked: &Question) -> Result<Vec<(String, Request)>, Refusal> {
        let Question { holder, mac, .. } = asked;
        let pool = asked.pool.as_deref();
        let address = asked.address.as_deref().filter(|text| *text != "any");
        let address: Option<IpAddr> = address.map(meant::address).transpose()?;
        let no_mac = || invalid(&format!("mac: {:?} is not a MAC", mac.as_deref().unwrap_or_default()));
        let mac: Option<Mac> = mac.as_deref().map(|text| Mac::parse(text).ok_or_else(no_mac)).transpose()?;
        let held: Vec<&Subnet> = match (pool, address) {
            (Some(text), _) => self.plan.subnets_named(text),
            (None, Some(address)) => self.plan.held_around(address).collect(),
            (None, None) => return Err(invalid("--address needs a subnet: add --pool PREFIX")),
        };
        if held.is_empty() {
            let contains = || address.map_or_else(String::new, |address| address.to_string());
            let text = pool.map_or_else(
                || format!("no held subnet contains {}", contains()),
                |pool| format!("{pool} is not a held subnet"),
            );
            return Err(missing(format!("{text}; see: gipam subnets")));
        }
        let question = |subnet: &Subnet| {
            let what = address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
            let whom = holder.as_deref().map_or_else(String::new, |holder| format!(" for {holder}"));
            let request = AddressRequest {
                id: subnet.asked_as(),
                address,
                name: holder.as_deref().map(Into::into),
                // Without a name and a MAC, a request by number looks like one for an auxiliary address of a new network; so use
                // a MAC like those that Docker generates.
                mac: mac.or((address.is_some() && holder.is_none()).then_some(Mac([2, 0, 0, 0, 0, 0]))),
                dead: self.known.clone(),
                ..AddressRequest::default()
            };
            (format!("{what} in {}{whom}", subnet.state.prefix), Request::Address(request))
        };
        Ok(held.into_iter().map(question).collect())
    }

    /// One question about a dynamic subnet for each family that the pool has.
    fn subnet_questions(&self, asked: &Question) -> Result<Vec<(String, Request)>, Refusal> {
        let Question { pool, size, .. } = asked;
        let size = *size;
        let known = &self.plan.settings().pools;
        if let Some(name) = pool.as_ref().filter(|name| !known.iter().any(|pool| pool.name == **name)) {
            return Err(missing(format!("{name} is neither a pool nor a prefix; see: gipam pools")));
        }
        let has = |family: &Family| {
            known.iter().any(|known| {
                known.base(*family).is_some() && pool.as_ref().is_none_or(|pool| known.name == *pool)
            })
        };
        let question = |family: Family| {
            let from = pool.as_deref().map_or_else(String::new, |pool| format!(" from pool {pool}"));
            let length = size.map_or_else(String::new, |size| format!(" /{size}"));
            let request = self.subnet_request(family, Wanted::Any { size }, pool.as_deref());
            (format!("an {family} subnet{length}{from}"), request)
        };
        let fits = |family: &Family| size.is_none_or(|size| size <= family.bits());
        let questions: Vec<_> = Family::BOTH.into_iter().filter(has).filter(fits).map(question).collect();
        if let (true, Some(size)) = (questions.is_empty(), size) {
            let most = Family::BOTH.into_iter().filter(has).map(Family::bits).max().unwrap_or_default();
            return Err(invalid(&format!(
                "/{size} is longer than an address; give a length of at most /{most}"
            )));
        }
        Ok(questions)
    }

    fn subnet_request(&self, family: Family, wanted: Wanted, pool: Option<&str>) -> Request {
        let option = pool.map(|pool| ("pool".to_owned(), pool.to_owned()));
        Request::Subnet(SubnetRequest {
            cannot: Default::default(),
            space: Space::Local,
            family,
            wanted,
            range: None,
            options: option.into_iter().collect::<BTreeMap<_, _>>(),
            pools: None,
            in_use: self.in_use.clone(),
            in_a_row: 0,
            dead: self.known.clone(),
        })
    }
}
