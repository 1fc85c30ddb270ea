//! Addresses of containers: requested by number or MAC, after connect and disconnect, after stop and start,
//! and twenty at once.

use crate::books::Leak;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;
use std::collections::HashSet;
use std::time::Duration;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("container_ip_ip6_and_mac_by_number", "P13 D10 D13", by_number),
        scenario("container_connect_and_disconnect", "P13 P17 D7", connect),
        scenario("container_keeps_its_address_by_mac_over_stop_and_start", "P13 P17 D12", stop_start),
        scenario("container_restart_keeps_its_address", "P13 P17 P31 D12", restart),
        scenario("container_pinned_and_reserved_while_it_runs", "P13 P17 D12", by_hand),
        scenario("container_restart_policy_and_rename", "P17 D7", restart_policy),
        scenario("container_failed_starts_release_addresses", "P17 D7", failed_starts),
        scenario("container_twenty_at_once", "P13 D1 D16", twenty),
        scenario("container_refused_v6_leaks_v4_as_docker_does", "P20.4 D8 D11", refused_v6),
    ]
}

const BOTH: &str = "--ipv6 --subnet 10.88.9.0/24 --subnet fd88:9::/64";

fn by_number(w: &mut World) {
    w.network(&format!("{BOTH} n1"));
    w.run("--name c1 --network n1 --ip 10.88.9.50 --ip6 fd88:9::50 --mac-address 02:42:0a:58:09:32");
    assert_eq!((w.v4("c1", "n1"), w.v6("c1", "n1")), ("10.88.9.50".into(), "fd88:9::50".into()));
    let lease = w.leases().into_iter().find(|lease| lease.address.to_string() == "10.88.9.50").unwrap();
    assert_eq!(lease.mac.as_deref(), Some("02:42:0a:58:09:32"), "the MAC is in the books: {lease:?}");
    w.run("--name c2 --network n1 --ip 10.88.9.51");
    assert_eq!(w.v4("c2", "n1"), "10.88.9.51");
    let said = w.refused("run -d --name c3 --network n1 --ip 10.88.9.50 bb sleep 60");
    assert!(said.contains("address already in use") && said.contains("10.88.9.50"), "{said}");
    // a check by repair, which comes within seconds, records the holder's name
    until("the lease shows its container", Duration::from_secs(60), || {
        w.leases().iter().any(|lease| lease.holder.as_deref() == Some("c1"))
    });
    let said = w.refused("run -d --name c3b --network n1 --ip 10.88.9.50 bb sleep 60");
    assert!(said.contains("free it with: docker rm -f c1"), "{said}");
    assert!(said.contains("held by container c1 in network n1"), "the message names the holder: {said}");
    w.agree();
    // once its holder has released it, an address can be requested again immediately, even while it is
    // cooling
    w.docker("rm -f c1");
    w.run("--name c4 --network n1 --ip 10.88.9.50");
    // the broadcast address is never given
    let said = w.refused("run -d --name c5 --network n1 --ip 10.88.9.255 bb sleep 60");
    assert!(said.contains("10.88.9.255"), "{said}");
}

fn connect(w: &mut World) {
    w.network("--ipv6 n1");
    w.network("--ipv6 n2");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n2");
    w.docker("network connect n2 c1");
    w.agree();
    w.ping("c1", &w.v4("c2", "n2"));
    w.ping("c1", &w.v6("c2", "n2"));
    let before = w.v4("c1", "n2");
    w.docker("network disconnect n2 c1");
    w.agree();
    assert_eq!(w.v4("c1", "n2"), "", "the container is disconnected");
    w.docker("network connect n2 c1");
    assert_ne!(w.v4("c1", "n2"), "", "the container is connected again");
    assert_ne!(w.v4("c2", "n2"), before, "c2 must not have {before}, which c1 had before");
    w.agree();
    // a stopped container does not have addresses; when it starts, it gets one on each of its two networks
    w.docker("stop -t 1 c1");
    w.agree();
    w.docker("start c1");
    assert_ne!(w.v4("c1", "n1"), "");
    assert_ne!(w.v4("c1", "n2"), "");
}

fn stop_start(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name fixed --network n1 --mac-address 02:42:0a:4d:00:63");
    w.run("--name any --network n1");
    let (fixed, any) = (w.addresses("fixed", "n1"), w.addresses("any", "n1"));
    w.docker("stop -t 1 fixed any");
    // containers that start in between do not get either of these addresses
    w.run("--name other --network n1");
    w.run("--name another --network n1");
    for new in ["other", "another"] {
        let got = w.addresses(new, "n1");
        for old in [fixed, any] {
            assert!(
                got.0 != old.0 && got.1 != old.1,
                "{new} was given {got:?}, which is cooling after {old:?}"
            );
        }
    }
    w.docker("start any fixed");
    assert_eq!(
        w.addresses("fixed", "n1"),
        fixed,
        "the MAC identifies the container, which gets the same addresses again"
    );
    if w.engine.version.0 >= 29 {
        assert_eq!(
            w.addresses("any", "n1"),
            any,
            "the Engine sends the endpoint's name: the same addresses again"
        );
    }
    w.agree();
    w.docker("restart -t 1 fixed");
    assert_eq!(w.addresses("fixed", "n1"), fixed, "docker restart keeps the addresses, too");
    // a container with the same MAC but another name replaces it
    w.docker("rm -f fixed");
    w.run("--name fixed-again --network n1 --mac-address 02:42:0a:4d:00:63");
    assert_eq!(w.addresses("fixed-again", "n1"), fixed);
}

/// A restarted container keeps its addresses, as with Docker's own driver, whatever the Engine sends about
/// it.
fn restart(w: &mut World) {
    w.network("--ipv6 n1");
    for name in ["c1", "c2", "c3"] {
        w.run(&format!("--name {name} --network n1"));
    }
    let all = |w: &World| ["c1", "c2", "c3"].map(|name| w.addresses(name, "n1"));
    let before = all(w);
    for line in ["restart -t 1 c2", "restart -t 1 c1 c2 c3", "kill c3", "start c3"] {
        w.docker(line);
    }
    assert_eq!(all(w), before, "docker restart handles containers one after the other");
    // A container that ignores SIGTERM: it is killed after the grace time, and its addresses are released
    // then.
    w.docker("run -d --name deaf --network n1 bb sleep 3600");
    let deaf = w.addresses("deaf", "n1");
    w.docker("stop deaf");
    w.docker("start deaf");
    assert_eq!(w.addresses("deaf", "n1"), deaf);
    w.agree();
    // Two containers start at the same time. Before Engine 29 their requests look the same, but an address
    // must not be given twice.
    w.docker("stop -t 1 c1 c2");
    w.docker("start c2 c1");
    let now = all(w);
    assert_ne!(now[0], now[1]);
    if w.engine.version.0 >= 29 {
        assert_eq!(now, before, "their names distinguish them");
    }
    w.agree();
}

/// A pin made while containers run applies at their next start: by name if the Engine sends it, otherwise by
/// MAC.
fn by_hand(w: &mut World) {
    w.network(&format!("{BOTH} n1"));
    let mac = "02:42:0a:58:09:63";
    w.run(&format!("--name c1 --network n1 --mac-address {mac}"));
    let before = w.addresses("c1", "n1");
    let holder = if w.engine.version.0 >= 29 { "c1" } else { mac };
    for address in ["10.88.9.99", "fd88:9::99"] {
        w.inside(&format!("gipam pin {holder} {address}"));
    }
    w.inside("gipam reserve 10.88.9.2-10.88.9.20");
    w.inside("gipam reserve fd88:9::2-fd88:9::20");
    assert_eq!(w.addresses("c1", "n1"), before, "a running container is not moved");
    w.run("--name c2 --network n1");
    assert_eq!((w.v4("c2", "n1"), w.v6("c2", "n1")), ("10.88.9.21".into(), "fd88:9::21".into()));
    w.docker("restart -t 1 c1");
    assert_eq!((w.v4("c1", "n1"), w.v6("c1", "n1")), ("10.88.9.99".into(), "fd88:9::99".into()));
    w.ping("c1", "10.88.9.21");
    w.agree();
    w.kill();
    w.start();
    w.docker("rm -f c1");
    w.run("--name c3 --network n1");
    assert_eq!(w.v4("c3", "n1"), "10.88.9.22", "others do not get the pinned address");
    w.run(&format!("--name c1 --network n1 --mac-address {mac}"));
    assert_eq!((w.v4("c1", "n1"), w.v6("c1", "n1")), ("10.88.9.99".into(), "fd88:9::99".into()));
    w.agree();
}

fn restart_policy(w: &mut World) {
    w.network("--ipv6 n1");
    w.docker("run -d --name c1 --restart on-failure:3 --network n1 bb false");
    w.until_state("c1", "exited");
    w.agree(); // three rounds of request and release leave nothing behind
    w.run("--name c2 --restart always --network n1");
    w.docker("rename c2 c3");
    w.agree();
    w.docker("restart -t 1 c3");
    w.docker("pause c3");
    w.docker("unpause c3");
    w.agree();
}

fn failed_starts(w: &mut World) {
    w.network("--ipv6 n1");
    w.refused("run --name c1 --network n1 bb no-such-command");
    w.agree();
    w.run("--name c2 --network n1 -p 8080:80");
    // the port is in use: addresses are granted and then released
    w.refused("run -d --name c3 --network n1 -p 8080:80 bb sleep 60");
    w.agree();
    assert!(
        w.leases().iter().filter(|lease| lease.kind.as_deref() == Some("endpoint")).count() == 2,
        "only c2's lease is left"
    );
}

fn twenty(w: &mut World) {
    w.network("--ipv6 n1");
    w.at_once((0..20).map(|i| format!("run -d --init --name c{i} --network n1 bb sleep 3600")));
    let all: Vec<_> = (0..20).map(|i| w.addresses(&format!("c{i}"), "n1")).collect();
    assert!(all.iter().all(|both| both.0.is_some() && both.1.is_some()), "{all:?}");
    assert_eq!(all.iter().map(|both| both.0).collect::<HashSet<_>>().len(), 20, "{all:?}");
    assert_eq!(all.iter().map(|both| both.1).collect::<HashSet<_>>().len(), 20, "{all:?}");
    w.agree();
    w.at_once((0..20).map(|i| format!("rm -f c{i}")));
    w.agree();
}

/// A dual-stack start whose IPv6 address is refused: the tested Engines do not release the IPv4 address.
fn refused_v6(w: &mut World) {
    w.network(&format!("{BOTH} n1"));
    w.run("--name c1 --network n1 --ip6 fd88:9::50");
    let before: HashSet<_> = w.leases().into_iter().map(|lease| lease.address).collect();
    let said = w.refused("run -d --name c2 --network n1 --ip6 fd88:9::50 bb sleep 60");
    assert!(said.contains("fd88:9::50"), "{said}");
    let new: Vec<_> = w.leases().into_iter().filter(|lease| !before.contains(&lease.address)).collect();
    assert_eq!(new.len(), 1, "one IPv4 address leaked, a known fault of Docker: {new:?}");
    assert!(new[0].address.is_ipv4(), "{new:?}");
    w.expect_leak(Leak::Address("10.88.9.0/24".into(), new[0].address.to_string()));
}
