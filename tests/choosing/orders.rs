//! ONE ORDER OF CHOICE: for all orders of addresses, pools, pins, ranges, sizes and cooling, `explain`
//! predicts `decide`.

use std::cell::Cell;

use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::prefix::AddressRange;
use gipam::plan::request::{AddressRequest, Dead, InUseKind, Mac, Request, SubnetRequest, Wanted};
use gipam::plan::settings::{AddressOrder, PoolSettings, Settings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::desk::*;
use crate::explained::explained;

const ORDERS: [AddressOrder; 3] = [AddressOrder::Sequential, AddressOrder::Eui64, AddressOrder::Stable];
const SUBNETS: [(&str, Option<&str>); 8] = [
    ("10.0.1.8/30", None),
    ("10.0.2.0/29", Some("10.0.2.4/31")),
    ("2001:db8::/64", None),
    ("2001:db8:0:1::/64", Some("2001:db8:0:1::/125")),
    ("2001:db8:0:1::/64", Some("2001:db8:0:1::8/125")),
    ("2001:db8:0:2::/125", None),
    ("10.0.0.0/29", None),
    ("10.0.0.16/28", Some("10.0.0.24/30")),
];
const NAMES: [&str; 3] = ["web", "db", "cache"];

/// The possible events; a number selects one of the existing items.
#[derive(Clone, Debug)]
enum Op {
    Subnet {
        four: bool,
        size: u8,
        option: usize,
        driver: usize,
        used: usize,
    },
    Exact(usize),
    Address {
        subnet: usize,
        gateway: bool,
        number: Option<u8>,
        name: Option<usize>,
        mac: Option<u8>,
        serial: bool,
    },
    Release {
        subnet: usize,
        lease: usize,
    },
    ReleaseSubnet(usize),
    Pin {
        subnet: usize,
        number: u8,
        name: Option<usize>,
        mac: u8,
    },
    Pass(u64),
    Reserve(usize),
}

fn operation() -> impl Strategy<Value = Op> {
    let who = || (prop::option::of(0..NAMES.len()), prop::option::of(0u8..4));
    prop_oneof![
        3 => (prop::bool::ANY, 0u8..4, 0usize..6, 0usize..4, 0usize..4)
            .prop_map(|(four, size, option, driver, used)| Op::Subnet { four, size, option, driver, used }),
        3 => (0..SUBNETS.len()).prop_map(Op::Exact),
        9 => (0usize..6, prop::bool::weighted(0.2), prop::option::weighted(0.35, 0u8..16), who(), prop::bool::weighted(0.1))
            .prop_map(|(subnet, gateway, number, (name, mac), serial)| Op::Address { subnet, gateway, number, name, mac, serial }),
        5 => (0usize..6, 0usize..9).prop_map(|(subnet, lease)| Op::Release { subnet, lease }),
        2 => (0usize..6).prop_map(Op::ReleaseSubnet),
        2 => (0usize..6, 0u8..16, who())
            .prop_map(|(subnet, number, (name, mac))| Op::Pin { subnet, number, name, mac: mac.unwrap_or(0) }),
        2 => prop_oneof![Just(1_000), Just(6_000), Just(20_000), Just(60_000), Just(700_000)].prop_map(Op::Pass),
        1 => (0usize..4).prop_map(Op::Reserve),
    ]
}

fn mac(n: u8) -> Mac {
    // MAC 3 is a network card's; the others are locally administered, like those that Docker generates.
    Mac([if n == 3 { 0 } else { 2 }, 0, 0, 0, 0, n])
}

/// The pools, with these orders of addresses.
fn settings(orders: &[AddressOrder], cooling: u64) -> Settings {
    let mut all = vec![
        pool("lan", "10.0.0.0/27:29", "2001:db8::/62:64"),
        pool("dmz", "10.0.1.0/28:30", "2001:db8:1::/63:64"),
    ];
    for (pool, order) in all.iter_mut().zip(orders) {
        pool.v6.as_mut().unwrap().addresses = *order;
        pool.cooling = cooling;
    }
    if orders[0] == orders[1] {
        all.reverse();
    }
    let all: Vec<PoolSettings> = all;
    Settings { storm_limit: 6, ..pools(&all) }
}

struct Trial {
    desk: Desk,
    seen: Vec<String>,
}

impl Trial {
    fn held(&self, n: usize) -> Option<String> {
        let held: Vec<_> = self.desk.plan.subnets().filter(|subnet| subnet.is_held()).collect();
        held.get(n % held.len().max(1)).map(|subnet| subnet.state.id.clone())
    }

    fn request(&self, op: &Op) -> Option<Request> {
        Some(match op {
            Op::Subnet { four, size, option, driver, used } => {
                let request = crate::desk::any(if *four { V4 } else { V6 });
                let sized = [None, Some(30), Some(28), Some(63)][usize::from(*size)];
                let sized = sized.filter(|size| *four == (*size < 32));
                let request = SubnetRequest { wanted: Wanted::Any { size: sized }, ..request };
                let request = match option {
                    0 => request.option("key", "blog"),
                    1 => request.option("pool", "dmz"),
                    2 => request.option("pool", "dmz,lan"),
                    _ => request,
                };
                let request = [&["lan"][..], &["dmz"], &["dmz", "lan"]]
                    .get(*driver)
                    .map_or_else(|| request.clone(), |pools| request.clone().from(pools));
                Request::Subnet(match used {
                    0 => request.seeing(InUseKind::Route, &["10.0.0.8/30", "2001:db8:0:1::/64"]),
                    1 => request.seeing(InUseKind::OnLinkV4Route, &["10.0.0.0/24"]),
                    _ => request,
                })
            }
            Op::Exact(n) => {
                let (subnet, range) = SUBNETS[*n];
                let request = exact(subnet);
                Request::Subnet(range.map_or_else(|| request.clone(), |range| request.clone().range(range)))
            }
            Op::Address { subnet, gateway, number, name, mac: which, serial } => {
                let id = self.held(*subnet)?;
                let prefix = self.desk.plan.held(&id)?.state.prefix;
                Request::Address(AddressRequest {
                    address: number.map(|number| prefix.address(prefix.first() + u128::from(number))),
                    gateway: *gateway,
                    name: name.map(|name| NAMES[name].into()),
                    mac: which.map(mac),
                    serial: *serial,
                    ..address(&id)
                })
            }
            Op::Release { subnet, lease } => {
                let id = self.held(*subnet)?;
                let held = self.desk.plan.held(&id)?;
                let leased = held.addresses.records().filter(|(_, record)| record.leased);
                let leased: Vec<u128> = leased.map(|(address, _)| address).collect();
                let address = held.state.prefix.address(*leased.get(lease % leased.len().max(1))?);
                Request::Release { id, address: Some(address), generation: None }
            }
            Op::ReleaseSubnet(n) => Request::Release { id: self.held(*n)?, address: None, generation: None },
            _ => return None,
        })
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Pass(millis) => self.desk.pass(*millis),
            Op::Reserve(n) => {
                let ranges = ["10.0.0.1", "10.0.0.24/30", "2001:db8:0:1::4/126", "2001:db8::2"];
                let settings = self.desk.plan.settings().clone();
                let reserved = AddressRange::parse(ranges[*n]).into_iter().collect();
                self.desk.plan.configure(Settings { reserved, ..settings });
            }
            Op::Pin { subnet, number, name, mac: which } => {
                let Some(id) = self.held(*subnet) else { return Ok(()) };
                let prefix = self.desk.plan.held(&id).unwrap().state.prefix;
                let holder = name.map_or(Holder::Mac(mac(*which)), |name| Holder::Name(NAMES[name].into()));
                let address = prefix.address(prefix.first().saturating_add(u128::from(*number)));
                let wish = PinRequest { holder, address, subnet: Some(id) };
                let pinned = self.desk.plan.pin(&wish, &Dead::default());
                pinned.iter().flat_map(|it| &it.changes).for_each(|change| self.desk.plan.apply(change));
            }
            _ => {
                let Some(request) = self.request(op) else { return Ok(()) };
                let before = self.desk.plan.clone();
                let decision = self.desk.decide(&request);
                explained(&before, &request, &decision).map_err(|why| format!("{request:#?}\n{why}"))?;
                let marked = before.explain(&request).steps;
                let marked = marked.into_iter().filter(|step| step.found.ends_with("it would be given"));
                self.seen.extend(marked.map(|step| step.what));
                decision.changes.iter().for_each(|change| self.desk.plan.apply(change));
            }
        }
        Ok(())
    }
}

#[test]
fn explained_the_predicted_answer_is_given_in_the_way_that_is_named() {
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let trials = (
        prop::collection::vec(prop::sample::select(&ORDERS[..]), 2),
        prop_oneof![Just(0u64), Just(600_000)],
        prop::collection::vec(operation(), 1..120),
    );
    let ways = Cell::new(std::collections::BTreeSet::new());
    let outcome = TestRunner::new(config).run(&trials, |(orders, cooling, operations)| {
        let mut trial = Trial { desk: Desk::new(settings(&orders, cooling)), seen: Vec::new() };
        for op in &operations {
            trial.step(op).map_err(|why| TestCaseError::fail(format!("{op:?}: {why}")))?;
        }
        let mut all = ways.take();
        all.extend(
            trial.seen.iter().map(|what| what.split_once(". ").map_or(what.clone(), |(_, it)| it.to_owned())),
        );
        ways.set(all);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let seen = ways.take();
    for way in [
        "pinned to it by hand",
        "follows from its MAC",
        "its own last address",
        "the only one released just now",
    ]
    .into_iter()
    .chain(["follows from its name or MAC", "never used", "longest released", "released, still cooling"])
    .chain([
        "once requested by number",
        "pinned to another holder by hand",
        "the gateway's place",
        "key=blog",
    ]) {
        assert!(seen.contains(way), "{way} was never tried: {seen:?}");
    }
}
