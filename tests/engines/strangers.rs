//! A macvlan or ipvlan network on a LAN with machines that gipam does not know: the router, and strangers.
//!
//! Promises: the LAN's other end is a network namespace of its own, which ends with the scenario.

use crate::gipam::{self, Lease};
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;
use std::time::Duration;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("lan_the_router_is_the_gateway_and_no_container_gets_its_address", "P11 P15 D9", router),
        scenario("lan_a_stranger_keeps_its_addresses", "P11 D10", strangers),
    ]
}

/// Connects the host to a LAN as `lan0`, with the namespace `beyond` at its other end, which has these addresses.
fn lan(w: &mut World, addresses: &[&str]) {
    let mut line = "ip netns add beyond; ip link add lan0 type veth peer name lan0 netns beyond
         ip link set lan0 up; ip -n beyond link set lan0 up\n"
        .to_owned();
    for address in addresses {
        line.push_str(&format!("ip -n beyond addr add {address} dev lan0 nodad\n"));
    }
    w.change_host(&line, "ip link del lan0; ip netns del beyond");
}

/// Checks that the container has the router as its gateway, and reaches it. `docker network inspect` does not show a gateway
/// that came with the subnet.
fn has_router(w: &World, container: &str) {
    let shown = "{{range.NetworkSettings.Networks}}{{.Gateway}}_{{.IPv6Gateway}}{{end}}";
    let shown = w.docker(&format!("inspect --format {shown} {container}"));
    assert_eq!(shown.trim(), "10.79.0.254_fd79::ffff");
    for (family, gateway) in [("-4", "10.79.0.254"), ("-6", "fd79::ffff")] {
        let routes = w.docker(&format!("exec {container} ip {family} route"));
        assert!(routes.contains(&format!("default via {gateway} ")), "{routes}");
        w.ping(container, gateway);
    }
}

fn router(w: &mut World) {
    lan(w, &["10.79.0.254/24", "fd79::ffff/64"]);
    w.configure(
        r#"
        [[pool]]
        name = "lan"
        v4 = { base = "10.79.0.0/24", gateway = "10.79.0.254" }
        v6 = { base = "fd79::/64", gateway = "fd79::ffff" }
        "#,
    );
    w.network("-d macvlan -o parent=lan0 --ipv6 n1");
    w.run("--name c1 --network n1");
    has_router(w, "c1");
    let refused = "is held by the gateway of pool lan; choose another address";
    for asked in ["--ip 10.79.0.254", "--ip6 fd79::ffff"] {
        // Before 29, Docker asks for `--ip` only on networks with a subnet of their own.
        let said = w.refused(&format!("run -d --name c2 --network n1 {asked} bb sleep 60"));
        assert!(said.contains(refused) || said.contains("user configured subnets"), "{said}");
        w.docker("rm -f c2");
    }
    assert_eq!(w.subnet("10.79.0.0/24").gateway, Some("10.79.0.254".parse().unwrap()));
    w.agree();
    w.docker("rm -f c1");
    w.docker("network rm n1");
    w.until_empty();
    let subnets = "--ipv6 --subnet 10.79.0.0/24 --subnet fd79::/64";
    for gateways in ["", "--gateway 10.79.0.254 --gateway fd79::ffff", "--aux-address router=10.79.0.254"] {
        w.network(&format!("-d macvlan -o parent=lan0 {subnets} {gateways} n1"));
        w.run("--name c1 --network n1");
        has_router(w, "c1");
        let said = w.refused("run -d --name c2 --network n1 --ip 10.79.0.254 bb sleep 60");
        assert!(said.contains(refused), "{gateways}: {said}");
        // One lease is both, and Docker lists only the auxiliary address.
        if !gateways.contains("aux") {
            w.agree();
        }
        w.docker("rm -f c1 c2");
        w.docker("network rm n1");
        w.until_empty();
    }
    // A person names another gateway, and still no container gets the router's address.
    w.network(&format!("-d macvlan -o parent=lan0 {subnets} --gateway 10.79.0.9 n1"));
    w.run("--name c1 --network n1");
    let said = w.refused("run -d --name c2 --network n1 --ip 10.79.0.254 bb sleep 60");
    assert!(said.contains(refused), "{said}");
    assert_eq!(w.subnet("10.79.0.0/24").gateway, Some("10.79.0.9".parse().unwrap()));
    w.agree();
    w.docker("rm -f c1 c2");
    w.docker("network rm n1");
    w.network("-d ipvlan -o parent=lan0 n1");
    assert_eq!(w.subnet("10.79.0.0/24").gateway, Some("10.79.0.254".parse().unwrap()));
    w.agree();
}

/// The addresses in quarantine.
fn quarantined(w: &World) -> Vec<String> {
    let leases: Vec<Lease> = gipam::view(w.engine, &["leases", "--state", "quarantined"]);
    leases.into_iter().map(|lease| lease.address.to_string()).collect()
}

fn strangers(w: &mut World) {
    lan(w, &["10.79.0.254/24", "fd79::ffff/64", "10.79.0.1/24", "10.79.0.9/24", "fd79::1/64"]);
    w.configure(
        r#"
        quarantine = "1s"
        [[pool]]
        name = "lan"
        probe = "lan0"
        v4 = { base = "10.79.0.0/24", gateway = "10.79.0.254" }
        v6 = { base = "fd79::/64", gateway = "fd79::ffff" }
        "#,
    );
    w.network("-d macvlan -o parent=lan0 --ipv6 --subnet 10.79.0.0/24 --subnet fd79::/64 n1");
    w.run("--name c1 --network n1");
    assert_eq!((w.v4("c1", "n1"), w.v6("c1", "n1")), ("10.79.0.2".to_owned(), "fd79::2".to_owned()));
    has_router(w, "c1");
    let said = w.refused("run -d --name c2 --network n1 --ip 10.79.0.9 bb sleep 60");
    assert!(said.contains("10.79.0.9 is held by"), "{said}");
    assert!(said.contains("a machine on the LAN that is not a container of this host"), "{said}");
    w.docker("rm -f c2");
    for address in ["10.79.0.1", "10.79.0.9", "fd79::1"] {
        assert!(quarantined(w).iter().any(|known| known == address), "{address}: {:?}", quarantined(w));
    }
    w.agree();
    w.docker("restart -t 0 c1");
    assert_eq!((w.v4("c1", "n1"), w.v6("c1", "n1")), ("10.79.0.2".to_owned(), "fd79::2".to_owned()));
    w.inside("ip -n beyond addr del 10.79.0.1/24 dev lan0; ip -n beyond addr del fd79::1/64 dev lan0");
    until("the quarantine ends", Duration::from_secs(30), || quarantined(w) == ["10.79.0.9"]);
    w.run("--name c3 --network n1 --ip 10.79.0.1 --ip6 fd79::1");
    has_router(w, "c3");
    w.agree();
}
