//! Routes of the Engine's host that cover the whole pool: users have routed pools, and these must still work.

use crate::scenario::{Scenario, scenario};
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("covering_via_route_still_gives_subnets", "P12 D6", via),
        scenario("covering_blackhole_still_gives_subnets", "P12 D6", blackhole),
        scenario("covering_on_link_v6_still_gives_subnets", "P12 D6", on_link_v6),
        scenario("covering_on_link_v4_is_refused_naming_the_route", "P12 D6 D13", on_link_v4),
    ]
}

/// Creates a dual-stack network and reaches one container from another.
fn serves(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    w.ping("c1", &w.v4("c2", "n1"));
    w.ping("c1", &w.v6("c2", "n1"));
}

fn via(w: &mut World) {
    w.change_host("ip route add 10.77.0.0/16 via 192.0.2.254", "ip route del 10.77.0.0/16");
    w.change_host("ip -6 addr add fd99::1/64 dev up0 nodad", "ip -6 addr del fd99::1/64 dev up0");
    w.change_host("ip -6 route add fd77:77::/48 via fd99::2", "ip -6 route del fd77:77::/48");
    serves(w);
}

fn blackhole(w: &mut World) {
    w.change_host("ip route add blackhole 10.77.0.0/16", "ip route del blackhole 10.77.0.0/16");
    w.change_host("ip -6 route add unreachable fd77:77::/48", "ip -6 route del unreachable fd77:77::/48");
    serves(w);
}

fn on_link_v6(w: &mut World) {
    // the /64 is on the uplink, and the pool is that whole /64
    w.change_host("ip -6 addr add 2001:db8:7::1/64 dev up0 nodad", "ip -6 addr del 2001:db8:7::1/64 dev up0");
    w.restart_with(&["-v4", "10.77.0.0/16", "-v6", "2001:db8:7::/64", "-v6ab", "80"]);
    serves(w);
    assert_eq!(w.prefixes("n1")[1], "2001:db8:7:0:1::/80", "the /80 with the host's own address is skipped");
}

fn on_link_v4(w: &mut World) {
    w.change_host("ip route add 10.77.0.0/16 dev up1", "ip route del 10.77.0.0/16 dev up1");
    let said = w.refused("network create --ipam-driver gipam n1");
    assert!(said.contains("10.77.0.0/16"), "the message names the route: {said}");
    assert!(said.contains("up1"), "the message names the route's device: {said}");
    assert!(w.subnets().is_empty(), "a refused request must not leave a subnet: {:?}", w.subnets());
    // a wider route does not help
    w.change_host("ip route replace 10.64.0.0/10 dev up1", "ip route del 10.64.0.0/10 dev up1");
    w.inside("ip route del 10.77.0.0/16 dev up1");
    let said = w.refused("network create --ipam-driver gipam n1");
    assert!(said.contains("10.64.0.0/10"), "the message names the route: {said}");
    // with --subnet the user decides, and the Engine accepts that prefix, too
    w.network("--subnet 10.77.5.0/24 n2");
}
