//! A pool whose base is what the kernel shows of a delegated prefix: routes and addresses as DHCP clients and routers make them.

use serde_json::Value;

use super::daemon::{Daemon, House, until};
use super::support::{inside, ip};

const TOML: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"home\"\nv6 = \"pd:eth7/56\"\n";

fn base(daemon: &Daemon) -> Option<String> {
    let pools = daemon.view("/v1/pools");
    pools.as_array().unwrap().iter().find_map(|row| row["base"].as_str().map(str::to_owned))
}

fn becomes(daemon: &Daemon, prefix: &str) {
    until(&format!("the base is {prefix}"), || (base(daemon).as_deref() == Some(prefix)).then_some(()));
}

fn subnet(daemon: &Daemon) -> String {
    daemon.wire().subnet(true).1
}

#[test]
fn the_base_follows_the_route_that_a_dhcp_client_makes_for_the_delegated_prefix() {
    inside(|| {
        ip("-6 address del 2001:db8::11/64 dev eth7");
        let house = House::with_toml(TOML);
        let daemon = house.start();
        assert_eq!(base(&daemon), None, "nothing was delegated yet");
        // Other lengths, and gipam's own routes, do not count.
        ip("-6 route add unreachable 2001:db8:5::/60 proto dhcp");
        ip("-6 route add unreachable 2001:db8:6::/56 proto 171");
        ip("-6 route add unreachable 2001:db8:a::/56 proto dhcp metric 1024");
        becomes(&daemon, "2001:db8:a::/56");
        assert_eq!(subnet(&daemon), "2001:db8:a::/64");
        // The next one appears before the last one goes.
        ip("-6 route add unreachable 2001:db8:b::/56 proto dhcp metric 1024");
        ip("-6 route del unreachable 2001:db8:a::/56 proto dhcp metric 1024");
        becomes(&daemon, "2001:db8:b::/56");
        assert_eq!(subnet(&daemon), "2001:db8:b:1::/64", "number 0 is kept for the first network");
        ip("-6 route del unreachable 2001:db8:b::/56 proto dhcp metric 1024");
        daemon.kill();
        let daemon = house.start();
        assert_eq!(base(&daemon).as_deref(), Some("2001:db8:b::/56"), "the last one counts");
        let stale: Vec<Value> = daemon.view("/v1/subnets").as_array().unwrap().clone();
        let stale = stale.iter().filter(|row| !row["stale"].is_null()).count();
        assert_eq!(stale, 1);
    });
}

#[test]
fn without_such_a_route_the_base_follows_the_addresses_of_the_interface() {
    inside(|| {
        ip("-6 address del 2001:db8::11/64 dev eth7");
        ip("-6 address add fd00:1:2:3::1/64 dev eth7 nodad");
        let house = House::with_toml(TOML);
        let daemon = house.start();
        becomes(&daemon, "fd00:1:2::/56");
        ip("-6 address add 2001:db8:c:105::1/64 dev eth7 nodad valid_lft 3600 preferred_lft 1800");
        ip("-6 address del fd00:1:2:3::1/64 dev eth7");
        becomes(&daemon, "2001:db8:c:100::/56");
        ip("-6 address add 2001:db8:d:205::1/64 dev eth7 nodad valid_lft 3600 preferred_lft 1800");
        // A router announces the old prefix with preferred lifetime 0.
        ip("-6 address change 2001:db8:c:105::1/64 dev eth7 valid_lft 3600 preferred_lft 0");
        becomes(&daemon, "2001:db8:d:200::/56");
    });
}
