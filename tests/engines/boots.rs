//! gipam is down while dockerd or a Compose project ends; afterwards every holder gets its addresses back.

use crate::leaks::EAGER;
use crate::scenario::{Scenario, scenario};
use crate::wait::until_every;
use crate::world::World;
use std::time::{Duration, Instant};

const FILE: &str = "/opt/gipam/project/compose.yaml";
const PROJECT: &str = "
services:
  web:
    image: bb
    command: sleep 3600
    init: true
    networks: {front: {ipv4_address: 10.88.9.50}}
networks:
  front:
    ipam:
      driver: gipam
      config: [{subnet: 10.88.9.0/24}]
";
/// A minute after the grant, two checks a second apart, and a margin for a busy machine.
const REPAIRED: Duration = Duration::from_secs(150);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("boot_after_dockerd_ended_without_gipam", "P20.1 P21 D3 D8", boot),
        scenario("compose_down_without_gipam_then_up", "P20.1 P20.7 D8", compose_down).waits(),
    ]
}

/// dockerd tries only once, at its own start, to start a container with a restart policy, so the container's
/// fixed address must be free by then.
fn boot(w: &mut World) {
    w.network("--ipv6 --subnet 10.88.9.0/24 --subnet fd88:9::/64 n1");
    w.run("--name fixed --restart always --network n1 --ip 10.88.9.70 --ip6 fd88:9::70");
    w.run("--name any --restart always --network n1");
    let ids: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.id).collect();
    w.agree();
    // a check records that this dockerd runs without live-restore; on an idle host gipam makes one within
    // seconds
    w.inside("gipam gc");
    w.stop();
    w.engine.dockerd_down("TERM");
    assert!(
        w.leases().iter().any(|lease| lease.address.to_string() == "10.88.9.70"),
        "Docker could not send the release while gipam was down: {:?}",
        w.leases()
    );
    w.start();
    w.engine.dockerd_up(&[]);
    w.until_state("fixed", "running");
    w.until_state("any", "running");
    assert_eq!((w.v4("fixed", "n1"), w.v6("fixed", "n1")), ("10.88.9.70".into(), "fd88:9::70".into()));
    assert_eq!(
        w.subnets().into_iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        ids,
        "the grants have not changed"
    );
    w.ping("any", "10.88.9.70");
    // the other container's earlier address is free now, without waiting for repair
    let (left, missing) = w.compare();
    assert!(missing.is_empty(), "{missing:?}");
    for held in left {
        w.expect_leak(crate::books::Leak::Address(held.subnet, held.address.unwrap().to_string()));
    }
}

fn compose_down(w: &mut World) {
    let compose = |words: &str| format!("docker compose --project-name example --file {FILE} {words} 2>&1");
    w.configure(EAGER);
    // if an Engine shows none of the networks in the books, its lists do not prove anything
    w.network("--subnet 10.88.200.0/24 witness");
    w.write(FILE, PROJECT);
    w.inside(&compose("up --detach"));
    assert_eq!(w.v4("example-web-1", "example_front"), "10.88.9.50");
    w.agree();
    w.stop();
    w.inside(&compose("down --timeout 1"));
    w.start();
    assert_eq!(w.subnets().len(), 2, "Docker could not send the releases: {:?}", w.subnets());
    let start = Instant::now();
    until_every(Duration::from_secs(2), "the project comes up again", REPAIRED, || {
        w.engine.inside(&["sh", "-c", &compose("up --detach")]).ok
    });
    println!("        Engine {}: up again after {:.0} s", w.engine.title(), start.elapsed().as_secs_f32());
    assert_eq!(w.v4("example-web-1", "example_front"), "10.88.9.50");
    w.agree();
    w.until_removed(&compose("down --timeout 1"));
    w.docker("network rm witness");
    w.until_empty();
}
