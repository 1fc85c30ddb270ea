//! Three Engines on one LAN with a gipam each, whose networks share the LAN's subnet (docs/many-hosts.md).
//!
//! Promises: *owned* (R85) and *unique* over all hosts: 60 containers have 120 addresses, each from a slice of its host, and every
//! container is reached from another host (moby#49921).

use crate::lan::{self, Added, Lan};
use crate::scenario::{Scenario, scenario};
use crate::world::World;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("sixty_containers_on_a_lan_of_three_hosts_have_distinct_addresses", "P31 D4", sixty)]
}

const CONTAINERS: usize = 20;

/// Two slices of each family for each host, so that every host uses more than one.
pub const PLAN: &str = r#"
[[pool]]
base = "10.88.6.0/24"
slice = 28
[[pool]]
base = "2001:db8:88:6::/64"
slice = 124
[[host]]
name = "h1"
via = ["198.51.100.11"]
slices = ["10.88.6.16/28", "10.88.6.32/28", "2001:db8:88:6::10/124", "2001:db8:88:6::20/124"]
[[host]]
name = "h2"
via = ["198.51.100.12"]
slices = ["10.88.6.64/28", "10.88.6.80/28", "2001:db8:88:6::40/124", "2001:db8:88:6::50/124"]
[[host]]
name = "h3"
via = ["198.51.100.13"]
slices = ["10.88.6.128/28", "10.88.6.144/28", "2001:db8:88:6::80/124", "2001:db8:88:6::90/124"]
"#;

/// What `docker network create` needs for the LAN's subnet of each family.
pub const SUBNETS: &str =
    "--ipv6 --subnet 10.88.6.0/24 --gateway 10.88.6.1 --subnet 2001:db8:88:6::/64 --gateway 2001:db8:88:6::1";

/// Connects a host to the LAN, and gives it the plan file and its configuration.
pub fn prepare(number: usize, world: &mut World, lan: &Lan) {
    lan.connect(number, world);
    world.write("/srv/plan.toml", PLAN);
    world.change_host("true", "rm -f /srv/plan.toml");
    world.configure(&format!(
        r#"
[plan]
file = "/srv/plan.toml"
host = "h{number}"
[[pool]]
name = "lan"
v4 = {{ base = "10.88.6.0/24", slice = 28, shared = true, gateway = "10.88.6.1" }}
v6 = {{ base = "2001:db8:88:6::/64", slice = 124, shared = true, gateway = "2001:db8:88:6::1" }}
"#
    ));
}

/// Whether the address is in a slice of this host.
pub fn is_owned(number: usize, address: IpAddr) -> bool {
    let mut slices = PLAN.split("slices = ").skip(1);
    let own = slices.nth(number - 1).unwrap().lines().next().unwrap();
    own.trim_matches(['[', ']']).split(", ").any(|slice| {
        let slice: ipnet::IpNet = slice.trim_matches('"').parse().unwrap();
        slice.contains(&address)
    })
}

fn sixty(w: &mut World) {
    let added = Added::to(w.engine);
    let (mut others, lan) = (added.worlds(), Lan::new());
    prepare(1, w, &lan);
    others.iter_mut().zip(2..).for_each(|(other, number)| prepare(number, other, &lan));
    let worlds: Vec<&World> = std::iter::once(&*w).chain(&others).collect();
    lan::everywhere(&worlds, |number, w| {
        w.network(&format!("-d macvlan -o parent=lan0 {SUBNETS} lan"));
        (0..CONTAINERS).for_each(|one| w.run(&format!("--name c{number}-{one} --network lan")));
    });
    let address = |number: usize, one: usize| {
        let (v4, v6) = worlds[number - 1].addresses(&format!("c{number}-{one}"), "lan");
        [v4.unwrap(), v6.unwrap()]
    };
    let mut given = BTreeSet::new();
    for (number, one) in all() {
        for address in address(number, one) {
            assert!(is_owned(number, address), "host h{number} gave {address}");
            assert!(given.insert(address), "unique over all hosts: {address}");
        }
    }
    assert_eq!(given.len(), 2 * lan::HOSTS * CONTAINERS);
    lan::everywhere(&worlds, |number, w| {
        let next = number % lan::HOSTS + 1;
        for one in 0..CONTAINERS {
            for there in address(next, one) {
                w.ping(&format!("c{number}-{one}"), &there.to_string());
            }
        }
    });
    others.iter_mut().for_each(World::finish);
}

fn all() -> impl Iterator<Item = (usize, usize)> {
    (1..=lan::HOSTS).flat_map(|number| (0..CONTAINERS).map(move |one| (number, one)))
}
