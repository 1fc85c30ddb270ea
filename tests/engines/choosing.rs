//! The choice of subnets and addresses: prefixes in use on the host, exhaustion, several pools and driver
//! names.

use crate::scenario::{Scenario, scenario};
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("choosing_skips_a_host_route_inside_the_pool", "P12 D6", host_route),
        scenario("choosing_skips_host_addresses_and_nameservers", "P12 D6", host_address),
        scenario("choosing_skips_docker_bridges_of_others", "P12 D6", foreign_bridge),
        scenario("choosing_exhausted_pool_says_so", "P7 D13", no_subnet),
        scenario("choosing_exhausted_subnet_says_so", "P7 D13", no_address),
        scenario("choosing_named_pools_and_driver_names", "P1 P10 D9", driver_names),
    ]
}

fn host_route(w: &mut World) {
    w.change_host("ip route add 10.77.0.0/23 via 192.0.2.254", "ip route del 10.77.0.0/23");
    w.network("n1");
    assert_eq!(w.prefixes("n1"), ["10.77.2.0/24"], "the first /24 after the route");
    w.run("--name c1 --network n1");
}

fn host_address(w: &mut World) {
    w.change_host("ip addr add 10.77.0.9/24 dev up1", "ip addr del 10.77.0.9/24 dev up1");
    w.change_host("ip -6 addr add fd77:77::9/64 dev up1 nodad", "ip -6 addr del fd77:77::9/64 dev up1");
    w.change_host(
        "printf 'nameserver 10.77.1.53\\nnameserver fd77:77:0:1::53\\n' >/etc/resolv.conf",
        "echo 'nameserver 127.0.0.1' >/etc/resolv.conf",
    );
    w.network("--ipv6 n1");
    assert_eq!(
        w.prefixes("n1"),
        ["10.77.2.0/24", "fd77:77:0:2::/64"],
        "after the subnets with the address and the nameserver"
    );
    w.run("--name c1 --network n1");
    w.agree();
}

fn foreign_bridge(w: &mut World) {
    w.docker("network create --subnet 10.77.0.0/24 theirs");
    w.network("n1");
    assert_eq!(w.prefixes("n1"), ["10.77.1.0/24"], "the first /24 after the other bridge's");
}

fn no_subnet(w: &mut World) {
    w.restart_with(&["-v4", "10.77.0.0/28", "-v4ab", "30"]);
    for name in ["n1", "n2", "n3", "n4"] {
        w.network(name);
    }
    let said = w.refused("network create --ipam-driver gipam n5");
    assert!(said.contains("no available pool"), "Docker's standard phrase: {said}");
    assert!(said.contains("10.77.0.0/28"), "the message names the pool: {said}");
    let said = w.refused("network create --ipam-driver gipam --ipv6 n6");
    assert!(said.contains("no available pool"), "{said}");
    w.agree();
    // an IPv6 network needs an IPv6 pool, and the message says so
    w.docker("network rm n4");
    let said = w.refused("network create --ipam-driver gipam --ipv6 --subnet 10.88.0.0/24 n7");
    assert!(said.to_lowercase().contains("ipv6"), "the message says that an IPv6 pool is missing: {said}");
    w.agree();
}

fn no_address(w: &mut World) {
    w.network("--subnet 10.88.0.0/29 n1");
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        w.run(&format!("--name {name} --network n1"));
    }
    let said = w.refused("run -d --name c6 --network n1 bb sleep 60");
    assert!(said.contains("no available addresses"), "Docker's standard phrase: {said}");
    assert!(said.contains("10.88.0.0/29"), "the message names the subnet: {said}");
    // the address of a removed container is cooling, but is given because it is the only one left
    let left = w.v4("c3", "n1");
    w.docker("rm -f c3");
    w.docker("start c6");
    assert_eq!(w.v4("c6", "n1"), left);
}

fn driver_names(w: &mut World) {
    w.configure(
        r#"
        [[pool]]
        name = "dmz"
        v4 = { base = "10.79.0.0/24", size = 28 }
        v6 = { base = "fd79::/48", size = 64, addresses = "stable" }
        reserved = ["10.79.0.0/28"]
        [[pool]]
        name = "lan"
        v4 = { base = "10.78.0.0/16", size = 24 }
        [driver.gipam]
        pools = ["lan", "dmz"]
        [driver.dmz]
        pools = ["dmz"]
        "#,
    );
    w.also_driver("dmz");
    w.network("n1");
    assert_eq!(w.prefixes("n1"), ["10.78.0.0/24"]);
    w.docker("network create --ipam-driver dmz --ipv6 n2");
    assert_eq!(w.prefixes("n2"), ["10.79.0.16/28", "fd79::/64"], "the first subnet after the reservation");
    w.network("--ipam-opt pool=dmz n3");
    assert_eq!(w.prefixes("n3"), ["10.79.0.32/28"], "the option names the pool");
    // if the pool named by an option lacks a family, that family comes from the driver's own pools
    w.network("--ipv6 --ipam-opt pool=lan n4");
    assert_eq!(w.prefixes("n4"), ["10.78.1.0/24", "fd79:0:0:1::/64"]);
    w.run("--name c1 --network n2");
    let stable = w.v6("c1", "n2");
    assert!(stable.len() > "fd79::ffff".len(), "a stable address is spread over the whole /64: {stable}");
    let pools: Vec<(String, String)> =
        w.subnets().into_iter().map(|subnet| (subnet.prefix, subnet.pool.unwrap_or_default())).collect();
    assert!(pools.contains(&("10.79.0.32/28".into(), "dmz".into())), "{pools:?}");
}
