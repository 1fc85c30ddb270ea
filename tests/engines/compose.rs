//! A compose project whose network only sets `enable_ipv6: true` and `ipam: {driver: gipam}`: the example
//! file.

use crate::scenario::{Scenario, scenario};
use crate::world::World;

const EXAMPLE: &str = include_str!("../../examples/compose.yaml");
const FILE: &str = "/opt/gipam/project/compose.yaml";

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("compose_up_and_down_dual_stack_without_options", "P10 P13 P17 D11", up_and_down)]
}

fn compose(w: &World, words: &str) -> String {
    w.inside(&format!("IMAGE=bb docker compose --project-name example --file {FILE} {words} 2>&1"))
}

fn down(w: &World) {
    w.until_removed(&format!("docker compose --project-name example --file {FILE} down --timeout 1 2>&1"));
    w.until_empty();
}

fn up_and_down(w: &mut World) {
    w.write(FILE, EXAMPLE);
    compose(w, "up --detach");
    let network = "example_front";
    assert_eq!(w.prefixes(network), ["10.77.0.0/24", "fd77:77::/64"]);
    w.agree();
    // services find each other by name, on both families
    for family in ["-4", "-6"] {
        compose(w, &format!("exec -T web ping {family} -c 1 -w 10 api"));
    }
    compose(w, "up --detach --scale api=4");
    w.agree();
    assert_eq!(
        w.leases().len(),
        2 * (1 + 5),
        "the gateway, web and four api containers, on both families: {:?}",
        w.leases()
    );
    let before = w.addresses("example-web-1", network);
    compose(w, "restart --timeout 1 web");
    assert_eq!(w.addresses("example-web-1", network), before, "a restart keeps both addresses");
    w.agree();
    compose(w, "restart --timeout 1");
    w.agree();
    down(w);
    // the project also starts after all its addresses and subnets were released
    compose(w, "up --detach");
    w.agree();
    down(w);
}
