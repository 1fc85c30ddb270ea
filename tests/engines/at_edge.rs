//! What gipam keeps in the kernel for a provider's edge, with a real Engine (docs/ipv6.md).
//!
//! The provider's router is a network namespace inside the engine's own.

use std::time::Duration;

use crate::engine::Engine;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    let discards = scenario("discard_routes_do_not_make_docker_refuse_networks", "P12 D6", discards);
    let on_link = scenario("the_router_reaches_containers_on_its_on_link_prefixes", "D6", on_link);
    vec![
        discards,
        on_link.unless(|engine: &Engine| {
            (engine.version < (28, 0))
                .then_some("only Engine 28 and later have networks that are routed without NAT")
        }),
    ]
}

const ROUTED: &str = r#"
[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", size = 24 }
v6 = { base = "2001:db8:8::/56", size = 64 }
discard = true
"#;

/// Docker takes networks inside of the pool and of its size while the discard routes are there, and they stay.
fn discards(w: &mut World) {
    w.configure(ROUTED);
    let routes = "ip -4 route show proto 171; ip -6 route show proto 171";
    let both = |w: &World| {
        let two = || w.inside(routes).lines().filter(|line| line.starts_with("unreachable ")).count() == 2;
        until("the discard routes are there", Duration::from_secs(10), two);
    };
    both(w);
    for number in 0..3 {
        w.network(&format!("--ipv6 n{number}"));
        w.run(&format!("--name c{number} --network n{number}"));
    }
    assert_eq!(w.prefixes("n0"), ["10.8.0.0/24", "2001:db8:8::/64"]);
    both(w);
    w.docker("rm -f c0 c1 c2");
    w.docker("network rm n0 n1 n2");
    w.network("--ipv6 --subnet 10.8.0.0/16 --subnet 2001:db8:8::/56 whole");
    w.run("--name c3 --network whole");
    both(w);
}

const ON_LINK: &str = r#"
[[pool]]
name = "on-link"
v4 = { base = "198.51.100.128/25", size = 28 }
v6 = { base = "2001:db8:1:0:8000::/65", size = 80 }
ndp_proxy = "up8"
arp_proxy = "up8"
"#;

/// The router pings the containers until they are removed.
fn on_link(w: &mut World) {
    w.change_host(
        "ip netns add router && ip link add up8 type veth peer name wan0 netns router
         ip link set up8 up && ip addr add 198.51.100.2/32 dev up8 && ip route add 198.51.100.1 dev up8
         ip -6 addr add 2001:db8:1::2/64 dev up8 nodad
         ip netns exec router sh -euc 'ip link set wan0 up; ip addr add 198.51.100.1/24 dev wan0
         ip -6 addr add 2001:db8:1::1/64 dev wan0 nodad'",
        "ip link del up8; ip netns del router",
    );
    w.configure(ON_LINK);
    let mode = "-o com.docker.network.bridge.gateway_mode";
    w.network(&format!("--ipv6 {mode}_ipv4=routed {mode}_ipv6=routed open"));
    w.run("--name c1 --network open");
    let is_reached = |w: &World, address: &str| {
        let ping = ["ip", "netns", "exec", "router", "busybox", "ping", "-c", "1", "-W", "2", address];
        w.engine.inside(&ping).ok
    };
    let addresses = [w.v4("c1", "open"), w.v6("c1", "open")];
    for address in &addresses {
        until("the router reaches the container", Duration::from_secs(20), || is_reached(w, address));
    }
    assert_eq!(w.inside("cat /proc/sys/net/ipv6/conf/up8/proxy_ndp").trim(), "1");
    w.docker("rm -f c1");
    until("the entries are gone", Duration::from_secs(10), || {
        !w.inside("ip -d neigh show proxy").contains("proto 171")
    });
    w.inside("ip netns exec router sh -c 'ip neigh flush dev wan0; ip -6 neigh flush dev wan0'");
    for address in &addresses {
        assert!(!is_reached(w, address), "{address}");
    }
}
