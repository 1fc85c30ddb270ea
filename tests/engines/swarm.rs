//! Swarm on hosts that share a LAN (docs/many-hosts.md). A network of Swarm's own is made from a config-only network on each
//! node, and each node's Engine requests the addresses from its own gipam (moby#49921).

use crate::lan::{self, Added, Lan};
use crate::scenario::{Scenario, scenario};
use crate::three_hosts::{SUBNETS, is_owned, prepare};
use crate::wait::until_every;
use crate::world::World;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("swarm_tasks_on_config_only_macvlan_networks_have_distinct_addresses", "P24 P31", swarm)]
}

const REPLICAS: usize = 5;
const SOON: Duration = Duration::from_secs(90);

/// The addresses of a node's tasks, by container.
fn tasks(w: &World) -> Vec<(String, IpAddr, IpAddr)> {
    let ids = w.docker("ps -q --filter label=com.docker.swarm.service.name=web --filter status=running");
    let pair = |id: &str| {
        let (v4, v6) = w.addresses(id, "swarmlan");
        Some((id.to_owned(), v4?, v6?))
    };
    ids.lines().filter_map(pair).collect()
}

fn swarm(w: &mut World) {
    let added = Added::to(w.engine);
    let (mut others, lan) = (added.worlds(), Lan::new());
    prepare(1, w, &lan);
    w.change_host("true", "docker swarm leave --force");
    others.iter_mut().zip(2..).for_each(|(other, number)| prepare(number, other, &lan));
    let worlds: Vec<&World> = std::iter::once(&*w).chain(&others).collect();
    worlds[0].docker("swarm init --advertise-addr 198.51.100.11");
    let token = worlds[0].docker("swarm join-token -q worker");
    for (number, other) in worlds.iter().enumerate().skip(1) {
        let own = number + 1;
        other.docker(&format!(
            "swarm join --advertise-addr 198.51.100.1{own} --token {token} 198.51.100.11:2377"
        ));
    }
    for world in &worlds {
        world.network(&format!("--config-only -o parent=lan0 {SUBNETS} nodelan"));
    }
    worlds[0].docker("network create -d macvlan --scope swarm --attachable --config-from nodelan swarmlan");
    worlds[0].docker(&format!(
        "service create --name web --replicas {REPLICAS} --network swarmlan --detach --no-resolve-image bb sleep 3600"
    ));
    until_every(Duration::from_millis(500), "five tasks run", SOON, || {
        worlds.iter().map(|world| tasks(world).len()).sum::<usize>() == REPLICAS
    });
    let mut given = BTreeSet::new();
    for (number, world) in worlds.iter().enumerate() {
        assert!(!tasks(world).is_empty(), "host h{} has no task", number + 1);
        for (task, v4, v6) in tasks(world) {
            for address in [v4, v6] {
                assert!(is_owned(number + 1, address), "task {task} of host h{} has {address}", number + 1);
                assert!(given.insert(address), "unique over all nodes: {address}");
            }
        }
    }
    assert_eq!(given.len(), 2 * REPLICAS);
    for world in &worlds {
        let spaces: Vec<String> = world.subnets().into_iter().map(|subnet| subnet.space).collect();
        assert_eq!(spaces, ["local", "local"], "the manager requests nothing for the whole Swarm");
    }
    lan::everywhere(&worlds, |_, world| {
        for (task, ..) in tasks(world) {
            for address in &given {
                world.ping(&task, &address.to_string());
            }
        }
    });
    worlds[0].docker("service rm web");
    until_every(Duration::from_millis(500), "the tasks are gone", SOON, || {
        worlds.iter().all(|world| world.docker("ps -aq").is_empty())
    });
    worlds[0].docker("network rm swarmlan");
    for world in worlds.iter().rev() {
        world.docker("swarm leave --force");
        world.docker("network rm nodelan");
    }
    others.iter_mut().for_each(World::finish);
}
