//! Creating and removing networks: both families, options, macvlan, conflicts.

use crate::scenario::{Scenario, no_v6_only, scenario};
use crate::wait::until;
use crate::world::World;
use std::collections::HashSet;
use std::time::Duration;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("network_v4_is_created_and_removed", "P2 P9 P10 P17 D7 D16", v4),
        scenario("network_dual_stack_serves_both_families", "P10 P13 P17 D11", dual_stack),
        scenario("network_v6_only", "P10 D11", v6_only).unless(no_v6_only),
        scenario("network_subnet_range_gateway_aux", "P10 P15 P26 D9 D10", numbers),
        scenario("network_gateway_named_as_aux_too", "P15 D7 D9", gateway_as_aux),
        scenario("network_ipam_options", "P10 D13", options),
        scenario("network_macvlan", "P11 D9", macvlan),
        scenario("network_range_without_gateway_as_dockers_own_driver", "P31 D9", range_alone),
        scenario("network_two_macvlans_share_a_lan", "P31 D4", shared_lan),
        scenario("network_ipvlan_under_a_driver_name_without_macs", "P29", ipvlan),
        scenario("network_same_subnet_refused_first_one_lives", "P19 D4 D13", same_subnet),
        scenario("network_refused_by_the_bridge_leaves_nothing", "P10 P17 D7", refused_later),
        scenario("network_link_local_pool_of_the_old_readme", "P20 D8", link_local),
        scenario("network_ten_at_once", "P12 P17 D1", ten_at_once),
    ]
}

fn v4(w: &mut World) {
    w.network("n1");
    let prefixes = w.prefixes("n1");
    assert_eq!(prefixes, ["10.77.0.0/24"], "the first /24 of the pool");
    let subnet = w.subnet("10.77.0.0/24");
    assert_eq!(subnet.pool.as_deref(), Some("default"));
    assert_eq!(subnet.space, "local");
    assert_eq!(subnet.gateway, Some("10.77.0.1".parse().unwrap()));
    assert!(subnet.id.starts_with("local/10.77.0.0/24#"), "the id names one grant: {}", subnet.id);
    w.run("--name c1 --network n1");
    assert_eq!(w.subnet("10.77.0.0/24").leases, 2, "the subnet has leases for the gateway and the container");
    w.agree();
    w.docker("rm -f c1");
    w.docker("network rm n1");
    w.until_empty();
    // a new network at once: it must not get the same subnet, which the Engine may still be removing (P17)
    w.network("n2");
    assert_ne!(w.prefixes("n2"), prefixes, "a subnet that was just released is cooling");
}

fn dual_stack(w: &mut World) {
    w.network("--ipv6 n1");
    let prefixes = w.prefixes("n1");
    assert_eq!(prefixes, ["10.77.0.0/24", "fd77:77::/64"]);
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    w.agree();
    w.ping("c1", &w.v4("c2", "n1"));
    w.ping("c1", &w.v6("c2", "n1"));
    assert_ne!(w.addresses("c1", "n1"), w.addresses("c2", "n1"));
    w.docker("rm -f c1 c2");
    w.agree();
    w.docker("network rm n1");
    w.until_empty();
}

fn v6_only(w: &mut World) {
    w.network("--ipv4=false --ipv6 n1");
    assert_eq!(w.prefixes("n1"), ["fd77:77::/64"]);
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    assert_eq!(w.addresses("c1", "n1").0, None, "the container does not have an IPv4 address");
    w.ping("c1", &w.v6("c2", "n1"));
    assert!(w.subnets().iter().all(|subnet| subnet.prefix.contains(':')), "no IPv4 subnet is held");
}

fn numbers(w: &mut World) {
    w.network(
        "--subnet 10.88.9.0/24 --ip-range 10.88.9.128/25 --gateway 10.88.9.254 \
         --aux-address router=10.88.9.5 --aux-address nas=10.88.9.6 n1",
    );
    let subnet = w.subnet("10.88.9.0/24");
    assert_eq!(subnet.range.as_deref(), Some("10.88.9.128/25"));
    assert_eq!(subnet.gateway, Some("10.88.9.254".parse().unwrap()));
    // gipam does not guess the kind of an address without an owner: the Engine's list shows it within seconds
    until("both are known as auxiliary addresses", Duration::from_secs(60), || {
        w.leases().into_iter().filter(|lease| lease.kind.as_deref() == Some("auxiliary")).count() == 2
    });
    for name in ["c1", "c2", "c3"] {
        w.run(&format!("--name {name} --network n1"));
        let last: u8 = w.v4(name, "n1").rsplit('.').next().unwrap().parse().unwrap();
        assert!((128..254).contains(&last), "{name} got .{last}: outside the range, or not free");
    }
    // --subnet for both families; the IPv6 subnet is in the pool, the IPv4 subnet outside; the gateway is not
    // shown (P26)
    w.network("--ipv6 --subnet 10.88.10.0/24 --subnet fd77:77:0:aa::/64 n2");
    w.run("--name c4 --network n2");
    assert!(w.v6("c4", "n2").starts_with("fd77:77:0:aa:"), "{}", w.v6("c4", "n2"));
    assert_eq!(w.subnet("10.88.10.0/24").gateway, Some("10.88.10.1".parse().unwrap()));
}

fn gateway_as_aux(w: &mut World) {
    w.network("--subnet 10.88.9.0/24 --gateway 10.88.9.1 --aux-address gw=10.88.9.1 n1");
    w.run("--name c1 --network n1");
    assert_eq!(
        w.leases().len(),
        2,
        "one lease for the gateway, even if it is requested twice: {:?}",
        w.leases()
    );
    w.agree();
    w.docker("rm -f c1");
    w.docker("network rm n1");
    w.until_empty();
}

fn options(w: &mut World) {
    w.network("--ipv6 --ipam-opt v4.size=28 --ipam-opt v6.size=80 n1");
    assert_eq!(w.prefixes("n1"), ["10.77.0.0/28", "fd77:77::/80"]);
    w.network("--ipam-opt key=web n2");
    let kept = w.prefixes("n2");
    w.docker("network rm n2");
    w.network("n3");
    assert_ne!(w.prefixes("n3"), kept);
    w.network("--ipam-opt key=web n2");
    assert_eq!(w.prefixes("n2"), kept, "the same key gets the same subnet again");
    let said = w.refused("network create --ipam-driver gipam --ipam-opt colour=blue n4");
    assert!(said.contains("colour"), "the message names the unknown option: {said}");
    for known in ["pool", "v4.size", "v6.size", "key", "overlap"] {
        assert!(said.contains(known), "the message lists {known}: {said}");
    }
    let said = w.refused("network create --ipam-driver gipam --ipam-opt pool=nowhere n4");
    assert!(said.contains("nowhere"), "the message names the unknown pool: {said}");
}

fn macvlan(w: &mut World) {
    for parent in ["mv0", "mv1"] {
        let make = format!(
            "ip link add {parent} type veth peer name {parent}x; ip link set {parent} up; ip link set {parent}x up"
        );
        w.change_host(&make, &format!("ip link del {parent}"));
    }
    w.network("-d macvlan -o parent=mv0 --ipv6 n1");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    w.ping("c1", &w.v4("c2", "n1"));
    w.ping("c1", &w.v6("c2", "n1"));
    w.agree();
    // newer Engines do not request a gateway for an internal network; the gateway's address stays free anyway
    w.network("-d macvlan --internal -o parent=mv1 n2");
    w.run("--name c3 --network n2");
    assert!(w.v4("c3", "n2").ends_with(".2"), "{}", w.v4("c3", "n2"));
}

/// R30: the gateway is the first address of the range, so that .1 is an ordinary address.
fn range_alone(w: &mut World) {
    w.network("--ipv6 --subnet 10.88.4.0/24 --ip-range 10.88.4.128/25 --subnet fd88:4::/64 --ip-range fd88:4::8:0/112 n1");
    assert_eq!(w.subnet("10.88.4.0/24").gateway, Some("10.88.4.128".parse().unwrap()));
    assert_eq!(w.subnet("fd88:4::/64").gateway, Some("fd88:4::8:0".parse().unwrap()));
    w.run("--name c1 --network n1 --ip 10.88.4.1 --ip6 fd88:4::1");
    w.run("--name c2 --network n1");
    assert_eq!((w.v4("c2", "n1"), w.v6("c2", "n1")), ("10.88.4.129".into(), "fd88:4::8:1".into()));
    w.ping("c1", "10.88.4.128");
    w.ping("c2", "fd88:4::8:0");
    w.agree();
}

/// R23: two networks with the same prefix and disjoint ranges, first each with its own gateway, then with a
/// shared router.
fn shared_lan(w: &mut World) {
    for parent in ["mv0", "mv1"] {
        let make = format!(
            "ip link add {parent} type veth peer name {parent}x; ip link set {parent} up; ip link set {parent}x up"
        );
        w.change_host(&make, &format!("ip link del {parent}"));
    }
    for router in ["", "--gateway 10.88.5.1"] {
        w.network(&format!(
            "-d macvlan -o parent=mv0 --subnet 10.88.5.0/24 --ip-range 10.88.5.64/26 {router} n1"
        ));
        w.network(&format!(
            "-d macvlan -o parent=mv1 --subnet 10.88.5.0/24 --ip-range 10.88.5.128/26 {router} n2"
        ));
        let ids: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.id).collect();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
        for (name, network, start) in
            [("c1", "n1", 64), ("c2", "n2", 128), ("c3", "n1", 64), ("c4", "n2", 128)]
        {
            w.run(&format!("--name {name} --network {network}"));
            let last: u8 = w.v4(name, network).rsplit('.').next().unwrap().parse().unwrap();
            assert!((start..start + 64).contains(&last), "{name} got .{last}");
        }
        let said = w.refused(&format!("run -d --name c5 --network n2 --ip {} bb sleep 60", w.v4("c1", "n1")));
        assert!(said.contains("address already in use"), "an address has one holder on a LAN: {said}");
        w.docker("rm -f c5 c2 c4");
        w.docker("network rm n2");
        w.agree();
        w.docker("rm -f c1 c3");
        w.docker("network rm n1");
        w.until_empty();
    }
    // A third network whose range overlaps another.
    w.network("-d macvlan -o parent=mv0 --subnet 10.88.5.0/24 --ip-range 10.88.5.64/26 n1");
    for range in ["--ip-range 10.88.5.96/27", ""] {
        let said = w.refused(&format!(
            "network create --ipam-driver gipam -d macvlan -o parent=mv1 --subnet 10.88.5.0/24 {range} n2"
        ));
        assert!(said.contains("overlaps"), "{range}: {said}");
    }
    w.agree();
}

/// Docker generates a MAC for each endpoint of a driver that asks for MACs, and ipvlan refuses it. The test
/// kernel lacks ipvlan, so the containers always fail when they join; the message shows whether a MAC was the
/// first reason.
fn ipvlan(w: &mut World) {
    w.configure(
        r#"
        [[pool]]
        name = "lan"
        v4 = { base = "10.78.0.0/16", size = 24 }
        [driver.without]
        requires_mac_address = false
        "#,
    );
    w.also_driver("without");
    let make = "ip link add iv0 type veth peer name iv0x; ip link set iv0 up; ip link set iv0x up";
    w.change_host(make, "ip link del iv0");
    const REFUSAL: &str = "ipvlan interfaces do not support custom mac address";
    for (driver, network, in_the_way) in [("gipam", "n1", true), ("without", "n2", false)] {
        w.docker(&format!("network create -d ipvlan -o parent=iv0 --ipam-driver {driver} {network}"));
        let said = w.refused(&format!("run -d --name c1 --network {network} bb sleep 60"));
        assert_eq!(said.contains(REFUSAL), in_the_way, "{driver}: {said}");
        w.docker("rm -f c1");
        w.docker(&format!("network rm {network}"));
    }
    w.until_empty();
}

fn same_subnet(w: &mut World) {
    w.network("--subnet 10.88.9.0/24 n1");
    w.run("--name c1 --network n1");
    for (subnet, inside) in
        [("10.88.9.0/24", "the same"), ("10.88.9.128/25", "a part"), ("10.88.0.0/16", "more")]
    {
        let said = w.refused(&format!("network create --ipam-driver gipam --subnet {subnet} n2"));
        assert!(said.contains("overlaps"), "{inside}: Docker's standard phrase: {said}");
        assert!(said.contains("10.88.9.0/24"), "{inside}: the message names the first subnet: {said}");
    }
    // the first network is untouched by the refusals
    w.agree();
    w.run("--name c2 --network n1");
    w.ping("c2", &w.v4("c1", "n1"));
}

fn refused_later(w: &mut World) {
    // the network driver refuses after the addresses were granted: a bridge accepts one subnet per family
    w.refused("network create --ipam-driver gipam --subnet 10.88.9.0/24 --subnet 10.88.10.0/24 n1");
    w.until_empty();
    w.network("--subnet 10.88.9.0/24 n1");
    // an overlap with a bridge that does not belong to gipam's networks
    w.docker("network create --subnet 10.99.0.0/24 theirs");
    w.refused("network create --ipam-driver gipam --subnet 10.99.0.0/24 n2");
    w.agree();
}

fn ten_at_once(w: &mut World) {
    w.at_once((0..10).map(|i| format!("network create --ipam-driver gipam --ipv6 n{i}")));
    let prefixes: Vec<String> = (0..10).flat_map(|i| w.prefixes(&format!("n{i}"))).collect();
    assert_eq!(prefixes.iter().collect::<HashSet<_>>().len(), 20, "{prefixes:?}");
    assert_eq!(w.subnets().len(), 20);
}

/// The old gipam's example pool. Engine 20.10 never releases such addresses (see `World::never_returned`).
fn link_local(w: &mut World) {
    w.restart_with(&["-v6", "fe80::/56", "-v4", "192.168.0.0/16"]);
    w.network("--ipv6 n1");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    w.agree();
    w.ping("c1", &format!("{}%eth0", w.v6("c2", "n1")));
    let lost = w.v6("c1", "n1");
    w.docker("rm -f c1");
    w.agree();
    let still = w.leases().iter().any(|lease| lease.address.to_string() == lost);
    assert_eq!(still, w.engine.version.0 <= 20, "{lost} is still in the books after its container is gone");
    w.network("--ipv6 n2");
    assert!(w.prefixes("n2")[1].starts_with("fe80:0:0:"), "{:?}", w.prefixes("n2"));
    w.docker("rm -f c2");
    w.docker("network rm n1");
    w.docker("network rm n2");
    w.until_empty(); // releasing the subnet also removes what leaked in it
}
