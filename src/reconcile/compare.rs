//! One look: the books as they were read, against the Engine's lists as they were read afterwards.
//!
//! Promises: pure. What is dead is not decided here: see the plan's `evidence`. Matches by space and prefix, since the
//! Engine shows no PoolIDs; where a prefix is held twice nothing is adopted. What the lists show alive is alive, however
//! incomplete they are.

use std::collections::BTreeSet;

use super::findings::BooksNow;
use super::networks::{Unknown, unknown_networks};
use super::run::Noted;
use crate::plan::change::{Kind, Record, Serial, ShownHolder};
use crate::plan::evidence::{Absence, CompleteView, Doubt, ProofKey, Sight};
use crate::plan::prefix::Prefix;
use crate::plan::request::{Fence, Repair, Space};
use crate::plan::settings::Millis;
use crate::plan::shown::{Endpoint, EngineIdentity, Lists, Network};
use crate::plan::strangers::Strangers;
use crate::plan::{Plan, Subnet};
use crate::store::names::Networks;

/// Something that the lists lack.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) key: ProofKey,
    /// Granted at, by the time of day.
    pub(super) since: Millis,
    pub(super) why: String,
    /// That it proves something: absent if it is too new, or where the view does not.
    pub(super) absence: Option<Absence>,
}

/// One address that two endpoints have.
#[derive(Debug)]
pub(super) struct Doubled {
    pub(super) prefix: Prefix,
    pub(super) address: u128,
    /// Containers and networks, for people.
    pub(super) who: Vec<(String, String)>,
    /// The subnet in the books, if they hold it: the one with the lease, where several share the prefix.
    pub(super) serial: Option<Serial>,
}

impl Doubled {
    /// The holders: `web in network front, db in network front`.
    pub(super) fn holders(&self) -> String {
        let who =
            self.who.iter().map(|(container, network)| format!("container {container} in network {network}"));
        who.collect::<Vec<_>>().join(" and ")
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Why nothing in this view proves anything, if so.
    pub(super) doubt: Option<Doubt>,
    /// The Engine, where the view is complete and of the Engine that holds what is in the books.
    pub(super) engine: Option<EngineIdentity>,
    /// What looked dead.
    pub(super) missing: Vec<Missing>,
    /// Addresses with two holders.
    pub(super) doubled: Vec<Doubled>,
    /// What can be done at once: adopt, identify, note as listed.
    pub(super) at_once: Vec<Repair>,
    /// What the Engine calls the holders.
    pub(super) holders: Noted,
    /// What it calls the networks.
    pub(super) networks: Networks,
    /// No running dockerd has called yet.
    nobody: bool,
    /// Live leases of callers that have ended: these do not count as dead.
    pub(super) alive_all_the_same: BTreeSet<ProofKey>,
    /// gipam's networks whose subnet the books do not hold.
    pub(super) unknown_networks: Vec<Unknown>,
    /// Subnets of all networks that the books do not hold, of any IPAM driver.
    pub(super) strangers: Strangers,
    /// Adopted subnets whose PoolID is not known yet: it was this Engine that had them.
    pub(super) unnamed: BTreeSet<ProofKey>,
}

/// Compares. While no dockerd that lives has called (`nobody`), the first call of one may tell that another has gone: what
/// is alive now is then known to be.
pub(super) fn compare(books: &BooksNow, lists: &Lists, drivers: &[String], nobody: bool) -> Look {
    let plan = &books.plan;
    let sight = Sight::new(plan, lists, drivers);
    let mut look = Look { nobody, ..Look::default() };
    let view = match CompleteView::of(&sight, books.at, books.settled) {
        Ok(view) => {
            look.engine = Some(view.engine().clone());
            Some(view)
        }
        Err(doubt) => {
            look.doubt = Some(doubt);
            None
        }
    };
    let held: Vec<&Subnet> = plan.subnets().filter(|subnet| subnet.is_held_locally()).collect();
    for subnet in &held {
        let state = &subnet.state;
        let key = (state.serial, None, state.generation);
        if subnet.awaits_id() {
            look.unnamed.insert(key);
        }
        if let Some(why) = sight.subnet_missing(subnet) {
            let absence = view.as_ref().and_then(|view| view.subnet_absent(subnet));
            look.missing.push(Missing { key, since: state.granted_at, why, absence });
            continue;
        }
        known(&mut look, plan, subnet, &sight, view.as_ref(), books.read);
    }
    look.networks = plan.subnets().filter_map(|subnet| network_name(subnet, &sight)).collect();
    let standing: BTreeSet<Prefix> =
        plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| subnet.state.prefix).collect();
    let listed = lists
        .networks
        .iter()
        .flat_map(|network| network.subnets.iter().map(move |subnet| (subnet.prefix, network.name.as_str())));
    look.strangers = Strangers::listed(listed.filter(|(prefix, _)| !standing.contains(prefix)));
    look.unknown_networks = unknown_networks(&held, &sight, &lists.networks, books.read);
    look.doubled = doubled(&sight, &held);
    look
}

/// A subnet that the lists have.
fn known(
    look: &mut Look,
    plan: &Plan,
    subnet: &Subnet,
    sight: &Sight<'_>,
    view: Option<&CompleteView<'_>>,
    read: Fence,
) {
    let state = &subnet.state;
    let listed = sight.lists_all(state.prefix);
    for (address, record) in subnet.addresses.leases() {
        let (serial, generation) = (state.serial, record.generation);
        let living = sight.living(state.prefix, address);
        if let Some((network, endpoint)) = living.first() {
            if look.nobody || plan.asked_by_the_gone(record.generation) {
                look.alive_all_the_same.insert((serial, Some(address), generation));
            }
            let named = shown_as(record, network, endpoint).map(|shown| (record.generation, shown));
            look.holders.extend(named.map(|named| ((state.serial, address), named)));
        } else if let Some(why) = sight.lease_missing(subnet, address, record) {
            let absence = view.and_then(|view| view.lease_absent(subnet, address, record));
            let key = (serial, Some(address), generation);
            look.missing.push(Missing { key, since: record.since, why, absence });
        }
        let set_up = sight.set_up(state.prefix, address);
        if let Some(kind) = identified(record, set_up, !living.is_empty(), listed) {
            let evidence = "the Engine shows it".into();
            look.at_once.push(Repair::Identify { serial, address, generation, kind, evidence });
        }
    }
    adopt(look, plan, subnet, sight, read);
    if state.start_beyond.is_some() && listed {
        look.at_once.push(Repair::Listed { serial: state.serial, generation: state.generation });
    }
}

/// The name goes with the MAC, not with the address alone: where both are known and differ, the lease is another's.
fn shown_as(record: &Record, network: &Network, endpoint: &Endpoint) -> Option<ShownHolder> {
    let other = matches!((record.mac, endpoint.mac), (Some(ours), Some(theirs)) if ours != theirs);
    (!other && !endpoint.container.is_empty()).then(|| ShownHolder {
        container: endpoint.container.as_str().into(),
        container_id: endpoint.container_id.as_str().into(),
        network: network.name.as_str().into(),
    })
}

/// What the Engine calls the network of a held subnet, where one network alone can be meant.
fn network_name(subnet: &Subnet, sight: &Sight<'_>) -> Option<(Serial, (u64, Box<str>))> {
    let state = &subnet.state;
    let mut there = sight.networks(state.prefix).iter().filter(|network| !network.is_local());
    let network = match state.space {
        Space::Local => sight.network_of(subnet)?,
        Space::Global => there.next().filter(|_| there.next().is_none())?,
    };
    subnet.is_held().then(|| (state.serial, (state.generation, network.name.as_str().into())))
}

/// What a lease is for: the lists say it of one of which nobody knows, of an address that was asked for by number without an
/// owner, and of one that was once taken for auxiliary and is not listed as such.
fn identified(record: &Record, set_up: Option<Kind>, lives: bool, listed: bool) -> Option<Kind> {
    let nobody = record.name.is_none() && record.mac.is_none();
    match (record.kind, set_up) {
        (Kind::Unknown, _) if lives => Some(Kind::Endpoint),
        (Kind::Unknown, Some(kind)) => Some(kind),
        (Kind::Endpoint, Some(Kind::Auxiliary)) if !lives && nobody => Some(Kind::Auxiliary),
        (Kind::Auxiliary, None) if listed => Some(Kind::Endpoint),
        _ => None,
    }
}

/// What the Engine shows in the networks of a subnet and the books lack: live endpoints, and auxiliary addresses.
fn adopt(look: &mut Look, plan: &Plan, subnet: &Subnet, sight: &Sight<'_>, read: Fence) {
    let (prefix, serial) = (subnet.state.prefix, subnet.state.serial);
    let copied = sight.is_copied(prefix);
    // Of subnets that share a prefix one is enough to keep an address from all.
    let lacks = |address: u128| {
        let mut grants = plan.grants_of(Space::Local, prefix);
        !grants.any(|it| (it.state.serial == serial || !copied) && it.addresses.is_leased(address))
    };
    let ours = sight.networks(prefix).iter().filter(|network| network.is_local() && sight.is_ours(network));
    let at_home =
        |network: &&&Network| sight.home_of(network, prefix).is_some_and(|home| home.state.serial == serial);
    for network in ours.filter(at_home) {
        let mut leases = network.subnet(prefix).map_or_else(Vec::new, |shown| network.lives_in(shown));
        // What lives says more than what is set up.
        leases.sort_by_key(|lease| std::cmp::Reverse(lease.kind));
        let lacking = leases.into_iter().filter(|it| it.kind != Kind::Gateway && lacks(it.address));
        look.at_once.extend(lacking.map(|lease| Repair::Adopt { serial, lease, read }));
    }
}

/// One address at two living endpoints: the loudest finding there is.
fn doubled(sight: &Sight<'_>, held: &[&Subnet]) -> Vec<Doubled> {
    let found = sight.doubled().map(|(prefix, address, living)| {
        let of_prefix = || held.iter().filter(|subnet| subnet.state.prefix == prefix);
        let leased = of_prefix().find(|subnet| subnet.addresses.is_leased(address));
        let serial = leased.or_else(|| of_prefix().next()).map(|subnet| subnet.state.serial);
        let who = living.iter().map(|(network, endpoint)| (endpoint.container.clone(), network.name.clone()));
        Doubled { prefix, address, who: who.collect(), serial }
    });
    found.collect()
}
