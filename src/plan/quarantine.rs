//! QUARANTINE: addresses of a LAN that machines have which gipam does not know.
//!
//! In pools with `probe`, gipam asks the LAN about an address before it gives it for the first time. The plan says which
//! address needs an answer ([`Reply::Probe`](super::request::Reply)), and gets the answers with the request, as it gets what the
//! host uses. An address that answers is leased to the stranger until it is silent twice.
//!
//! Promises: pure; an address that this host leases, or whose last holder has the MAC of the answer, is never a stranger's.
//! Sends no packets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Plan;
use super::change::{Change, Kind, Record, Serial};
use super::choose_address::AddressSearch;
use super::prefix::{Prefix, number};
use super::request::{AddressRequest, Mac, Request};
use super::settings::Millis;
use super::subnet::Subnet;

/// An address released within this time was a container's a moment ago: at a restart it is not probed.
const JUST_NOW: Millis = 60_000;
/// The most strangers in one subnet: a machine that answers for every address must not fill the books.
const MOST: usize = 1_024;

/// What is known from probes, for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The addresses that did not answer a short time ago.
    pub silent: BTreeSet<IpAddr>,
    /// There is no time left for probes, or they are not possible: any address is given.
    pub is_over: bool,
}

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// A machine with this MAC has the address. When the probe was sent, `began` was the next generation.
    Answered { address: IpAddr, mac: Mac, began: u64 },
    /// The stranger that has this lease no longer answers.
    Silent { serial: Serial, address: u128, generation: u64 },
}

/// The addresses of a subnet to probe in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCandidates {
    pub prefix: Prefix,
    pub pool: String,
    /// Those that the plan would give next, in this order.
    pub next: Vec<IpAddr>,
}

/// A stranger's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub serial: Serial,
    pub address: u128,
    pub generation: u64,
    pub ip: IpAddr,
    pub mac: Option<Mac>,
}

impl Request {
    /// The same request, decided as if nothing were probed.
    pub(super) fn unprobed(&self) -> Self {
        let mut request = self.clone();
        if let Self::Address(AddressRequest { probed, .. }) = &mut request {
            *probed = Some(Arc::new(Probed { is_over: true, ..Probed::default() }));
        }
        request
    }
}

impl AddressSearch<'_> {
    /// Whether the address may not be given before it was probed.
    pub(super) fn must_probe(&self, address: u128) -> bool {
        let Self { plan, subnet, request, .. } = self;
        if !subnet.probes() || request.gateway || request.probed.as_ref().is_some_and(|it| it.is_over) {
            return false;
        }
        let just_now = |record: &Record| record.since.saturating_add(JUST_NOW) > plan.now;
        let asked = subnet.state.prefix.address(address);
        let silent = || request.probed.as_ref().is_some_and(|it| it.silent.contains(&asked));
        !subnet.addresses.get(address).is_some_and(just_now) && !silent()
    }
}

impl Plan {
    /// For each held subnet that is probed: at most this many addresses to probe in advance.
    pub fn probe_candidates(&self, most: usize) -> Vec<ProbeCandidates> {
        let probed = self.subnets().filter(|subnet| subnet.is_held_locally() && subnet.probes());
        let candidates = |subnet: &Subnet| {
            let (state, siblings) = (&subnet.state, self.siblings(subnet));
            let open = subnet.addresses.in_order(state.start_beyond).filter(|it| !siblings.hold(*it));
            let next = open.take(most).map(|address| state.prefix.address(address)).collect();
            ProbeCandidates { prefix: state.prefix, pool: state.pool.clone().unwrap_or_default(), next }
        };
        probed.map(candidates).collect()
    }

    /// Every address in quarantine.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        let held = self.subnets().filter(|subnet| subnet.is_held_locally());
        let of_subnet = |subnet: &Subnet| {
            let (serial, prefix) = (subnet.state.serial, subnet.state.prefix);
            let strangers = subnet.addresses.leases().filter(|(_, record)| record.kind == Kind::Stranger);
            let of = |(address, record): (u128, &Record)| {
                let (generation, mac) = (record.generation, record.mac);
                Quarantined { serial, address, generation, ip: prefix.address(address), mac }
            };
            strangers.map(of).collect::<Vec<_>>()
        };
        held.flat_map(of_subnet).collect()
    }

    /// Whether this host leases the address in a network that is probed.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.held_around(address).any(|subnet| subnet.addresses.is_ours(number(address)))
    }

    /// Decides what follows from a probe.
    pub(super) fn decide_probed(&self, result: &ProbeResult) -> Vec<Change> {
        match result {
            ProbeResult::Answered { address, mac, began } => self.answered(*address, *mac, *began),
            ProbeResult::Silent { serial, address, generation } => {
                let subnet = self.subnet(*serial).filter(|subnet| subnet.is_held());
                let lease = subnet.and_then(|subnet| subnet.addresses.lease(*address));
                let same = |it: &&Record| it.kind == Kind::Stranger && it.generation == *generation;
                let ended = |_| Change::QuarantineEnded { serial: *serial, address: *address };
                lease.filter(same).map(ended).into_iter().collect()
            }
        }
    }

    fn answered(&self, asked: IpAddr, mac: Mac, began: u64) -> Vec<Change> {
        let address = number(asked);
        // Another network of the prefix may have a lease of the address, even one that is not probed.
        let around: Vec<&Subnet> =
            self.held_around(asked).filter(|subnet| subnet.is_held_locally()).collect();
        let probed = || around.iter().filter(|subnet| subnet.probes() && subnet.slot() != address);
        let ours = |record: &Record| {
            record.kind != Kind::Stranger
                && (record.leased || record.generation >= began || record.mac == Some(mac))
        };
        let records = || around.iter().filter_map(|subnet| Some((*subnet, subnet.addresses.get(address)?)));
        let stranger = records().find(|(_, record)| record.leased && record.kind == Kind::Stranger);
        let known = stranger.is_some_and(|(_, record)| record.mac == Some(mac));
        let home = stranger.map(|(subnet, _)| subnet).or_else(|| probed().next().copied());
        let Some(subnet) = home.filter(|_| !known && !records().any(|(_, record)| ours(record))) else {
            return Vec::new();
        };
        let strangers = || subnet.addresses.leases().filter(|(_, record)| record.kind == Kind::Stranger);
        if stranger.is_none() && strangers().count() >= MOST {
            return Vec::new();
        }
        let (leased, kind, name, mac) = (true, Kind::Stranger, None, Some(mac));
        let (asked_by_number, withheld, generation) = (false, false, self.next_generation);
        let since = stranger.map_or(self.now, |(_, record)| record.since);
        let record = Record { leased, kind, name, mac, asked_by_number, withheld, since, generation };
        vec![Change::AddressQuarantined { serial: subnet.state.serial, address, record }]
    }
}
