//! dockerd ends (cleanly or killed) and restarts, with and without live-restore; gipam does not request a
//! replay.

use crate::scenario::{Scenario, scenario};
use crate::world::World;
use std::net::IpAddr;

const LIVE: &[&str] = &["--live-restore"];

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("dockerd_sigterm", "P2 P18 P20 P21 D3", |w| restart(w, "TERM", &[])),
        scenario("dockerd_sigterm_with_live_restore", "P18 P21 P23 D3", |w| restart(w, "TERM", LIVE)),
        scenario("dockerd_kill_9", "P18 P20 P21 D3 D7", |w| restart(w, "KILL", &[])),
        scenario("dockerd_kill_9_with_live_restore", "P18 P21 P23 D3", |w| restart(w, "KILL", LIVE)),
        scenario("host_loses_power", "P17 P18 P20 D3 D7 D15", power_loss),
        scenario("dockerd_killed_while_creating", "P20.5 D2 D8", killed_while_creating),
    ]
}

/// Addresses of all containers on their networks.
fn all(w: &World) -> Vec<(Option<IpAddr>, Option<IpAddr>)> {
    [("any", "n2"), ("always", "n2"), ("fixed", "n1"), ("two", "n1"), ("two", "n2")]
        .map(|(container, network)| w.addresses(container, network))
        .to_vec()
}

fn restart(w: &mut World, signal: &str, flags: &'static [&'static str]) {
    let live = !flags.is_empty();
    if live {
        w.dockerd("TERM", flags);
    }
    w.network(
        "--ipv6 --subnet 10.88.9.0/24 --subnet fd88:9::/64 --gateway 10.88.9.254 --aux-address a=10.88.9.5 \
         --ip-range 10.88.9.64/26 n1",
    );
    w.network("--ipv6 n2");
    w.run("--name any --network n2");
    w.run("--name always --restart always --network n2");
    w.run("--name fixed --restart always --network n1 --ip 10.88.9.70 --ip6 fd88:9::70");
    w.run("--name two --network n1");
    w.docker("network connect n2 two");
    w.agree();
    let before = all(w);
    let ids: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.id).collect();

    w.dockerd(signal, flags);
    if live {
        assert_eq!(all(w), before, "every container keeps its addresses");
        for name in ["any", "always", "fixed", "two"] {
            w.until_state(name, "running");
        }
    } else {
        for name in ["always", "fixed"] {
            w.until_state(name, "running");
        }
        for name in ["any", "two"] {
            w.until_state(name, "exited");
        }
        w.agree(); // the addresses of the others are released
        w.docker("start any two");
    }
    w.agree();
    assert_eq!((w.v4("fixed", "n1"), w.v6("fixed", "n1")), ("10.88.9.70".into(), "fd88:9::70".into()));
    w.ping("any", &w.v4("always", "n2"));
    w.ping("two", &w.v6("fixed", "n1"));
    assert_eq!(
        w.subnets().into_iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        ids,
        "the grants have not changed"
    );
    // the network still works for new containers
    w.run("--name new --network n1");
    w.agree();
}

/// After a power failure gipam starts first at the next boot, and Docker releases what it finds in its own
/// database.
fn power_loss(w: &mut World) {
    w.network("--ipv6 --subnet 10.88.9.0/24 --subnet fd88:9::/64 --aux-address a=10.88.9.5 n1");
    w.network("--ipv6 n2");
    w.run("--name any --network n2");
    w.run("--name always --restart always --network n2");
    w.run("--name fixed --restart always --network n1 --ip 10.88.9.70 --ip6 fd88:9::70");
    w.agree();
    let ids: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.id).collect();
    w.kill();
    w.engine.power_off();
    w.start();
    w.engine.power_on();
    w.until_state("always", "running");
    w.until_state("fixed", "running");
    w.until_state("any", "exited");
    w.agree();
    assert_eq!((w.v4("fixed", "n1"), w.v6("fixed", "n1")), ("10.88.9.70".into(), "fd88:9::70".into()));
    assert_eq!(
        w.subnets().into_iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        ids,
        "the grants have not changed"
    );
    w.docker("start any");
    w.ping("any", &w.v6("always", "n2"));
}

/// Network creations during which dockerd was killed are undone, or leak whole subnets, because Docker never
/// reports them.
fn killed_while_creating(w: &mut World) {
    let engine = w.engine;
    std::thread::scope(|scope| {
        for i in 0..8 {
            let name = format!("n{i}");
            scope.spawn(move || {
                engine.docker(&["network", "create", "--ipam-driver", "gipam", "--ipv6", &name])
            });
        }
        // Not a wait for a condition: dockerd is killed while some creations are done, some run and some have
        // not begun.
        std::thread::sleep(std::time::Duration::from_millis(150));
        w.engine.dockerd_down("KILL");
    });
    w.engine.dockerd_up(&[]);
    let (leaked, missing) = w.compare();
    assert!(missing.is_empty(), "networks have subnets that the books lack: {missing:#?}");
    for subnet in leaked.iter().filter(|held| held.address.is_none()) {
        w.expect_leak(crate::books::Leak::Subnet(subnet.subnet.clone()));
    }
    let inside = |address: &crate::books::Held| {
        leaked.iter().any(|s| s.address.is_none() && s.subnet == address.subnet)
    };
    assert!(leaked.iter().all(inside), "addresses leak only together with their subnet: {leaked:#?}");
}
