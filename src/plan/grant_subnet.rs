//! RequestPool: an explicit subnet if it is not held, else a chosen one ([`choose_subnet`](super::choose_subnet)); and the
//! changes of a grant.
//!
//! Promises: pure; a candidate that Docker would refuse is not offered (P12); spaces stay disjoint; a refusal changes
//! nothing except the marks of a storm. Does not read routes: they are passed in with the request.

use super::Plan;
use super::change::{Change, Kind, Marks, Record, Serial, SubnetState};
use super::choose_subnet::{Offer, SubnetSearch};
use super::error::Refusal;
use super::options::PoolOptions;
use super::prefix::Prefix;
use super::request::{Decision, Reply, Space, SubnetRequest, Undo, Wanted};
use super::settings::Millis;
use super::siblings::Part;
use super::subnet::Subnet;

/// How far back the storm guard looks.
const STORM_WINDOW: Millis = 60_000;
/// How many times the limit is allowed if the requests do not look like a loop.
const PATIENCE: usize = 16;
/// How many prefixes in use on the host a refusal lists.
const NAMED: usize = 8;
/// Maximum number of remembered keys.
const KEYS: usize = 1_000;

impl Plan {
    /// RequestPool.
    pub(super) fn decide_subnet(&self, request: &SubnetRequest, random: u64) -> Decision {
        let outcome = match request.wanted {
            Wanted::Exact(prefix) => self.decide_exact(request, prefix, random),
            Wanted::Any { size } => self.decide_any(request, size, random),
        };
        outcome.unwrap_or_else(Decision::refused)
    }

    fn decide_exact(
        &self,
        request: &SubnetRequest,
        prefix: Prefix,
        random: u64,
    ) -> Result<Decision, Refusal> {
        let options = PoolOptions::parse(&request.options, false)?;
        if let Some(range) = request.range.filter(|range| !prefix.contains(*range)) {
            let text = format!("{range} does not lie in {prefix}; choose an --ip-range inside the --subnet");
            return Err(Refusal::invalid_sub_pool(text));
        }
        if request.space == Space::Global
            && let Some(subnet) =
                self.at(Space::Global, prefix).first().and_then(|serial| self.subnet(*serial))
        {
            let mut decision = Decision::unchanged(Reply::Subnet {
                id: subnet.state.id.clone(),
                prefix: subnet.state.prefix,
                gateway: None,
            });
            if subnet.state.options != request.options || subnet.state.range != request.range {
                decision.warnings.push(format!(
                        "{prefix} was requested again in space global with other options or another range; both networks share it"
                    ));
            }
            return Ok(decision);
        }
        if request.space == Space::Local
            && let Some(want) = self.unowned_subnet(prefix)
        {
            return match request.cannot.why(want) {
                Some(why) => {
                    Err(Refusal::no_available_pool(format!("{prefix} does not belong to this host: {why}")))
                }
                None => Ok(Decision::unchanged(Reply::Claim(want))),
            };
        }
        let (cleared, heir) = match options.overlap {
            true => (Vec::new(), None),
            false => self.clear_the_way(request, prefix)?,
        };
        let mut decision = self.grant_subnet(request, prefix, heir, random);
        if !cleared.is_empty() {
            // An undo must not restore the dead subnet.
            let undo = decision.undo.take();
            let granted = undo
                .and_then(|undo| if let Undo::Subnet { serial, .. } = undo { Some(serial) } else { None });
            decision.warnings.push(format!("{prefix} takes the place of a subnet that is proven dead"));
            // The memory that the grant inherits must not be forgotten before.
            let kept = |change: &Change| !matches!(change, Change::SubnetForgotten { serial } if Some(*serial) == granted);
            decision.changes.splice(0..0, cleared.into_iter().filter(kept));
        }
        Ok(decision)
    }

    fn decide_any(
        &self,
        request: &SubnetRequest,
        size: Option<u8>,
        random: u64,
    ) -> Result<Decision, Refusal> {
        let options = PoolOptions::parse(&request.options, true)?;
        if let Some(range) = request.range {
            return Err(Refusal::invalid_sub_pool(format!(
                "{range} also needs --subnet PREFIX{}",
                if size.is_some() { ": a prefix, not only a size" } else { "" }
            )));
        }
        if let (Some(size), Some(option)) = (size, options.size(request.family))
            && size != option
        {
            return Err(Refusal::invalid_request(format!(
                "the request has two sizes, /{size} (--subnet) and /{option} ({}.size); give one of them",
                request.family.name()
            )));
        }
        let storm = self.storm(request);
        if !storm.is_empty() {
            return Ok(refuse_storm(self, request, &storm));
        }
        let search = SubnetSearch::new(self, request, &options)?;
        let (prefix, warning) = match search.first().ok_or_else(|| search.nothing_left())? {
            Offer::Wait(until) => return Ok(Decision::unchanged(Reply::Wait(until))),
            Offer::Unknown => return Ok(Decision::unchanged(Reply::Look(self.bases()))),
            Offer::Claim(want) => return Ok(Decision::unchanged(Reply::Claim(want))),
            Offer::Free(prefix, warning) => (prefix, warning),
        };
        let mut decision = self.grant_subnet(request, prefix, None, random);
        if let Some(word) = options.key {
            self.remember_key(request, word, prefix, &mut decision);
        }
        decision.warnings.extend(warning);
        Ok(decision)
    }

    /// The newest serials of a storm: dynamic subnets of one family, space and option set, all held, without
    /// any address request, granted within a minute. The limit applies if requests arrive directly one after
    /// another, as in Docker's loop; otherwise [`PATIENCE`] times as many are allowed. Empty if there are
    /// fewer.
    pub(super) fn storm(&self, request: &SubnetRequest) -> Vec<Serial> {
        let limit = usize::try_from(self.settings.storm_limit).unwrap_or(usize::MAX);
        let like_a_loop = request.in_a_row >= self.settings.storm_limit;
        let enough = if like_a_loop { limit } else { limit.saturating_mul(PATIENCE) };
        if limit == 0 || self.unaddressed.len() < enough {
            return Vec::new();
        }
        let alike = |serial: &Serial| {
            let state = self.subnet(*serial).map(|subnet| &subnet.state);
            state.is_some_and(|state| {
                (state.space, state.prefix.family(), &state.options)
                    == (request.space, request.family, &request.options)
            })
        };
        let since = self.now.saturating_sub(STORM_WINDOW);
        let quiet = self.unaddressed.range((since, 0)..).rev().map(|(_, serial)| *serial);
        let mut newest = quiet.filter(alike);
        let storm: Vec<Serial> = newest.by_ref().take(limit).collect();
        if storm.len() + newest.take(enough - limit).count() < enough { Vec::new() } else { storm }
    }

    /// Grants a subnet. It inherits the serial and the memory of the one that it replaces, or of an earlier one.
    fn grant_subnet(
        &self,
        request: &SubnetRequest,
        prefix: Prefix,
        heir: Option<&Subnet>,
        random: u64,
    ) -> Decision {
        let memory = || self.memory_for(request.space, Part::asked(request, prefix));
        let previous = heir.or_else(memory);
        let serial = previous.map_or(self.next_serial, |subnet| subnet.state.serial);
        let router = self.router_for(request, prefix);
        let state = SubnetState {
            serial,
            id: self.new_id(request, prefix, random),
            space: request.space,
            prefix,
            range: request.range,
            pool: self.pool_around(prefix).map(|pool| pool.name.clone()),
            options: request.options.clone(),
            dynamic: matches!(request.wanted, Wanted::Any { .. }),
            granted_at: self.now,
            generation: self.next_generation,
            start_beyond: None,
            marks: Marks { set_up_at: self.now, gateway: router, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let gateway = router.map(|router| prefix.address(router));
        let reply = Reply::Subnet { id: state.id.clone(), prefix, gateway };
        let undo = Undo::Subnet {
            serial,
            generation: state.generation,
            previous: previous.map(|subnet| Box::new(subnet.state.clone())),
            key: None,
        };
        let taken_along = match previous {
            Some(_) => Vec::new(),
            None => self.taken_along(request.space, prefix, serial),
        };
        let mut changes = vec![Change::SubnetGranted(Box::new(state))];
        changes.extend(taken_along);
        changes.extend(router.map(|address| self.gateway_granted(serial, address)));
        changes.extend(self.trim_remembered(0, &[serial]));
        Decision { reply: Ok(reply), changes, warnings: Vec::new(), undo: Some(undo) }
    }

    /// The configured gateway for a new subnet, unless a container in another network of the prefix has it.
    fn router_for(&self, request: &SubnetRequest, prefix: Prefix) -> Option<u128> {
        let router = self.spaces.router(request.space, prefix)?;
        let others = self.siblings_of(request.space, Part::asked(request, prefix));
        others.is_router(router).then_some(router)
    }

    /// The lease of the gateway that is granted together with its subnet, and has the next generation.
    fn gateway_granted(&self, serial: Serial, address: u128) -> Change {
        let generation = self.next_generation.saturating_add(1);
        let (leased, kind, name, mac, since) = (true, Kind::Gateway, None, None, self.now);
        let (asked_by_number, withheld) = (false, false);
        let record = Record { leased, kind, name, mac, asked_by_number, withheld, since, generation };
        Change::AddressGranted { serial, address, record }
    }

    /// Makes a key point to the prefix of this grant, unless the subnet that it points to is held.
    fn remember_key(&self, request: &SubnetRequest, word: String, prefix: Prefix, grant: &mut Decision) {
        let (space, family) = (request.space, request.family);
        let before = self.keys.get(&(space, family, word.clone())).copied();
        if before.is_some_and(|(known, _)| known != prefix && !self.at(space, known).is_empty()) {
            return;
        }
        let remembered = Some((prefix, self.now));
        grant.changes.push(Change::KeyRemembered { space, family, word: word.clone(), prefix: remembered });
        if before.is_none() && self.keys.len() >= KEYS {
            grant.changes.extend(self.keys.iter().min_by_key(|(_, (_, at))| *at).map(
                |((space, family, word), _)| Change::KeyRemembered {
                    space: *space,
                    family: *family,
                    word: word.clone(),
                    prefix: None,
                },
            ));
        }
        if let Some(Undo::Subnet { key, .. }) = &mut grant.undo {
            *key = Some((word, before));
        }
    }
}

fn refuse_storm(plan: &Plan, request: &SubnetRequest, storm: &[Serial]) -> Decision {
    let seen = request.in_use.refused_for().map(|used| used.text.as_str());
    let mut seen: Vec<&str> = seen.take(NAMED + 1).collect();
    if seen.len() > NAMED {
        seen[NAMED] = "and more";
    }
    let seen = if seen.is_empty() { "none seen".to_owned() } else { seen.join(", ") };
    let error = Refusal::no_available_pool(format!(
        "Docker keeps refusing what is offered: {} {} subnets were granted within a minute and no address was ever requested from them; \
         look for a pool that overlaps an on-link route or a nameserver of the Docker host: {seen}",
        storm.len(),
        request.family,
    ));
    let subnets = storm.iter().filter_map(|serial| plan.subnets.get(serial)).map(|subnet| &subnet.state);
    let marked = subnets.filter(|state| !state.marks.stormed).map(|state| Change::SubnetMarked {
        serial: state.serial,
        marks: Marks { stormed: true, ..state.marks.clone() },
    });
    Decision { reply: Err(error), changes: marked.collect(), warnings: Vec::new(), undo: None }
}
