//! Why an address or a subnet would be given or refused, step by step, in the order in which the plan decides.
//!
//! Promises: the verdict is that of [`Plan::decide`] itself; the steps say what it met on the way. Changes nothing.

use super::change::{Record, Shown};
use super::holder::holder_text;
use super::options::PoolOptions;
use super::pins::pin_of;
use super::prefix::{AddressRange, Prefix};
use super::request::{AddressRequest, Context, Reply, Request, SubnetRequest, Wanted};
use super::settings::rfc3339;
use super::siblings::Siblings;
use super::subnet::{Subnet, never_given, reserved_inside};
use super::{Plan, ReservedBy};

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub what: String,
    /// What was found.
    pub found: String,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was looked at, in order.
    pub steps: Vec<Step>,
    /// What would be answered now: the address or the subnet, or the refusal as Docker would get it.
    pub verdict: Result<String, String>,
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn say(&mut self, what: &str, found: impl Into<String>) {
        self.0.push(Step { what: what.to_owned(), found: found.into() });
    }
}

impl Plan {
    /// What this request would get now. Addresses and subnets only.
    pub fn explain(&self, request: &Request, context: Context) -> Explanation {
        let mut steps = Steps::default();
        match request {
            Request::Address(request) => self.explain_address(request, context, &mut steps),
            Request::Subnet(request) => match request.wanted {
                Wanted::Exact(prefix) => self.explain_exact(request, prefix, &mut steps),
                Wanted::Any { size } => self.explain_any(request, size, context, &mut steps),
            },
            _ => {}
        }
        let decision = self.decide(request, context);
        for warning in &decision.warnings {
            steps.say("the log would say", warning.clone());
        }
        let verdict = match decision.reply {
            Ok(Reply::Subnet { prefix, .. }) => Ok(prefix.to_string()),
            Ok(Reply::Address { address, length }) => Ok(format!("{address}/{length}")),
            Ok(Reply::Wait(until)) => {
                Ok(format!("an answer at {}, when something has cooled", rfc3339(until)))
            }
            Ok(Reply::Done | Reply::Look(_)) => Ok("done".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Explanation { steps: steps.0, verdict }
    }

    fn explain_address(&self, request: &AddressRequest, context: Context, steps: &mut Steps) {
        let Some((subnet, _)) = self.called(&request.id) else { return };
        let state = &subnet.state;
        let pool = state.pool.as_deref().unwrap_or("no pool");
        steps.say(
            "subnet",
            format!(
                "{} of {pool}, space {}, granted {}",
                state.prefix,
                state.space,
                rfc3339(state.granted_at)
            ),
        );
        match request.address {
            Some(asked) => match subnet.number_of(asked) {
                Some(address) => self.explain_number(subnet, address, (request, context), steps),
                None => steps.say("place", format!("{asked} is outside of {}", state.prefix)),
            },
            None => self.explain_choice(subnet, request, context, steps),
        }
    }

    /// An address asked for by number.
    fn explain_number(
        &self,
        subnet: &Subnet,
        address: u128,
        (request, context): (&AddressRequest, Context),
        steps: &mut Steps,
    ) {
        let prefix = subnet.state.prefix;
        let (low, high) = never_given(prefix);
        let here = AddressRange { family: prefix.family(), first: address, last: address };
        let by = self.reserved_by().find(|(range, _)| range.covers(&here)).map(|(_, by)| by);
        let ever = if [low, high].contains(&Some(address)) {
            "network, broadcast or all-zero: nobody gets it"
        } else if reserved_inside(prefix, &self.reserved).contains(address) {
            match by {
                Some(ReservedBy::Hand) => {
                    "reserved by hand: dynamic choice passes it over, but it may be asked for by number"
                }
                _ => "reserved: dynamic choice passes it over, but it may be asked for by number",
            }
        } else if subnet.slot(&self.reserved) == address {
            "the gateway's: dynamic choice takes it last, but it may be asked for by number"
        } else if self.not_dynamic(subnet, address).is_some() {
            "outside of the range: dynamic choice never takes it, but it may be asked for by number"
        } else {
            "an address like others"
        };
        steps.say("place", ever);
        let holder = match subnet.addresses.get(address) {
            None => "nobody, as far as the books remember".to_owned(),
            Some(record) if record.leased => {
                let gone = self.asked_by_the_gone(record.generation);
                let gone = if gone { "; the dockerd that asked for it has gone" } else { "" };
                let shown = request.dead.holder(subnet.state.serial, address, record.generation);
                let container = |it: &Shown| format!("container {} in network {}", it.container, it.network);
                let holder = shown.map_or_else(|| holder_text(record), container);
                format!("{holder} since {}{gone}", rfc3339(record.since))
            }
            Some(record) => {
                let until = record.since.saturating_add(self.cooling_of(subnet));
                let cools = if until > context.now {
                    format!(", cools until {}", rfc3339(until))
                } else {
                    String::new()
                };
                let pinned = if record.pinned { ", pinned" } else { "" };
                let last = record.name.as_deref().unwrap_or("somebody");
                format!("nobody; {last} released it at {}{cools}{pinned}", rfc3339(record.since))
            }
        };
        steps.say("held by", holder);
        if let Some(pin) = subnet.pins().get(&address) {
            let why = self.not_dynamic(subnet, address);
            let why = why.map_or_else(String::new, |why| format!(", in vain: it {why}"));
            steps.say("pinned by hand", format!("to {} since {}{why}", pin.holder, rfc3339(pin.since)));
        }
    }

    /// A dynamic address: the steps of the choice, each with what it would give.
    fn explain_choice(&self, subnet: &Subnet, request: &AddressRequest, context: Context, steps: &mut Steps) {
        let (addresses, prefix) = (&subnet.addresses, subnet.state.prefix);
        let text = |address: u128| prefix.address(address).to_string();
        let bounds = addresses.bounds();
        steps.say("range", format!("{} to {}", text(bounds.first), text(bounds.last)));
        let siblings = self.siblings(subnet);
        if let Some(pinned) = pin_of(subnet, request.name.as_deref(), request.mac) {
            let found = match self.not_dynamic(subnet, pinned) {
                _ if addresses.is_leased(pinned) => "but it is leased".to_owned(),
                Some(why) => format!("but it {why}"),
                None => "it would be given".to_owned(),
            };
            steps.say("0. pinned to it by hand", format!("{}: {found}", text(pinned)));
        }
        let own = self.explain_own(subnet, request, &siblings, context);
        steps.say("1. its own last address", own);
        let since = |(since, address): (u64, u128)| {
            let cools = since.saturating_add(self.cooling_of(subnet)) > context.now;
            format!(
                "{}, released {}{}",
                text(address),
                rfc3339(since),
                if cools { ", still cooling" } else { "" }
            )
        };
        let nothing = || "none".to_owned();
        let open = |address: u128| !siblings.hold(address);
        let never_used = addresses.never_used(subnet.state.start_beyond, open);
        steps.say("2. never used", never_used.map_or_else(nothing, text));
        steps.say("3. longest released", addresses.longest_freed(open).map_or_else(nothing, since));
        let pinned = addresses.longest_freed_pinned(open);
        steps.say("4. pinned, longest released", pinned.map_or_else(nothing, since));
        let own = pin_of(subnet, request.name.as_deref(), request.mac);
        if let Some((pinned, pin)) =
            self.last_pinned(subnet, false).filter(|(pinned, _)| own != Some(*pinned))
        {
            steps.say("5. pinned to somebody by hand", format!("{}, to {}", text(pinned), pin.holder));
        }
    }

    /// What comes back to this holder, as the choice itself has it, or why nothing does.
    fn explain_own(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        siblings: &Siblings<'_>,
        context: Context,
    ) -> String {
        let (addresses, prefix) = (&subnet.addresses, subnet.state.prefix);
        let text = |address: u128| prefix.address(address).to_string();
        let known = addresses.last_of(request.name.as_deref(), request.mac);
        if let Some(back) = self.own(subnet, request, siblings, context).map(|choice| choice.address) {
            let derived = self.made_of_mac(subnet, request).map(|(derived, _)| derived);
            let what = match known {
                Some(known) if known == back => "",
                _ if addresses.is_leased(back) => ", whose lease is proven dead",
                _ if derived == Some(back) => ", which follows from its MAC",
                _ => ", the only one that was just released",
            };
            return format!("{}{what}: it would be given", text(back));
        }
        let of_holder = |record: &Record| match (&request.name, request.mac) {
            (Some(name), _) => record.name.as_deref() == Some(&**name),
            (None, mac) => mac.is_some() && record.mac == mac,
        };
        let leased = || addresses.records().find(|(_, record)| record.leased && of_holder(record));
        match known {
            Some(own) if !addresses.bounds().allow(own) => {
                format!("{}, but it is outside of the range, reserved or pinned by hand", text(own))
            }
            Some(own) => format!("{}, but another network that shares {prefix} has it", text(own)),
            None => leased().map_or_else(
                || "the books remember none of this holder".to_owned(),
                |(own, _)| format!("{}, but it is leased", text(own)),
            ),
        }
    }

    /// A subnet asked for by number.
    fn explain_exact(&self, request: &SubnetRequest, prefix: Prefix, steps: &mut Steps) {
        let pool = self
            .pool_around(prefix)
            .map_or_else(|| "none, which is allowed".to_owned(), |pool| pool.name.clone());
        steps.say("pool around it", pool);
        let overlap = self.index(request.space).overlapping(prefix).and_then(|serial| self.subnet(serial));
        let held = overlap.map_or_else(
            || "nobody".to_owned(),
            |subnet| format!("{} since {}", subnet.state.prefix, rfc3339(subnet.state.granted_at)),
        );
        steps.say("held by", held);
        for network in request.dead.strangers.texts(prefix, Prefix::new(prefix.family(), 0, 0)) {
            let found = format!("{network}; a subnet by number is granted all the same");
            steps.say("networks that the books lack", found);
        }
        let remembered = self.remembered(request.space, prefix).and_then(|subnet| subnet.state.released_at);
        if let Some(at) = remembered {
            steps.say(
                "memory",
                format!("released at {}: holders get their earlier addresses back", rfc3339(at)),
            );
        }
    }

    /// A dynamic subnet: each pool that is open, and what it would give.
    fn explain_any(&self, request: &SubnetRequest, size: Option<u8>, context: Context, steps: &mut Steps) {
        let storm = self.storm(request, context.now).len();
        if storm > 0 {
            steps.say(
                "storm guard",
                format!("{storm} subnets within a minute, no address requested from any of them"),
            );
        }
        let Ok(options) = PoolOptions::parse(&request.options, true) else {
            return; // the verdict says why
        };
        let Ok(open) = self.open_pools(request, &options) else { return };
        let size = size.or(options.size(request.family));
        if !request.dead.strangers.are_known() {
            let found = "not known: the Engine's list was not read; of those in it, subnets are passed over";
            steps.say("networks that the books lack", found);
        }
        if let Some(word) = &options.key {
            let keyed = self.keyed(request, &options, &open);
            let found = keyed.map_or_else(
                || "nothing is free".to_owned(),
                |(prefix, _)| format!("{prefix}: it would be given"),
            );
            steps.say(&format!("key={word}"), found);
        }
        for (n, place) in self.places(request, &open, size).enumerate() {
            let what = format!("{}. pool {} ({}), a /{}", n + 1, place.pool.name, place.base, place.length);
            for used in place.blocked.texts() {
                steps.say(&what, format!("in use on this host, passed over: {}", used.text));
            }
            for network in place.blocked.strangers_in(place.base) {
                steps.say(&what, format!("in a network that the books lack, passed over: {network}"));
            }
            let free = &place.space.free;
            let found = place.hopeless().or_else(|| {
                let fit = free.best_fit(place.length, |candidate| place.blocked.by(candidate));
                fit.map(|prefix| format!("{prefix} fits best"))
            });
            steps.say(&what, found.unwrap_or_else(|| self.full_text(&place)));
        }
    }
}
