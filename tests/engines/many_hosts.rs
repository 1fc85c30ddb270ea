//! A container that another host of the plan reaches over the route that `gipam routes` prints
//! (docs/many-hosts.md).
//!
//! The other host is a network namespace inside the engine's own, with nothing but a link and these routes.

use crate::engine::Engine;
use crate::gipam;
use crate::scenario::{Scenario, scenario};
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    let reached =
        scenario("another_host_reaches_containers_of_routed_networks_over_its_routes", "D6", reached);
    vec![reached.unless(|engine: &Engine| {
        (engine.version < (28, 0))
            .then_some("only Engine 28 and later drop packets from other hosts by default")
    })]
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
        "ip netns del other",
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
