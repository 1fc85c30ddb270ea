//! Why an address or a subnet would be given or refused, in words: each way in the order of choice
//! ([`choose_address`](super::choose_address), [`choose_subnet`](super::choose_subnet)), with its result.
//!
//! Promises: the verdict is that of [`Plan::decide`]; if a dynamic choice succeeds, exactly one step says that it would be
//! given: the way that finds it. Changes nothing.

use serde::{Deserialize, Serialize};

use super::Plan;
use super::choose_address::{AddressSearch, Choice, Miss};
use super::choose_subnet::{FREE, KEY, ORDER, Offer, STALE, SubnetSearch, free_in};
use super::grant_address::never_given_name;
use super::holder::holder_text;
use super::options::PoolOptions;
use super::place::PoolPlace;
use super::prefix::Prefix;
use super::request::{AddressRequest, Reply, Request, SubnetRequest, Wanted};
use super::settings::rfc3339;
use super::siblings::Part;
use super::subnet::Subnet;

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainStep {
    pub what: String,
    pub found: String,
}

/// Why something would be given or refused, as a row for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What is explained, as a person would say it.
    pub question: String,
    /// The address or subnet that would be given, or when an answer would come.
    pub given: Option<String>,
    /// The refusal, as Docker would get it.
    pub refused: Option<String>,
    /// Information that the answer depends on and the question lacks, and how to add it.
    #[serde(default)]
    pub depends: Option<String>,
    /// The steps of the decision, in order.
    pub steps: Vec<ExplainStep>,
}

/// The steps so far. At most one of them is marked as the choice.
#[derive(Default)]
struct Steps {
    steps: Vec<ExplainStep>,
    /// How many ways were added.
    ways: usize,
    /// Whether later steps can no longer be marked as the choice.
    decided: bool,
}

impl Steps {
    fn say(&mut self, what: &str, found: impl Into<String>) {
        self.steps.push(ExplainStep { what: what.to_owned(), found: found.into() });
    }

    /// Adds the next way and its result: the first one that succeeds is marked as the choice.
    fn way(&mut self, name: &str, found: Result<String, String>) {
        self.ways += 1;
        let mark = if found.is_ok() && !self.decided { ": it would be given" } else { "" };
        self.decided |= found.is_ok();
        let found = found.unwrap_or_else(|why| why);
        self.say(&format!("{}. {name}", self.ways), format!("{found}{mark}"));
    }
}

impl Plan {
    /// What this request would get now. Only for addresses and subnets.
    pub fn explain(&self, request: &Request) -> Explanation {
        // A question does not send packets.
        let request = &request.unprobed();
        let decision = self.decide(request, 0);
        let given = matches!(decision.reply, Ok(Reply::Subnet { .. } | Reply::Address { .. }));
        let mut steps = Steps { decided: !given, ..Steps::default() };
        let mut depends = None;
        match request {
            Request::Address(request) => depends = self.explain_address(request, &mut steps),
            Request::Subnet(request) => match request.wanted {
                Wanted::Exact(prefix) => self.explain_exact(request, prefix, &mut steps),
                Wanted::Any { .. } => self.explain_any(request, &mut steps),
            },
            _ => {}
        }
        for warning in &decision.warnings {
            steps.say("the log would say", warning.clone());
        }
        let told = Explanation { steps: steps.steps, ..Explanation::default() };
        let given = |text: String| Explanation { given: Some(text), ..told.clone() };
        let unsaid = |text: String| Explanation { depends: Some(text), ..told.clone() };
        match (decision.reply, depends) {
            (_, Some(depends)) => unsaid(depends),
            (Ok(Reply::Subnet { prefix, .. }), _) => given(prefix.to_string()),
            (Ok(Reply::Address { address, length }), _) => given(format!("{address}/{length}")),
            (Ok(Reply::Wait(until)), _) => {
                given(format!("an answer at {}, when something has cooled", rfc3339(until)))
            }
            (Ok(Reply::Probe(address)), _) => {
                unsaid(format!("whether a machine on the LAN answers at {address}"))
            }
            (Ok(Reply::Look(_)), _) => {
                unsaid("which addresses of a pool the host uses, which was not checked".to_owned())
            }
            (Ok(Reply::Claim(want)), _) => given(format!("an answer after this host has claimed {want}")),
            (Ok(Reply::Done), _) => given("done".to_owned()),
            (Err(refusal), _) => Explanation { refused: Some(refusal.text), ..told },
        }
    }

    /// Returns the missing information about the caller, if the address depends on it.
    fn explain_address(&self, request: &AddressRequest, steps: &mut Steps) -> Option<String> {
        let (subnet, _) = self.called(&request.id)?;
        let state = &subnet.state;
        let pool = state.pool.as_deref().unwrap_or("no pool");
        let granted = rfc3339(state.granted_at);
        steps.say("subnet", format!("{} of {pool}, space {}, granted {granted}", state.prefix, state.space));
        let search = AddressSearch::new(self, subnet, request);
        if let Some(asked) = request.address {
            match subnet.number_of(asked) {
                Some(address) => explain_number(&search, address, steps),
                None => steps.say("place", format!("{asked} is outside {}", state.prefix)),
            }
            return None;
        }
        let (bounds, text) = (subnet.addresses.bounds(), |it: u128| state.prefix.address(it).to_string());
        steps.say("range", format!("{} to {}", text(bounds.first), text(bounds.last)));
        if let Some((gateway, _)) = subnet.gateway_lease().filter(|_| request.gateway) {
            steps.way("the gateway already", Ok(text(gateway)));
            return None;
        }
        let mut depends = None;
        for (name, find) in search.ways() {
            let found = find(&search);
            if let (Err(Miss::Unsaid(what, option)), false) = (&found, steps.decided) {
                depends = Some(format!("the {what} of the container; add {option}"));
                // The later ways apply only to containers without it.
                steps.decided = true;
            }
            match found {
                Ok(choice) => steps.way(name, Ok(choice_text(&search, &choice))),
                Err(Miss::Moot) => {}
                Err(miss) => steps.way(name, Err(miss_text(&search, miss))),
            }
        }
        depends
    }

    /// Explains a subnet that is requested explicitly.
    fn explain_exact(&self, request: &SubnetRequest, prefix: Prefix, steps: &mut Steps) {
        let pool = self
            .pool_around(prefix)
            .map_or_else(|| "none; a subnet may lie outside the pools".to_owned(), |pool| pool.name.clone());
        steps.say("pool around it", pool);
        let mut standing = self.in_the_way(request.space, Part::asked(request, prefix));
        let since =
            |subnet: &Subnet| format!("{} since {}", subnet.state.prefix, rfc3339(subnet.state.granted_at));
        let held = standing.next().map_or_else(|| "nobody".to_owned(), |(_, subnet)| since(subnet));
        steps.say("held by", held);
        for network in request.dead.strangers.texts(prefix, Prefix::new(prefix.family(), 0, 0)) {
            let found = format!("{network}; a requested --subnet is granted nevertheless");
            steps.say("networks that the books lack", found);
        }
        let newest = self.memories(request.space, prefix).next_back();
        let remembered = newest.and_then(|subnet| subnet.state.released_at);
        if let Some(at) = remembered {
            steps.say(
                "memory",
                format!("released at {}: holders get their earlier addresses back", rfc3339(at)),
            );
        }
    }

    /// Explains a dynamic subnet: each way, and for free subnets each pool that may be used.
    fn explain_any(&self, request: &SubnetRequest, steps: &mut Steps) {
        let storm = self.storm(request).len();
        if storm > 0 {
            steps.say(
                "storm guard",
                format!("{storm} subnets within a minute, and no address was requested from any of them"),
            );
        }
        let Ok(options) = PoolOptions::parse(&request.options, true) else {
            return; // the verdict says why
        };
        let Ok(search) = SubnetSearch::new(self, request, &options) else { return };
        if !request.dead.strangers.are_known() {
            let found = "unknown, because the Engine's list was not read; gipam skips subnets that overlap networks in it";
            steps.say("networks that the books lack", found);
        }
        for (name, find) in ORDER {
            match (*name, &options.key) {
                (FREE, _) => explain_pools(&search, steps),
                (KEY, None) => {}
                (STALE, _) if search.places().all(|place| place.pool.provenance.former.is_empty()) => {}
                (KEY, Some(word)) => steps.way(&format!("key={word}"), found_text(&search, find(&search))),
                (name, _) => steps.way(name, found_text(&search, find(&search))),
            }
        }
    }
}

/// Explains an address requested by number.
fn explain_number(search: &AddressSearch<'_>, address: u128, steps: &mut Steps) {
    let AddressSearch { plan, subnet, request, .. } = search;
    let place = match plan.not_dynamic(subnet, address) {
        None => "an ordinary address".to_owned(),
        Some(why) if never_given_name(subnet.state.prefix, address).is_some() => format!("it {why}"),
        Some(why) => format!("it {why}: given dynamically last or never, but --ip may request it"),
    };
    steps.say("place", place);
    let of_sibling = search.siblings.lease(address).filter(|_| !subnet.addresses.is_leased(address));
    let (holding, record) = match of_sibling {
        Some((sibling, record)) => (sibling, Some(record)),
        None => (*subnet, subnet.addresses.get(address)),
    };
    let holder = match record {
        None => "nobody, and the books remember no earlier holder".to_owned(),
        Some(record) if record.leased => {
            let gone = plan.asked_by_the_gone(record.generation);
            let gone = if gone { "; the dockerd that requested it has exited" } else { "" };
            let shown = request.dead.holder(holding.state.serial, address, record.generation);
            let holder = shown.map_or_else(|| holder_text(record), ToString::to_string);
            format!("{holder} since {}{gone}", rfc3339(record.since))
        }
        Some(record) => {
            let until = record.since.saturating_add(plan.cooling_of(subnet));
            let cools =
                if until > plan.now { format!(", cools until {}", rfc3339(until)) } else { String::new() };
            let number = if record.asked_by_number { ", once requested by number" } else { "" };
            let last = record.name.as_deref().unwrap_or("an unknown holder");
            format!("nobody; {last} released it at {}{cools}{number}", rfc3339(record.since))
        }
    };
    steps.say("held by", holder);
    if let Some(pin) = subnet.pins().get(&address) {
        let why = plan.not_dynamic(subnet, address);
        let why = why.map_or_else(String::new, |why| format!(", but has no effect: it {why}"));
        steps.say("pinned by hand", format!("to {} since {}{why}", pin.holder, rfc3339(pin.since)));
    }
}

/// Explains the pools in their order, each with its best free subnet.
fn explain_pools(search: &SubnetSearch<'_>, steps: &mut Steps) {
    for place in search.places() {
        let PoolPlace { pool, base, length, .. } = &place;
        let what = format!("pool {} ({base}), a /{length}", pool.name);
        for used in place.texts_in(*base) {
            steps.say(&what, format!("in use, skipped: {used}"));
        }
        let found = place.hopeless().map_or_else(
            || match free_in(&place, search) {
                None => Err(place.full_text()),
                Some(Offer::Free(prefix, _)) => Ok(format!("{prefix} fits best")),
                other => found_text(search, other),
            },
            Err,
        );
        steps.way(&what, found);
    }
}

fn found_text(search: &SubnetSearch<'_>, found: Option<Offer>) -> Result<String, String> {
    match found {
        None => Err("none".to_owned()),
        Some(Offer::Unknown) => Err("gipam has not checked what the host uses here".to_owned()),
        Some(Offer::Claim(want)) => Err(format!("none before this host claims {want}")),
        Some(Offer::Wait(until)) => Err(format!("one, not before {}", rfc3339(until))),
        Some(Offer::Free(prefix, _)) => {
            let pool = search.plan.pool_around(prefix).map_or("none", |pool| pool.name.as_str());
            Ok(format!("{prefix} of pool {pool}"))
        }
    }
}

fn choice_text(search: &AddressSearch<'_>, choice: &Choice) -> String {
    let text = search.subnet.state.prefix.address(choice.address).to_string();
    match search.subnet.addresses.get(choice.address).filter(|record| !record.leased) {
        Some(record) => {
            let cools = if search.cools(record.since) { ", still cooling" } else { "" };
            format!("{text}, released {}{cools}", rfc3339(record.since))
        }
        None => text,
    }
}

fn miss_text(search: &AddressSearch<'_>, miss: Miss) -> String {
    let AddressSearch { subnet, request, .. } = search;
    let prefix = subnet.state.prefix;
    match miss {
        Miss::Moot | Miss::None => "none".to_owned(),
        Miss::Unsaid(what, option) => format!("depends on the {what} of the container; add {option}"),
        Miss::But(address, why) => format!("{}, but {why}", prefix.address(address)),
        Miss::Forgotten => {
            let leased = subnet.addresses.leases().find(|(_, record)| request.is_of_caller(record));
            leased.map_or_else(
                || "the books do not remember an address of this holder".to_owned(),
                |(own, _)| format!("{}, but it is leased", prefix.address(own)),
            )
        }
    }
}
