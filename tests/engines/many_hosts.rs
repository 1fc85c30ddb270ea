//! A container that another host of the plan reaches over the route that `gipam routes` prints
//! (docs/many-hosts.md).
//!
//! The other host is a network namespace inside the engine's own, with nothing but a link and these routes. For a LAN
//! that two hosts share, the other host is a second gipam with books of its own.

use std::time::Duration;

use crate::engine::Engine;
use crate::gipam;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    let reached =
        scenario("another_host_reaches_containers_of_routed_networks_over_its_routes", "D6", reached);
    let shared =
        scenario("macvlan_networks_of_two_hosts_share_a_lan_without_duplicates", "P31 D4", shared_lan);
    let kernel = scenario("routes_in_the_kernel_do_not_make_docker_refuse_networks", "P12 D6", kernel_routes);
    vec![
        shared,
        kernel,
        reached.unless(|engine: &Engine| {
            (engine.version < (28, 0))
                .then_some("only Engine 28 and later drop packets from other hosts by default")
        }),
    ]
}

const PLAN: &str = r#"
[[pool]]
base = "10.8.0.0/16"
slice = 20
[[pool]]
base = "2001:db8:8::/48"
slice = 52
[[host]]
name = "a"
via = ["198.51.100.11", "2001:db8::11"]
slices = ["10.8.0.0/20", "2001:db8:8::/52"]
[[host]]
name = "b"
via = ["198.51.100.12", "2001:db8::12"]
slices = ["10.8.16.0/20", "2001:db8:8:1000::/52"]
"#;

const CONFIGURATION: &str = r#"
[plan]
file = "/srv/plan.toml"
host = "b"
[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", size = 24, slice = 20 }
v6 = { base = "2001:db8:8::/48", size = 64, slice = 52 }
"#;

/// Whether the other host gets an answer from this address.
fn is_reached(w: &World, address: &str) -> bool {
    w.engine.inside(&["ip", "netns", "exec", "other", "busybox", "ping", "-c", "3", "-W", "2", address]).ok
}

fn reached(w: &mut World) {
    w.change_host("mkdir -p /srv", "rm -f /srv/plan.toml");
    w.write("/srv/plan.toml", PLAN);
    w.configure(CONFIGURATION);
    w.change_host(
        "ip netns add other && ip link add up8 type veth peer name eth0 netns other
         ip link set up8 up && ip addr add 198.51.100.12/24 dev up8 && ip -6 addr add 2001:db8::12/64 dev up8 nodad
         ip netns exec other sh -euc 'ip link set eth0 up; ip addr add 198.51.100.11/24 dev eth0
         ip -6 addr add 2001:db8::11/64 dev eth0 nodad'",
        "ip link del up8; ip netns del other",
    );
    w.inside("gipam routes --host a | ip netns exec other ip -batch -");
    let mode = "-o com.docker.network.bridge.gateway_mode";
    w.network(&format!("--ipv6 {mode}_ipv4=routed {mode}_ipv6=routed open"));
    w.run("--name c1 --network open");
    w.network("--ipv6 closed");
    w.run("--name c2 --network closed");
    for (container, network, expected) in [("c1", "open", true), ("c2", "closed", false)] {
        for address in [w.v4(container, network), w.v6(container, network)] {
            assert!(address.starts_with("10.8.1") || address.starts_with("2001:db8:8:1"), "{address}");
            assert_eq!(is_reached(w, &address), expected, "{network} {address}");
        }
    }
    let said = gipam::cli(w.engine, &["slices"]);
    assert!(said.ok && said.out.contains("10.8.16.0/20"), "{}{}", said.out, said.err);
}

/// Docker takes networks inside and of the size of a slice that has a discard route, and in one that still had a route to
/// another host a moment ago. The routes stay through all of this, and a restart of Docker changes nothing.
fn kernel_routes(w: &mut World) {
    w.change_host("mkdir -p /srv", "rm -f /srv/plan.toml");
    w.change_host(
        "ip link add up8 type veth peer name up9 && ip link set up8 up && ip link set up9 up
         ip addr add 198.51.100.12/24 dev up8 && ip -6 addr add 2001:db8::12/64 dev up8 nodad",
        "ip link del up8",
    );
    w.write("/srv/plan.toml", PLAN);
    w.configure(&CONFIGURATION.replace("host = \"b\"", "host = \"b\"\nroutes = \"kernel\""));
    let routes = "ip -4 route show proto 171; ip -6 route show proto 171";
    let own = |w: &World| {
        until("the routes are there", Duration::from_secs(10), || w.inside(routes).lines().count() == 4);
        let all = w.inside(routes);
        assert!(
            all.contains("10.8.0.0/20 via 198.51.100.11") && all.contains("blackhole 10.8.16.0/20"),
            "{all}"
        );
    };
    own(w);
    for number in 0..3 {
        w.network(&format!("--ipv6 n{number}"));
        w.run(&format!("--name c{number} --network n{number}"));
    }
    assert_eq!(w.prefixes("n0"), ["10.8.16.0/24", "2001:db8:8:1000::/64"]);
    w.ping("c1", "198.51.100.12");
    own(w);
    w.docker("rm -f c0 c1 c2");
    w.docker("network rm n0 n1 n2");
    w.network("--ipv6 --subnet 10.8.16.0/20 --subnet 2001:db8:8:1000::/52 whole");
    w.run("--name c4 --network whole");
    w.ping("c4", "198.51.100.12");
    own(w);
    w.docker("rm -f c4");
    w.docker("network rm whole");
    let swapped = PLAN
        .replace("10.8.0.0/20", "x")
        .replace("10.8.16.0/20", "10.8.0.0/20")
        .replace("\"x\"", "\"10.8.16.0/20\"");
    w.write("/srv/plan.toml", &swapped);
    assert!(gipam::cli(w.engine, &["reload"]).ok);
    w.network("--ipv6 moved");
    assert_eq!(w.prefixes("moved"), ["10.8.0.0/24", "2001:db8:8:1000::/64"]);
}

const LAN: &str = r#"
[[pool]]
base = "10.88.6.0/24"
slice = 28
by_number = "10.88.6.240/30"
[[host]]
name = "a"
via = ["198.51.100.11"]
slices = ["10.88.6.16/28", "10.88.6.241/32"]
[[host]]
name = "b"
via = ["198.51.100.12"]
slices = ["10.88.6.32/28"]
"#;

/// The configuration of one host of the LAN, whose router is 10.88.6.1.
fn on_the_lan(host: &str) -> String {
    format!(
        r#"
[plan]
file = "/srv/plan.toml"
host = "{host}"
[[pool]]
name = "lan"
v4 = {{ base = "10.88.6.0/24", slice = 28, shared = true, gateway = "10.88.6.1", by_number = "10.88.6.240/30" }}
"#
    )
}

/// moby#49921: every host gives its first address, so two hosts on one LAN give the same one.
fn shared_lan(w: &mut World) {
    w.change_host(
        "ip link add mv0 type veth peer name mv1; ip link set mv0 up; ip link set mv1 up",
        "ip link del mv0",
    );
    w.change_host("mkdir -p /srv", "rm -f /srv/plan.toml");
    w.write("/srv/plan.toml", LAN);
    w.write("/srv/b.toml", &on_the_lan("b"));
    w.configure(&on_the_lan("a"));
    w.change_host(
        "mkdir -p /srv/b; gipam --config /srv/b.toml --name hostb --file /srv/b/gipam.db --admin /run/b.sock >/srv/b.log 2>&1 </dev/null &
         echo $! >/srv/b.pid; until [ -S /run/docker/plugins/hostb.sock ]; do sleep 0.05; done",
        "kill $(cat /srv/b.pid); while [ -e /proc/$(cat /srv/b.pid) ]; do sleep 0.05; done; rm -rf /srv/b /srv/b.*",
    );
    let lan = "-d macvlan --subnet 10.88.6.0/24 --gateway 10.88.6.1";
    w.network(&format!("{lan} -o parent=mv0 n1"));
    w.docker(&format!("network create --ipam-driver hostb {lan} -o parent=mv1 n2"));
    let mut given = std::collections::BTreeSet::new();
    for number in 0..6 {
        for (host, network, slice) in [("a", "n1", 16..32), ("b", "n2", 32..48)] {
            let name = format!("{host}{number}");
            w.run(&format!("--name {name} --network {network}"));
            let address = w.v4(&name, network);
            let last: u8 = address.rsplit('.').next().unwrap().parse().unwrap();
            assert!(slice.contains(&last), "{name} got {address}");
            assert!(given.insert(address.clone()), "unique over both hosts: {address}");
        }
    }
    w.ping("a0", &w.v4("b0", "n2"));
    w.ping("b5", &w.v4("a5", "n1"));
    let said = w.refused("run -d --name c9 --network n2 --ip 10.88.6.17 bb sleep 60");
    assert!(said.contains("10.88.6.16/28 belongs to host a"), "{said}");
    let said = w.refused("run -d --name d9 --network n2 --ip 10.88.6.241 bb sleep 60");
    assert!(said.contains("10.88.6.241/32 belongs to host a"), "{said}");
    w.run("--name service --network n1 --ip 10.88.6.241");
    w.ping("b1", "10.88.6.241");
    w.agree();
    w.docker("rm -f b0 b1 b2 b3 b4 b5 c9 d9");
    w.docker("network rm n2");
}
